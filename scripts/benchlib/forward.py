"""`scripts/bench forward`: what a packet costs in the worker's loop, in TSC cycles.

The loop's body is called as the loop calls it, on ports of rings that are refilled outside the timed spans; beside it, over
the same mbufs, the floor. See docs/performance.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from benchlib import machine, testpmd
from benchlib.cases import CASES, SMALL, Bench, Case, Sizes
from benchlib.frames import WrongPacketError, make
from benchlib.report import Result, result
from benchlib.rig import HUGE, Lap, Rig
from benchlib.segment import BenchError
from dpdkrouter.errors import DpdkrouterError
from fastpath import eal, probe
from fastpath._build import BUILD_ID

SOLO_NAMES = {
    "scaling": ["scaling_2_workers"],
    "idle": ["latency_p999_1mpps", "idle_sleep_cpu", "idle_sleep_first_packet"],
    "wake": ["idle_cpu", "idle_first_packet", "idle_first_packet_crossing"],
    "testpmd": ["pcap_testpmd_io", "pcap_testpmd_macswap"],
    "pcap": ["pcap_ipv4_full"],
}
SOLO = [name for names in SOLO_NAMES.values() for name in names]
"""What is measured in a process of its own: benchlib.solo, or dpdk-testpmd."""


@dataclass(frozen=True, slots=True)
class ForwardResult(Result):
    """`value`: the median of the runs, each the median of its spans; `floor` likewise; `mean`: of spans not preempted."""

    floor: float = 0.0
    mean: float = 0.0
    mpps: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    bursts: list[int] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For a terminal."""
        if not self.floor:
            return super(ForwardResult, self).lines()
        stages = " ".join(f"{name} {value:.1f}" for name, value in self.stages.items() if value >= 0.05)
        return [
            f"{self.name:24} {self.value:7.1f} cycles/packet ({self.min:.1f} to {self.max:.1f} in {self.runs})",
            f"    floor {self.floor:.1f}, over it {self.value - self.floor:.1f}; {self.mpps:.1f} Mpps",
            f"    {stages}",
        ]


def parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog="scripts/bench forward", description=__doc__)
    words.add_argument("--json", action="store_true", help="one JSON object on standard output")
    words.add_argument("--routes4", type=int, default=1_050_000, metavar="N", help="IPv4 routes (%(default)s)")
    words.add_argument("--routes6", type=int, default=235_000, metavar="N", help="IPv6 routes (%(default)s)")
    words.add_argument("--destinations", type=int, default=1_000_000, metavar="N", help="packets a lap (%(default)s)")
    words.add_argument("--mbufs", type=int, nargs="+", default=[1024, 32768], metavar="N", help="in rotation")
    words.add_argument("--runs", type=int, default=5, metavar="N", help="times that each figure is taken (%(default)s)")
    words.add_argument("--seed", type=int, default=1, metavar="N", help="of everything random (%(default)s)")
    words.add_argument("--changes", type=int, default=100_000, metavar="N", help="route changes a second (%(default)s)")
    words.add_argument("--only", nargs="+", choices=[*(case.name for case in CASES), *SOLO], metavar="NAME",
                      help=f"of {', '.join([*(case.name for case in CASES), *SOLO])}")  # fmt: skip
    words.add_argument(
        "--simd", choices=probe.supported_variants(), default=probe.best_variant(), help="the worker's variant"
    )
    words.add_argument("--core", type=int, default=machine.last_core(), metavar="N", help="where it runs (%(default)s)")
    words.add_argument(
        "--directory",
        type=Path,
        default=Path("/dev/hugepages"),
        help="for the segments; no hugepages there: none at all",
    )
    return words


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    if options.runs < 1 or min(options.mbufs) < 1024:
        parser().error("--runs: at least 1; --mbufs: at least 1024")
    try:
        report = measure(options)
    except (BenchError, WrongPacketError, DpdkrouterError, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        json.dump(report, sys.stdout, indent=2)
        print()
    return 0


def say(options: argparse.Namespace, text: str) -> None:
    """Progress and figures for a reader; with --json on standard error."""
    print(text, file=sys.stderr if options.json else sys.stdout, flush=True)


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Everything, as the JSON object."""
    facts = machine.machine() | {"simd": options.simd, "build_id": BUILD_ID, "tsc_mhz": 0}
    sizes = Sizes(options.routes4, options.routes6, options.destinations, options.seed, options.changes)
    chosen = [case for case in CASES if not options.only or case.name in options.only]
    laps: dict[tuple[str, int], list[Lap]] = {}
    with machine.alone(options.core):
        rig = Rig(options.directory, options.simd, tuple(options.mbufs), 1, options.core)
        facts["tsc_mhz"] = round(eal.tsc_hz() / 1e6)
        say(options, f"machine: {', '.join(f'{key} {value}' for key, value in facts.items())}")
        try:
            with Bench(rig, sizes, chosen) as bench:
                for run in range(options.runs):
                    say(options, f"run {run + 1} of {options.runs}")
                    for rotation in options.mbufs:
                        for case in chosen:
                            lap = bench.run(case, rotation, check=run == 0)
                            laps.setdefault((case.name, rotation), []).append(lap)
        finally:
            rig.close()
    results: list[Result] = [*_results(options, chosen, laps), *_others(options)]
    for one in results:
        say(options, "\n".join(one.lines()))
    table = {"ipv4_routes": options.routes4, "ipv6_routes": options.routes6, "destinations": options.destinations,
             "source": f"generated, seed {options.seed}", "mbufs": options.mbufs}  # fmt: skip
    return {"machine": facts, "commit": machine.commit(), "table": table, "results": [one.json() for one in results]}


def _others(options: argparse.Namespace) -> list[Result]:
    """What needs a router of its own: a process each."""
    found: list[Result] = []
    for what, names in SOLO_NAMES.items():
        if options.only and not set(names) & set(options.only):
            continue
        say(options, f"{what}: {', '.join(names)}")
        for name, (unit, *values) in _solo(options, what).items():
            found.append(result(name, str(unit), [float(value) for value in values]))
    return found


def _solo(options: argparse.Namespace, what: str) -> dict[str, list[float | str]]:
    if what == "testpmd":
        return _testpmd(options)
    words = [what, str(options.directory), options.simd, str(options.core), str(options.routes4),
             str(options.destinations), str(options.seed), str(options.runs)]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-P", "-m", "benchlib.solo", *words], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{what}: ended with {done.returncode}")
    # EAL and its drivers write to standard output too
    found: dict[str, list[float | str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _testpmd(options: argparse.Namespace) -> dict[str, list[float | str]]:
    if not testpmd.available():
        raise BenchError(f"{testpmd.NAME} is missing: apt-get install dpdk-dev, or leave its cases out with --only")
    held = testpmd.HELD
    spread = np.random.default_rng(options.seed).integers(1 << 24, 100 << 24, size=held, dtype=np.uint64)
    to = spread << np.uint64(32), np.zeros(held, dtype=np.uint64)
    huge = os.statvfs(options.directory).f_bsize > HUGE
    with tempfile.NamedTemporaryFile(suffix=".pcap") as file:
        testpmd.write_pcap(Path(file.name), make(4, to, np.full(held, SMALL, dtype=np.uint16), testpmd.MAC))
        return {
            f"pcap_testpmd_{mode}": [
                "cycles/packet",
                *(testpmd.measure(mode, Path(file.name), options.core, huge=huge) for _ in range(options.runs)),
            ]
            for mode in ("io", "macswap")
        }


def _results(
    options: argparse.Namespace, chosen: list[Case], laps: dict[tuple[str, int], list[Lap]]
) -> list[ForwardResult]:
    """The first rotation's figures have the plain names, the others' end in their number of mbufs."""
    results: list[ForwardResult] = []
    for rotation in options.mbufs if chosen else []:
        suffix = "" if rotation == options.mbufs[0] else f"_{rotation}"
        floors = [lap.floor for case in chosen for lap in laps[case.name, rotation]]
        results.append(ForwardResult(f"floor_ring{suffix}", median(floors), "cycles/packet", min(floors), max(floors),
                                     len(floors)))  # fmt: skip
        results += [_result(case.name + suffix, laps[case.name, rotation]) for case in chosen]
    return results


def _result(name: str, laps: list[Lap]) -> ForwardResult:
    cycles = [lap.cycles for lap in laps]
    stages = {stage: median(lap.stages[stage] for lap in laps) for stage in laps[0].stages}
    bursts = [sum(column) for column in zip(*(lap.bursts for lap in laps), strict=True)]
    value = median(cycles)
    return ForwardResult(
        name, value, "cycles/packet", min(cycles), max(cycles), len(cycles), {}, median(lap.floor for lap in laps),
        median(lap.mean for lap in laps), eal.tsc_hz() / value / 1e6, stages, bursts,
    )  # fmt: skip
