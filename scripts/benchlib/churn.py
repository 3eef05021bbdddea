"""`python -m benchlib.churn SEGMENT STATS ROUTES RATE`: the writer of a segment, changing routes at a steady rate.

ROUTES: a .npz with hi, lengths and groups of IPv4 routes that are there. Each change moves a route to the next group or
back, so that every packet still has a way. Says "ready" on standard output, runs until standard input ends, puts every
route back, and says as JSON how many changes it made in how many seconds.
"""

import json
import select
import sys
import time
from pathlib import Path

import numpy as np

from benchlib.routes import GROUPS, U16, Routes
from benchlib.segment import BenchError, apply
from dpdkrouter.fib import Fib

BATCHES = 100
"""A second."""


def shifted(groups: U16) -> U16:
    """The next group of each."""
    return (groups % GROUPS + 1).astype(np.uint16)


def main(argv: list[str]) -> int:
    segment, stats, file, rate = Path(argv[0]), Path(argv[1]), argv[2], int(argv[3])
    with np.load(file) as columns:
        hi, lengths, groups = columns["hi"], columns["lengths"], columns["groups"]
    routes = Routes(4, hi, np.zeros(len(hi), dtype=np.uint64), lengths, groups)
    size = max(1, rate // BATCHES)
    batches = [routes.take(slice(at, at + size)) for at in range(0, len(routes), size)]
    fib = Fib.attach(segment, stats)
    try:
        print("ready", flush=True)
        made, seconds = _run(fib, batches)
        for batch in batches:
            apply(fib, batch)
    finally:
        fib.close()
    print(json.dumps({"changes": made, "seconds": seconds}), flush=True)
    return 0


def _run(fib: Fib, batches: list[Routes]) -> tuple[int, float]:
    start = time.monotonic()
    made = number = 0
    while not select.select([sys.stdin], [], [], max(0.0, start + number / BATCHES - time.monotonic()))[0]:
        batch = batches[number % len(batches)]
        moved = number // len(batches) % 2 == 0
        done, _ = apply(fib, batch.with_groups(shifted(batch.groups)) if moved else batch)
        if done.refused_count:
            raise BenchError(f"{done.refused_count} changes refused: {done.refused[0]}")
        made += len(batch)
        number += 1
    return made, time.monotonic() - start


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
