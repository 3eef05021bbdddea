"""dpdk-test-fib, DPDK's own measurement of rte_fib and rte_fib6, on the routes and addresses of our side.

It loads the routes, looks every address up once in bursts of 64, and takes them out again. Each of its lookup
functions and entry sizes is a configuration of its own; the best one is what we compare with.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchlib.machine import alone
from benchlib.routes import Routes

NAME = "dpdk-test-fib"
LOOKUP = re.compile(r"AVG FIB lookup ([0-9.]+)")
PATIENCE = 300
PREFIX = f"bench-fib-{os.getpid()}"
LEFT = Path("/run/dpdk", PREFIX)  # EAL's directory, which its programs leave behind


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to run it."""

    family: int
    function: str
    entry: int

    @property
    def name(self) -> str:
        return f"{NAME}{' -6' if self.family == 6 else ''} -v {self.function} -e {self.entry}"


CONFIGURATIONS = {
    4: [Configuration(4, function, entry) for function in ("s1", "s2", "s3", "v") for entry in (2, 4)],
    6: [Configuration(6, function, 4) for function in ("s", "v")],    # 2-byte entries have room for 32,767 tbl8 only
}  # fmt: skip


def available() -> bool:
    return shutil.which(NAME) is not None


def blocks(routes: Routes) -> int:
    """tbl8 blocks of 256 entries that the peer needs: one for each 8-bit step below /24 that a longer prefix takes."""
    count = 1
    for bits in range(24, 128, 8):
        deeper = routes.take(routes.lengths > bits)
        if bits <= 64:
            count += len(np.unique(deeper.hi >> np.uint64(64 - bits)))
        else:
            count += len(
                {(h, low >> (128 - bits)) for h, low in zip(deeper.hi.tolist(), deeper.lo.tolist(), strict=True)}
            )
    return count


def memory(tbl8: int, entry: int) -> int:
    """Bytes of its root and of so many tbl8 blocks."""
    return entry * ((1 << 24) + 256 * tbl8)


@dataclass(frozen=True, slots=True)
class Place:
    """Where it runs: the core, and whether in hugepages, as our segment."""

    core: int
    huge: bool

    def options(self, bytes_needed: int) -> list[str]:
        """EAL options; its RIB and its copies of the routes come on top of its table."""
        memory = ["-m", str((bytes_needed >> 20) + 450)]
        pages = ["--in-memory"] if self.huge else ["--no-huge", "--no-shconf", f"--file-prefix={PREFIX}"]
        return [*memory, *pages, "-l", str(self.core)]


class FullError(RuntimeError):
    """It had too few tbl8 blocks for the routes."""


def needed_blocks(routes: Routes, routes_file: Path, addresses: Path, place: Place) -> int:
    """tbl8 blocks with which it takes all routes: it reserves more than it fills, so this is found by trying."""
    tbl8 = blocks(routes)
    while True:
        try:
            run(CONFIGURATIONS[routes.family][0], routes_file, addresses, tbl8, place)
        except FullError:
            tbl8 += tbl8 // 4 + 1
        else:
            return tbl8


def run(what: Configuration, routes: Path, addresses: Path, tbl8: int, place: Place) -> float | None:
    """Cycles a lookup, or None when this CPU lacks the function. RuntimeError with its words when it fails."""
    command = [
        NAME,
        *place.options(memory(tbl8, what.entry)),
        "--no-telemetry",
        "--no-pci",
        "--force-max-simd-bitwidth=512",
        "--",
    ]
    command += ["-6"] if what.family == 6 else []
    command += ["-f", str(routes), "-t", str(addresses), "-v", what.function, "-e", str(what.entry), "-g", str(tbl8)]
    with alone(place.core):
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            env={**os.environ, "LC_ALL": "C"},
        )
    shutil.rmtree(LEFT, ignore_errors=True)
    found = LOOKUP.search(done.stdout)
    if found:
        return float(found[1])
    if "Can not init lookup function" in done.stdout:
        return None
    if "Can not add a route to FIB, err -28" in done.stdout:
        raise FullError(f"{NAME}: {tbl8} tbl8 blocks are too few")
    words = [line for line in (done.stdout + done.stderr).splitlines() if "EAL: Detected" not in line]
    raise RuntimeError(f"{' '.join(command)}: {' / '.join(words[-3:])}")
