"""Bonds in the configuration: what they become, and each thing that is refused."""

from __future__ import annotations

from contextlib import closing

import pytest

from dpdkrouter.config.load import parse
from dpdkrouter.config.runtime import Machine, check_runtime
from dpdkrouter.dataplane.arguments import eal_arguments
from dpdkrouter.dataplane.links import KernelLinks
from dpdkrouter.errors import ConfigErrors

PLAIN = '[[port]]\nname = "a"\ndevice = "net_null0"\n'
TAPS = '"net_tap0,iface=x", "net_tap1,iface=y"'


def bond(*rows: str, members: str = TAPS, name: str = "lag0") -> str:
    return "\n".join([f'[[port]]\nname = "{name}"\nbond = [{members}]', *rows, ""])


def problems(text: str) -> list[tuple[int | None, str, str]]:
    """Line, key and what is allowed, of every problem."""
    try:
        parse(text, "f")
    except ConfigErrors as errors:
        return [(p.line, p.key, p.allowed) for p in errors.problems]
    return []


def test_a_bond_is_a_port_of_several_devices() -> None:
    config = parse(PLAIN + bond('bond_mode = "lacp"', 'bond_policy = "l23"', members='"03:00.0", "0000:03:00.1"'), "f")
    port = config.ports[1]
    assert [device.name for device in port.devices] == ["0000:03:00.0", "0000:03:00.1"]
    assert (port.device, port.bond_mode, port.bond_policy, port.bond_primary) == (None, "lacp", "l23", None)
    assert [path for path, _ in config.placed_devices] == [
        ("port", 0, "device"),
        ("port", 1, "bond", 0),
        ("port", 1, "bond", 1),
    ]
    words = eal_arguments(config, {0})
    assert [words[i + 1] for i, word in enumerate(words) if word == "-a"] == ["0000:03:00.0", "0000:03:00.1"]


def test_sub_interfaces_stand_on_a_bond() -> None:
    sub = '[[port]]\nname = "lag0.5"\nparent = "lag0"\nvlan = 5\n'
    config = parse(bond() + sub, "f")
    assert config.stands_on(config.ports[1]) == config.ports[0].bond


