"""Memory is used again only when every lcore was quiescent; one that hangs stops reuse, not writing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dpdkrouter.fib import Action, Adjacency, Fib, Limits, Refusal, TableFullError
from table_model import answers, apply, fill_groups, segment_path
from table_stats import OFFLINE, Stats

LIMITS = Limits(1000, 1000, 5, 5, 2, 4, 1)


@pytest.fixture
def paths() -> Iterator[tuple[Path, Path]]:
    paths = segment_path("/dev/shm", "grace-routes"), segment_path("/dev/shm", "grace-stats")
    yield paths
    for path in paths:
        path.unlink(missing_ok=True)


@pytest.fixture
def stats(paths: tuple[Path, Path]) -> Iterator[Stats]:
    stats = Stats(paths[1], 3)
    yield stats
    stats.close()


@pytest.fixture
def fib(paths: tuple[Path, Path], stats: Stats) -> Iterator[Fib]:
    fib = Fib.create(paths[0], LIMITS, stats_path=paths[1])
    yield fib
    fib.close()


def all_quiescent(fib: Fib, stats: Stats) -> None:
    for lcore in range(3):
        stats.quiescent(lcore, fib.reader.grace_epoch)


def cycle_block(fib: Fib, group: int, turn: int) -> tuple[Refusal, ...]:
    """One block of ipv4_extended taken and given up."""
    return apply(fib, 4, [(turn << 8, 32, group), (turn << 8, 32, 0)]).refused


def test_blocks_wait_for_the_slowest_lcore(fib: Fib, stats: Stats) -> None:
    (group,) = fill_groups(fib, 1)
    for turn in range(4):
        assert cycle_block(fib, group, turn) == ()
    assert cycle_block(fib, group, 4) == (Refusal(0, "grace", "max_ipv4_extended"),)
    stats.quiescent(0, fib.reader.grace_epoch)
    stats.quiescent(1, OFFLINE)
    fib.heartbeat(1)
    assert cycle_block(fib, group, 5) == (Refusal(0, "grace", "max_ipv4_extended"),)
    stats.quiescent(2, fib.reader.grace_epoch)
    fib.heartbeat(2)
    assert cycle_block(fib, group, 6) == ()


def test_writing_goes_on_while_an_lcore_hangs(fib: Fib) -> None:
    one, two = fill_groups(fib, 2)
    for turn in range(4):
        cycle_block(fib, one, turn)
    assert apply(fib, 4, [(0, 8, one), (5 << 8, 30, two), (7 << 8, 24, two)]).inserted == 2
    assert answers(fib.reader, 4, [5 << 8, 7 << 8]) == [one, two]


def test_a_dead_fast_path_counts_as_quiescent(fib: Fib, stats: Stats) -> None:
    (group,) = fill_groups(fib, 1)
    for turn in range(4):
        cycle_block(fib, group, turn)
    stats.died()
    fib.heartbeat(1)
    assert cycle_block(fib, group, 9) == ()


def test_a_new_fast_path_counts(fib: Fib, stats: Stats, paths: tuple[Path, Path]) -> None:
    (group,) = fill_groups(fib, 1)
    all_quiescent(fib, stats)
    stats.died()
    reborn = Stats(paths[1], 1)
    for turn in range(4):
        assert cycle_block(fib, group, turn) == ()
    assert cycle_block(fib, group, 4) == (Refusal(0, "grace", "max_ipv4_extended"),)
    reborn.quiescent(0, fib.reader.grace_epoch)
    fib.heartbeat(1)
    assert cycle_block(fib, group, 5) == ()
    reborn.close()


def test_ids_wait_too(fib: Fib, stats: Stats) -> None:
    hop = Adjacency(Action.FORWARD)
    indices = [fib.adjacency_create(hop) for _ in range(5)]
    for _ in range(5):
        fib.group_release(fib.group_create([(indices[0], 1)]))
    with pytest.raises(TableFullError, match="max_groups"):
        fib.group_create([(indices[0], 1)])
    fib.adjacency_release(indices[4])
    with pytest.raises(TableFullError, match="max_adjacencies"):
        fib.adjacency_create(hop)
    all_quiescent(fib, stats)
    fib.heartbeat(1)
    group = fib.group_create([(fib.adjacency_create(hop), 1)])
    for _ in range(2):
        fib.group_update(group, [(indices[0], 1), (indices[1], 1)])
    with pytest.raises(TableFullError, match="max_ecmp_groups"):
        fib.group_update(group, [(indices[0], 1), (indices[2], 1)])


def test_a_full_queue_refuses_insertions_and_never_withdrawals(paths: tuple[Path, Path], stats: Stats) -> None:
    fib = Fib.create(paths[0], LIMITS, stats_path=paths[1], grace_queue=4)
    one, two = fill_groups(fib, 2)
    keys = [(0x2001 << 112 | i << 64, 64) for i in range(40)]
    all_quiescent(fib, stats)
    refused = 0
    for key in keys:
        done = apply(fib, 6, [(*key, one)])
        refused += done.refused_count
        assert all(refusal[1:] == ("grace", "ipv6_trie_mib") for refusal in done.refused)
    there = 40 - refused
    assert 0 < there < 40
    assert apply(fib, 6, [(*key, two) for key in keys]).replaced == there
    assert apply(fib, 6, [(*key, 0) for key in keys]).withdrawn == there
    assert set(answers(fib.reader, 6, [key[0] for key in keys])) == {0}
    assert fib.reader.use()["ipv6_trie"].used > 0  # what could not be retired
    for beat in range(20):
        all_quiescent(fib, stats)
        fib.heartbeat(beat)
    assert fib.reader.use()["ipv6_trie"].used == 0
    fib.close()


def test_attaching_waits_for_lcores_before_it_reuses(fib: Fib, stats: Stats, paths: tuple[Path, Path]) -> None:
    (group,) = fill_groups(fib, 1)
    apply(fib, 4, [(1 << 8, 32, group)])
    fib.close()
    again = Fib.attach(paths[0], paths[1])
    assert cycle_block(again, group, 4) == (Refusal(0, "grace", "max_ipv4_extended"),)
    assert answers(again.reader, 4, [1 << 8]) == [group]
    all_quiescent(again, stats)
    again.heartbeat(1)
    assert cycle_block(again, group, 4) == ()
    again.close()
