"""`python -m benchlib.solo WHAT ...`: measurements of `bench forward` that need a process, and so a router, of their own.

    scaling   two workers on two queues of both ports, each on a core, beside one alone
    idle      one packet in a while and none at all: latency at 1 Mpps, then the real loop asleep by a timer
    wake      the real loop that waits for the interrupts of two net_tap devices: none, then one packet in a while
    pcap      the real loop between a capture file that repeats and a device that takes all
Prints a JSON object: name -> [unit, value, ...]. What is compared is measured in one process, in turn.
"""

import argparse
import json
import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchlib import frames, machine, testpmd
from benchlib.cases import SMALL, Bench, Case, Sizes
from benchlib.destinations import random_hosts
from benchlib.frames import Frames
from benchlib.rig import TURNS, Rig, Timing, spans_for
from benchlib.routes import generate
from benchlib.segment import BenchError
from dpdkrouter.dataplane.arguments import IDLE
from dpdkrouter.fib import Limits
from fastpath import eal

ROTATION = 1024
PACED_PPS = 1_000_000
IDLE_S = 1.0
FIRSTS = 200
"""Packets after idleness."""

ETH_P_IP = 0x0800

RX_RINGS = 2 * 1024
"""Mbufs that two devices hold to receive into."""

PAUSE_S = 0.005
"""Idleness before each: long enough for the longest sleep."""

ROUNDS = 15
"""Of scaling in a run, some 40 ms each: a neighbour that comes or goes stays for longer, so a round's ratio is free of it,
and their median of the rounds in which it came."""

CASE = Case("ipv4_full_1m", "full", lambda b: b.small(4, b.hosts(4)))

Figures = dict[str, list[float | str]]


def main(argv: list[str]) -> int:
    make = argparse.ArgumentParser(prog="benchlib.solo")
    make.add_argument("what", choices=["scaling", "idle", "wake", "pcap"])
    make.add_argument("directory", type=Path)
    make.add_argument("simd")
    make.add_argument("core", type=int)
    for name in ("routes4", "packets", "seed", "runs"):
        make.add_argument(name, type=int)
    options = make.parse_args(argv)
    if options.what in ("pcap", "wake"):
        with machine.foremost():
            json.dump((pcap if options.what == "pcap" else wake)(options), sys.stdout)
        return 0
    workers = 2 if options.what == "scaling" else 1
    rig = Rig(options.directory, options.simd, (ROTATION,), workers, options.core)
    try:
        with Bench(rig, Sizes(options.routes4, 16, options.packets, options.seed), [CASE]) as bench:
            figures = (scaling if workers == 2 else idle)(rig, bench, options.runs)
    finally:
        rig.close()
    json.dump(figures, sys.stdout)
    return 0


