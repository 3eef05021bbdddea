"""NUMA nodes as sysfs shows them: those of CPUs, and the hugepages that each has free. Reads files below one root.

A kernel without NUMA, and a machine with one node, have nothing to tell here. `doctor` compares with it; the fast path
asks it where EAL's memory goes, since EAL takes the node of its own lcore numbers, not of the CPUs they are pinned to
(rte_eal_cpu_init).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NODES = "sys/devices/system/node"
ROOT = Path("/")


def pool(node: int, page_bytes: int) -> str:
    """The directory of a node's hugepages, below the root."""
    return f"/{NODES}/node{node}/hugepages/hugepages-{page_bytes // 1024}kB"


def workers_by_node(lcores: Iterable[int], root: Path = ROOT) -> Counter[int]:
    """How many of these CPUs each node has."""
    return Counter(node for lcore in lcores for node in _numbers(root / f"sys/devices/system/cpu/cpu{lcore}"))


def nodes_of(lcores: Iterable[int], root: Path = ROOT) -> dict[int, int]:
    """The node of each of these CPUs; without those of which the kernel does not tell."""
    found = {lcore: _numbers(root / f"sys/devices/system/cpu/cpu{lcore}") for lcore in lcores}
    return {lcore: nodes[0] for lcore, nodes in found.items() if nodes}


def free_pages_by_node(page_bytes: int, root: Path = ROOT) -> dict[int, int]:
    """Free hugepages of one size by node; empty when the kernel does not tell."""
    free = {}
    for node in _numbers(root / NODES):
        try:
            free[node] = int((root / pool(node, page_bytes)[1:] / "free_hugepages").read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
    return free


def home(workers: Mapping[int, int], free: Mapping[int, int]) -> int | None:
    """The node that all memory should come from: the workers' one, on a machine with several; None: no matter."""
    return next(iter(workers)) if len(workers) == 1 and len(free) > 1 else None


def _numbers(directory: Path) -> list[int]:
    """The nodes that a directory has entries for."""
    try:
        names = [entry.name for entry in directory.iterdir()]
    except OSError:
        return []
    return sorted(int(name[4:]) for name in names if name.startswith("node") and name[4:].isdecimal())
