"""IOMMU, vfio, NICs and lcores. Pure but for files of `kernel`.

What only NICs need is a failure when the configuration has a port that is to be bound, a warning when the machine has a NIC
that could be, and well otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpdkrouter.config.numa import workers_by_node
from dpdkrouter.doctor.findings import Finding, State
from dpdkrouter.nic.drivers import driver_of
from dpdkrouter.nic.ready import not_ready
from dpdkrouter.nic.verdict import VFIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpdkrouter.doctor.subject import Subject
    from dpdkrouter.nic.devices import PciDevice


def examine(subject: Subject) -> Iterator[Finding]:
    """All findings of this file."""
    yield _iommu(subject)
    yield _vfio(subject)
    yield from _nics(subject)
    yield from _lcores(subject)


def _to_bind(subject: Subject) -> State:
    """How bad it is when nothing can be bound."""
    devices, drivers = subject.facts.devices, subject.dpdk.drivers

    def bindable(device: PciDevice) -> bool:
        driver = driver_of(drivers, device) if device.is_nic else None
        return driver is not None and not driver.bifurcated

    if any(address not in devices or bindable(devices[address]) for _, address in subject.pci_ports):
        return State.FAILED
    return State.WARNING if not subject.configured and any(map(bindable, devices.values())) else State.OK


def _iommu(subject: Subject) -> Finding:
    why = "vfio-pci hands a device to a process only when an IOMMU keeps the device to that process's memory"
    groups = subject.kernel.names("/sys/kernel/iommu_groups")
    if groups:
        return Finding("iommu", State.OK, f"on, {len(groups)} groups", why)
    if subject.facts.vfio.no_iommu_mode:
        found = "none, and vfio's mode without one is on"
        why += "; so a bound device may write anywhere"
        return Finding(
            "iommu", State.WARNING, found, why, ("echo N > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode",)
        )
    state = _to_bind(subject)
    if state is State.OK:
        return Finding("iommu", state, "none, and no port needs one", why)
    return Finding("iommu", state, "none: no device is in an IOMMU group", why, iommu_mend(subject))


def iommu_mend(subject: Subject) -> tuple[str, ...]:
    """What turns the IOMMU on, by the CPU's vendor and what the kernel was told already."""
    words = (subject.kernel.read("/proc/cmdline") or "").split()
    amd = "AuthenticAMD" in (subject.kernel.read("/proc/cpuinfo") or "")
    want = ["iommu=pt"] if amd else ["intel_iommu=on", "iommu=pt"]
    missing = [word for word in want if word not in words]
    firmware = f"{'AMD-Vi (IOMMU)' if amd else 'VT-d'}, to be turned on in the firmware; in a VM, by the hypervisor"
    return (*([f"{' '.join(missing)}, on the kernel's command line"] if missing else []), firmware)


def _vfio(subject: Subject) -> Finding:
    vfio = subject.facts.vfio
    why = f"{VFIO} is the kernel driver that hands a NIC to the fast path; drivers like mlx5's do without"
    if vfio.loaded:
        return Finding("vfio", State.OK, f"{VFIO} is loaded", why)
    if vfio.available:
        return Finding("vfio", State.OK, f"{VFIO} is there for kernel {vfio.release}; `nic bind` loads it", why)
    state = _to_bind(subject)
    found = f"kernel {vfio.release} has no {VFIO}"
    if state is State.OK:
        return Finding("vfio", state, f"{found}, and no port needs it", why)
    return Finding(
        "vfio", state, found, why, ("a kernel image with CONFIG_VFIO_PCI, such as Debian's linux-image-amd64",)
    )


def _nics(subject: Subject) -> Iterator[Finding]:
    why = "a port whose device DPDK can't take keeps the fast path from starting"
    addresses = [address for _, address in subject.pci_ports]
    for name, address in subject.pci_ports:
        found = not_ready(subject.facts, address, tuple(addresses))
        if found is not None:
            yield Finding("nics", State.FAILED, f"port {name}, {address}: {found.text}", why, (found.mend,))
            continue
        device = subject.facts.devices[address]
        driver = driver_of(subject.dpdk.drivers, device)
        yield Finding(
            "nics", State.OK, f"port {name}, {address}: {driver.name if driver else '?'} by {device.driver}", why
        )
    if not addresses:
        nics = [device for device in subject.facts.devices.values() if device.is_nic]
        shown = ", ".join(f"{device.address} ({device.driver or 'no driver'})" for device in nics)
        yield Finding("nics", State.OK, f"no port is a NIC; this machine has {shown or 'none'}", why)


def _lcores(subject: Subject) -> Iterator[Finding]:
    usable, lcores = subject.machine.lcores, subject.config.fastpath.lcores
    cpus = ", ".join(map(str, sorted(usable)))
    why = "each worker polls on a CPU of its own; the host thread, control and ExaBGP need another"
    absent = [lcore for lcore in lcores if lcore not in usable]
    found = f"fastpath.lcores = {list(lcores)}; CPUs this process may use: {cpus}"
    if absent:
        spare = sorted(usable)[1:] or sorted(usable)  # the first CPU is the rest's
        mend = (f"lcores = {spare[-len(lcores) :]}, in [fastpath]",)
        yield Finding("lcores", State.FAILED, f"{found}: no {', '.join(map(str, absent))}", why, mend)
    elif usable <= set(lcores):
        mend = (f"lcores = {sorted(usable)[1:]}, in [fastpath]",) if len(usable) > 1 else ("another CPU",)
        yield Finding("lcores", State.WARNING, f"{found}: none is left for the rest", why, mend)
    else:
        yield Finding("lcores", State.OK, found, why)
    yield from _siblings(subject)
    yield from _nodes(subject)


def _siblings(subject: Subject) -> Iterator[Finding]:
    """Workers on two threads of one core."""
    cores: dict[str, list[int]] = {}
    for lcore in subject.config.fastpath.lcores:
        path = f"/sys/devices/system/cpu/cpu{lcore}/topology/thread_siblings_list"
        cores.setdefault(subject.kernel.read(path) or str(lcore), []).append(lcore)
    for shared in (workers for workers in cores.values() if len(workers) > 1):
        found = f"lcores {' and '.join(map(str, shared))} are threads of one core"
        why = "workers on one core's threads share its caches and units, each getting little more than half"
        yield Finding("lcores", State.WARNING, found, why, ("lscpu -e, for lcores of different cores",))


def _nodes(subject: Subject) -> Iterator[Finding]:
    """Ports on a NUMA node without a worker."""
    nodes = workers_by_node(subject.config.fastpath.lcores, subject.kernel.root)
    for port, address in subject.pci_ports:
        device = subject.facts.devices.get(address)
        if device is not None and device.numa is not None and nodes and device.numa not in nodes:
            others = ", ".join(map(str, sorted(nodes)))
            found = f"port {port}, {address}, is on NUMA node {device.numa}, the workers on {others}"
            why = "every packet of it crosses the link between the nodes"
            mend = (f"cat /sys/devices/system/node/node{device.numa}/cpulist, for lcores of its node",)
            yield Finding("lcores", State.WARNING, found, why, mend)