def scaling(rig: Rig, bench: Bench, runs: int) -> Figures:
    """How many times one worker's rate two have."""
    whole = bench.ready(CASE).frames
    halves = [whole.part(slice(0, len(whole) // 2)), whole.part(slice(len(whole) // 2, None))]
    values = [float(np.median([_times(rig, halves) for _ in range(ROUNDS)])) for _ in range(runs)]
    return {"scaling_2_workers": ["times one worker", *values]}


def _times(rig: Rig, halves: list[Frames]) -> float:
    """One round: both workers' rate, over the mean of each alone just before and just after."""
    before = [_together(rig, [half], [worker])[0] for worker, half in enumerate(halves)]
    both = _together(rig, halves, [0, 1])
    after = [_together(rig, [half], [worker])[0] for worker, half in enumerate(halves)]
    return sum(1 / cycles for cycles in both) / (sum(1 / cycles for cycles in before + after) / 4)


def _together(rig: Rig, halves: list[Frames], workers: list[int]) -> list[float]:
    """Each worker's median cycles a packet, all at the same time, each on its core."""
    cores = sorted(os.sched_getaffinity(0))
    gate = threading.Barrier(len(workers))
    found: dict[int, float] = {}

    def go(worker: int, part: Frames) -> None:
        os.sched_setaffinity(threading.get_native_id(), {cores[worker % len(cores)]})
        timing = Timing()
        cycles, packets = spans_for(len(part), ROTATION)
        gate.wait()
        spans, back = rig.loads[ROTATION, worker].lap(
            rig.worker.turn_entry(), part.heads.data, part.lengths.data, TURNS, 0, cycles.data, packets.data
        )
        if back != len(part):
            raise BenchError(f"worker {worker} lost {len(part) - back} packets")
        timing.add(cycles[:spans], packets[:spans])
        found[worker] = timing.median()

    threads = [threading.Thread(target=go, args=pair) for pair in zip(workers, halves, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[worker] for worker in workers]


def idle(rig: Rig, bench: Bench, runs: int) -> Figures:
    """Latency at a steady million packets a second; then the loop itself, asleep: its CPU time, and who wakes it."""
    packets = bench.ready(CASE).frames
    with machine.alone(rig.core):
        paced = [_paced(rig, packets, number) for number in range(runs)]
    rig.router.start(rig.worker.entry())
    thread = _lcore_thread()
    os.sched_setaffinity(thread, {rig.core})
    shares, firsts = [], []
    for _ in range(runs):
        time.sleep(PAUSE_S)
        shares.append(_share(thread))
        firsts.append(_firsts(rig, packets))
    return {
        "latency_p999_1mpps": ["us", *paced],
        "idle_sleep_cpu": ["% of a core", *shares],
        "idle_sleep_first_packet": ["us", *firsts],
    }


def wake(options: argparse.Namespace) -> Figures:
    """An idle worker's share of a core; how long the first packet takes from one interface's socket to the other's, with the
    kernel's way from a socket to the device and back; and how much longer that is than for one that meets a worker awake."""
    names = [f"bench{os.getpid()}{end}" for end in "ab"]
    devices = tuple(f"net_tap{number},iface={name}" for number, name in enumerate(names))
    routes = generate(4, options.routes4, options.seed)
    rig = Rig(options.directory, options.simd, (RX_RINGS,), 1, options.core, devices, IDLE["interrupt"])
    try:
        with rig.table("full", Limits(), [routes]) as table:
            rig.bind(table)
            rig.router.update_links()
            made = frames.make(
                4,
                random_hosts(routes, FIRSTS, options.seed),
                np.full(FIRSTS, SMALL, dtype=np.uint16),
                rig.router.mac(0),
            )
            rig.router.start(rig.worker.entry())
            thread = _lcore_thread()
            os.sched_setaffinity(thread, {rig.core})
            with _packets(names[0]) as sender, _packets(names[1]) as receiver:
                shares, firsts, crossings = [], [], []
                for _ in range(options.runs):
                    time.sleep(PAUSE_S)
                    shares.append(_share(thread))
                    crossings.append(_crossings(made, sender, receiver, PAUSE_S))
                    firsts.append(crossings[-1] - _crossings(made, sender, receiver, 0))
    finally:
        rig.close()
    return {
        "idle_cpu": ["% of a core", *shares],
        "idle_first_packet": ["us", *firsts],
        "idle_first_packet_crossing": ["us", *crossings],
    }


def _packets(interface: str) -> socket.socket:
    """A socket for an interface's frames of IPv4, those that come in."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
    made.bind((interface, ETH_P_IP))
    made.settimeout(1)
    return made


def _crossings(packets: Frames, sender: socket.socket, receiver: socket.socket, pause_s: float) -> float:
    """Median time of a packet after such a pause, in us."""
    waited = []
    for row, length in zip(packets.heads, packets.lengths, strict=True):
        time.sleep(pause_s)
        begun = time.monotonic_ns()
        sender.send(row.tobytes()[: int(length)])
        try:
            receiver.recv(2048)
        except TimeoutError:
            raise BenchError("the first packet after idleness did not arrive within a second") from None
        waited.append(time.monotonic_ns() - begun)
    return float(np.median(waited)) / 1000


def pcap(options: argparse.Namespace) -> Figures:
    """Cycles a packet of the worker's thread while it polls, by the kernel's account of its time."""
    with tempfile.NamedTemporaryFile(suffix=".pcap") as file:
        devices = testpmd.devices(Path(file.name))
        held = testpmd.HELD
        routes = generate(4, options.routes4, options.seed)
        made = frames.make(
            4, random_hosts(routes, held, options.seed), np.full(held, SMALL, dtype=np.uint16), testpmd.MAC
        )
        testpmd.write_pcap(Path(file.name), made)
        rig = Rig(options.directory, options.simd, (held * 2,), 1, options.core, devices)
        try:
            with rig.table("full", Limits(), [routes]) as table:
                rig.bind(table)
                rig.router.update_links()
                rig.router.start(rig.worker.entry())
                thread = _lcore_thread()
                values = [_polling(rig, thread) for _ in range(options.runs)]
            _, _, punted, dropped = rig.counts()
            if punted or dropped:
                raise BenchError(f"{dropped} packets dropped, {punted} punted: {rig.reader.drops()}")
        finally:
            rig.close()
    return {"pcap_ipv4_full": ["cycles/packet", *values]}


def _polling(rig: Rig, thread: int) -> float:
    time.sleep(0.1)
    packets, spent = rig.counts()[1], _run_ns(thread)
    time.sleep(testpmd.SECONDS)
    return (_run_ns(thread) - spent) * eal.tsc_hz() / 1e9 / (rig.counts()[1] - packets)


def _us(tsc: NDArray[np.uint64] | float) -> NDArray[np.float64]:
    return np.asarray(tsc, dtype=np.float64) / eal.tsc_hz() * 1e6


def _paced(rig: Rig, packets: Frames, number: int) -> float:
    """The 99.9th percentile, from arrival to departure."""
    waited = []
    for at in range(0, min(len(packets), 100 * ROTATION) // ROTATION * ROTATION, ROTATION):
        part = packets.part(slice(at, at + ROTATION))
        one = np.zeros(ROTATION, dtype=np.uint64)
        gone = rig.loads[ROTATION, 0].paced(
            rig.worker.turn_entry(), part.heads.data, part.lengths.data, eal.tsc_hz() // PACED_PPS, one.data
        )
        if gone != ROTATION:
            raise BenchError(f"run {number}: {ROTATION - gone} of {ROTATION} paced packets were lost")
        waited.append(one)
    return float(np.percentile(_us(np.concatenate(waited)), 99.9))


def _lcore_thread() -> int:
    """The worker's thread, by the name that EAL gives it."""
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().strip() in ("lcore-worker-1", "rte-worker-1", "dpdk-worker1"):
            return int(task.name)
    raise BenchError("EAL's worker thread is not to be found")


def _run_ns(thread: int) -> int:
    return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[0])


def _share(thread: int) -> float:
    """Per cent of a core that an idle worker takes."""
    start, before = time.monotonic_ns(), _run_ns(thread)
    time.sleep(IDLE_S)
    return 100 * (_run_ns(thread) - before) / (time.monotonic_ns() - start)


def _firsts(rig: Rig, packets: Frames) -> float:
    """Median time in which the first packet after idleness leaves."""
    waited = []
    for number in range(FIRSTS):
        time.sleep(PAUSE_S)
        row = packets.heads[number % len(packets)]
        tsc = rig.loads[ROTATION, 0].first(row.data, int(packets.lengths[0]), eal.tsc_hz())
        if tsc == 0:
            raise BenchError("the first packet after idleness did not leave within a second")
        waited.append(tsc)
    return float(np.median(_us(np.array(waited, dtype=np.uint64))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
