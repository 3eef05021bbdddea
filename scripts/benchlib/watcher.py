"""A reader of its own while the table changes: looks the same addresses up again and again by the fast path's code.

It reports quiescent states as an lcore does, so the writer uses no memory again that it may still read. Run as a
program: `python -m benchlib.watcher SEGMENT STATS EXPECTED`. STATS is the stats segment that it makes, EXPECTED an .npz
of `family`, `addresses` (packed) and the two answers each address may get, `before` and `after`. It says "ready", looks
until its input ends, and prints how many answers it saw and which address got another than those two.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchlib.destinations import Addresses
from benchlib.routes import U16, packed
from benchlib.segment import BenchError
from dpdkrouter.fib import Fib, FibReader
from table_stats import Stats

LOOKS = 1024
"""Lookups between two quiescent states."""


@dataclass(slots=True)
class Watched:
    """What the watcher has seen; `answers` is filled in when it has ended."""

    answers: int = 0


@contextmanager
def watching(
    fib: Fib, directory: Path, family: int, addresses: Addresses, before: U16, after: U16
) -> Iterator[Watched]:
    """Answers are looked at while the body runs. BenchError when one was neither `before` nor `after`."""
    expected = directory / "expected.npz"
    np.savez(expected, family=family, addresses=packed(family, *addresses), before=before, after=after)
    stats = directory / "stats"
    command = [sys.executable, "-P", "-m", "benchlib.watcher", fib.mapping.path, str(stats), str(expected)]
    seen = Watched()
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # what this process imports, that one does
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=path) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise BenchError("the watcher did not start")
        fib.watch(stats)
        try:
            yield seen
        finally:
            words, _ = process.communicate()
            fib.watch(None)
    found = json.loads(words)
    seen.answers = found["answers"]
    if found["wrong"]:
        raise BenchError(f"{len(found['wrong'])} wrong answers while the table changed, the first: {found['wrong'][0]}")
    if not seen.answers:
        raise BenchError("the watcher saw no answer")


def main(path: str, stats_path: str, expected: str) -> None:
    with np.load(expected) as file:
        family, addresses = int(file["family"]), bytes(file["addresses"])
        before, after = file["before"], file["after"]
    size = len(addresses) // len(before)
    wrong: list[str] = []
    answers = 0
    stats = Stats(Path(stats_path), 1)
    with FibReader.open(path) as reader:
        stats.quiescent(0, reader.grace_epoch)
        print("ready", flush=True)
        ended = False
        while not ended:  # once more after the last change
            ended = bool(select.select([sys.stdin], [], [], 0)[0])
            for start in range(0, len(before), LOOKS):
                stats.quiescent(0, reader.grace_epoch)
                part = addresses[start * size : (start + LOOKS) * size]
                groups = np.frombuffer(reader.table_groups(family, part), dtype=np.uint16)
                answers += len(groups)
                one, other = before[start : start + LOOKS], after[start : start + LOOKS]
                for i in np.nonzero((groups != one) & (groups != other))[0].tolist():
                    address = part[i * size : (i + 1) * size].hex()
                    wrong.append(f"{address}: {groups[i]}, not {one[i]} or {other[i]}")
    stats.close()
    print(json.dumps({"answers": answers, "wrong": wrong[:10]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
