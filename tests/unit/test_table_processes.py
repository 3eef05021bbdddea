"""Two processes on one segment: a reader looks up while the writer changes; a writer is killed at any instant."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpdkrouter.fib import Fib, FibReader, Limits
from dpdkrouter.fib.grace import start_time
from table_model import Key, Model, answers, apply, bits, columns, fill_groups, pack, routes, segment_path
from table_stats import Stats

# Few slots, so that the hashes are nearly full and their clusters long; few blocks, so that all are used again.
TIGHT = Limits(409, 409, 300, 300, 4, 12, 1)
# The same hashes, but nothing is ever refused, so that the sequence of states is known.
ROOMY = Limits(409, 409, 300, 300, 4, 400, 1)


@pytest.fixture(params=["/dev/shm", "/dev/hugepages"])
def path(request: pytest.FixtureRequest, hugepages: object) -> Iterator[Path]:
    path = segment_path(request.param, "processes")
    yield path
    path.unlink(missing_ok=True)


def read_until_told(path: Path, stats_path: Path, allowed: dict[int, dict[int, set[int]]], fd: int) -> None:
    """The reader's process: like an lcore, it says when it is quiescent; any answer not allowed is written to fd."""
    stats = Stats(stats_path, 1)
    reader = FibReader.open(path)
    packed = {family: pack(family, allowed[family]) for family in allowed}
    os.write(fd, b"r")
    rounds = 0
    while os.getppid() != 1 and rounds < 1_000_000:
        for family, expected in allowed.items():
            stats.quiescent(0, reader.grace_epoch)
            found = memoryview(reader.table_groups(family, packed[family], 1 + rounds % 64)).cast("H")
            for (address, groups), group in zip(expected.items(), found, strict=True):
                if group not in groups:
                    os.write(fd, f"{address:#x}: {group} not in {groups}\n".encode())
                    os._exit(1)
        rounds += 1
        if rounds == 200:
            os.write(fd, b"2")


def changes_of(family: int, one: int, two: int, three: int) -> list[list[tuple[int, int, int]]]:
    """A cycle of batches over nested prefixes: nodes and blocks are made, changed, collapsed, made again."""
    width = bits(family)
    base = 0x0A << 24 if family == 4 else 0x20 << 120
    deep = [16, 20, 24, 25, 28, 31, 32] if family == 4 else [20, 21, 26, 32, 33, 44, 48, 62, 64, 65, 127, 128]
    keys = [
        (
            base | 1 << (width - 16) | 1
            if length == width
            else (base | 1 << (width - 16)) >> (width - length) << (width - length),
            length,
        )
        for length in deep
    ]
    others = [(base | (2 + i) << (width - 24), 25 + i % 4) for i in range(12)]
    up = [[(*key, two)] for key in keys] + [[(*key, three)] for key in keys] + [[(*key, one) for key in others[:6]]]
    down = [[(*key, 0)] for key in keys] + [[(*key, 0) for key in others[:6]]]
    mixed = [[(*key, three)] for key in others[6:9]] + [[(*key, 0)] for key in others[6:9]]
    return [[(base, 8, one)], *up, *down, *up[::-1], *mixed, *down[::-1], [(base, 8, two)], [(base, 8, one)]]


def test_a_reader_sees_the_answer_before_or_after_and_nothing_else(path: Path) -> None:
    stats_path = segment_path("/dev/shm", "processes-stats")
    fib = Fib.create(path, TIGHT, stats_path=stats_path)
    one, two, three = fill_groups(fib, 3)
    allowed: dict[int, dict[int, set[int]]] = {}
    cycles = {family: changes_of(family, one, two, three) for family in (4, 6)}
    for family, cycle in cycles.items():
        model = Model(family)
        for prefix, length, group in (change for batch in cycle for change in batch):
            model.routes[prefix, length] = group or 1
        edges = model.edges()
        model.routes.clear()
        possible: dict[int, set[int]] = {edge: set() for edge in edges}
        for _ in range(2):  # twice: the second time nothing is new
            for batch in cycle:
                for prefix, length, group in batch:
                    if group:
                        model.routes[prefix, length] = group
                    else:
                        model.routes.pop((prefix, length), None)
                    for edge in edges:
                        possible[edge].add(model.lookup(edge))
        allowed[family] = possible
        apply(fib, family, cycle[0])
        for edge in edges:  # the /8 is always there
            if edge >> (bits(family) - 8) == cycle[0][0][0] >> (bits(family) - 8):
                possible[edge].discard(0)
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            read_until_told(path, stats_path, allowed, send)
        finally:
            os._exit(3)
    os.close(send)
    try:
        assert os.read(receive, 1) == b"r"
        turns = 0
        begun = time.monotonic()
        while time.monotonic() - begun < 4:
            for family, cycle in cycles.items():
                for batch in cycle:
                    while apply(fib, family, batch).refused_count:  # all blocks wait for the reader
                        time.sleep(0.0002)
            turns += 1
        assert turns > 50
        assert os.waitpid(child, os.WNOHANG) == (0, 0), os.read(receive, 1000)
        assert os.read(receive, 1000) == b"2"  # it has read many times, and found nothing wrong
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(receive)
        stats_path.unlink()
        fib.close()


