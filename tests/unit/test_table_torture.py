"""Torture: one writer process, readers in others, every kind of operation, small limits, kill -9 at random instants.

Each prefix has a set of groups that it may be given, each group a set of adjacencies that it may be made of; so a reader
knows of every address what may never be answered, whatever the writer does: a group of no covering prefix, no route
below the default, an adjacency of another group. A test of order (the answer before or after a change and nothing
else) is in test_table_processes.py. After each kill of the writer the segment is attached, must pass its own check,
and goes to the next writer; now and then damage is written into it first, or it changes its limits.
"""

import os
import random
import signal
import time
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest

from dpdkrouter.errors import SegmentError
from dpdkrouter.fib import Action, Adjacency, Fib, FibReader, Interface, Limits, Source, TableFullError
from dpdkrouter.fib.audit import SegmentAudit
from dpdkrouter.fib.limits import layout
from dpdkrouter.fib.mend import Mender
from table_model import Key, apply, bits, pack, routes, segment_path
from table_stats import Stats

# Hashes nearly full, few blocks, few ids: everything is used again all the time.
TIGHT = Limits(409, 409, 40, 40, 6, 10, 1)
OTHER = Limits(500, 450, 44, 48, 6, 14, 2)
CLASSES = 4
ADJACENCIES = 24
LENGTHS = {4: [12, 16, 20, 23, 24, 25, 27, 30, 32], 6: [17, 19, 20, 24, 32, 44, 48, 62, 64, 65, 128]}
BASES = {4: 0x0A << 24, 6: 0x20 << 120}


def keys_of(family: int) -> list[Key]:
    """The prefixes that come and go; one's class is its number modulo CLASSES."""
    choose = random.Random(family)
    width = bits(family)
    found: dict[Key, None] = {}
    while len(found) < 380:
        length = choose.choice(LENGTHS[family])
        near = BASES[family] | choose.getrandbits(8) << (width - 20) | choose.getrandbits(9)
        found[near >> (width - length) << (width - length), length] = None
    return list(found)


def groups_of(number: int) -> tuple[int, ...]:
    """The groups that the prefix of this number may have."""
    kind = number % CLASSES
    return 2 * kind + 1, 2 * kind + 2


