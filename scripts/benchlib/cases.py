"""The cases of `bench forward`: which table, which packets, and what must become of them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from benchlib import destinations, frames
from benchlib.beside import churning, scraping
from benchlib.destinations import Addresses
from benchlib.filtering import PortFilter, rules
from benchlib.frames import Expected, Frames
from benchlib.model import groups_of
from benchlib.rig import Lap, Rig, Table
from benchlib.routes import GROUPS, U16, Routes, generate
from benchlib.segment import BenchError
from dpdkrouter.fib import Limits, Member
from fastpath import eal

SMALL = 60
"""Bytes of the shortest frame without FCS: "64-byte" packets; 64 with IPv6, whose UDP needs 62."""

WAYS = 8
"""Members of a group in the ECMP case."""

PUNT_PPS = 15_000
"""Paced below what the policer lets through, for a policed packet would be a dropped one."""

ONE4 = Routes(4, np.array([10 << 56], dtype=np.uint64), np.zeros(1, dtype=np.uint64), np.array([8], dtype=np.uint8),
              np.array([1], dtype=np.uint16))  # fmt: skip
ONE6 = Routes(6, np.array([0x20010DB8 << 32], dtype=np.uint64), np.zeros(1, dtype=np.uint64),
              np.array([32], dtype=np.uint8), np.array([1], dtype=np.uint16))  # fmt: skip
LOCAL4 = Routes(4, np.array([0xC0000201 << 32], dtype=np.uint64), np.zeros(1, dtype=np.uint64),
                np.array([32], dtype=np.uint8), np.array([GROUPS + 1], dtype=np.uint16))  # fmt: skip
"""192.0.2.1, the host's own."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Routes of the full tables, packets of a lap, the seed, route changes a second."""

    routes4: int
    routes6: int
    packets: int
    seed: int
    changes: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """table: "one" or "full"; ways: members of each group; punts: packets that are the host's, one in so many; beside:
    "churn" or "scrape", what another process does meanwhile; rules: of the ACL that the packets go by, 0: none."""

    name: str
    table: str
    make: Callable[["Bench"], Frames]
    ways: int = 1
    punts: int = 0
    beside: str = ""
    rules: int = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """A case's packets and what must become of them."""

    frames: Frames
    expected: Expected


