"""A router without its loop: ports of rings, workers whose turns we take, tables to bind, and lap after lap timed.

One a process: EAL starts once. The router is the one that `dpdkrouter fastpath` makes (fastpath.router), its stats
segment is published, so that counters, a writer's grace periods and scrapes work as they do in a live one.
"""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from benchlib.frames import Expected, Frames, Hops, check
from benchlib.routes import GROUPS, U8, Routes
from benchlib.segment import BenchError, apply
from dpdkrouter.dataplane.arguments import IDLE
from dpdkrouter.fib import Action, Adjacency, Fib, Interface, Limits, Member
from dpdkrouter.segment import StatsReader
from fastpath import eal, rings, segment
from fastpath._build import BUILD_ID, VARIANTS
from fastpath.router import Router

PORTS = 2
"""A packet comes in by the first and leaves by either."""

TURNS = 16
"""Of a timed span: 1,024 packets at full bursts, some 15 us."""

FLOOR_EVERY = 4
"""Laps of the floor are a part of the router's: its figure needs fewer."""

CHUNK = 65_536
"""Packets between two changes of what is timed."""

COUNTERS = 16_384
"""Of each lcore, for filters."""

RULES_MIB = 64
"""For a filter's rules: EAL's without hugepages takes no more memory later."""

HUGE = 1 << 20
"""A file system with larger blocks is of hugepages."""


class Worker(Protocol):
    """fastpath/worker.pyi, which every variant has."""

    def entry(self) -> int: ...

    def turn_entry(self) -> int: ...


@dataclass(slots=True)
class Timing:
    """Cycles a packet of each span."""

    spans: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, cycles: NDArray[np.uint64], packets: NDArray[np.uint32]) -> None:
        full = packets > 0
        self.spans.append(cycles[full] / packets[full])

    def all(self) -> NDArray[np.float64]:
        return np.concatenate(self.spans)

    def median(self) -> float:
        return float(np.median(self.all()))

    def mean(self) -> float:
        """Without spans three times as long as the median: those were preempted."""
        spans = self.all()
        return float(spans[spans < 3 * np.median(spans)].mean())


@dataclass(slots=True)
class Lap:
    """One lap of a case and of the floor beside it."""

    cycles: float
    mean: float
    floor: float
    stages: dict[str, float]
    bursts: tuple[int, ...]


