"""Fib.apply, walking, stale marks, refusals: what a caller of the writer relies on."""

from array import array
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from dpdkrouter.fib import WITHDRAW, Fib, Limits, Refusal, Source
from table_model import SMALL, answers, apply, fill_groups, pack, routes, segment_path


def number(prefix: str) -> tuple[int, int]:
    network = ip_network(prefix)
    return int(network.network_address), network.prefixlen


@pytest.fixture
def path() -> Iterator[Path]:
    path = segment_path("/dev/shm", "routes")
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def fib(path: Path) -> Iterator[Fib]:
    fib = Fib.create(path, SMALL)
    yield fib
    fib.close()


def test_counts_what_a_batch_did(fib: Fib) -> None:
    one, two = fill_groups(fib, 2)
    key = number("10.0.0.0/8")
    done = apply(fib, 4, [(*key, one), (*key, one), (*key, two), (*key, WITHDRAW), (*key, WITHDRAW)])
    assert (done.inserted, done.unchanged, done.replaced, done.withdrawn) == (1, 2, 1, 1)
    assert fib.counts() == (0, 0)


def test_another_source_replaces(fib: Fib) -> None:
    (group,) = fill_groups(fib, 1)
    for family, prefix in ((4, "10.0.0.0/8"), (6, "2001:db8::/32")):
        apply(fib, family, [(*number(prefix), group)], Source.EBGP)
        assert apply(fib, family, [(*number(prefix), group)], Source.STATIC).replaced == 1
        found = fib.reader.lookup(ip_network(prefix)[1])
        assert (found.source, found.stale, found.prefix) == (Source.STATIC, False, ip_network(prefix))


def test_lookup_shows_rule_table_members_and_adjacency(fib: Fib) -> None:
    (group,) = fill_groups(fib, 1)
    apply(fib, 6, [(*number("2001:db8::/32"), group)], Source.CLI)
    found = fib.reader.lookup(ip_address("2001:db8::1"))
    assert (found.group, found.table_group, found.source) == (group, group, Source.CLI)
    assert [adjacency.dst for _, adjacency in found.members] == [bytes([2, 0, 0, 0, 0, 0])]
    none = fib.reader.lookup(ip_address("2001:db9::1"))
    assert (none.prefix, none.group, none.table_group, none.members) == (None, 0, 0, ())


@pytest.mark.parametrize(
    ("family", "prefix", "length", "group", "source", "says"),
    [
        (4, "10.0.0.0", 33, 1, 4, "route 1: length 33: from 0 to 32"),
        (4, "10.0.0.1", 31, 1, 4, "route 1: 0x0a000001/31 has host bits"),
        (4, "10.0.0.0", 8, 9, 4, "route 1: group 9 is not in use"),
        (4, "10.0.0.0", 8, 40000, 4, "route 1: group 40000 is not in use"),
        (4, "10.0.0.0", 8, 1, 0, "route 1: source 0 is none of Source"),
        (4, "10.0.0.0", 8, 1, 0x84, "route 1: source 132 is none of Source"),
        (6, "2001:db8::", 129, 1, 4, "route 1: length 129: from 0 to 128"),
        (6, "2001:db8::1", 127, 1, 4, "route 1: 2001:0db8:0000:0000:0000:0000:0000:0001/127 has host bits"),
        (6, "2001:db8:8000::", 32, 1, 4, "has host bits"),
    ],
)
def test_refuses_the_whole_batch_for_one_bad_route(
    fib: Fib, family: int, prefix: str, length: int, group: int, source: int, says: str
) -> None:
    assert fill_groups(fib, 1) == [1]
    good = ip_address("10.0.0.0" if family == 4 else "2001:db8::").packed
    with pytest.raises(ValueError, match=says):
        fib.apply(family, good + ip_address(prefix).packed, bytes([32, length]), array("H", [1, group]),
                  bytes([4, source]))  # fmt: skip
    assert fib.counts() == (0, 0)
    assert fib.reader.generation % 2 == 0


