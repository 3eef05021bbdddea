"""`scripts/bench --callgrind`: instructions a packet in the worker's loop body, counted by valgrind.

Repeatable where cycles are not: the same build gives the same count on a loaded machine. It is the x86-64-v3 variant,
for valgrind knows no AVX-512. `instructions.json` holds the figures of record; more than TOLERANCE above one of them is
an exit code of 1, and so is as much below it, for then a better figure is to be recorded (--record), in a commit of its
own that says why.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchlib.counted import NAMES, PACKETS
from benchlib.report import result
from benchlib.routes import generate

RECORD = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.03
ROUTES = {4: 20_000, 6: 5_000}
TURN, MARK = "__pyx_f_8fastpath_9worker_v3_turn", "__pyx_f_8fastpath_5rings_floor_turn"
TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def main(argv: list[str]) -> int:
    words = argparse.ArgumentParser(prog="scripts/bench --callgrind", description=__doc__)
    words.add_argument("--json", action="store_true", help="one JSON object on standard output")
    words.add_argument("--record", action="store_true", help=f"write {RECORD.name} anew")
    words.add_argument("--directory", type=Path, default=Path("/dev/shm"), help="for the segments (%(default)s)")
    options = words.parse_args(argv)
    if shutil.which("valgrind") is None:
        print("bench: valgrind is missing: apt-get install valgrind", file=sys.stderr)
        return 1
    found = count(options.directory)
    if options.record:
        RECORD.write_text(json.dumps(found, indent=2) + "\n")
    recorded: dict[str, float] = json.loads(RECORD.read_text())
    if options.json:
        results = [result(name, "instructions/packet", [value]).json() for name, value in found.items()]
        print(json.dumps({"results": results, "recorded": recorded}, indent=2))
    else:
        for name, value in found.items():
            print(f"{name:16} {value:7.1f} instructions/packet, recorded {recorded[name]:7.1f}")
    complaints = compare(found, recorded)
    for complaint in complaints:
        print(f"bench: {complaint}", file=sys.stderr)
    return int(bool(complaints))


def compare(found: dict[str, float], recorded: dict[str, float]) -> list[str]:
    """What differs from the record by more than TOLERANCE."""
    said = []
    for name, value in found.items():
        change = value / recorded[name] - 1
        if abs(change) > TOLERANCE:
            what = (
                "record the better figure (--record)" if change < 0 else "make it cheaper, or record why not (--record)"
            )
            said.append(
                f"{name}: {value} instructions a packet, {change:+.1%} of the recorded {recorded[name]}: {what}"
            )
    return said


def count(directory: Path) -> dict[str, float]:
    """Instructions a packet of each standard case. RuntimeError with the program's words when it fails."""
    with tempfile.TemporaryDirectory(prefix="bench-callgrind-") as folder:
        tables = {}
        for family, size in ROUTES.items():
            routes = generate(family, size)
            for name in ("hi", "lo", "lengths", "groups"):
                tables[f"{name}{family}"] = getattr(routes, name)
        np.savez(Path(folder, "routes.npz"), **tables)
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", f"--toggle-collect={TURN}",
                   f"--dump-before={MARK}", sys.executable, "-P", "-m", "benchlib.counted", f"{folder}/routes.npz",
                   str(directory)]  # fmt: skip
        path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        dumps = sorted(Path(folder).glob("out.*"), key=lambda file: int(file.suffix[1:]))
        if done.returncode or len(dumps) < len(NAMES):
            raise RuntimeError(f"valgrind ended with {done.returncode}, {len(dumps)} dumps: {done.stderr[-2000:]}")
        return {name: round(total(dump) / PACKETS, 1) for name, dump in zip(NAMES, dumps, strict=False)}


def total(dump: Path) -> int:
    """Instructions in one dump."""
    match = TOTALS.search(dump.read_text())
    if match is None:
        raise RuntimeError(f"{dump}: no totals")
    return int(match[1])
