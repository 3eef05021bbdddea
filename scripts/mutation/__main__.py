"""Every named test passes without a fault; then one fault after the other: plant, build, run its test, take it out.

Exit codes: 0 all caught; 1 one survived, or a test fails without a fault; 2 a fault can't be planted any more.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mutation.faults import FAULTS
from mutation.scratch import PlantError, Scratch, misplaced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mutation.faults import Fault

FAILED = 1  # pytest's exit code when tests ran and some failed


def row(what: str, result: str, started: float, more: str = "") -> None:
    """One line of the table."""
    print(f"{what:28} {result:10} {time.monotonic() - started:5.1f} s  {more}".rstrip(), flush=True)


def passes(scratch: Scratch, test: str) -> bool:
    """Whether a test passes without a fault."""
    started = time.monotonic()
    code, output = scratch.test(test)
    row("(no fault)", "passes" if code == 0 else "FAILS", started, test)
    if code != 0:
        print(output[-3000:], file=sys.stderr)
    return code == 0


def try_fault(scratch: Scratch, fault: Fault) -> bool:
    """Whether a fault is caught."""
    started = time.monotonic()
    try:
        scratch.plant(fault)
        code, output = scratch.test(fault.test)
    finally:
        scratch.restore(fault)
    # A test that could not even be set up has caught nothing, although pytest's exit code is the same.
    caught = code == FAILED and re.search(r"\b[1-9]\d* failed\b", output) is not None
    row(fault.name, "caught" if caught else "SURVIVED" if code == 0 else "NOT RUN", started, fault.test)
    if not caught and code != 0:
        print(output[-3000:], file=sys.stderr)
    return caught


def try_all(place: Path, faults: Sequence[Fault]) -> int:
    """Try them all in a copy at `place`. Returns the exit code."""
    scratch = Scratch(place)
    good = {test: passes(scratch, test) for test in dict.fromkeys(fault.test for fault in faults)}
    caught = [good[fault.test] and try_fault(scratch, fault) for fault in faults]
    print(f"{sum(caught)} of {len(caught)} faults caught")
    return 0 if all(caught) else 1


def main() -> int:
    """Try the faults asked for. Returns the exit code."""
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
    faults = [fault for fault in FAULTS if not options.names or fault.name in options.names]
    if wrong := misplaced(faults):
        print("mutate: the code has changed, mend scripts/mutation/faults.py:", *wrong, sep="\n  ", file=sys.stderr)
        return 2
    place = Path("/tmp") / f"dpdkrouter-mutate-{os.getpid()}"
    try:
        return try_all(place, faults)
    except PlantError as error:
        print(f"mutate: {error}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(place, ignore_errors=True)


sys.exit(main())
