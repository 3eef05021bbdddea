"""PCI devices and their network interfaces, as sysfs shows them. Values, read in one go.

Interfaces in other network namespaces are not seen: sysfs shows those of the namespace it was mounted in. What is seen
of such a one is its device's `net` directory, which is there, and empty.
Kernel: Documentation/ABI/testing/sysfs-bus-pci, sysfs-class-net.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpdkrouter.config.devices import PCI

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dpdkrouter.nic.kernel import Kernel

DEVICES = "/sys/bus/pci/devices"
NETWORK_CLASS = 0x02
BRIDGE_CLASS = 0x06


@dataclass(frozen=True, slots=True)
class Interface:
    """A kernel network interface; `uppers` are the bonds, bridges and VLANs on it, and those on them."""

    name: str
    state: str
    speed_mbit: int | None
    mac: str
    uppers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PciDevice:
    """A PCI function. `ids`: vendor, device, subsystem vendor, subsystem device. `numa`: None when it has no node."""

    address: str
    ids: tuple[int, int, int, int]
    pci_class: int
    driver: str | None
    override: str | None
    numa: int | None
    group: str | None
    interfaces: tuple[Interface, ...]
    functions: int  # virtual functions that it has made (SR-IOV)
    hidden: bool  # it has an interface, in another network namespace
    nodes: tuple[str, ...]  # device files of user-space drivers: /dev/vfio/GROUP, /dev/uioN

    @property
    def is_nic(self) -> bool:
        """Whether it calls itself a network controller."""
        return self.pci_class >> 16 == NETWORK_CLASS

    @property
    def is_bridge(self) -> bool:
        """Whether it is a PCI bridge, which stays with the kernel in any group."""
        return self.pci_class >> 16 == BRIDGE_CLASS

    @property
    def id_text(self) -> str:
        """Vendor and device as lspci -n writes them."""
        return f"{self.ids[0]:04x}:{self.ids[1]:04x}"


def parse_address(text: str) -> str | None:
    """A PCI address in sysfs's form; the domain may be left out. None when it is malformed."""
    match = PCI.fullmatch(text)
    return f"{match[1] or '0000'}:{match[2]}:{match[3]}.{match[4]}".lower() if match else None


def read_devices(kernel: Kernel) -> dict[str, PciDevice]:
    """All PCI devices by address, sorted."""
    return {address: _device(kernel, address) for address in kernel.names(DEVICES)}


def group_members(devices: Mapping[str, PciDevice], group: str | None) -> list[PciDevice]:
    """The devices of an IOMMU group."""
    return [] if group is None else [device for device in devices.values() if device.group == group]


def _device(kernel: Kernel, address: str) -> PciDevice:
    base = f"{DEVICES}/{address}"

    def number(name: str) -> int:
        return kernel.number(f"{base}/{name}", 16) or 0

    numa = kernel.number(f"{base}/numa_node", 10)
    override = kernel.read(f"{base}/driver_override")
    group = kernel.target_name(f"{base}/iommu_group")
    places = _interface_places(kernel, base)
    return PciDevice(
        address=address,
        ids=(number("vendor"), number("device"), number("subsystem_vendor"), number("subsystem_device")),
        pci_class=number("class"),
        driver=kernel.target_name(f"{base}/driver"),
        override=None if override in (None, "", "(null)") else override,
        numa=None if numa is None or numa < 0 else numa,
        group=group,
        interfaces=tuple(_interface(kernel, name) for place in places for name in kernel.names(place)),
        functions=kernel.number(f"{base}/sriov_numvfs", 10) or 0,
        hidden=any(kernel.exists(place) and not kernel.names(place) for place in places),
        nodes=_nodes(kernel, base, group),
    )


def _interface_places(kernel: Kernel, base: str) -> list[str]:
    """Where a device's interfaces are; a virtio NIC's hang on the virtio device below it."""
    below = [name for name in kernel.names(base) if re.fullmatch(r"virtio[0-9]+", name)]
    return [f"{place}/net" for place in (base, *(f"{base}/{name}" for name in below))]


def _interface(kernel: Kernel, name: str) -> Interface:
    base = f"/sys/class/net/{name}"
    speed = kernel.number(f"{base}/speed", 10)
    return Interface(
        name=name,
        state=kernel.read(f"{base}/operstate") or "unknown",
        speed_mbit=speed if speed is not None and 0 < speed < 0xFFFFFFFF else None,
        mac=kernel.read(f"{base}/address") or "",
        uppers=tuple(_uppers(kernel, name)),
    )


def _uppers(kernel: Kernel, name: str) -> list[str]:
    """Interfaces on top of one, at any height, nearest first."""
    found: list[str] = []
    fresh = [name]
    while fresh:
        links = kernel.names(f"/sys/class/net/{fresh.pop(0)}")
        new = [link.removeprefix("upper_") for link in links if link.startswith("upper_")]
        new = [upper for upper in new if upper not in found]
        found += new
        fresh += new
    return found


def _nodes(kernel: Kernel, base: str, group: str | None) -> tuple[str, ...]:
    """The device files through which a process would hold the device."""
    nodes = [] if group is None else [f"/dev/vfio/{group}", f"/dev/vfio/noiommu-{group}"]
    nodes += [f"/dev/vfio/devices/{name}" for name in kernel.names(f"{base}/vfio-dev")]
    nodes += [f"/dev/{name}" for name in kernel.names(f"{base}/uio")]
    return tuple(nodes)
