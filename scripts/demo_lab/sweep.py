"""Removes what a demo left that was killed: its processes, namespaces with their veths, segments, directories.

Everything of a demo carries its pid: namespaces and segments in their names, processes in the directory that their
command lines name. A pid without a process is a dead demo.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from demo_lab.topology import PREFIX
from lab.harness import sweep as sweep_namespaces

WORK = Path("/tmp")
DIRECTORY = "dpdkrouter-demo-"
_PLACES = (
    (WORK, f"{DIRECTORY}*"),
    (Path("/run/dpdkrouter"), f"{PREFIX}-*"),
    (Path("/run/dpdk"), f"dpdkrouter-{PREFIX}-*"),
    (Path("/dev/hugepages"), f"dpdkrouter-{PREFIX}-*"),
    (Path("/dev/shm"), f"dpdkrouter-{PREFIX}-*"),
)
END_S = 10.0


def directory(pid: int) -> Path:
    """Where a demo keeps its files."""
    return WORK / f"{DIRECTORY}{pid}"


def sweep() -> list[str]:
    """Remove what dead demos left; returns what that was."""
    removed = [f"process {pid}" for pid in _end_processes()]
    removed += [f"namespace {name}" for name in sweep_namespaces(PREFIX)]
    for device in Path("/sys/class/net").glob(f"{PREFIX}[0-9]*"):
        if _dead(device.name):
            subprocess.run(["ip", "link", "delete", device.name], capture_output=True, check=False)
            removed.append(f"interface {device.name}")
    for place, pattern in _PLACES:
        for path in place.glob(pattern):
            if _dead(path.name):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                removed.append(str(path))
    return removed


def _dead(name: str) -> bool:
    """Whether a name carries the pid of a demo that has ended."""
    found = re.search(rf"{PREFIX}-?(\d+)", name)
    return found is not None and not Path(f"/proc/{found[1]}").exists()


def _end_processes() -> list[int]:
    """SIGTERM, then SIGKILL, to the processes whose command line names a dead demo's directory."""
    ended: dict[int, None] = {}
    start = time.monotonic()
    while pids := _leftover_processes():
        for pid in pids:
            late = time.monotonic() - start > END_S
            if pid not in ended or late:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            ended[pid] = None
        time.sleep(0.1)
    return list(ended)


def _leftover_processes() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if any(word.startswith(f"{WORK}/{DIRECTORY}") and _dead(word) for word in words):
                found.append(int(path.parent.name))
    return found
