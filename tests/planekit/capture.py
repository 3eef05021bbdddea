"""A fast path between capture files: every frame is known beforehand, any length is possible, no kernel is in between.

    in.pcap -> port0 (net_pcap) -> worker -> port0, port1, port2 (net_pcap) -> out0.pcap, out1.pcap, out2.pcap

net_af_packet cannot show everything: it has no frame below 14 bytes, and its fan-out group reassembles IPv4 fragments.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from planekit.counters import Counters, Moved
from planekit.fabric import Fabric
from planekit.process import ADDRESSES, PEERS, FastPathProcess, Settings, instance
from planekit.wires import near_mac

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from planekit.counters import Snapshot

_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
_RECORD = struct.Struct("<IIII")
MTUS = (1500, 1500, 1300)


def own_mac(port: int) -> bytes:
    """What net_pcap gives its n-th device."""
    return b"\x02pcap" + bytes([port])


def write_pcap(path: Path, frames: Sequence[bytes]) -> None:
    path.write_bytes(_HEADER + b"".join(_RECORD.pack(0, 0, len(f), len(f)) + f for f in frames))


def read_pcap(path: Path) -> list[bytes]:
    data, at, frames = path.read_bytes(), len(_HEADER), []
    while at + _RECORD.size <= len(data):
        length = _RECORD.unpack_from(data, at)[2]
        at += _RECORD.size
        frames.append(data[at : at + length])
        at += length
    return frames


@dataclass(frozen=True)
class Captured:
    """All counters since the start, the frames that came out by port, and the exit code."""

    moved: Moved
    snapshot: Snapshot
    out: list[list[bytes]]
    exit_code: int
    output: str
    filters: dict[str, tuple[tuple[int, int], ...]]  # what ACLs and policers have counted


def run(
    name: str,
    folder: Path,
    frames: Sequence[bytes],
    *,
    simd: str = "auto",
    hugepages: bool = True,
    timeout: float = 60.0,
    env: dict[str, str] | None = None,
    filters: tuple[str, ...] = (),
    tables: str = "",
) -> Captured:
    """Let one worker read `frames` from port 0, then end it. Frames for near_mac(0) are sent to the device's MAC.
    filters, tables: as Settings has them."""
    write_pcap(folder / "in.pcap", [own_mac(0) + f[6:] if f[:6] == near_mac(0) else f for f in frames])
    write_pcap(folder / "none.pcap", [])
    sources = ("in", "none", "none")
    devices = tuple(
        f"net_pcap{n},rx_pcap={folder}/{source}.pcap,tx_pcap={folder}/out{n}.pcap" for n, source in enumerate(sources)
    )
    settings = Settings(
        instance(name),
        devices,
        mtus=MTUS,
        simd=simd,
        hugepages=hugepages,
        addresses=ADDRESSES,
        filters=filters,
        tables=PEERS + tables,
    )
    process = FastPathProcess(settings, folder, env=env)
    paths = process.paths
    fabric = Fabric(paths.routes, MTUS, stats=paths.stats)
    try:
        with process:
            process.await_ready()
            counters = Counters(paths.stats)
            after = _finished(counters, len(frames), timeout, process)
            counted = {one.name: one.counts for one in counters.reader.filters()}
            code = process.stop()
            empty = _zeroes(after)
            counters.close()
    finally:
        fabric.close()
        paths.routes.unlink(missing_ok=True)
        paths.stats.unlink(missing_ok=True)
    out = [read_pcap(folder / f"out{n}.pcap") for n in range(len(MTUS))]
    return Captured(Moved.between(empty, after), after, out, code, process.output(), counted)


def _finished(counters: Counters, frames: int, timeout: float, process: FastPathProcess) -> Snapshot:
    """The counters once all frames are read and nothing moves any more; the process must live."""
    deadline = time.monotonic() + timeout
    last = counters.snapshot()
    while True:
        time.sleep(0.02)
        now = counters.snapshot()
        if now == last and now.total("rx") == frames and not now.wrong():
            return now
        if not process.alive():
            raise AssertionError(f"the fast path died with {process.wait()}: {process.output()[-4000:]}")
        if time.monotonic() > deadline:
            raise AssertionError(f"{now.total('rx')} of {frames} frames read; wrong: {now.wrong()}")
        last = now


def _zeroes(like: Snapshot) -> Snapshot:
    lcores = tuple(type(c)(0, 0, 0, 0, 0, 0, (0,) * len(c.drops), *[(0,) * len(c.punts)] * 2) for c in like.lcores)
    return type(like)(lcores, tuple(type(p)(0, 0, 0, 0, 0, 0) for p in like.ports))