def adjacencies_of(group: int) -> range:
    """The adjacencies that a group may be made of."""
    first = (group - 1) * ADJACENCIES // (2 * CLASSES) + 1
    return range(first, first + ADJACENCIES // (2 * CLASSES))


def make(path: Path) -> None:
    """The segment, with the groups of the classes, a default route and one prefix around all others."""
    fib = Fib.create(path, TIGHT)
    for i in range(ADJACENCIES):
        assert fib.adjacency_create(Adjacency(Action.FORWARD, i % 32, bytes([2, 0, 0, 0, 0, i]))) == i + 1
    for group in range(1, 2 * CLASSES + 1):
        assert fib.group_create([(adjacencies_of(group)[0], 1)]) == group
    for family in (4, 6):
        apply(fib, family, [(0, 0, 1), (BASES[family], 8, 3)], Source.STATIC)
    fib.close()


# ---- the writer's process


class Writer:
    """Does one operation after the other, all kinds of them, chosen at random."""

    def __init__(self, fib: Fib, seed: int) -> None:
        self.fib = fib
        self.choose = random.Random(seed)
        self.keys = {family: keys_of(family) for family in (4, 6)}
        self.own: list[int] = []  # groups beyond those of the classes; no route has them

    def routes(self) -> None:
        family = self.choose.choice((4, 6))
        keys = self.keys[family]
        numbers = self.choose.choices(range(len(keys)), k=self.choose.choice((1, 7, 60)))
        groups = [self.choose.choice((0, *groups_of(number))) for number in numbers]
        self.fib.apply(
            family,
            pack(family, [keys[number][0] for number in numbers]),
            bytes(keys[number][1] for number in numbers),
            array("H", groups),
            bytes(self.choose.choice((Source.EBGP, Source.IBGP)) for _ in numbers),
        )

    def around(self) -> None:
        family = self.choose.choice((4, 6))
        apply(self.fib, family, [(0, 0, self.choose.choice((1, 2))), (BASES[family], 8, self.choose.choice((3, 4)))],
              Source.STATIC)  # fmt: skip

    def repoint(self) -> None:
        group = self.choose.randrange(1, 2 * CLASSES + 1)
        members = self.choose.sample(adjacencies_of(group), self.choose.randint(1, len(adjacencies_of(group))))
        self.fib.group_update(group, [(index, self.choose.choice((1, 1, 5))) for index in members])

    def make_group(self) -> None:
        members = self.choose.sample(range(1, ADJACENCIES + 1), self.choose.randint(1, 5))
        self.own.append(self.fib.group_create([(index, 1) for index in members]))

    def drop_group(self) -> None:
        if self.own:
            self.fib.group_release(self.own.pop(self.choose.randrange(len(self.own))))

    def adjacency(self) -> None:
        index = self.fib.adjacency_create(Adjacency(Action.GLEAN, 3))
        self.fib.adjacency_set(index, Adjacency(Action.RESOLVE, 4))
        self.fib.adjacency_release(index)

    def resolve(self) -> None:
        index = self.choose.randrange(1, ADJACENCIES + 1)
        mac = bytes([2, 0, 0, 0, self.choose.getrandbits(8), index - 1])
        self.fib.adjacency_set(index, Adjacency(self.choose.choice((Action.FORWARD, Action.RESOLVE)), 1, mac))

    def stale(self) -> None:
        source = self.choose.choice((Source.EBGP, Source.IBGP))
        self.fib.mark_stale(source)
        if self.choose.random() < 0.5:
            self.routes()
        self.fib.sweep_stale(source, self.choose.choice((3, 1000)))

    def interface(self) -> None:
        port = self.choose.randrange(32)
        self.fib.interface_set(port, self.choose.choice((None, Interface(f"wan{port}", 1500))))

    def beat(self) -> None:
        self.fib.heartbeat(time.monotonic_ns())

    def run(self) -> None:
        every: list[Callable[[], None]] = [self.around, self.repoint, self.make_group, self.drop_group, self.adjacency,
                                           self.resolve, self.stale, self.interface, self.beat]  # fmt: skip
        while os.getppid() != 1:
            operation = self.choose.choice([self.routes] * 12 + every)
            try:
                operation()
            except TableFullError:  # ids wait for a reader
                self.beat()


def write(path: Path, stats_path: Path, seed: int) -> None:
    fib = Fib.attach(path, stats_path)
    writer = Writer(fib, seed)
    writer.own = [group for group in fib.groups() if group > 2 * CLASSES]
    writer.run()


# ---- a reader's process


def allowed(family: int) -> tuple[list[int], list[set[int]]]:
    """Addresses where answers change, and what may be answered for each."""
    width = bits(family)
    keys = keys_of(family)
    edges: set[int] = {0, (1 << width) - 1}
    for prefix, length in keys:
        last = prefix | (1 << (width - length)) - 1
        edges |= {prefix, last, max(0, prefix - 1), min((1 << width) - 1, last + 1)}
    addresses = sorted(edges)
    found = []
    for address in addresses:
        inside = address >> (width - 8) == BASES[family] >> (width - 8)
        may = {3, 4} if inside else {1, 2}
        for number, (prefix, length) in enumerate(keys):
            if address >> (width - length) == prefix >> (width - length):
                may |= set(groups_of(number))
        found.append(may)
    return addresses, found


def read(path: Path, stats_path: Path | None, say: int) -> None:
    """Look everything up again and again; what may not be is written to `say`. With a stats path: as an lcore."""
    stats = Stats(stats_path, 1) if stats_path is not None else None
    reader = FibReader.open(path)
    cases = {}
    for family in (4, 6):
        addresses, may = allowed(family)
        cases[family] = pack(family, addresses), addresses, may
    packets = random.Random(os.getpid())
    os.write(say, b"r")
    while os.getppid() != 1:
        if reader.superseded:
            reader.close()
            reader = FibReader.open(path)
        for family, (packed, addresses, may) in cases.items():
            burst = packets.randint(1, 64)
            if stats is not None:
                stats.quiescent(0, reader.grace_epoch)
                seen = reader.table_groups(family, packed, burst)
            else:  # no grace period waits for it
                try:
                    seen = reader.consistent(partial(reader.table_groups, family, packed, burst))
                except SegmentError:  # a writer that never pauses
                    continue
            found = memoryview(seen).cast("H")
            for address, groups, group in zip(addresses, may, found, strict=True):
                if group not in groups:
                    os.write(say, f"{address:#x}: group {group}, may be {groups}\n".encode())
                    os._exit(1)
        for group in range(1, 2 * CLASSES + 1):
            strange = set(reader.bucket_adjacencies(group)) - set(adjacencies_of(group))
            if strange:
                os.write(say, f"group {group} leads to adjacencies {strange}\n".encode())
                os._exit(1)
        if stats is None:
            try:
                assert reader.lookup(ip_address(packets.getrandbits(32))).prefix is not None
            except SegmentError:
                continue


# ---- the test


class Process:
    """A child that runs one of the functions above until it is killed."""

    def __init__(self, run: Callable[..., None], *arguments: object, says: bool = False) -> None:
        self.hear, say = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                run(*arguments, *([say] if says else []))
            except BaseException as error:  # the parent's pytest must not run on in here
                os.write(say, f"{type(error).__name__}: {error}\n".encode())
            finally:
                os._exit(3)
        os.close(say)

    def end(self) -> int:
        """kill -9, once; the signal that it has died of."""
        if not self.pid:
            return 0
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0

    def kill(self) -> str:
        """kill -9; what it had to say before, which nobody should."""
        died_of = self.end()
        with os.fdopen(self.hear, "rb") as words:
            said = words.read().decode().lstrip("r")
        return said if died_of == signal.SIGKILL else f"died of signal {died_of}: {said}"


def damage(path: Path, limits: Limits, choose: random.Random) -> None:
    """Strew random bytes over what packets follow, when nobody reads and nobody writes."""
    fib = Fib.attach(path)
    parts = layout(limits).parts
    root4 = parts["ipv4_root"].offset + 2 * (BASES[4] >> 8)
    spans = [
        (root4, 8192),
        (parts["ipv4_depth"].offset + (BASES[4] >> 8), 4096),
        (parts["ipv4_extended"].offset, limits.max_ipv4_extended * 512),
        (parts["ipv6_root"].offset + 4 * (BASES[6] >> 104 & 0x1FFFFF), 64 * 16),
        (parts["ipv6_trie"].offset + 16, 4096),
    ]
    for _ in range(choose.randint(1, 30)):
        at, size = choose.choice(spans)
        fib.mapping.view(at + choose.randrange(size), 1)[:] = bytes([choose.getrandbits(8)])
    fib.close()


def check(path: Path, stats_path: Path, limits: Limits, damaged: bool) -> None:
    """Attach; the segment must pass its own check, mended first where bytes were written into it."""
    fib = Fib.open(path, limits, stats_path=stats_path)
    try:
        rules = {family: routes(fib.reader, family) for family in (4, 6)}
        if damaged:
            mending = SegmentAudit(fib.reader, Mender(fib))
            while mending.step(1_000_000):
                pass
            assert {family: routes(fib.reader, family) for family in (4, 6)} == rules
        audit = SegmentAudit(fib.reader)
        while audit.step(1_000_000):
            pass
        assert audit.differences == []
        assert audit.rules == sum(fib.counts()) == sum(map(len, rules.values()))
        for family, keys in rules.items():
            assert {(0, 0), (BASES[family], 8)} <= keys.keys()
    finally:
        fib.close()


@pytest.fixture
def paths() -> Iterator[tuple[Path, Path]]:
    paths = segment_path("/dev/shm", "torture"), segment_path("/dev/shm", "torture-stats")
    yield paths
    for path in paths:
        path.unlink(missing_ok=True)


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Starts a Process; those that still run when the test ends are ended."""
    started: list[Process] = []

    def start(*arguments: object, says: bool = False) -> Process:
        run, *rest = arguments
        assert callable(run)
        started.append(Process(run, *rest, says=says))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seconds", [pytest.param(30), pytest.param(600, marks=pytest.mark.full)])
def test_torture(paths: tuple[Path, Path], start: Callable[..., Process], seconds: int) -> None:
    path, stats_path = paths
    choose = random.Random(seconds)
    make(path)
    limits = TIGHT
    readers = {"lcore": start(read, path, stats_path, says=True), "cli": start(read, path, None, says=True)}
    for one in readers.values():
        assert os.read(one.hear, 1) == b"r"
    killed = {"writer": 0, "lcore": 0, "cli": 0, "damage": 0}
    deadline = time.monotonic() + seconds
    turn = 0
    while time.monotonic() < deadline or min(killed.values()) == 0:
        turn += 1
        writer = start(write, path, stats_path, turn)
        time.sleep(choose.uniform(0.0, 0.3))  # the instant of the kill: any will do
        for name in ("lcore", "cli") if turn % 8 == 0 else [choose.choice(("lcore", "cli", "none"))]:
            if name != "none":
                assert readers.pop(name).kill() == ""
                killed[name] += 1
        assert writer.kill() == ""
        killed["writer"] += 1
        if not readers:
            damage(path, limits, choose)
            killed["damage"] += 1
        limits = OTHER if turn % 16 == 5 else TIGHT if turn % 16 == 13 else limits
        check(path, stats_path, limits, damaged=not readers)
        for name, at in (("lcore", stats_path), ("cli", None)):
            if name not in readers:
                readers[name] = start(read, path, at, says=True)
                assert os.read(readers[name].hear, 1) == b"r"
    for one in readers.values():
        assert one.kill() == ""
    assert killed["writer"] == turn