def test_refuses_columns_of_different_lengths(fib: Fib) -> None:
    (group,) = fill_groups(fib, 1)
    for columns, name in (
        ((bytes(8), bytes(1), array("H", [group]), b"\4"), "prefixes"),
        ((bytes(4), bytes(1), array("H", [group] * 2), b"\4"), "groups"),
        ((bytes(4), bytes(1), array("H", [group]), b""), "sources"),
    ):
        with pytest.raises(ValueError, match=name):
            fib.apply(4, *columns)
    for family, prefix in ((4, bytes(16)), (6, bytes(4))):  # of the other family
        says = f"prefixes: {len(prefix)} bytes for 1 routes: {20 - len(prefix)} bytes each"
        with pytest.raises(ValueError, match=says):
            fib.apply(family, prefix, bytes(1), array("H", [group]), b"\4")
    assert fib.counts() == (0, 0)
    with pytest.raises(ValueError, match="family 5"):
        fib.apply(5, b"", b"", b"", b"")
    assert fib.apply(4, b"", b"", b"", b"").inserted == 0


def test_marks_relearns_and_sweeps_one_source(fib: Fib) -> None:
    one, two = fill_groups(fib, 2)
    for family, width in ((4, 32), (6, 128)):
        keys = [(i << (width - 24), 24) for i in range(200)]
        apply(fib, family, [(*key, one) for key in keys], Source.EBGP)
        apply(fib, family, [(*number("128.0.0.0/1" if family == 4 else "8000::/1"), two)], Source.STATIC)
    assert fib.mark_stale(Source.EBGP) == 400
    assert fib.reader.sources(4) == {(Source.EBGP, True): 200, (Source.STATIC, False): 1}
    assert apply(fib, 4, [(i << 8, 24, one) for i in range(50)], Source.EBGP).unchanged == 50
    assert apply(fib, 6, [(i << 104, 24, one) for i in range(60)], Source.EBGP).unchanged == 60
    assert fib.reader.lookup(ip_address("0.0.70.1")).stale
    assert fib.sweep_stale(Source.EBGP, 10) == 10
    assert fib.sweep_stale(Source.EBGP) == 280
    assert fib.sweep_stale(Source.EBGP) == 0
    assert fib.counts() == (51, 61)
    assert {key[0] >> 8 for key in routes(fib.reader, 4)} == {*range(50), 0x800000}
    assert answers(fib.reader, 4, [49 << 8, 50 << 8, 0x80000000]) == [one, 0, two]


def test_full_hash_refuses_new_routes_only(path: Path) -> None:
    fib = Fib.create(path, Limits(3, 2, 10, 10, 1, 1, 1))
    one, two = fill_groups(fib, 2)
    done = apply(fib, 4, [(i << 24, 8, one) for i in range(5)])
    assert (done.inserted, done.refused_count) == (3, 2)
    assert done.refused == (Refusal(3, "full", "max_ipv4_routes"), Refusal(4, "full", "max_ipv4_routes"))
    assert apply(fib, 6, [(i << 120, 8, one) for i in range(3)]).refused == (Refusal(2, "full", "max_ipv6_routes"),)
    assert apply(fib, 4, [(0, 8, two)]).replaced == 1
    assert apply(fib, 4, [(0, 8, WITHDRAW), (9 << 24, 8, one)]).inserted == 1
    assert answers(fib.reader, 4, [0, 1 << 24, 9 << 24]) == [0, one, one]
    fib.close()


def test_refusals_are_counted_by_what_was_full(path: Path) -> None:
    fib = Fib.create(path, Limits(4, 2, 10, 10, 1, 1, 1))
    (one,) = fill_groups(fib, 1)
    hosts = [(i << 8 | 128, 25, one) for i in range(3)]  # one block: two of them are too many
    done = apply(fib, 4, [*hosts, *((i << 24, 8, one) for i in range(1, 5))])
    assert (done.inserted, done.refused_count) == (4, 3)
    assert done.shortages == (("full", "max_ipv4_routes", 1), ("full", "max_ipv4_extended", 2))
    assert apply(fib, 4, [(0, 0, WITHDRAW)]).shortages == ()
    fib.close()


