"""Hugepages against what the configuration needs, computed as a start will take them, and where they are mounted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpdkrouter.config.paths import HUGEPAGES, InstancePaths, running_pid
from dpdkrouter.config.runtime import MIB, STATS_BYTES, held_bytes, needed_pages
from dpdkrouter.doctor.findings import Finding, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpdkrouter.doctor.subject import Subject

WHY = "mbufs and the route table lie in hugepages; with small ones every lookup would wait for the page tables"


def examine(subject: Subject) -> Iterator[Finding]:
    """All findings of this file."""
    if not subject.config.fastpath.hugepages:
        found = "fastpath.hugepages = false: none are needed"
        yield Finding("hugepages", State.WARNING, found, WHY, ("hugepages = true, in [fastpath], outside labs",))
        return
    yield _hugepages(subject)
    yield _hugetlbfs(subject)


def _hugepages(subject: Subject) -> Finding:
    machine, config = subject.machine, subject.config
    if not machine.page_bytes:
        mend = ("CONFIG_HUGETLBFS=y, in the kernel's configuration", "hugepages = false, in [fastpath], for a lab")
        return Finding("hugepages", State.FAILED, "a kernel without hugepages", WHY, mend)
    paths = InstancePaths.of(config, root=subject.kernel.root)
    need = needed_pages(config, machine.page_bytes, subject.segment_bytes)
    sizes = computed(subject)
    size = f"{machine.page_bytes // MIB} MiB"
    if running_pid(paths.pid_file("fastpath")) is not None:
        return Finding("hugepages", State.OK, f"the running router has its {need} pages of {size}: {sizes}", WHY)
    held = held_bytes(paths) // machine.page_bytes
    found = f"{machine.free_pages} free pages of {size}, {need} needed: {sizes}"
    found += f"; {held} of them are held by its segments already" if held else ""
    missing = need - held - machine.free_pages
    if missing <= 0:
        return Finding("hugepages", State.OK, found, WHY)
    total = (subject.kernel.number("/proc/sys/vm/nr_hugepages", 10) or 0) + missing
    return Finding("hugepages", State.FAILED, f"{found}: {missing} too few", WHY, _mend(machine.page_bytes, total))


def computed(subject: Subject) -> str:
    """What the needed pages are for."""
    config, page = subject.config, subject.machine.page_bytes
    parts = {
        f"fastpath.memory_mib = {config.fastpath.memory_mib}": config.fastpath.memory_mib * MIB,
        "the route segment of [table]": subject.segment_bytes(config),
        "the stats segment": STATS_BYTES,
    }
    return ", ".join(f"{-(-size // page)} for {name}" for name, size in parts.items())


def _mend(page_bytes: int, total: int) -> tuple[str, ...]:
    if page_bytes >= 1 << 30:
        return (f"default_hugepagesz=1G hugepagesz=1G hugepages={total}, on the kernel's command line",)
    return (
        f"sysctl -w vm.nr_hugepages={total}",
        f"echo vm.nr_hugepages={total} > /etc/sysctl.d/80-dpdkrouter.conf, to have them after a boot",
    )


def _hugetlbfs(subject: Subject) -> Finding:
    why = "the segments are files there; EAL and every reader map them"
    if subject.machine.hugetlbfs:
        return Finding("hugetlbfs", State.OK, f"mounted on {HUGEPAGES}", why)
    mend = (f"mkdir -p {HUGEPAGES} && mount -t hugetlbfs nodev {HUGEPAGES}",)
    return Finding("hugetlbfs", State.FAILED, f"nothing is mounted on {HUGEPAGES}", why, mend)
