"""A running fast path on wires, with the fabric's routes: send frames, see what came out and which counters moved."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lab.harness.waiting import wait_for
from planekit.counters import Counters, Moved
from planekit.fabric import Fabric
from planekit.process import ADDRESSES, PEERS, FastPathProcess, Settings, instance
from planekit.wires import Wires

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from planekit.counters import Snapshot

QUIET_S = 0.004
SETTLE_S = 10.0
CHUNK = 128  # a net_af_packet queue pair holds 512 frames, and every test shares the CPU with the workers


@dataclass(frozen=True)
class Result:
    """What a send moved, and the frames that came out, by port."""

    moved: Moved
    out: list[list[bytes]]


class Plane:
    """A context manager. Ports: 0 has one queue, 1 two, 2 three; so with two workers a port of which each must be
    handed to a worker, one that the host thread hands over to, and one where everybody sends by himself."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        lcores: tuple[int, ...] = (0, 1),
        simd: str = "auto",
        mtus: tuple[int, ...] = (1500, 1500, 1300),
        hugepages: bool = True,
        whole: bool = False,
        subs: tuple[tuple[int, int, int], ...] = (),
        hashing: tuple[str, ...] = (),
        wire_mtu: int = 0,
        filters: tuple[str, ...] = (),
        tables: str = "",
    ) -> None:
        """whole: devices of one queue that pass IPv4 fragments as they are, and tags within the frame. subs: parent,
        outer VLAN or 0, and VLAN of the ports after those of `mtus`. hashing, filters, tables: as Settings has them.
        wire_mtu: of the wires and twins; 0: what the ports need."""
        self._stack = ExitStack()
        self._mtus = mtus + (1500,) * len(subs)
        self._line = [*range(len(mtus)), *(parent for parent, _, _ in subs)]  # the wire of each port
        widest = max(mtus)
        wire_mtu = wire_mtu or (widest + 100 if widest > 1500 else 1500)
        self.wires = Wires(name, len(mtus), wire_mtu, subs=len(subs))
        devices = tuple(
            self.wires.whole_device(port) if whole else self.wires.device(port, f"qpairs={port + 1}")
            for port in range(len(mtus))
        )
        settings = Settings(
            instance(name),
            devices,
            lcores=lcores,
            simd=simd,
            mtus=self._mtus,
            hugepages=hugepages,
            subs=subs,
            hashing=hashing,
            addresses=ADDRESSES,
            filters=filters,
            tables=PEERS + tables,
        )
        self._folder = folder
        self._settings = settings
        self.process: FastPathProcess
        self.fabric: Fabric
        self.counters: Counters

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.wires)
            self.process = FastPathProcess(self._settings, self._folder, self.wires.namespace, inside=True)
            paths = self.process.paths
            stack.callback(paths.stats.unlink, missing_ok=True)
            stack.callback(paths.routes.unlink, missing_ok=True)
            self.fabric = Fabric(paths.routes, self._mtus, stats=paths.stats)
            stack.callback(self.fabric.close)
            stack.enter_context(self.process)
            self.attach()
            stack.callback(lambda: self.counters.close())
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def attach(self) -> None:
        """Wait for the process to be ready, with all links up and all twins open; read its counters from here on."""
        self.process.await_ready()
        self.counters = Counters(self.process.paths.stats)
        wait_for(lambda: all(port.link_up for port in self.counters.reader.ports()), 10, "links are up")
        wait_for(self._twins_open, 10, "TAP twins are open", interval=0.02)

    def _twins_open(self) -> bool:
        """Each opened twin is a descriptor of /dev/net/tun; host0 is one more."""
        fds = [link.readlink() for link in Path(f"/proc/{self.process.pid}/fd").iterdir()]
        return sum(str(link) == "/dev/net/tun" for link in fds) == len(self._mtus) + 1

    def restart(self) -> None:
        """kill -9, and a new process on the same segment."""
        self.process.signal(signal.SIGKILL)
        self.process.wait()
        self.counters.close()
        self.process.start()
        self.attach()

    # ---- frames

    def settle(self, condition: Callable[[Moved], bool], before: Snapshot) -> Snapshot:
        """The counters once the condition holds, the invariants hold, and nothing moves any more."""
        deadline = time.monotonic() + SETTLE_S
        last = self.counters.snapshot()
        while True:
            time.sleep(QUIET_S)
            now = self.counters.snapshot()
            if now == last and not now.wrong() and condition(Moved.between(before, now)):
                return now
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"not settled in {SETTLE_S} s: {Moved.between(before, now)}; wrong: {now.wrong()}\n"
                    + self.process.output()[-2000:]
                )
            last = now

    def send(self, port: int, frames: Sequence[bytes], until: Callable[[Moved], bool] = lambda moved: True) -> Result:
        """Send frames into a port, wait until all are read and `until` holds; what moved and came out."""
        return self.observe(lambda: self.inject(port, frames), lambda m: m.rx == len(frames) and until(m))

    def moved_when(self, before: Snapshot, until: Callable[[Moved], bool]) -> Moved:
        """What has moved since, once the condition holds and nothing moves any more."""
        return Moved.between(before, self.settle(until, before))

    def twin_frames(self, port: int, count: int) -> list[bytes]:
        """What the kernel got on a port's twin since the last send began."""
        frames: list[bytes] = []

        def arrived() -> bool:
            frames.extend(self.wires.twin[port].received())
            return len(frames) >= count

        wait_for(arrived, 5, f"{count} frames on the twin of port {port}", interval=0.002)
        return frames

    def set_link(self, port: int, up: bool) -> None:
        """Take the far end down or up; returns when the fast path knows."""
        self.wires.set_link(port, up)
        wait_for(lambda: self.counters.reader.ports()[port].link_up == up, 5, f"link of port {port}", interval=0.01)

    def inject(self, port: int, frames: Sequence[bytes]) -> None:
        """Put frames on the wire, a device's ring at a time: it holds 512."""
        start = self._received()
        for first in range(0, len(frames), CHUNK):
            self._await_received(start + first)
            self.flood(port, frames[first : first + CHUNK])

    def flood(self, port: int, frames: Sequence[bytes]) -> None:
        """As fast as it goes."""
        self.wires.far[port].send(*frames)

    def _await_received(self, count: int) -> None:
        wait_for(lambda: self._received() >= count, SETTLE_S, f"{count} frames are read", interval=0.001)

    def _received(self) -> int:
        return sum(lcore.rx_packets for lcore in self.counters.reader.lcores())

    def observe(self, act: Callable[[], object], until: Callable[[Moved], bool]) -> Result:
        """Do something and see what moves until the condition holds."""
        self.wires.drain()
        before = self.counters.snapshot()
        act()
        after = self.settle(until, before)
        sent = [0] * len(self.wires.far)
        for line, a, b in zip(self._line, before.ports, after.ports, strict=True):
            sent[line] += b.tx - a.tx
        out: list[list[bytes]] = [[] for _ in sent]

        def arrived() -> bool:
            for port, raw in enumerate(self.wires.far):
                out[port] += raw.received()
            return all(len(frames) >= count for frames, count in zip(out, sent, strict=True))

        wait_for(arrived, 5, f"frames sent by {sent} arrived", interval=0.002)
        assert [len(frames) for frames in out] == sent, "the far ends received what the ports say they sent"
        return Result(Moved.between(before, after), out)
