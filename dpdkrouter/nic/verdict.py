"""What `nic bind` and `nic restore` would do with a device and why, and what forbids it. Pure.

A group is the smallest set of devices that the IOMMU can tell apart; VFIO opens it only when no other device of it has a
kernel driver (Documentation/driver-api/vfio.rst), bridges aside. A bifurcated driver needs no binding at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from dpdkrouter.nic.devices import DEVICES, group_members
from dpdkrouter.nic.drivers import driver_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from dpdkrouter.nic.devices import PciDevice
    from dpdkrouter.nic.drivers import Driver
    from dpdkrouter.nic.kernel import Kernel
    from dpdkrouter.nic.memory import Former
    from dpdkrouter.nic.usage import Usage

VFIO = "vfio-pci"
USER_DRIVERS = (VFIO, "uio_pci_generic", "igb_uio")
PROBE = "/sys/bus/pci/drivers_probe"
NO_IOMMU_PARAMETER = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
HARMLESS = (None, VFIO, "pci-stub")  # drivers of a group's other devices that VFIO does not mind


class Action(StrEnum):
    """What would be done."""

    BIND = "bind"
    RESTORE = "restore"
    NOTHING = "nothing"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Vfio:
    """What this kernel offers: vfio-pci loaded, or there to be loaded; groups; the mode without an IOMMU."""

    release: str
    loaded: bool
    available: bool
    iommu: bool
    no_iommu_mode: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What is judged by: read once for all devices of a command."""

    devices: Mapping[str, PciDevice]
    drivers: Iterable[Driver]
    usage: Usage
    vfio: Vfio


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What forbids it and what to do about it; --force goes over those that only endanger who works there."""

    text: str
    forceable: bool = False

    def __str__(self) -> str:
        return f"{self.text}; --force takes it all the same" if self.forceable else self.text


@dataclass(frozen=True, slots=True)
class Step:
    """A command and why it is needed."""

    command: str
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` says why the action is what it is; `obstacles`: what forbids it, or was gone over by --force."""

    device: PciDevice
    driver: Driver | None
    action: Action
    reason: str
    obstacles: tuple[Obstacle, ...] = ()
    steps: tuple[Step, ...] = ()


def read_vfio(kernel: Kernel) -> Vfio:
    """What this kernel offers."""
    loaded = kernel.exists(f"/sys/bus/pci/drivers/{VFIO}")
    return Vfio(
        release=kernel.release,
        loaded=loaded,
        available=loaded or kernel.has_module(VFIO),
        iommu=bool(kernel.names("/sys/kernel/iommu_groups")),
        no_iommu_mode=kernel.read(NO_IOMMU_PARAMETER) in ("Y", "1"),
    )


def judge_bind(facts: Facts, device: PciDevice, together: Collection[str] = (), *, force: bool = False) -> Verdict:
    """Whether to bind a device; `together`: the addresses that one command binds."""
    driver = driver_of(facts.drivers, device)
    if driver is not None and driver.bifurcated:
        kept = (
            f"the kernel's driver {device.driver}" if device.driver else "its kernel driver, which is not loaded yet,"
        )
        reason = f"DPDK's {driver.name} works through {kept} and shares the device with it: nothing to bind"
        return Verdict(device, driver, Action.NOTHING, reason)
    held = _held(facts, device)
    if device.driver == VFIO and not held:
        return Verdict(device, driver, Action.NOTHING, _bound_reason(facts, device))
    obstacles = (
        *_unsuitable(device, driver),
        *_kernel_lacks(facts.vfio, device),
        *group_obstacles(facts, device, together),
        *held,
        *_carries(facts.usage, device),
        *_functions(device),
        *_hidden(device),
    )
    if any(not (force and obstacle.forceable) for obstacle in obstacles):
        return Verdict(device, driver, Action.REFUSE, "; ".join(map(str, obstacles)), obstacles)
    reason = f"DPDK's {driver.name if driver else '?'} supports {device.id_text} through {VFIO}"
    return Verdict(device, driver, Action.BIND, reason, obstacles, _bind_steps(facts, device))


def judge_restore(facts: Facts, device: PciDevice, former: Former | None) -> Verdict:
    """Whether to give a device back to the kernel; `former`: what had it before, where that is known."""
    if device.driver not in USER_DRIVERS and device.override not in USER_DRIVERS:
        owner = f"the kernel's driver {device.driver} has it" if device.driver else "no driver has it"
        return Verdict(device, None, Action.NOTHING, f"{owner}: nothing to restore")
    holders = facts.usage.of_device(device)
    if holders:
        obstacles = tuple(_in_use(node, holders[node]) for node in holders)
        return Verdict(device, None, Action.REFUSE, "; ".join(map(str, obstacles)), obstacles)
    if former is None:
        reason = "it was not bound by dpdkrouter: the kernel chooses the driver"
    else:
        reason = f"before, its driver was {former.driver or 'none'}"
    return Verdict(device, None, Action.RESTORE, reason)


