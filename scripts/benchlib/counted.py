"""`python -m benchlib.counted ROUTES DIRECTORY`, under callgrind: each standard case once, every packet compared.

ROUTES: a .npz of both tables, made outside, for under valgrind Python is slow. After each case the floor's turn is called
on one packet: callgrind is told to dump its counts there (benchlib.callgrind), so that each dump is a case's.
"""

import sys
from pathlib import Path

import numpy as np

from benchlib.cases import CASES, Bench, Sizes
from benchlib.rig import TURNS, Rig, spans_for
from benchlib.routes import Routes
from fastpath import probe, rings

PACKETS = 8192
ROTATION = 1024
NAMES = ("ipv4_1_256", "ipv4_full_1m", "ipv6_1_256", "ipv6_full_1m", "mixed_imix", "ecmp8_full_1m")


def main(argv: list[str]) -> int:
    with np.load(argv[0]) as columns:
        tables = {
            family: Routes(family, *(columns[f"{name}{family}"] for name in ("hi", "lo", "lengths", "groups")))
            for family in (4, 6)
        }
    cases = [case for case in CASES if case.name in NAMES]
    rig = Rig(Path(argv[1]), probe.best_variant(), (ROTATION,), 1, 0)
    try:
        with Bench(rig, Sizes(len(tables[4]), len(tables[6]), PACKETS, 1), cases, tables) as bench:
            for name in NAMES:
                case = next(case for case in cases if case.name == name)
                ready = bench.ready(case)
                rig.verify(ready.frames, ready.expected, ROTATION)
                mark(rig)
    finally:
        rig.close()
    print(rig.simd)
    return 0


def mark(rig: Rig) -> None:
    """Have the floor's turn called once: it moves one packet, and is not counted."""
    cycles, packets = spans_for(1, ROTATION)
    heads, lengths = np.zeros((1, 64), dtype=np.uint8), np.full(1, 60, dtype=np.uint16)
    rig.loads[ROTATION, 0].lap(rings.floor_entry(), heads.data, lengths.data, TURNS, 0, cycles.data, packets.data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