class Bench:
    """The tables and packets of some cases on a rig; a context manager."""

    def __init__(self, rig: Rig, sizes: Sizes, cases: list[Case], routes: dict[int, Routes] | None = None) -> None:
        """routes: the full tables, when they are made already."""
        self.rig = rig
        self.sizes = sizes
        self._stack = ExitStack()
        self._tables: dict[str, Table] = {}
        self.routes: dict[int, Routes] = routes or {}
        self._ready: dict[str, Ready] = {}
        self._cases = cases
        self._ways = 1
        self._filter: PortFilter | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            kinds = {case.table for case in self._cases}
            if "one" in kinds:
                tiny = Limits(16, 16, GROUPS + 1, GROUPS + 1, 8, 1, 1)
                self._tables["one"] = stack.enter_context(self.rig.table("one", tiny, [ONE4, ONE6]))
            if "full" in kinds:
                self.routes = self.routes or {
                    family: generate(family, count, self.sizes.seed)
                    for family, count in ((4, self.sizes.routes4), (6, self.sizes.routes6))
                }
                tables = [self.routes[4], self.routes[6], LOCAL4]
                self._tables["full"] = stack.enter_context(self.rig.table("full", Limits(), tables))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, case: Case, rotation: int, *, check: bool) -> Lap:
        """One lap of a case; check: with every packet compared first."""
        ready = self.ready(case)
        gap = 0
        punted = int(ready.expected.punted.sum())
        if punted:
            gap = eal.tsc_hz() // PUNT_PPS * (rotation // case.punts + 1)
        with self._beside(case), self._filtered(case):
            if check:
                member = self.rig.verify(ready.frames, ready.expected, rotation, gap)
                if case.ways > 1:
                    self._spread(ready.expected, member)
            return self.rig.lap(ready.frames, rotation, punted=punted, gap_tsc=gap)

    @contextmanager
    def _beside(self, case: Case) -> Iterator[None]:
        """What another process does while packets pass."""
        table = self._tables[case.table]
        if case.beside == "churn":
            with churning(table, self.routes[4], self.sizes.changes, self.rig.core, self.sizes.seed):
                yield
        elif case.beside == "scrape":
            with scraping(table, self.rig.core):
                yield
        else:
            yield

    def _filtered(self, case: Case) -> AbstractContextManager[None]:
        """The port's ACL while a case has one."""
        if not case.rules:
            return nullcontext()
        if self._filter is None:
            self._filter = PortFilter(self.rig, rules(self.routes[4], case.rules, self.sizes.seed))
            self._stack.callback(self._filter.close)
        return self._filter.in_force()

    def _bind(self, case: Case) -> None:
        table = self._tables[case.table]
        if case.ways != self._ways and case.table == "full":
            for group in range(1, GROUPS + 1):
                table.fib.group_update(group, [Member(int(hop)) for hop in ways(np.array([group]), case.ways)[0]])
            self._ways = case.ways
        self.rig.bind(table)

    def ready(self, case: Case) -> Ready:
        """A case's packets, and its table bound."""
        self._bind(case)
        if case.name not in self._ready:
            made = case.make(self)
            self._ready[case.name] = Ready(made, self._expected(case, made))
        return self._ready[case.name]

    def _expected(self, case: Case, made: Frames) -> Expected:
        """What the model says of each packet."""
        groups = np.zeros(len(made), dtype=np.uint16)
        punted = np.zeros(len(made), dtype=np.bool_)
        for family in (4, 6):
            rows = np.nonzero(made.family == family)[0]
            if not len(rows):
                continue
            hi, lo = addresses(made.part(rows), family)
            routes = (ONE4 if family == 4 else ONE6) if case.table == "one" else self.routes[family]
            groups[rows] = groups_of(routes, (hi, lo))
            if family == 4:
                punted[rows] = hi == LOCAL4.hi[0]
        lost = int(((groups == 0) & ~punted).sum())
        if lost:
            raise BenchError(f"{case.name}: {lost} destinations have no route")
        return Expected(ways(groups, 2 if case.beside == "churn" else case.ways), punted)

    def _spread(self, expected: Expected, member: np.ndarray) -> None:
        """BenchError unless the members of the groups get equal shares, within what chance allows."""
        shares = np.array([(member == expected.members[:, column]).mean() for column in range(WAYS)])
        if abs(shares - 1 / WAYS).max() > 0.02 + 3 / np.sqrt(len(member)):
            raise BenchError(f"ECMP shares {shares.round(3).tolist()}, not an eighth each")

    def hosts(self, family: int, *, zipf: bool = False) -> Addresses:
        """Random hosts inside the full table's routes."""
        pick = destinations.zipf if zipf else destinations.random_hosts
        return pick(self.routes[family], self.sizes.packets, self.sizes.seed)

    def few(self, family: int) -> Addresses:
        """256 destinations of the one route, over and over."""
        at = np.arange(self.sizes.packets, dtype=np.uint64) % np.uint64(256)
        if family == 4:
            return ONE4.hi[0] + (at << np.uint64(32)), np.zeros(len(at), dtype=np.uint64)
        return np.full(len(at), ONE6.hi[0], dtype=np.uint64), at

    def small(self, family: int, where: Addresses) -> Frames:
        """The shortest packets."""
        return self.sized(family, where, np.full(len(where[0]), SMALL if family == 4 else SMALL + 4, dtype=np.uint16))

    def sized(self, family: int, where: Addresses, lengths: U16) -> Frames:
        return frames.make(family, where, lengths, self.rig.router.mac(0))

    def imix(self, family: int) -> Frames:
        lengths = np.random.default_rng(self.sizes.seed).choice(np.array(frames.IMIX), size=self.sizes.packets)
        return self.sized(family, self.hosts(family), np.maximum(lengths, SMALL + (family == 6) * 4).astype(np.uint16))

    def with_punts(self, every: int) -> Frames:
        """Random hosts, and one packet in so many for the host."""
        hi, lo = self.hosts(4)
        hi[every // 2 :: every] = LOCAL4.hi[0]
        return self.small(4, (hi, lo))


def ways(groups: U16, count: int) -> U16:
    """The members of each group: its own adjacency and the next ones."""
    return ((groups[:, None].astype(np.int64) - 1 + np.arange(count)) % GROUPS + 1).astype(np.uint16)


def addresses(made: Frames, family: int) -> Addresses:
    """The destinations as they stand in the frames."""
    if family == 4:
        words = np.ascontiguousarray(made.heads[:, 30:34]).view(">u4")[:, 0].astype(np.uint64)
        return words << np.uint64(32), np.zeros(len(words), dtype=np.uint64)
    both = np.ascontiguousarray(made.heads[:, 38:54]).view(">u8").astype(np.uint64)
    return both[:, 0], both[:, 1]


CASES = [
    Case("ipv4_1_256", "one", lambda b: b.small(4, b.few(4))),
    Case("ipv4_full_1m", "full", lambda b: b.small(4, b.hosts(4))),
    Case("ipv4_full_zipf", "full", lambda b: b.small(4, b.hosts(4, zipf=True))),
    Case("ipv4_full_1500", "full", lambda b: b.sized(4, b.hosts(4), np.full(b.sizes.packets, 1514, dtype=np.uint16))),
    Case("ipv6_1_256", "one", lambda b: b.small(6, b.few(6))),
    Case("ipv6_full_1m", "full", lambda b: b.small(6, b.hosts(6))),
    Case("mixed_imix", "full", lambda b: frames.mixed(b.imix(4), b.imix(6))),
    Case("punt_1pct", "full", lambda b: b.with_punts(100), punts=100),
    Case("churn_100k", "full", lambda b: b.small(4, b.hosts(4)), beside="churn"),
    Case("scrape_10hz", "full", lambda b: b.small(4, b.hosts(4)), beside="scrape"),
    Case("acl_10k", "full", lambda b: b.small(4, b.hosts(4)), rules=10_000),
    Case("ecmp8_full_1m", "full", lambda b: b.small(4, b.hosts(4)), ways=WAYS),
]
"""The first ones share a table and follow each other, so that laps are interleaved run by run."""
