"""What contradicts in a bond: a part of the second pass (semantics.py). Pure.

What a member must be able to do follows from DPDK's bonding driver (drivers/net/bonding, rte_eth_bond_pmd.c): all
modes but LACP's give members the bond's MAC and do not start when one refuses it, and know a lost member by its link
alone. LACP notices a lost member by its silence too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpdkrouter.config.devices import Device
    from dpdkrouter.config.locate import KeyPath
    from dpdkrouter.config.schema import Config, Port

    Found = Iterator[tuple[KeyPath, str]]

MAX_DEVICES = 32  # RTE_MAX_ETHPORTS, as distributions build DPDK
ALWAYS_UP = ("net_af_packet", "eth_af_packet", "net_pcap", "eth_pcap")
FIXED_MAC = ("net_memif", "net_af_xdp", "net_ring", "eth_ring")
ONLY_BOND = ("bond_mode", "bond_policy", "bond_primary")


def check_bonds(config: Config) -> Found:
    """A bond's keys fit its mode, its members can do what the mode needs, and DPDK has room for all devices."""
    devices = 0
    for i, port in enumerate(config.ports):
        for key, allowed in _of_port(port):
            yield ("port", i, *key), allowed
        devices += len(port.devices) + bool(port.bond)
        if port.devices and devices > MAX_DEVICES >= devices - len(port.devices) - bool(port.bond):
            key = ("device",) if port.device else ("bond",)
            yield ("port", i, *key), f"must be within {MAX_DEVICES} devices in all, where a bond counts as one more"


def _of_port(port: Port) -> Found:
    if not port.bond:
        for key in ONLY_BOND:
            if key in port.model_fields_set:
                yield (key,), "must be absent without bond"
        return
    if port.bond_mode == "active-backup":
        if "bond_policy" in port.model_fields_set:
            yield ("bond_policy",), "must be absent of an active-backup bond, which sends by one member"
        names = [member.name for member in port.bond]
        if port.bond_primary is not None and port.bond_primary.name not in names:
            yield ("bond_primary",), f"must be one of the bond's members: {', '.join(names)}"
    elif port.bond_primary is not None:
        yield ("bond_primary",), "must be absent unless bond_mode is active-backup"
    for j, member in enumerate(port.bond):
        lacks = None if port.bond_mode == "lacp" else _lacks(member)
        if lacks is not None:
            yield ("bond", j), f'must be a device that {lacks}, or bond_mode must be "lacp"'


def _lacks(member: Device) -> str | None:
    """What a member without LACP must be able to do, and cannot."""
    if member.driver in ALWAYS_UP:
        return f"knows a lost link, which {member.driver} does not"
    if member.driver in FIXED_MAC:
        return f"takes the bond's MAC, which {member.driver} does not"
    return None
