"""The machine and the commit, as every figure names them; and a core to ourselves while we time."""

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastpath import _build, probe

NICEST = -20


def machine() -> dict[str, str | int]:
    """CPU, cores, memory, kernel, DPDK."""
    cpu: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        cpu.setdefault(key.strip(), value.strip())
    model = " ".join(cpu.get(key, "") for key in ("model name", "cpu family", "model")).strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count() or 0,
        "cache": cpu.get("cache size", ""),
        "memory_mib": memory,
        "kernel": platform.release(),
        "dpdk": _build.DPDK_VERSION,
        "simd": probe.best_variant(),
    }


def commit() -> str:
    """What the tree is at."""
    top = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        ["git", f"--git-dir={top / '.git'}", f"--work-tree={top}", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.strip() or _build.BUILD_ID


def last_core() -> int:
    """The highest core that this process may use: the first ones take the interrupts."""
    return max(os.sched_getaffinity(0))


@contextmanager
def alone(core: int) -> Iterator[None]:
    """For a while run, with the children started meanwhile, on one core and before all else that wants it.

    Where that is not allowed, as we are. A session is scheduled as one group where autogroups are on, so its
    niceness counts too. Not real-time: while dpdk-test-fib starts, its threads wait for each other by polling.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        with foremost():
            yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def foremost() -> Iterator[None]:
    """alone(), on the cores that we have: for this thread, those it starts meanwhile, and their session."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    _nice(NICEST, NICEST)
    try:
        yield
    finally:
        _nice(nice, 0)


def _nice(own: int, session: int) -> None:
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, own)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(session))
