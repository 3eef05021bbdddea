"""Second pass: each contradiction alone gives one problem, at the entry that can be mended."""

import time

import pytest

from dpdkrouter.config.load import parse
from dpdkrouter.config.rules import end_of_subnet
from dpdkrouter.errors import ConfigErrors

BASE = """\
[router]
id = "192.0.2.1"
asn = 65000
[[port]]
name = "a"
device = "net_tap0,iface=x"
addresses = ["192.0.2.1/24", "2001:db8:a::1/64"]
[[port]]
name = "b"
device = "0000:03:00.0"
addresses = ["198.51.100.1/24"]
[[route]]
prefix = "203.0.113.0/24"
via = ["198.51.100.9"]
[[neighbor]]
port = "b"
address = "198.51.100.9"
mac = "02:00:00:00:00:09"
[bgp]
announce = ["203.0.113.0/24"]
[[bgp.neighbor]]
address = "192.0.2.9"
asn = 65001
"""
COUNT = BASE.count("\n")


def found(text: str) -> list[tuple[int | None, str, str, str]]:
    """Line, key, found and allowed of every problem of a text."""
    try:
        parse(text, "f")
    except ConfigErrors as errors:
        return [(p.line, p.key, p.found, p.allowed) for p in errors.problems]
    return []


def added(text: str) -> tuple[int | None, str, str, str]:
    """The only problem of the base with a text after it; its line counts from the text's first."""
    ((line, key, value, allowed),) = found(BASE + text)
    assert line is not None
    return line - COUNT, key, value, allowed


def port(name: str, device: str, *addresses: str, mtu: int = 1500) -> str:
    listed = ", ".join(f'"{address}"' for address in addresses)
    return f'[[port]]\nname = "{name}"\ndevice = "{device}"\naddresses = [{listed}]\nmtu = {mtu}\n'


def route(prefix: str, *via: str) -> str:
    return f'[[route]]\nprefix = "{prefix}"\nvia = [{", ".join(repr(hop) for hop in via)}]\n'


def peer(address: str, *rows: str) -> str:
    return "\n".join(["[[bgp.neighbor]]", f'address = "{address}"', "asn = 65002", *rows, ""])


def neighbor(name: str, address: str) -> str:
    return f'[[neighbor]]\nport = "{name}"\naddress = "{address}"\nmac = "02:00:00:00:00:0a"\n'


def test_the_base_has_no_problem() -> None:
    assert found(BASE) == []


TWICE = "must be listed once, but is {} too"
OWN_A, OWN_B = ("must not be the router's own address, " + p for p in ("port[0].addresses[0]", "port[1].addresses[0]"))
NOWHERE = "must be within a port's prefix, or be reached through another static route"