def test_full_extended_blocks_refuse_and_recycle(fib: Fib) -> None:
    one, two = fill_groups(fib, 2)
    blocks = SMALL.max_ipv4_extended
    done = apply(fib, 4, [(i << 8 | 128, 25, one) for i in range(blocks + 3)])
    assert (done.inserted, done.refused_count) == (blocks, 3)
    assert done.refused[0] == Refusal(blocks, "full", "max_ipv4_extended")
    assert apply(fib, 4, [(5 << 8, 32, two)]).inserted == 1  # a block that is there has room
    for turn in range(100):
        there = [(5 << 8, 32, WITHDRAW), (5 << 8 | 128, 25, WITHDRAW), ((100 + turn) << 8, 30, two)]
        back = [((100 + turn) << 8, 30, WITHDRAW), (5 << 8 | 128, 25, one), (5 << 8, 32, two)]
        assert apply(fib, 4, there[:2]).withdrawn == 2
        assert apply(fib, 4, there[2:] + back).refused == ()
    assert answers(fib.reader, 4, [5 << 8, 5 << 8 | 200, 100 << 8]) == [two, one, 0]
    assert fib.reader.use()["ipv4_extended"].used == blocks


def test_full_trie_refuses_and_everything_else_stays(fib: Fib, path: Path) -> None:
    fib.close()
    fib = Fib.create(path, Limits(100, 20000, 10, 10, 1, 1, 1))
    one, two = fill_groups(fib, 2)
    hosts = [(0x2001 << 112 | i << 64 | 1, 128) for i in range(0, 20000 << 7, 1 << 7)]
    done = apply(fib, 6, [(*key, one) for key in hosts])
    assert 2000 < done.inserted < 20000
    assert done.refused[0][1:] == ("full", "ipv6_trie_mib")
    inside = list(routes(fib.reader, 6))
    # replacing and withdrawing need no memory
    assert apply(fib, 6, [(*key, two) for key in inside]).replaced == len(inside)
    assert set(answers(fib.reader, 6, [key[0] for key in inside])) == {two}
    assert apply(fib, 6, [(*key, WITHDRAW) for key in inside]).withdrawn == len(inside)
    assert fib.reader.use()["ipv6_trie"].used == 0
    assert set(answers(fib.reader, 6, [key[0] for key in hosts])) == {0}
    for turn in range(3):  # recycling: the arena is full of nodes of other sizes each time
        length = (128, 64, 48)[turn]
        again = [(key[0] >> (128 - length) << (128 - length), length, one) for key in hosts]
        apply(fib, 6, again)
        known = routes(fib.reader, 6)
        assert set(answers(fib.reader, 6, [prefix for prefix, _ in known])) == {one}
        apply(fib, 6, [(*key, WITHDRAW) for key in known])
    assert fib.reader.use()["ipv6_trie"].used == 0
    fib.close()


def test_walk_gives_each_rule_once_while_others_come_and_go(fib: Fib) -> None:
    (group,) = fill_groups(fib, 1)
    stay = {(i << 16, 16) for i in range(600)}
    apply(fib, 4, [(*key, group) for key in stay])
    seen: list[tuple[int, int]] = []
    after: int | None = None
    turn = 0
    while True:
        chunk = fib.reader.routes(4, after, 100)
        seen += zip(memoryview(chunk.prefixes).cast("B").cast("I"), chunk.lengths, strict=True)
        coming = [((1000 + turn * 20 + i) << 12, 20, group) for i in range(20)]
        going = [((1000 + (turn - 1) * 20 + i) << 12, 20, WITHDRAW) for i in range(20)]
        apply(fib, 4, coming + going)
        turn, after = turn + 1, chunk.after
        if after is None:
            break
    found = [int.from_bytes(prefix.to_bytes(4, "little"), "big") for prefix, length in seen if length == 16]
    assert sorted(found) == sorted(prefix for prefix, _ in stay)


def test_packed_addresses_are_checked(fib: Fib) -> None:
    assert fib.reader.groups_of(4, b"", b"") == (b"", b"")
    with pytest.raises(ValueError, match="prefixes: 16 bytes for 1 routes of family 4"):
        fib.reader.groups_of(4, bytes(16), bytes(1))
    with pytest.raises(ValueError, match="not a multiple of 16"):
        fib.reader.table_groups(6, bytes(17))
    with pytest.raises(ValueError, match="burst 65"):
        fib.reader.table_groups(4, pack(4, [1]), 65)
    assert fib.reader.table_groups(4, b"") == b""
