"""First pass: each wrong value alone gives one problem: line, key, the value found, what is allowed."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from pydantic import ValidationError

from dpdkrouter.config.load import parse
from dpdkrouter.config.rules import Listen
from dpdkrouter.errors import ConfigErrors, Problem

BASE = """\
[router]
name = "pop1"
id = "192.0.2.1"
asn = 65000
namespace = "ns"
[fastpath]
lcores = [0, 1]
memory_mib = 512
hugepages = true
simd = "auto"
idle = "auto"
eal_args = ["-v"]
[[port]]
name = "wan0"
device = "net_null0"
addresses = ["192.0.2.1/24", "2001:db8::1/64"]
mtu = 1500
description = "transit"
[[route]]
prefix = "198.51.100.0/24"
via = ["192.0.2.9", { address = "192.0.2.10", weight = 2 }]
type = "unicast"
[[neighbor]]
port = "wan0"
address = "192.0.2.9"
mac = "02:00:00:00:00:09"
[bgp]
announce = ["203.0.113.0/24"]
restart_time = 120
[[bgp.neighbor]]
address = "2001:db8::9"
asn = 65001
local_address = "2001:db8::1"
families = ["ipv4", "ipv6"]
passive = false
hold_time = 90
description = "peer"
[table]
max_ipv4_routes = 1500000
max_ipv6_routes = 400000
max_groups = 32767
max_adjacencies = 16384
max_ecmp_groups = 1024
max_ipv4_extended = 4096
ipv6_trie_mib = 16
[metrics]
listen = "127.0.0.1:9436"
[api]
group = "root"
"""
ROWS = BASE.splitlines()


def problems(text: str) -> list[Problem]:
    """What the loader says about a text; it must refuse it."""
    with pytest.raises(ConfigErrors) as caught:
        parse(text, "router.toml")
    return list(caught.value.problems)


def change(line: int, row: str) -> str:
    """The base with one line (from 1) replaced."""
    return "\n".join([*ROWS[: line - 1], row, *ROWS[line:]]) + "\n"


def one(text: str) -> tuple[int | None, str, str, str]:
    """The only problem of a text."""
    (problem,) = problems(text)
    assert problem.file == "router.toml"
    return problem.line, problem.key, problem.found, problem.allowed


INTEGERS = [  # line, key, lowest, highest
    (4, "router.asn", 1, 4294967294),
    (8, "fastpath.memory_mib", 64, 1048576),
    (17, "port[0].mtu", 576, 9216),
    (29, "bgp.restart_time", 0, 4095),
    (32, "bgp.neighbor[0].asn", 1, 4294967294),
    (39, "table.max_ipv4_routes", 1, 1 << 24),
    (40, "table.max_ipv6_routes", 1, 1 << 23),
    (41, "table.max_groups", 64, 32767),
    (42, "table.max_adjacencies", 64, 65535),
    (43, "table.max_ecmp_groups", 1, 32767),
    (44, "table.max_ipv4_extended", 1, 32768),
    (45, "table.ipv6_trie_mib", 1, 4096),
]


@pytest.mark.parametrize(("line", "key", "low", "high"), INTEGERS, ids=[key for _, key, *_ in INTEGERS])
def test_integers_have_bounds_and_are_not_coerced(line: int, key: str, low: int, high: int) -> None:
    name = key.rpartition(".")[2]
    assert ROWS[line - 1].startswith(f"{name} = ")
    bounds = f"between {low} and {high}"
    for value in (low - 1, high + 1):
        found = one(change(line, f"{name} = {value}"))
        assert found[:3] == (line, key, str(value))
        assert found[3].startswith(f"must be {bounds}")
    for written, shown in (
        ("true", "true"),
        ("100.0", "100.0"),
        ('"100"', '"100"'),
        ("[1]", "an array of 1"),
    ):
        found = one(change(line, f"{name} = {written}"))
        assert found[:3] == (line, key, shown)
        assert found[3].startswith(f"must be a whole number {bounds}")
    for value in (low, high):
        text = change(line, f"{name} = {value}")
        if name == "mtu":
            text = text.replace('"192.0.2.1/24", "2001:db8::1/64"', '"192.0.2.1/24"').partition("[bgp]")[0]
        elif name == "max_groups":
            text = text.replace("max_ecmp_groups = 1024", "max_ecmp_groups = 1")
        parse(text, "router.toml")


WRONG = [
    (2, 'name = ""', "router.name", '""', "must be a string of 1 to 15 of a-z 0-9 -"),
    (2, 'name = "Pop"', "router.name", '"Pop"', "must be a string of 1 to 15 of a-z 0-9 -"),
    (2, 'name = "pop1\\n"', "router.name", '"pop1\\n"', "must be a string of 1 to 15 of a-z 0-9 -"),
    (2, 'name = "-x"', "router.name", '"-x"', 'not beginning with "-"'),
    (2, 'name = "a234567890123456"', "router.name", '"a234567890123456"', "1 to 15"),
    (2, "name = 1", "router.name", "1", "must be a string"),
    (3, 'id = "0.0.0.0"', "router.id", '"0.0.0.0"', "not 0.0.0.0"),
    (3, 'id = "2001:db8::1"', "router.id", '"2001:db8::1"', "must be an IPv4 address"),
    (3, "id = 3221225985", "router.id", "3221225985", "must be an IPv4 address"),
    (4, "asn = 23456", "router.asn", "23456", "not 23456 or 65535"),
    (4, "asn = 65535", "router.asn", "65535", "not 23456 or 65535"),
    (4, 'asn = "65000"', "router.asn", '"65000"', "must be a whole number between 1 and 4294967294"),
    (5, 'namespace = "a/b"', "router.namespace", '"a/b"', "must be a string of 1 to 64"),
    (5, 'namespace = ".."', "router.namespace", '".."', "must be a string of 1 to 64"),
    (5, 'namespace = ""', "router.namespace", '""', "must be a string of 1 to 64"),
    (7, "lcores = []", "fastpath.lcores", "an array of 0", "must have between 1 and 32 entries"),
    (7, "lcores = 0", "fastpath.lcores", "0", "must be an array of whole numbers between 0 and 1023"),
    (7, "lcores = [0, 1024]", "fastpath.lcores[1]", "1024", "must be between 0 and 1023"),
    (7, "lcores = [-1]", "fastpath.lcores[0]", "-1", "must be between 0 and 1023"),
    (7, "lcores = [0, true]", "fastpath.lcores[1]", "true", "must be a whole number between 0 and 1023"),
    (7, "lcores = [0.0]", "fastpath.lcores[0]", "0.0", "must be a whole number between 0 and 1023"),
    (9, "hugepages = 1", "fastpath.hugepages", "1", "must be true or false"),
    (9, 'hugepages = "true"', "fastpath.hugepages", '"true"', "must be true or false"),
    (
        10,
        'simd = "avx2"',
        "fastpath.simd",
        '"avx2"',
        'must be one of "auto", "x86-64-v2", "x86-64-v3", "x86-64-v4", ',
    ),
    (11, 'idle = "Auto"', "fastpath.idle", '"Auto"', 'must be one of "auto", "poll", "sleep", "interrupt"'),
    (12, 'eal_args = "-v"', "fastpath.eal_args", '"-v"', "must be an array of strings"),
    (12, 'eal_args = ["-v", ""]', "fastpath.eal_args[1]", '""', "must be a string of printable characters"),
    (
        12,
        'eal_args = ["a\\u0000"]',
        "fastpath.eal_args[0]",
        '"a\\U00000000"',
        "must be a string of printable",
    ),
    (12, "eal_args = [3]", "fastpath.eal_args[0]", "3", "must be a string of printable characters"),
    (14, 'name = "a b"', "port[0].name", '"a b"', "must be a string of 1 to 15"),
    (14, 'name = "lo"', "port[0].name", '"lo"', "none of lo, host0, all, default"),
    (14, 'name = "host0"', "port[0].name", '"host0"', "none of lo, host0, all, default"),
    (14, 'name = "a234567890123456"', "port[0].name", '"a234567890123456"', "must be a string of 1 to 15"),
    (15, 'device = "eth0"', "port[0].device", '"eth0"', "must be a PCI address"),
    (15, 'device = "3:0.0"', "port[0].device", '"3:0.0"', "must be a PCI address"),
    (15, 'device = "0000:03:20.0"', "port[0].device", '"0000:03:20.0"', "must be a PCI address"),
    (15, 'device = "0000:03:00.8"', "port[0].device", '"0000:03:00.8"', "must be a PCI address"),
    (15, "device = 3", "port[0].device", "3", "must be a PCI address"),
    (
        15,
        'device = "net_tap0, iface=x"',
        "port[0].device",
        '"net_tap0, iface=x"',
        "must be a device string without spaces",
    ),
    (15, 'device = "net_tap0,,a=b"', "port[0].device", '"net_tap0,,a=b"', "must have arguments KEY=VALUE"),
    (15, 'device = "net_tap0,=b"', "port[0].device", '"net_tap0,=b"', "must have arguments KEY=VALUE"),
    (
        15,
        'device = "net_x0,a=(b"',
        "port[0].device",
        '"net_x0,a=(b"',
        "must have as many closing as opening brackets",
    ),
    (
        15,
        'device = "net_af_packet0"',
        "port[0].device",
        '"net_af_packet0"',
        'must name its interface: "net_af_packet0,iface=',
    ),
    (
        15,
        'device = "net_tap0,iface=a234567890123456"',
        "port[0].device",
        '"net_tap0,iface=a234567890123456"',
        "1 to 15",
    ),
    (15, f'device = "net_{"a" * 60}"', "port[0].device", f'"net_{"a" * 52}...', "at most 63 characters"),
    (
        16,
        'addresses = "192.0.2.1/24"',
        "port[0].addresses",
        '"192.0.2.1/24"',
        "must be an array of addresses with prefix length",
    ),
    (
        16,
        'addresses = ["192.0.2.1"]',
        "port[0].addresses[0]",
        '"192.0.2.1"',
        "must be an address with prefix length",
    ),
    (
        16,
        'addresses = ["192.0.2.1/33"]',
        "port[0].addresses[0]",
        '"192.0.2.1/33"',
        "must be an address with prefix length",
    ),
    (
        16,
        'addresses = ["192.0.2.1/255.255.255.0"]',
        "port[0].addresses[0]",
        '"192.0.2.1/255.255.255.0"',
        "must be an address with",
    ),
    (
        16,
        'addresses = ["192.0.2.1/024"]',
        "port[0].addresses[0]",
        '"192.0.2.1/024"',
        "must be an address with",
    ),
    (
        16,
        'addresses = ["192.0.2.300/24"]',
        "port[0].addresses[0]",
        '"192.0.2.300/24"',
        "must be an address with",
    ),
    (16, "addresses = [1]", "port[0].addresses[0]", "1", "must be an address with prefix length"),
    (
        16,
        'addresses = ["192.0.2.1/0"]',
        "port[0].addresses[0]",
        '"192.0.2.1/0"',
        "prefix length of at least 1",
    ),
    (
        16,
        'addresses = ["192.0.2.0/24"]',
        "port[0].addresses[0]",
        '"192.0.2.0/24"',
        "not the network address of 192.0.2.0/24",
    ),
    (
        16,
        'addresses = ["192.0.2.255/24"]',
        "port[0].addresses[0]",
        '"192.0.2.255/24"',
        "not the broadcast address of 192.0.2.0/24",
    ),
    (
        16,
        'addresses = ["2001:db8::/64"]',
        "port[0].addresses[0]",
        '"2001:db8::/64"',
        "not the subnet-router anycast address",
    ),
    (16, 'addresses = ["127.0.0.1/8"]', "port[0].addresses[0]", '"127.0.0.1/8"', "not a loopback one"),
    (16, 'addresses = ["224.0.0.5/24"]', "port[0].addresses[0]", '"224.0.0.5/24"', "not a multicast one"),
    (16, 'addresses = ["fe80::1/64"]', "port[0].addresses[0]", '"fe80::1/64"', "not an IPv6 link-local one"),
    (
        16,
        'addresses = ["::ffff:192.0.2.1/120"]',
        "port[0].addresses[0]",
        '"::ffff:192.0.2.1/120"',
        "not an IPv4-mapped one",
    ),
    (16, 'addresses = ["0.0.0.0/24"]', "port[0].addresses[0]", '"0.0.0.0/24"', "not an unspecified one"),
    (17, "mtu = 70", "port[0].mtu", "70", "must be between 576 and 9216"),
    (
        18,
        'description = "a\\nb"',
        "port[0].description",
        '"a\\nb"',
        "must be a string of at most 128 printable characters",
    ),
    (18, f'description = "{"x" * 129}"', "port[0].description", f'"{"x" * 56}...', "at most 128"),
    (
        20,
        'prefix = "198.51.100.1/24"',
        "route[0].prefix",
        '"198.51.100.1/24"',
        "(did you mean 198.51.100.0/24?)",
    ),
    (20, 'prefix = "198.51.100.0"', "route[0].prefix", '"198.51.100.0"', "must be a prefix such as"),
    (20, 'prefix = "224.0.0.0/8"', "route[0].prefix", '"224.0.0.0/8"', "not one of 224.0.0.0/4"),
    (20, 'prefix = "127.0.0.0/16"', "route[0].prefix", '"127.0.0.0/16"', "not one of 127.0.0.0/8"),
    (20, 'prefix = "fe80::/64"', "route[0].prefix", '"fe80::/64"', "not one of fe80::/10"),
    (21, 'via = "192.0.2.9"', "route[0].via", '"192.0.2.9"', "must be an array of next hops"),
    (21, 'via = ["192.0.2.9/24"]', "route[0].via[0]", '"192.0.2.9/24"', "must be a unicast address"),
    (
        21,
        'via = ["2001:db8::9%eth0"]',
        "route[0].via[0]",
        '"2001:db8::9%eth0"',
        "must be a unicast address such as",
    ),
    (21, 'via = ["fe80::1"]', "route[0].via[0]", '"fe80::1"', "not an IPv6 link-local one"),
    (21, 'via = ["255.255.255.255"]', "route[0].via[0]", '"255.255.255.255"', "not a broadcast one"),
    (21, "via = [9]", "route[0].via[0]", "9", "must be an address, or a table"),
    (21, "via = [{ weight = 2 }]", "route[0].via[0].address", "nothing", "must be given"),
    (
        21,
        'via = [{ address = "192.0.2.9", weight = 0 }]',
        "route[0].via[0].weight",
        "0",
        "must be between 1 and 255",
    ),
    (
        21,
        'via = [{ address = "192.0.2.9", weight = true }]',
        "route[0].via[0].weight",
        "true",
        "must be a whole number",
    ),
    (
        21,
        'via = [{ address = "192.0.2.9", wieght = 1 }]',
        "route[0].via[0].wieght",
        "1",
        "(did you mean weight?)",
    ),
    (
        22,
        'type = "drop"',
        "route[0].type",
        '"drop"',
        'must be one of "unicast", "blackhole", "unreachable", "prohibit"',
    ),
    (24, "port = 0", "neighbor[0].port", "0", "must be the name of a port"),
    (25, 'address = "192.0.2.9/24"', "neighbor[0].address", '"192.0.2.9/24"', "must be a unicast address"),
    (
        26,
        'mac = "02-00-00-00-00-09"',
        "neighbor[0].mac",
        '"02-00-00-00-00-09"',
        "must be a unicast MAC such as",
    ),
    (
        26,
        'mac = "01:00:00:00:00:09"',
        "neighbor[0].mac",
        '"01:00:00:00:00:09"',
        "not a multicast or broadcast one",
    ),
    (26, 'mac = "00:00:00:00:00:00"', "neighbor[0].mac", '"00:00:00:00:00:00"', "not zero"),
    (
        26,
        'mac = "02:00:00:00:00:09:0a"',
        "neighbor[0].mac",
        '"02:00:00:00:00:09:0a"',
        "must be a unicast MAC such as",
    ),
    (
        28,
        'announce = ["203.0.113.5/24"]',
        "bgp.announce[0]",
        '"203.0.113.5/24"',
        "(did you mean 203.0.113.0/24?)",
    ),
    (31, 'address = "localhost"', "bgp.neighbor[0].address", '"localhost"', "must be a unicast address"),
    (33, 'local_address = ""', "bgp.neighbor[0].local_address", '""', "must be a unicast address"),
    (34, "families = []", "bgp.neighbor[0].families", "an array of 0", "must have between 1 and 2 entries"),
    (34, 'families = ["ipv5"]', "bgp.neighbor[0].families[0]", '"ipv5"', 'must be one of "ipv4", "ipv6"'),
    (35, "passive = 0", "bgp.neighbor[0].passive", "0", "must be true or false"),
    (36, "hold_time = 2", "bgp.neighbor[0].hold_time", "2", "must be 0 or between 3 and 65535"),
    (36, "hold_time = 65536", "bgp.neighbor[0].hold_time", "65536", "must be 0 or between 3 and 65535"),
    (
        36,
        "hold_time = false",
        "bgp.neighbor[0].hold_time",
        "false",
        "must be a whole number 0 or between 3 and 65535",
    ),
    (47, 'listen = "localhost:1"', "metrics.listen", '"localhost:1"', 'must be "ADDRESS:PORT"'),
    (47, 'listen = "127.0.0.1"', "metrics.listen", '"127.0.0.1"', 'must be "ADDRESS:PORT"'),
    (47, 'listen = "127.0.0.1:0"', "metrics.listen", '"127.0.0.1:0"', 'must be "ADDRESS:PORT"'),
    (47, 'listen = "127.0.0.1:65536"', "metrics.listen", '"127.0.0.1:65536"', 'must be "ADDRESS:PORT"'),
    (47, 'listen = "::1:9436"', "metrics.listen", '"::1:9436"', 'must be "ADDRESS:PORT"'),
    (47, 'listen = "[127.0.0.1]:1"', "metrics.listen", '"[127.0.0.1]:1"', 'must be "ADDRESS:PORT"'),
    (47, 'listen = "999.0.0.1:1"', "metrics.listen", '"999.0.0.1:1"', 'must be "ADDRESS:PORT"'),
    (47, "listen = 9436", "metrics.listen", "9436", 'must be "ADDRESS:PORT"'),
    (49, 'group = ""', "api.group", '""', "must be the name of a group"),
    (49, "group = 0", "api.group", "0", "must be the name of a group"),
]


@pytest.mark.parametrize(("line", "row", "key", "found", "allowed"), WRONG, ids=[row for _, row, *_ in WRONG])
def test_a_wrong_value_gives_one_problem(line: int, row: str, key: str, found: str, allowed: str) -> None:
    assert row.partition(" = ")[0] == ROWS[line - 1].partition(" = ")[0]
    where = one(change(line, row))
    assert where[:3] == (line, key, found)
    assert allowed in where[3]


@pytest.mark.parametrize(
    ("line", "row", "key"),
    [
        (1, "[router]\nextra = 1", "router.extra"),
        (6, "[fastpath]\nextra = 1", "fastpath.extra"),
        (13, "[[port]]\nextra = 1", "port[0].extra"),
        (19, "[[route]]\nextra = 1", "route[0].extra"),
        (23, "[[neighbor]]\nextra = 1", "neighbor[0].extra"),
        (27, "[bgp]\nextra = 1", "bgp.extra"),
        (30, "[[bgp.neighbor]]\nextra = 1", "bgp.neighbor[0].extra"),
        (38, "[table]\nextra = 1", "table.extra"),
        (46, "[metrics]\nextra = 1", "metrics.extra"),
        (48, "[api]\nextra = 1", "api.extra"),
    ],
)
def test_an_unknown_key_is_refused_in_every_table(line: int, row: str, key: str) -> None:
    assert row.startswith(ROWS[line - 1])
    where = one(change(line, row))
    assert where[:3] == (line + 1, key, "1")
    assert where[3].startswith("unknown key, must be one of ")


def test_an_unknown_table_is_refused() -> None:
    assert one(BASE + "[bpg]\n")[:3] == (len(ROWS) + 1, "bpg", "a table")
    assert "(did you mean bgp?)" in one(BASE + "[bpg]\n")[3]
    assert one('"odd key" = 1\n' + BASE)[:3] == (1, '"odd key"', "1")


@pytest.mark.parametrize(
    ("line", "key", "table_line"),
    [
        (14, "port[0].name", 13),
        (20, "route[0].prefix", 19),
        (24, "neighbor[0].port", 23),
        (25, "neighbor[0].address", 23),
        (26, "neighbor[0].mac", 23),
        (31, "bgp.neighbor[0].address", 30),
        (32, "bgp.neighbor[0].asn", 30),
    ],
)
def test_a_missing_key_is_reported_at_its_table(line: int, key: str, table_line: int) -> None:
    assert one(change(line, "")) == (table_line, key, "nothing", "must be given")


@pytest.mark.parametrize("key", ["router", "fastpath", "bgp", "table", "metrics", "api"])
def test_a_table_is_a_table(key: str) -> None:
    assert one(f'{key} = 1\n[[port]]\nname = "a"\ndevice = "net_null0"\n') == (1, key, "1", "must be a table")


@pytest.mark.parametrize("key", ["port", "route", "neighbor"])
def test_an_array_of_tables_is_written_with_two_brackets(key: str) -> None:
    port = '[[port]]\nname = "a"\ndevice = "net_null0"\n' if key != "port" else ""
    line = 4 if port else 1
    assert one(f"{port}[{key}]\n") == (line, key, "a table", f"must be an array of tables: write [[{key}]]")


def test_an_entry_of_an_array_of_tables_is_a_table() -> None:
    assert one("port = [3]\n") == (1, "port[0]", "3", "must be a table")


def test_at_least_one_port_and_at_most_32() -> None:
    assert one("") == (1, "port", "nothing", "must be given")
    assert one("port = []") == (1, "port", "an array of 0", "must have between 1 and 32 entries")
    many = "".join(f'[[port]]\nname = "p{i}"\ndevice = "net_null{i}"\n' for i in range(33))
    assert one(many)[2:] == ("an array of 33", "must have between 1 and 32 entries")


def test_at_most_64_next_hops() -> None:
    hops = ", ".join(f'"192.0.2.{i}"' for i in range(9, 74))
    assert one(change(21, f"via = [{hops}]"))[2:] == ("an array of 65", "must have between 0 and 64 entries")


def test_many_problems_are_reported_at_once_and_sorted() -> None:
    text = (
        BASE.replace("mtu = 1500", "mtu = 70")
        .replace("asn = 65000", "asn = true")
        .replace('"02:00:00:00:00:09"', '"zz"')
        .replace("hold_time = 90", "hold_time = 1")
        .replace('"192.0.2.1/24"', '"192.0.2.0/24"')
        .replace('name = "pop1"', 'name = "POP"')
    )
    found = problems(text)
    assert [(p.line, p.key) for p in found] == [
        (2, "router.name"),
        (4, "router.asn"),
        (16, "port[0].addresses[0]"),
        (17, "port[0].mtu"),
        (26, "neighbor[0].mac"),
        (36, "bgp.neighbor[0].hold_time"),
    ]


def test_a_wrong_name_is_one_problem_though_the_namespace_follows_from_it() -> None:
    assert one(change(5, "").replace('name = "pop1"', "name = 7"))[1] == "router.name"


def test_problems_are_printed_one_a_line() -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse(change(17, "mtu = 70").replace("asn = 65001", "asn = 0"), "router.toml")
    assert str(caught.value) == (
        "router.toml:17: port[0].mtu: found 70: must be between 576 and 9216\n"
        "router.toml:32: bgp.neighbor[0].asn: found 0: must be between 1 and 4294967294, not 23456 or 65535"
    )
    assert caught.value.exit_code == 2


def test_the_base_is_read_into_typed_values() -> None:
    config = parse(BASE, "router.toml")
    (port,), (route,), (neighbor,) = config.ports, config.routes, config.neighbors
    assert port.addresses == (ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64"))
    assert route.prefix == ip_network("198.51.100.0/24")
    assert [(hop.address, hop.weight) for hop in route.via] == [
        (ip_address("192.0.2.9"), 1),
        (ip_address("192.0.2.10"), 2),
    ]
    assert neighbor.mac == "02:00:00:00:00:09"
    assert config.router.id == ip_address("192.0.2.1")
    assert config.fastpath.lcores == (0, 1)
    assert config.bgp is not None
    assert config.bgp.neighbors[0].families == ("ipv4", "ipv6")
    assert config.metrics.listen == Listen(ip_address("127.0.0.1"), 9436)
    assert config.filename == "router.toml"
    assert config.line(("port", 0, "mtu")) == 17


def test_defaults() -> None:
    config = parse('router.name = "x"\n[[port]]\nname = "a"\ndevice = "net_null0"\n', "f")
    assert (config.router.namespace, config.router.id, config.router.asn) == ("dr-x", None, None)
    assert (config.bgp, config.routes, config.neighbors) == (None, (), ())
    assert (config.ports[0].mtu, config.ports[0].addresses) == (1500, ())
    assert str(config.metrics.listen) == "127.0.0.1:9436"
    assert parse('[[port]]\nname = "a"\ndevice = "net_null0"\n', "f").router.namespace == "dr-router"


def test_listeners_are_written_as_they_are_read() -> None:
    assert parse(change(47, 'listen = ""'), "f").metrics.listen is None
    assert str(parse(change(47, 'listen = "[::1]:65535"'), "f").metrics.listen) == "[::1]:65535"


def test_a_configuration_is_frozen_hashable_and_equal_whatever_its_comments() -> None:
    config, other = parse(BASE, "a"), parse("# comment\n" + BASE, "b")
    assert config == other
    assert hash(config) == hash(other)
    assert config != parse(change(17, "mtu = 1400"), "a")
    with pytest.raises(ValidationError):
        config.ports[0].mtu = 9000


@pytest.mark.parametrize(
    ("mac", "allowed"),
    [("02:0:0:0:0:1", "must be a unicast MAC"), ("33:33:00:00:00:01", "not a multicast or broadcast one")],
)
def test_a_port_has_a_unicast_mac(mac: str, allowed: str) -> None:
    line, key, found, said = one(change(17, f'mac = "{mac}"'))
    assert (line, key, found) == (17, "port[0].mac", f'"{mac}"')
    assert allowed in said


def test_macs_are_lower_case() -> None:
    assert parse(change(26, 'mac = "02:AB:00:00:00:09"'), "f").neighbors[0].mac == "02:ab:00:00:00:09"
    assert parse(change(17, 'mac = "02:AB:00:00:00:01"'), "f").ports[0].mac == "02:ab:00:00:00:01"
    assert parse(BASE, "f").ports[0].mac is None  # the device's own


@pytest.mark.parametrize("length", [31, 32])
def test_both_ends_of_a_point_to_point_prefix_are_hosts(length: int) -> None:
    addresses = f'["192.0.2.0/{length}", "2001:db8::/{length + 96}"]'
    text = f'[[port]]\nname = "a"\ndevice = "net_null0"\naddresses = {addresses}\n'
    assert len(parse(text, "f").ports[0].addresses) == 2