def _bound_reason(facts: Facts, device: PciDevice) -> str:
    users = [str(process) for who in facts.usage.of_device(device).values() for process in who]
    return f"{VFIO} has it already" + (f", in use by a router's {' and '.join(users)}" if users else "")


def _held(facts: Facts, device: PciDevice) -> list[Obstacle]:
    """Processes that hold the device or its group; a router of ours that has what it was given is none."""
    holders = facts.usage.of_device(device)
    strangers = {node: tuple(p for p in who if p.pid not in facts.usage.routers) for node, who in holders.items()}
    return [_in_use(node, who) for node, who in strangers.items() if who]


def _in_use(node: str, who: Iterable[object]) -> Obstacle:
    return Obstacle(f"is in use: {node} is open in {' and '.join(map(str, who))}; end that first")


def _unsuitable(device: PciDevice, driver: Driver | None) -> list[Obstacle]:
    if not device.is_nic and (driver is None or device.is_bridge):
        return [Obstacle(f"is no NIC: its class is {device.pci_class:06x}, a NIC's begins with 02")]
    if driver is None:
        return [
            Obstacle(
                f"is not supported: none of the installed DPDK drivers takes {device.id_text}; "
                "`dpdkrouter nic drivers` lists what they take"
            )
        ]
    return []


def _kernel_lacks(vfio: Vfio, device: PciDevice) -> list[Obstacle]:
    found = []
    if not vfio.available:
        found.append(
            Obstacle(
                f"needs {VFIO}, which kernel {vfio.release} does not have: neither built in nor below "
                f"/lib/modules/{vfio.release}; install the distribution's full kernel image"
            )
        )
    if device.group is None and not vfio.no_iommu_mode:
        what = (
            "is in no IOMMU group, though others are" if vfio.iommu else "has no IOMMU: no device is in an IOMMU group"
        )
        found.append(
            Obstacle(
                f"{what}; turn VT-d or AMD-Vi on in the firmware and boot with intel_iommu=on iommu=pt "
                "(AMD: iommu=pt); in a VM the hypervisor must lend one"
            )
        )
    return found


def group_obstacles(facts: Facts, device: PciDevice, together: Collection[str]) -> list[Obstacle]:
    """What keeps VFIO from opening a device's group."""
    others = [
        other
        for other in group_members(facts.devices, device.group)
        if other.address != device.address
        and other.address not in together
        and not other.is_bridge
        and other.driver not in HARMLESS
    ]
    if not others:
        return []
    named = ", ".join(f"{other.address} ({other.id_text}, driver {other.driver})" for other in others)
    mend = "put the card into a slot with a group of its own"
    if all(other.is_nic for other in others):
        mend = f"bind them together, or {mend}"
    return [Obstacle(f"shares IOMMU group {device.group} with {named}: {mend}")]


def _carries(usage: Usage, device: PciDevice) -> list[Obstacle]:
    return [
        Obstacle(f"its interface {interface.name} {words}", forceable=True)
        for interface in device.interfaces
        for words in usage.of_interface(interface)
    ]


def _functions(device: PciDevice) -> list[Obstacle]:
    text = f"has {device.functions} virtual functions, which go with its kernel driver"
    return [Obstacle(text, forceable=True)] if device.functions else []


def _hidden(device: PciDevice) -> list[Obstacle]:
    text = "has an interface that is not seen here: it is in another network namespace"
    return [Obstacle(text, forceable=True)] if device.hidden else []


def _bind_steps(facts: Facts, device: PciDevice) -> tuple[Step, ...]:
    base = f"{DEVICES}/{device.address}"
    steps = []
    if not facts.vfio.loaded:
        steps.append(Step(f"modprobe {VFIO}", "the driver that hands a device to a process is not loaded"))
    steps.append(
        Step(f"echo {VFIO} > {base}/driver_override", f"{VFIO} shall take this device, and no other of its kind")
    )
    if device.driver is not None:
        gone = ", ".join(interface.name for interface in device.interfaces)
        why = f"{device.driver} lets go of it" + (f"; the interface {gone} disappears" if gone else "")
        steps.append(Step(f"echo {device.address} > {base}/driver/unbind", why))
    steps.append(Step(f"echo {device.address} > {PROBE}", f"the kernel looks for its driver anew and finds {VFIO}"))
    steps.append(Step(f"readlink {base}/driver", f"must name {VFIO}; if not, all is put back"))
    return tuple(steps)
