"""One fault after the other: plant, build, run its test, take it out; a table at the end.

Caught: the test fails with the fault and passes without. Exit codes: 0 all caught; 1 one survived, or its test fails
without it; 2 a fault can't be planted any more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from mutation.faults import FAULTS
from mutation.scratch import PlantError, Scratch

FAILED = 1  # pytest's exit code when tests ran and some failed


def try_fault(scratch: Scratch, number: int) -> str:
    """What became of one fault: caught, survived, or why it could not be told."""
    fault = FAULTS[number]
    code, output = scratch.test(fault)
    if code != 0:
        print(output[-3000:], file=sys.stderr)
        return "its test fails without it"
    try:
        scratch.plant(fault)
        code, output = scratch.test(fault)
    finally:
        scratch.restore(fault)
    if code == FAILED:
        return "caught"
    if code == 0:
        return "SURVIVED"
    print(output[-3000:], file=sys.stderr)
    return f"pytest ended with {code}"


def main() -> int:
    """Try the faults. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/mutate")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these faults")
    parser.add_argument("--list", action="store_true", help="list the faults")
    options = parser.parse_args()
    if options.list:
        for fault in FAULTS:
            print(f"{fault.name:28} {fault.file:36} {fault.test}")
        return 0
    unknown = set(options.names) - {fault.name for fault in FAULTS}
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; --list shows them")
    place = Path("/tmp") / f"dpdkrouter-mutate-{os.getpid()}"
    results: list[str] = []
    try:
        scratch = Scratch(place)
        for number, fault in enumerate(FAULTS):
            if options.names and fault.name not in options.names:
                continue
            started = time.monotonic()
            results.append(try_fault(scratch, number))
            seconds = time.monotonic() - started
            print(f"{fault.name:28} {results[-1]:10} {seconds:5.1f} s  {fault.test}", flush=True)
    except PlantError as error:
        print(f"mutate: {error}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(f"{results.count('caught')} of {len(results)} faults caught")
    return 0 if results.count("caught") == len(results) else 1


sys.exit(main())
