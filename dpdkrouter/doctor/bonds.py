"""Bonds: what the configuration allows and a lost member shows too late. Pure.

What DPDK's bonding driver makes of its members is in config/bonds.py and fastpath/bond.pyx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpdkrouter.config.bonds import ALWAYS_UP
from dpdkrouter.doctor.findings import Finding, State
from dpdkrouter.nic.drivers import driver_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpdkrouter.config.devices import Device
    from dpdkrouter.config.schema import Port
    from dpdkrouter.doctor.subject import Subject

WHY = "a bond goes on while one of its members does"


def examine(subject: Subject) -> Iterator[Finding]:
    """All findings of this file: of each bond what is wrong with it, or that it is well."""
    for port in subject.config.ports:
        if port.bond:
            wrong = [*_alone(port), *_mixed(subject, port), *_deaf(port)]
            found = f"port {port.name}: {port.bond_mode} bond of {' and '.join(d.name for d in port.bond)}"
            yield from wrong or [Finding("bonds", State.OK, found, WHY)]


def _alone(port: Port) -> Iterator[Finding]:
    """One member."""
    if len(port.bond) == 1:
        found = f"port {port.name}: a bond of {port.bond[0].name} alone"
        yield Finding("bonds", State.WARNING, found, WHY, ("a second device in port.bond, or port.device instead",))


def _mixed(subject: Subject, port: Port) -> Iterator[Finding]:
    """Members that differ."""
    drivers = {member.name: _driver(subject, member) for member in port.bond}
    if len({driver for driver in drivers.values() if driver}) > 1:
        found = ", ".join(f"{name} is {driver or 'of no driver'}" for name, driver in drivers.items())
        why = "a bond has only the queues and offloads that all its members have, and LACP takes members of one speed"
        mend = ("devices of one kind in port.bond",)
        yield Finding("bonds", State.WARNING, f"port {port.name}: {found}", why, mend)


def _deaf(port: Port) -> Iterator[Finding]:
    """Members whose loss LACP alone notices."""
    names = [member.name for member in port.bond if member.driver in ALWAYS_UP]
    if names:
        found = f"port {port.name}: {' and '.join(names)} never {'lose their' if len(names) > 1 else 'loses its'} link"
        why = (
            "a lost member without a lost link is found by LACP's silence, after 90 s; its packets are lost until then"
        )
        yield Finding("bonds", State.WARNING, found, why, ("NICs, net_tap or net_af_xdp in port.bond, outside labs",))


def _driver(subject: Subject, member: Device) -> str | None:
    """DPDK's for it; None: nobody knows."""
    if not member.is_pci:
        return member.driver
    device = subject.facts.devices.get(member.name)
    driver = None if device is None else driver_of(subject.dpdk.drivers, device)
    return None if driver is None else driver.name
