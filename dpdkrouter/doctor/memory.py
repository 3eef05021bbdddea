"""Hugepages against what the configuration needs, in all and on NUMA nodes, and where they are mounted.

With its workers on one node, the fast path has EAL take all memory there if it can (dataplane/arguments.py); EAL takes
descriptors of a device's queues from the device's own node, and from no other (rte_eth_dma_zone_reserve).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpdkrouter.config.numa import free_pages_by_node, home, pool, workers_by_node
from dpdkrouter.config.paths import HUGEPAGES, InstancePaths, running_pid
from dpdkrouter.config.runtime import MIB, held_bytes, needed_pages
from dpdkrouter.config.size import stats_segment_bytes
from dpdkrouter.doctor.findings import Finding, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpdkrouter.doctor.subject import Subject

QUEUE_PAGES = 16  # for the descriptors of a few ports' queues
WHY = "mbufs and the route table lie in hugepages; with small ones every lookup would wait for the page tables"


def examine(subject: Subject) -> Iterator[Finding]:
    """All findings of this file."""
    if not subject.config.fastpath.hugepages:
        found = "fastpath.hugepages = false: none are needed"
        yield Finding("hugepages", State.WARNING, found, WHY, ("hugepages = true, in [fastpath], outside labs",))
        return
    yield _hugepages(subject)
    yield from _by_node(subject)
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
        "the stats segment": stats_segment_bytes(config),
    }
    return ", ".join(f"{-(-size // page)} for {name}" for name, size in parts.items())


def _by_node(subject: Subject) -> Iterator[Finding]:
    """What the nodes lack, on a machine with several; a running router has taken its pages."""
    page, config, root = subject.machine.page_bytes, subject.config, subject.kernel.root
    free = free_pages_by_node(page, root) if page else {}
    if len(free) < 2 or running_pid(InstancePaths.of(config, root=root).pid_file("fastpath")) is not None:
        return
    workers = workers_by_node(config.fastpath.lcores, root)
    node = home(workers, free)
    need = needed_pages(config, page, subject.segment_bytes) - held_bytes(InstancePaths.of(config, root=root)) // page
    if node is not None and free.get(node, 0) < need:
        has = free.get(node, 0)
        found = f"NUMA node {node}, where the workers are, has {has} free pages of the {need} needed"
        why = "what is missing there comes from another node, and each access to it crosses the link between them"
        yield Finding("hugepages", State.WARNING, found, why, (_on_node(subject, node, need - has),))
    for port, address in subject.pci_ports:
        device = subject.facts.devices.get(address)
        there = None if device is None else device.numa
        if there is not None and there not in workers and free.get(there, 0) == 0:
            found = f"port {port}, {address}, is on NUMA node {there}, which has no free page"
            why = "the descriptors of a device's queues lie on its own node, or the port does not open"
            yield Finding("hugepages", State.FAILED, found, why, (_on_node(subject, there, QUEUE_PAGES),))


def _on_node(subject: Subject, node: int, more: int) -> str:
    path = f"{pool(node, subject.machine.page_bytes)}/nr_hugepages"
    total = (subject.kernel.number(path, 10) or 0) + more
    return f"echo {total} > {path}, after each boot: vm.nr_hugepages deals pages out evenly"


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