def sequence(seed: int, family: int, groups: list[int]) -> list[list[tuple[int, int, int]]]:
    """The batches that a writer applies, again and again, until it is killed."""
    choose = random.Random(f"{seed} {family}")
    width = bits(family)
    lengths = [12, 16, 20, 22, 24, 26, 29, 32] if family == 4 else [16, 20, 24, 32, 44, 48, 64, 128]
    base = 0x0A << 24 if family == 4 else 0x2001 << 112
    keys: list[Key] = [(0, 0)]
    pool = random.Random(7)
    while len(keys) < 380:
        length = pool.choice(lengths)
        near = base | pool.getrandbits(8) << (width - 20) | pool.getrandbits(9)
        keys.append((near >> (width - length) << (width - length), length))
    return [
        [(*choose.choice(keys[number % 20 != 0 :]), choose.choice([0, *groups])) for _ in range(150)]
        for number in range(20)
    ]


def write_until_killed(path: Path, seed: int, groups: list[int], fd: int) -> None:
    """The writer's process: all its time goes into apply(), so that this is where it is killed."""
    packed = [(family, *columns(family, batch)) for family in (4, 6) for batch in sequence(seed, family, groups)]
    fib = Fib.attach(path)
    os.write(fd, b"w")
    while os.getppid() != 1:
        for batch in packed:
            fib.apply(*batch)


def step(state: dict[Key, int], change: tuple[int, int, int]) -> int:
    """Apply a change to {key: group}; how the state's fingerprint changes."""
    key, group = change[:2], change[2]
    old = state.pop(key, 0)
    if group:
        state[key] = group
    return hash((key, old)) * (old != 0) ^ hash((key, group)) * (group != 0)


def reached(state: dict[Key, int], wanted: dict[Key, int], changes: Iterator[tuple[int, int, int]]) -> bool:
    """Whether applying some number of the changes, in order, makes the state what is wanted."""
    target = 0
    for key, group in wanted.items():
        target ^= hash((key, group))
    now = 0
    for key, group in state.items():
        now ^= hash((key, group))
    if now == target:
        return state == wanted
    for change in changes:
        now ^= step(state, change)
        if now == target and state == wanted:
            return True
    return False


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [pytest.param(25), pytest.param(400, marks=pytest.mark.full)])
def test_a_writer_killed_at_any_instant_leaves_the_old_state_or_the_new(path: Path, kills: int) -> None:
    fib = Fib.create(path, ROOMY)
    groups = fill_groups(fib, 5)
    fib.close()
    state: dict[int, dict[Key, int]] = {4: {}, 6: {}}
    redone = 0
    for seed in range(kills):
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                write_until_killed(path, seed, groups, send)
            finally:
                os._exit(3)
        os.close(send)
        assert os.read(receive, 1) == b"w"
        os.close(receive)
        time.sleep(random.Random(seed).uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        with FibReader.open(path) as reader:
            assert reader.writer_pid == 0
            redone += reader.generation % 2
        fib = Fib.attach(path)
        for family in (4, 6):
            rules = routes(fib.reader, family)
            assert_reached(seed, family, state[family], rules, groups)
            state[family] = rules
            model = Model(family)
            model.routes = rules
            edges = model.edges()
            assert answers(fib.reader, family, edges) == [model.lookup(edge) for edge in edges], seed
        assert fib.counts() == (len(state[4]), len(state[6]))
        fib.close()
    assert redone > kills // 2  # most were killed within a batch
    fib = Fib.attach(path)
    for family in (4, 6):
        apply(fib, family, [(*key, 0) for key in state[family]])
    use = fib.reader.use()
    assert (use["ipv4_extended"].used, use["ipv6_trie"].used) == (0, 0)
    fib.close()


def assert_reached(seed: int, family: int, state: dict[Key, int], rules: dict[Key, int], groups: list[int]) -> None:
    batches = sequence(seed, family, groups)
    changes = (change for _ in range(400) for batch in batches for change in batch)
    assert reached(dict(state), rules, changes), f"seed {seed}, family {family}: no state of the sequence"


def test_a_dead_writer_is_gone_before_its_parent_has_waited_for_it(path: Path) -> None:
    child = os.fork()
    if child == 0:
        Fib.create(path, TIGHT)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        with FibReader.open(path) as reader:
            assert start_time(os.getpid()) != 0
            assert start_time(child) == 0
            assert reader.writer_pid == 0
    finally:
        os.waitpid(child, 0)
