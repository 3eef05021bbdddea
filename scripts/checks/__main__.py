"""Runs the checks named on the command line, or all of them; exit code 1 when one complains."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from checks import ceilings, completeness, hotpath, size, vectors
from checks.tree import ROOT, sources


def tool(*words: str) -> Callable[[], list[str]]:
    """A check that is a program of the virtual environment; its output is its complaint."""

    def run() -> list[str]:
        folder = Path(sys.executable).parent
        # cython-lint calls pycodestyle by name
        environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
        process = subprocess.run(
            [folder / words[0], *words[1:]],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return [] if process.returncode == 0 else [(process.stdout + process.stderr).rstrip()]

    return run


CHECKS: dict[str, Callable[[], list[str]]] = {
    "ruff": tool("ruff", "check", "--quiet"),
    "format": tool("ruff", "format", "--check", "--quiet", "--diff"),
    "mypy": tool("mypy", "dpdkrouter", "fastpath", "scripts", "tests"),
    # Files, not folders: below a folder it passes over every path with "build" in it, also above the tree.
    "cython-lint": tool("cython-lint", *map(str, sources(".pyx", ".pxd"))),
    "size": size.check,
    "ceilings": ceilings.check,
    "hotpath": hotpath.check,
    "vectors": vectors.check,
    "completeness": completeness.check,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/check", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}; default all")
    parser.add_argument("--write-owed", action="store_true", help="write the list of what completeness still owes")
    parser.add_argument("--vectors", action="store_true", help="print which functions of the worker are vectorised")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(CHECKS)
    if unknown:
        parser.error(f"unknown check {', '.join(sorted(unknown))}; allowed: {', '.join(CHECKS)}")
    if arguments.write_owed:
        completeness.write_owed()
        return 0
    if arguments.vectors:
        print(vectors.report())
        return 0
    failed = False
    for name in arguments.names or CHECKS:
        begin = time.monotonic()
        complaints = CHECKS[name]()
        failed = failed or bool(complaints)
        print(f"check {name}: {'FAILED' if complaints else 'ok'} ({time.monotonic() - begin:.1f} s)", flush=True)
        for complaint in complaints:
            print(complaint, file=sys.stderr, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
