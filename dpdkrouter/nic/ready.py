"""Whether the fast path can take a PCI device as it is now, for `check --here`, `run` and `doctor`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpdkrouter.nic.verdict import USER_DRIVERS, VFIO, Action, group_obstacles, judge_bind

if TYPE_CHECKING:
    from collections.abc import Collection

    from dpdkrouter.nic.devices import PciDevice
    from dpdkrouter.nic.drivers import Driver
    from dpdkrouter.nic.verdict import Facts, Verdict


@dataclass(frozen=True, slots=True)
class NotReady:
    """What is wrong with a device, and what to do about it."""

    text: str
    mend: str

    def __str__(self) -> str:
        return f"{self.text}: {self.mend}"


def not_ready(facts: Facts, address: str, together: Collection[str]) -> NotReady | None:
    """Why DPDK can't take the device, or None; `together`: the devices that one router takes."""
    device = facts.devices.get(address)
    if device is None:
        return NotReady("is not a PCI device of this machine", "dpdkrouter nic list")
    verdict = judge_bind(facts, device, together, force=True)
    if verdict.driver is None:
        return NotReady(f"none of the installed DPDK drivers takes {device.id_text}", "dpdkrouter nic drivers")
    if verdict.driver.bifurcated:
        return _bifurcated(device, verdict.driver)
    if verdict.action is Action.REFUSE:
        return NotReady(verdict.reason, f"dpdkrouter nic explain {address}")
    if device.driver == VFIO:
        return _group(facts, verdict, together)
    if device.driver in USER_DRIVERS:
        return None
    has = f"the kernel's driver {device.driver} has it" if device.driver else "no driver has it"
    return NotReady(f"{has}, not {VFIO}", f"dpdkrouter nic bind {address}")


def _bifurcated(device: PciDevice, driver: Driver) -> NotReady | None:
    if device.driver is None:
        modules = " ".join(driver.modules.strip("* ").replace("&", " ").split())
        return NotReady("its kernel driver, through which DPDK works, does not have it", f"modprobe -a {modules}")
    if device.driver in USER_DRIVERS:
        return NotReady(
            f"{device.driver} has it, but DPDK's {driver.name} works through the kernel's driver",
            f"dpdkrouter nic restore {device.address}",
        )
    return None


def _group(facts: Facts, verdict: Verdict, together: Collection[str]) -> NotReady | None:
    """A bound device whose group VFIO will not open."""
    found = group_obstacles(facts, verdict.device, together)
    return NotReady(found[0].text, f"dpdkrouter nic explain {verdict.device.address}") if found else None