@dataclass(slots=True)
class Table:
    """A route segment that we write, unless it is lent to another process."""

    fib: Fib
    path: Path
    stats: Path

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Meanwhile another process may be its writer."""
        self.fib.close()
        try:
            yield
        finally:
            self.fib = Fib.attach(self.path, self.stats)


class Rig:
    """Make one, bind() a table, then lap(). workers: 1 or 2."""

    def __init__(
        self,
        directory: Path,
        simd: str,
        rotations: tuple[int, ...],
        workers: int,
        core: int,
        vdevs: tuple[str, ...] = (),
        idle: int = IDLE["sleep"],
    ) -> None:
        """rotations: sizes of loads to make. vdevs: devices of EAL's in place of rings, with no load of ours; the last
        one is where all packets leave."""
        self.core = core
        self.workers = workers
        self.huge = os.statvfs(directory).f_bsize > HUGE
        self.simd = simd
        self.worker = cast(Worker, importlib.import_module(VARIANTS[simd]))
        self.egress = (len(vdevs) - 1,) if vdevs else tuple(range(PORTS))
        self.stats_path = directory / f"bench-forward-{os.getpid()}.stats"
        mbufs = workers * sum(rotations) + 1024
        self._start_eal(mbufs, workers, vdevs)
        self.stats = segment.create(self.stats_path, segment.STATS_BYTES + (workers + 1) * COUNTERS * 16)
        cpus = [core] if workers == 1 else (sorted(os.sched_getaffinity(0)) * workers)[:workers]
        self.router = Router(self.stats, cpus, mbufs, 2176, idle)
        self.loads: dict[tuple[int, int], rings.Load] = {}
        slots = list(range(1, workers + 1))
        if vdevs:
            for port, device in enumerate(vdevs):
                self.router.open_port(f"port{port}", device.partition(",")[0], 1500, b"", slots)
        else:
            self._open_rings(rotations, workers)
        self.router.describe("bench", simd, eal.version(), BUILD_ID)
        self.stats.publish()
        self.reader = StatsReader(self.stats_path)

    def _open_rings(self, rotations: tuple[int, ...], workers: int) -> None:
        made = rings.Rings(PORTS, workers, 1 << (max(rotations) + 1).bit_length())
        for port in range(PORTS):
            self.router.open_port(f"port{port}", made.device(port), 1500, b"", list(range(1, workers + 1)))
        made.join_punts()
        for size in rotations:
            for worker in range(workers):
                address = self.router.worker_address(worker + 1)
                self.loads[size, worker] = rings.Load(made, worker, address, _order(size, worker).data)

    def _start_eal(self, mbufs: int, workers: int, vdevs: tuple[str, ...]) -> None:
        cores = sorted(os.sched_getaffinity(0))
        lcores = [f"0@({','.join(map(str, cores))})"]
        lcores += [f"{slot + 1}@{self.core if workers == 1 else cores[slot % len(cores)]}" for slot in range(workers)]
        pages = ["--in-memory"] if self.huge else ["--no-huge", "--no-shconf"]
        each = 2176 + 256 if self.huge else 4096
        size = str((mbufs * each >> 20) + 48 + (0 if self.huge else RULES_MIB))
        name = f"bench-forward-{os.getpid()}"
        eal.init(["--lcores", ",".join(lcores), "--main-lcore", "0", "-m", size, "--no-telemetry", "--no-pci", *pages,
                  "--file-prefix", name, "--log-level", "lib.eal:4", *(f"--vdev={device}" for device in vdevs)])  # fmt: skip

    def close(self) -> None:
        """End the router; the process can't make another one."""
        for load in self.loads.values():
            load.release()
        self.router.stop()
        self.reader.close()
        self.stats_path.unlink(missing_ok=True)
        self.stats.close()
        eal.remove_runtime_directory()

    def macs(self) -> list[bytes]:
        return [self.router.mac(port) for port in range(max(self.egress) + 1)]

    def hops(self) -> Hops:
        """The GROUPS adjacencies that a table has, numbered as the groups are: they leave by each egress port in turn."""
        numbers = np.arange(GROUPS + 1)
        port = np.array(self.egress, dtype=np.uint8)[numbers % len(self.egress)]
        dst = np.zeros((GROUPS + 1, 6), dtype=np.uint8)
        dst[:, 0], dst[:, 4], dst[:, 5] = 2, numbers >> 8, numbers & 255
        src = np.array([list(mac) for mac in self.macs()], dtype=np.uint8)[port]
        return Hops(port, dst, src)

    @contextmanager
    def table(self, name: str, limits: Limits, tables: list[Routes]) -> Iterator[Table]:
        """A segment with these routes, of hops() and of one group that is the host's; gone afterwards."""
        path = self.stats_path.with_name(f"bench-forward-{os.getpid()}-{name}.routes")
        table = Table(Fib.create(path, limits, "bench", self.stats_path), path, self.stats_path)
        fib = table.fib
        try:
            for port in range(len(self.macs())):
                fib.interface_set(port, Interface(f"port{port}", 1500, bytes([10, 0, port, 1])))
            hops = self.hops()
            for group in range(1, GROUPS + 1):
                port = int(hops.port[group])
                hop = Adjacency(Action.FORWARD, port, hops.dst[group].tobytes(), hops.src[group].tobytes(), 1500)
                _expect(path, fib.adjacency_create(hop), group)
                _expect(path, fib.group_create([Member(group)]), group)
            _expect(path, fib.adjacency_create(Adjacency(Action.LOCAL, mtu=1500)), GROUPS + 1)
            _expect(path, fib.group_create([Member(GROUPS + 1)]), GROUPS + 1)
            for routes in tables:
                done, _ = apply(fib, routes)
                if done.refused_count:
                    raise BenchError(f"{done.refused_count} IPv{routes.family} routes refused: {done.refused[0]}")
            yield table
        finally:
            path.unlink(missing_ok=True)
            table.fib.close()

    def bind(self, table: Table) -> None:
        """Look up in this segment from the next lap on."""
        self.router.bind(segment.attach(table.path, segment.ROUTE))

    def counts(self) -> tuple[int, int, int, int]:
        """(received, forwarded, punted, dropped) of all lcores."""
        each = [(c.rx_packets, c.forwarded, c.punted, c.dropped) for c in self.reader.lcores()]
        totals = [sum(column) for column in zip(*each, strict=True)]
        return totals[0], totals[1], totals[2], totals[3]

    def verify(self, frames: Frames, expected: Expected, rotation: int, gap_tsc: int = 0) -> NDArray[np.int64]:
        """One lap of which every packet is compared with the model; the adjacency that each took."""
        load = self.loads[rotation, 0]
        out: U8 = np.zeros_like(frames.heads)
        port: U8 = np.zeros(len(frames), dtype=np.uint8)
        cycles, packets = spans_for(len(frames), rotation)
        before = self.counts()
        _, back = load.lap(
            self.worker.turn_entry(), frames.heads.data, frames.lengths.data, TURNS, gap_tsc, cycles.data, packets.data,
            out.data, port.data,
        )  # fmt: skip
        self._accounted(before, len(frames), int(expected.punted.sum()), back)
        return check(frames, expected, self.hops(), out, port, rings.PUNTED)

    def _accounted(self, before: tuple[int, ...], sent: int, punted: int, back: int) -> None:
        """BenchError unless the counters say that all went where it should and no packet was lost."""
        moved = tuple(b - a for a, b in zip(before, self.counts(), strict=True))
        wanted = (sent, sent - punted, punted, 0)
        if moved != wanted or back != sent:
            drops = {name: count for name, count in self.reader.drops().items() if count}
            raise BenchError(
                f"received, forwarded, punted, dropped: {moved}, not {wanted}; back: {back}; drops: {drops}"
            )

    def lap(self, frames: Frames, rotation: int, *, punted: int = 0, gap_tsc: int = 0) -> Lap:
        """Every frame once, the floor in between: cycles a packet. BenchError when a packet is dropped."""
        ours, floor = Timing(), Timing()
        before, lcore = self.counts(), self.reader.lcores()[1]
        for at in range(0, len(frames), CHUNK):
            part = frames.part(slice(at, at + CHUNK))
            self._timed(ours, self.worker.turn_entry(), part, rotation, gap_tsc)
            few = part.part(slice(0, max(rotation, len(part) // FLOOR_EVERY)))
            self._timed(floor, rings.floor_entry(), few, rotation, 0)
        self._accounted(before, len(frames), punted, len(frames))
        after = self.reader.lcores()[1]
        sampled = max(1, after.sampled_packets - lcore.sampled_packets)
        stages = {name: (value - lcore.stage_cycles[name]) / sampled for name, value in after.stage_cycles.items()}
        bursts = tuple(b - a for a, b in zip(lcore.bursts, after.bursts, strict=True))
        return Lap(ours.median(), ours.mean(), floor.median(), stages, bursts)

    def _timed(self, timing: Timing, turn: int, frames: Frames, rotation: int, gap_tsc: int) -> None:
        cycles, packets = spans_for(len(frames), rotation)
        spans, back = self.loads[rotation, 0].lap(
            turn, frames.heads.data, frames.lengths.data, TURNS, gap_tsc, cycles.data, packets.data
        )
        if back != len(frames):
            raise BenchError(f"{len(frames) - back} of {len(frames)} packets were lost")
        timing.add(cycles[:spans], packets[:spans])


def _order(size: int, worker: int) -> NDArray[np.uint32]:
    return np.random.default_rng([size, worker]).permutation(size).astype(np.uint32)


def spans_for(packets: int, rotation: int) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Room for a lap's spans: whole ones, and a short one at the end of each rotation."""
    room = packets // (TURNS * 32) + packets // rotation * 2 + rotation // 32 + 8
    return np.zeros(room, dtype=np.uint64), np.zeros(room, dtype=np.uint32)


def _expect(path: Path, found: int, wanted: int) -> None:
    if found != wanted:
        raise BenchError(f"{path}: got number {found}, not {wanted}")