CASES = {
    "port name twice": (port("a", "net_null0"), 2, "port[2].name", '"a"', TWICE.format("port[0].name")),
    "vdev twice": (
        port("c", "net_tap0,iface=y"),
        3,
        "port[2].device",
        '"net_tap0,iface=y"',
        TWICE.format("port[0].device"),
    ),
    "PCI twice": (port("c", "03:00.0"), 3, "port[2].device", '"03:00.0"', TWICE.format("port[1].device")),
    "interface twice": (
        port("c", "net_tap1,iface=x"),
        3,
        "port[2].device",
        '"net_tap1,iface=x"',
        "must not use interface x, which port[0] uses",
    ),
    "address twice": (
        port("c", "net_null0", "192.0.2.1/24"),
        4,
        "port[2].addresses[0]",
        '"192.0.2.1/24"',
        TWICE.format("port[0].addresses[0]"),
    ),
    "prefix twice": (
        port("c", "net_null0", "192.0.2.2/24"),
        4,
        "port[2].addresses[0]",
        '"192.0.2.2/24"',
        "must not overlap 192.0.2.0/24 of another port, port[0].addresses[0]",
    ),
    "prefix within": (
        port("c", "net_null0", "203.0.113.1/24", "192.0.2.130/25"),
        4,
        "port[2].addresses[1]",
        '"192.0.2.130/25"',
        "must not overlap 192.0.2.0/24 of another port, port[0].addresses[0]",
    ),
    "prefix around": (
        port("c", "net_null0", "2001:db8:a:1::1/48"),
        4,
        "port[2].addresses[0]",
        '"2001:db8:a:1::1/48"',
        "must not overlap 2001:db8:a::/64 of another port, port[0].addresses[1]",
    ),
    "small MTU with IPv6": (
        port("c", "net_null0", "2001:db8:c::1/64", mtu=1279),
        5,
        "port[2].mtu",
        "1279",
        "must be at least 1280 on a port with an IPv6 address",
    ),
    "route twice": (
        route("203.0.113.0/24", "192.0.2.7"),
        2,
        "route[1].prefix",
        '"203.0.113.0/24"',
        TWICE.format("route[0].prefix"),
    ),
    "next hop twice": (
        route("10.0.0.0/8", "192.0.2.7", "192.0.2.8", "192.0.2.7"),
        3,
        "route[1].via[2]",
        '"192.0.2.7"',
        TWICE.format("route[1].via[0]"),
    ),
    "no next hop": (
        '[[route]]\nprefix = "10.0.0.0/8"\n',
        1,
        "route[1].via",
        "nothing",
        'must have at least one next hop, or type must be "blackhole", "unreachable" or "prohibit"',
    ),
    "empty next hops": (
        route("10.0.0.0/8"),
        3,
        "route[1].via",
        "an array of 0",
        'must have at least one next hop, or type must be "blackhole", "unreachable" or "prohibit"',
    ),
    "next hop of a blackhole": (
        route("10.0.0.0/8", "192.0.2.7") + 'type = "blackhole"\n',
        3,
        "route[1].via",
        "an array of 1",
        'must be absent when type is "blackhole"',
    ),
    "next hop of another family": (
        route("10.0.0.0/8", "2001:db8:a::9"),
        3,
        "route[1].via[0]",
        '"2001:db8:a::9"',
        "must be of ipv4, as its prefix 10.0.0.0/8",
    ),
    "next hop is the router": (
        route("10.0.0.0/8", "198.51.100.1"),
        3,
        "route[1].via[0]",
        '"198.51.100.1"',
        OWN_B,
    ),
    "next hop is a broadcast address": (
        route("10.0.0.0/8", "192.0.2.255"),
        3,
        "route[1].via[0]",
        '"192.0.2.255"',
        "must not be the broadcast address of 192.0.2.0/24",
    ),
    "next hop nowhere": (
        route("10.0.0.0/8", "192.0.2.7", "172.16.0.1"),
        3,
        "route[1].via[1]",
        '"172.16.0.1"',
        NOWHERE,
    ),
    "next hop through itself": (route("10.0.0.0/8", "10.0.0.1"), 3, "route[1].via[0]", '"10.0.0.1"', NOWHERE),
    "next hop nowhere though a less specific route leads on": (
        route("0.0.0.0/0", "192.0.2.7") + route("10.0.0.0/8", "10.0.0.1"),
        6,
        "route[2].via[0]",
        '"10.0.0.1"',
        NOWHERE,
    ),
    "next hop through a blackhole": (
        '[[route]]\nprefix = "172.16.0.0/12"\ntype = "blackhole"\n' + route("10.0.0.0/8", "172.16.0.1"),
        6,
        "route[2].via[0]",
        '"172.16.0.1"',
        NOWHERE,
    ),
    "next hop in a table": (
        '[[route]]\nprefix = "10.0.0.0/8"\nvia = [\n"192.0.2.7",\n{ address = "172.16.0.1" },\n]\n',
        5,
        "route[1].via[1]",
        "a table",
        NOWHERE,
    ),
    "neighbour on no port": (
        neighbor("z", "192.0.2.9"),
        2,
        "neighbor[1].port",
        '"z"',
        "must be the name of a port: a, b",
    ),
    "neighbour elsewhere": (
        neighbor("a", "198.51.100.10"),
        3,
        "neighbor[1].address",
        '"198.51.100.10"',
        "must be within a prefix of port a: 192.0.2.0/24, 2001:db8:a::/64",
    ),
    "neighbour is the router": (neighbor("a", "192.0.2.1"), 3, "neighbor[1].address", '"192.0.2.1"', OWN_A),
    "neighbour is the network": (
        neighbor("a", "192.0.2.0"),
        3,
        "neighbor[1].address",
        '"192.0.2.0"',
        "must not be the network address of 192.0.2.0/24",
    ),
    "neighbour twice": (
        neighbor("b", "198.51.100.9"),
        3,
        "neighbor[1].address",
        '"198.51.100.9"',
        TWICE.format("neighbor[0].address"),
    ),
    "peer twice": (
        peer("192.0.2.9"),
        2,
        "bgp.neighbor[1].address",
        '"192.0.2.9"',
        TWICE.format("bgp.neighbor[0].address"),
    ),
    "peer is the router": (peer("192.0.2.1"), 2, "bgp.neighbor[1].address", '"192.0.2.1"', OWN_A),
    "peer is an anycast address": (
        peer("2001:db8:a::"),
        2,
        "bgp.neighbor[1].address",
        '"2001:db8:a::"',
        "must not be the subnet-router anycast address of 2001:db8:a::/64",
    ),
    "far peer without own address": (
        peer("172.16.0.1"),
        1,
        "bgp.neighbor[1].local_address",
        "nothing",
        "must be given: no port's prefix covers 172.16.0.1",
    ),
    "own address of no port": (
        peer("192.0.2.8", 'local_address = "192.0.2.7"'),
        4,
        "bgp.neighbor[1].local_address",
        '"192.0.2.7"',
        "must be an address of a port",
    ),
    "own address of another family": (
        peer("192.0.2.8", 'local_address = "2001:db8:a::1"'),
        4,
        "bgp.neighbor[1].local_address",
        '"2001:db8:a::1"',
        "must be of ipv4, as the neighbour's address",
    ),
    "family without address": (
        peer("198.51.100.8", 'families = ["ipv4", "ipv6"]'),
        4,
        "bgp.neighbor[1].families[1]",
        '"ipv6"',
        "must be a family that port b has an address of: ipv4",
    ),
    "family without address on a far session": (
        peer("172.16.0.1", 'local_address = "198.51.100.1"', 'families = ["ipv6"]'),
        5,
        "bgp.neighbor[1].families[0]",
        '"ipv6"',
        "must be a family that port b has an address of: ipv4",
    ),
    "family twice": (
        peer("192.0.2.8", 'families = ["ipv4", "ipv4"]'),
        4,
        "bgp.neighbor[1].families[1]",
        '"ipv4"',
        TWICE.format("bgp.neighbor[1].families[0]"),
    ),
    "more groups with members than groups": (
        "[table]\nmax_groups = 64\nmax_ecmp_groups = 65\n",
        3,
        "table.max_ecmp_groups",
        "65",
        "must be at most max_groups, 64",
    ),
    "fewer groups than the default with members": (
        "[table]\nmax_groups = 64\n",
        2,
        "table.max_groups",
        "64",
        "must be at least max_ecmp_groups, 1024 by default",
    ),
    "lcore twice": (
        "[fastpath]\nlcores = [\n1,\n0,\n1]\n",
        5,
        "fastpath.lcores[2]",
        "1",
        TWICE.format("fastpath.lcores[0]"),
    ),
    "port polled by an lcore that forwards nothing": (
        port("p2", "net_null2").rstrip() + "\nlcores = [1]\n",
        6,
        "port[2].lcores[0]",
        "1",
        "must be one of fastpath.lcores: 0",
    ),
    "port polled twice by an lcore": (
        port("p2", "net_null2").rstrip() + "\nlcores = [0, 0]\n",
        6,
        "port[2].lcores[1]",
        "0",
        TWICE.format("port[2].lcores[0]"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_contradiction_gives_one_problem(case: str) -> None:
    text, *expected = CASES[case]
    assert added(text) == tuple(expected)


def test_announcements_are_listed_once() -> None:
    text = BASE.replace('["203.0.113.0/24"]', '["203.0.113.0/24", "203.0.113.0/24"]')
    assert found(text) == [(20, "bgp.announce[1]", '"203.0.113.0/24"', TWICE.format("bgp.announce[0]"))]


def test_an_announcement_needs_a_peer_of_its_family() -> None:
    text = BASE.replace('["203.0.113.0/24"]', '["2001:db8:f::/48"]')
    problem = (
        20,
        "bgp.announce[0]",
        '"2001:db8:f::/48"',
        "must be of a family that a neighbour has; none has ipv6",
    )
    assert found(text) == [problem]
    assert found(text + 'families = ["ipv6", "ipv4"]\n') == []
    assert found(text.partition("[[bgp.neighbor]]")[0]) == []


@pytest.mark.parametrize("key", ["id", "asn"])
def test_bgp_needs_an_identity(key: str) -> None:
    rows = [row for i, row in enumerate(BASE.splitlines()) if i > 3 or not row.startswith(key)]
    assert found("\n".join(rows)) == [(1, f"router.{key}", "nothing", "must be given when [bgp] is used")]
    without = BASE.partition("[bgp]")[0].splitlines()
    assert found("\n".join(row for i, row in enumerate(without) if i > 3 or not row.startswith(key))) == []


def test_many_contradictions_are_reported_at_once() -> None:
    text = BASE + port("a", "net_tap0", "192.0.2.1/24") + route("10.0.0.0/8", "172.16.0.1") + peer("192.0.2.1")
    assert [key for _, key, *_ in found(text)] == [
        "port[2].name",
        "port[2].device",
        "port[2].addresses[0]",
        "route[1].via[0]",
        "bgp.neighbor[1].address",
    ]


@pytest.mark.parametrize(
    "text",
    [
        route("10.0.0.0/8", "203.0.113.9"),
        route("10.1.0.0/16", "10.2.0.1") + route("10.2.0.0/16", "10.3.0.1") + route("10.3.0.0/16", "192.0.2.7"),
        route("10.1.0.0/16", "10.2.0.1") + route("10.2.0.0/16", "10.1.0.1", "192.0.2.7"),
        route("2001:db8:f::/48", "2001:db8:a::9"),
        route("0.0.0.0/0", "192.0.2.7") + route("10.0.0.0/8", "172.16.0.1"),
        peer("172.16.0.1", 'local_address = "192.0.2.1"'),
        peer("192.0.2.8", 'local_address = "198.51.100.1"'),
        peer("192.0.2.8", 'families = ["ipv6"]'),
        port("c", "net_null0", "203.0.113.1/25", "203.0.113.2/25", "203.0.113.200/24"),
        port("c", "net_null0", "10.0.0.0/31", mtu=576) + route("172.16.0.0/12", "10.0.0.1"),
        port("c", "net_null0") + port("d", "net_null1"),
        port("c", "net_af_xdp0,iface=y") + port("d", "net_af_packet0,iface=z"),
    ],
)
def test_what_is_allowed(text: str) -> None:
    assert found(BASE + text) == []


def test_a_loop_of_routes_leads_nowhere() -> None:
    loop = route("10.1.0.0/16", "10.2.0.1") + route("10.2.0.0/16", "10.1.0.1")
    assert [key for _, key, *_ in found(BASE + loop)] == ["route[1].via[0]", "route[2].via[0]"]


def test_thousands_of_chained_routes_are_checked_in_time() -> None:
    chain = "".join(route(f"10.{i >> 8}.{i & 255}.0/24", f"10.{i + 1 >> 8}.{i + 1 & 255}.1") for i in range(5000))
    started = time.monotonic()
    assert len(found(BASE + chain)) == 5000
    assert found(BASE + chain + route("10.19.136.0/24", "192.0.2.7")) == []
    assert time.monotonic() - started < 60


def test_own_addresses_and_prefix_ends() -> None:
    config = parse(BASE, "f")
    v4, v6 = config.ports[0].addresses
    assert end_of_subnet(v4.network.broadcast_address, v4.network) == "broadcast"
    assert end_of_subnet(v6.network.broadcast_address, v6.network) is None


SUB = '[[port]]\nname = "a.5"\nparent = "a"\nvlan = 5\n'


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ('[[port]]\nname = "c"\n', 1, "port[2].device", "must be given, or else bond, or else parent"),
        (SUB + 'device = "net_null0"\n', 5, "port[2].device", "one of the three"),
        ('[[port]]\nname = "c"\ndevice = "net_null0"\nvlan = 5\n', 4, "port[2].vlan", "absent without parent"),
        (SUB.replace("vlan = 5\n", ""), 1, "port[2].vlan", "must be given for a port with a parent"),
        (SUB.replace('"a"', '"z"'), 3, "port[2].parent", "listed before: a, b"),
        (SUB + "mtu = 1501\n", 5, "port[2].mtu", "at most that of a, 1500"),
        (SUB + "lcores = [0]\n", 5, "port[2].lcores", "has its parent's"),
        (SUB + SUB.replace("a.5", "a.6"), 8, "port[3].vlan", "listed once, but is port[2].vlan too"),
    ],
)
def test_sub_interfaces(text: str, line: int, key: str, says: str) -> None:
    where = added(text)
    assert (where[0], where[1]) == (line, key)
    assert says in where[3]


def test_sub_interfaces_of_one_vlan_in_different_outer_ones() -> None:
    outer = SUB.replace("a.5", "a.9.5") + "outer_vlan = 9\n"
    assert found(BASE + SUB + outer) == []