LACP, BALANCE = 'bond_mode = "lacp"', 'bond_mode = "balance"'
LAST = "port[1]"
REFUSED = {
    "device and bond": (
        PLAIN.replace('"a"', '"b"').replace("null0", "null1") + f"bond = [{TAPS}]\n",
        (3, f"{LAST}.device", "must be given, or else bond, or else parent and vlan: one of the three"),
    ),
    "bond and parent": (
        bond('parent = "a"', "vlan = 5"),
        (1, f"{LAST}.device", "must be given, or else bond, or else parent and vlan: one of the three"),
    ),
    "no member": (bond(members=""), (3, f"{LAST}.bond", "must have between 1 and 8 entries")),
    "nine members": (
        bond(members=", ".join(f'"net_tap{i}"' for i in range(9))),
        (3, f"{LAST}.bond", "must have between 1 and 8 entries"),
    ),
    "no device": (
        bond(members='"eth0"'),
        (3, f"{LAST}.bond[0]", 'must be a PCI address ("0000:03:00.0") or a DPDK vdev string ("net_tap0,iface=x")'),
    ),
    "member twice": (
        bond(members='"net_tap0", "net_tap0"'),
        (3, f"{LAST}.bond[1]", f"must be listed once, but is {LAST}.bond[0] too"),
    ),
    "another port's device": (
        bond(members='"net_tap0", "net_null0"'),
        (3, f"{LAST}.bond[1]", "must be listed once, but is port[0].device too"),
    ),
    "one interface for both": (
        bond(members='"net_tap0,iface=x", "net_tap1,iface=x"'),
        (3, f"{LAST}.bond[1]", "must not use interface x, which port[1] uses"),
    ),
    "mode": (
        bond('bond_mode = "lacpd"'),
        (4, f"{LAST}.bond_mode", 'must be one of "active-backup", "balance", "lacp"'),
    ),
    "policy": (
        bond(LACP, 'bond_policy = "l3"'),
        (5, f"{LAST}.bond_policy", 'must be one of "l2", "l23", "l34"'),
    ),
    "policy of active-backup": (
        bond('bond_policy = "l2"'),
        (4, f"{LAST}.bond_policy", "must be absent of an active-backup bond, which sends by one member"),
    ),
    "primary of another": (
        bond('bond_primary = "net_tap2"'),
        (4, f"{LAST}.bond_primary", "must be one of the bond's members: net_tap0, net_tap1"),
    ),
    "primary with LACP": (
        bond(LACP, 'bond_primary = "net_tap0"'),
        (5, f"{LAST}.bond_primary", "must be absent unless bond_mode is active-backup"),
    ),
    "mode without bond": (
        PLAIN.replace('"a"', '"b"').replace("null0", "null1") + LACP + "\n",
        (4, f"{LAST}.bond_mode", "must be absent without bond"),
    ),
    "policy without bond": (
        PLAIN.replace('"a"', '"b"').replace("null0", "null1") + 'bond_policy = "l2"\n',
        (4, f"{LAST}.bond_policy", "must be absent without bond"),
    ),
    "primary without bond": (
        PLAIN.replace('"a"', '"b"').replace("null0", "null1") + 'bond_primary = "net_null1"\n',
        (4, f"{LAST}.bond_primary", "must be absent without bond"),
    ),
    "a member that is always up": (
        bond(members='"net_tap0", "net_af_packet0,iface=v"'),
        (
            3,
            f"{LAST}.bond[1]",
            'must be a device that knows a lost link, which net_af_packet does not, or bond_mode must be "lacp"',
        ),
    ),
    "a member with a MAC of its own": (
        bond(BALANCE, members='"net_memif0"'),
        (
            3,
            f"{LAST}.bond[0]",
            'must be a device that takes the bond\'s MAC, which net_memif does not, or bond_mode must be "lacp"',
        ),
    ),
    "the MTU of a sub-interface": (
        bond("mtu = 1400") + '[[port]]\nname = "lag0.5"\nparent = "lag0"\nvlan = 5\n',
        (5, "port[2].mtu", "must be at most that of lag0, 1400"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    text, (line, key, allowed) = REFUSED[case]
    assert problems(PLAIN + text) == [(line + PLAIN.count("\n"), key, allowed)]


def test_lacp_takes_members_that_the_others_do_not() -> None:
    members = '"net_af_packet0,iface=v", "net_memif0", "net_pcap0,iface=w", "net_af_xdp0,iface=z"'
    assert problems(PLAIN + bond(LACP, members=members)) == []


def test_dpdk_has_room_for_so_many_devices() -> None:
    """Four bonds of seven members make 32; one device more does not fit, and is named."""
    text = "".join(bond(name=f"lag{n}", members=", ".join(f'"net_tap{n}{i}"' for i in range(7))) for n in range(4))
    assert problems(text) == []
    too_many = "must be within 32 devices in all, where a bond counts as one more"
    assert [(key, allowed) for _, key, allowed in problems(text + PLAIN)] == [("port[4].device", too_many)]
    more = bond(members='"net_tap9"', name="more")
    assert [key for _, key, _ in problems(text + more)] == ["port[4].bond"]
    assert [key for _, key, _ in problems(text + PLAIN + more)] == ["port[4].device"], "said once"


MACHINE = Machine(
    uid=0,
    lcores=frozenset({0}),
    hugetlbfs=True,
    page_bytes=2 << 20,
    free_pages=10000,
    available_bytes=64 << 30,
    pci=frozenset({"0000:03:00.0"}),
    interfaces=frozenset({"lo", "v"}),
    groups=frozenset({"root"}),
)


def test_each_member_must_be_there() -> None:
    text = '[metrics]\nlisten = ""\n' + bond(LACP, members='"03:00.0", "03:00.1", "net_af_packet0,iface=v9"')
    found = check_runtime(
        parse(text, "f"),
        machine=MACHINE,
        segment_bytes=lambda _: 1 << 20,
        pci_error=lambda address: "it is bound to ixgbe" if address.endswith("0.0") else None,
    )
    assert [(problem.line, problem.key, problem.allowed) for problem in found] == [
        (5, "port[0].bond[0]", "must be ready for DPDK: it is bound to ixgbe"),
        (5, "port[0].bond[1]", "must be a PCI device of this machine; lspci -D lists them"),
        (5, "port[0].bond[2]", "must name an interface that exists: lo, v"),
    ]


def test_a_bond_is_dead_when_no_interface_of_it_is_left() -> None:
    """`lo` always has its carrier; the others are not there."""

    def dead(*devices: str) -> bool:
        members = ", ".join(f'"net_af_packet{i},iface={name}"' for i, name in enumerate(devices))
        port = parse(bond(LACP, members=members), "f").ports[0]
        with closing(KernelLinks({0: port.devices})) as links:
            return links.dead() == frozenset({0})

    assert [dead("lo"), dead("lo", "gone0"), dead("gone0", "lo"), dead("gone0", "gone1")] == [False, False, False, True]


def test_a_lost_interface_of_a_bond_is_no_lost_port() -> None:
    """The control process repairs groups when a port's own interface is lost, not when a member's is."""
    members = '"net_af_packet0,iface=v", "net_af_packet1,iface=w"'
    config = parse(bond(LACP, members=members) + bond(LACP, members='"net_af_packet2,iface=z"', name="one"), "f")
    assert [config.interfaces(port) for port in config.ports] == [(), ("z",)]
