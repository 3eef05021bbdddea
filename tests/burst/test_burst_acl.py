"""Ingress ACLs through the whole fast path: each field of a rule in both families, each action, fragments, the default.

Port 0 has the list `live`, whose rules every test replaces as an operator does; port 3 is a sub-interface of it (VLAN
100) with a list of its own. What passes leaves by port 1.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.ipsec import AH
from scapy.packet import Packet, Raw

from aclkit import replace, rules_of
from clikit import run
from dpdkrouter.errors import NotFoundError, RequestError
from planekit import Plane
from planekit.frames import forwarded, frame4, frame6

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from planekit.plane import Result

TABLES = """
[[acl]]
name = "live"
[[acl]]
name = "tagged"
default = "permit"
[[acl.rule]]
action = "deny"
protocol = "udp"
"""
DST = {4: "198.18.1.7", 6: "2001:db8:18:1::7"}
SRC = {4: "198.18.0.5", 6: "2001:db8:18::5"}


@pytest.fixture(scope="module")
def running(hugepages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    filters = ('acl_in = "live"', "", "", 'acl_in = "tagged"')
    with Plane(
        "acl", tmp_path_factory.mktemp("acl"), whole=True, subs=((0, 0, 100),), filters=filters, tables=TABLES
    ) as plane:
        yield plane


def into(plane: Plane, frame: bytes) -> bytes:
    """For the MAC that port 0 has: net_pcap makes one up."""
    return plane.counters.reader.ports()[0].mac + frame[6:]


def packet(family: int, upper: Packet | bytes, src: str = "", dst: str = "", **fields: object) -> bytes:
    """A frame of this upper header."""
    src, dst = src or SRC[family], dst or DST[family]
    ip = IP(src=src, dst=dst, **fields) if family == 4 else IPv6(src=src, dst=dst, **fields)
    whole = ip / (Raw(upper) if isinstance(upper, bytes) else upper)
    return frame4(0, whole) if family == 4 else frame6(0, whole)


def passes(plane: Plane, rules: str, frame: bytes) -> bool:
    """Whether one frame passes these rules, by what comes out of port 1 and what is counted."""
    replace(plane.process.paths, "live", rules)
    result = plane.send(0, [into(plane, frame)])
    if result.moved.forwarded:
        assert result.out == [[], [forwarded(frame, 1)], []]
        assert result.moved.drops == {}
        return True
    assert (result.out, result.moved.drops) == ([[], [], []], {"acl_deny": 1})
    return False


TCP_SYN = TCP(sport=1000, dport=443, flags="S")
UDP_DNS = UDP(sport=1000, dport=53) / Raw(b"x")
ECHO = {4: ICMP(type=8) / Raw(b"ping"), 6: ICMPv6EchoRequest(data=b"ping")}

# Rules that are to match, and rules that are not, for one packet.
FIELDS: dict[str, tuple[Packet, list[str], list[str]]] = {
    "protocol": (UDP_DNS, ["protocol=udp", "protocol=17", ""], ["protocol=tcp", "protocol=0", "protocol=255"]),
    "source_port": (
        UDP_DNS,
        ["protocol=udp source_port=1000", "protocol=udp source_port=0-1000", "protocol=udp source_port=1000-65535"],
        ["protocol=udp source_port=999", "protocol=udp source_port=1001-65535", "protocol=tcp source_port=1000"],
    ),
    "destination_port": (
        UDP_DNS,
        [
            "protocol=udp destination_port=53",
            "protocol=udp destination_port=50-60",
            "protocol=udp destination_port=0-53",
        ],
        ["protocol=udp destination_port=54", "protocol=udp source_port=53", "protocol=sctp destination_port=53"],
    ),
    "tcp_flags": (
        TCP_SYN,
        ["protocol=tcp tcp_flags=syn", "protocol=tcp tcp_flags=syn,!ack,!rst", "protocol=tcp destination_port=443"],
        ["protocol=tcp tcp_flags=ack", "protocol=tcp tcp_flags=!syn", "protocol=tcp tcp_flags=syn,ack"],
    ),
    "fragments": (UDP_DNS, ["fragments=false", "fragments=false protocol=udp"], ["fragments=true"]),
}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("field", FIELDS)
def test_field_of_a_rule(plane: Plane, field: str, family: int) -> None:
    upper, matching, others = FIELDS[field]
    frame = packet(family, upper)
    for rule in matching:
        assert passes(plane, f"permit {rule}", frame), rule
        assert not passes(plane, f"deny {rule}\npermit", frame), rule
    for rule in others:
        assert not passes(plane, f"permit {rule}", frame), rule
        assert passes(plane, f"deny {rule}\npermit", frame), rule


PREFIXES = {
    4: (
        [
            "source=198.18.0.0/24",
            "destination=198.18.1.7",
            "source=0.0.0.0/0",
            "source=198.18.0.4/31 destination=198.0.0.0/7",
        ],
        ["source=198.18.1.0/24", "destination=198.18.1.6", "source=198.18.0.6/31", "source=::/0"],
    ),
    6: (
        [
            "source=2001:db8:18::/64",
            "destination=2001:db8:18:1::7",
            "source=::/0",
            "source=2001:db8:18::4/127 destination=2001:db8:18:1::/65",
            "destination=2000::/3",
        ],
        [
            "source=2001:db8:18:1::/64",
            "destination=2001:db8:18:1::6",
            "source=2001:db8:18::6/127",
            "destination=2001:db8:18:1:8000::/65",
            "source=0.0.0.0/0",
        ],
    ),
}


@pytest.mark.parametrize("family", [4, 6])
def test_source_and_destination(plane: Plane, family: int) -> None:
    frame = packet(family, UDP_DNS)
    matching, others = PREFIXES[family]
    for rule in matching:
        assert passes(plane, f"permit {rule}", frame), rule
    for rule in others:
        assert not passes(plane, f"permit {rule}", frame), rule


@pytest.mark.parametrize(("family", "name", "kind"), [(4, "icmp", 8), (6, "icmpv6", 128)])
def test_icmp_type(plane: Plane, family: int, name: str, kind: int) -> None:
    frame = packet(family, ECHO[family])
    for types in (f"{kind}", f"{kind - 1}-{kind}", "0-255"):
        assert passes(plane, f"permit protocol={name} icmp_type={types}", frame)
    for types in (f"{kind + 1}", f"0-{kind - 1}"):
        assert not passes(plane, f"permit protocol={name} icmp_type={types}", frame)
    assert not passes(plane, f"permit protocol={'icmpv6' if family == 4 else 'icmp'}", frame)


def test_no_rule_and_the_default(plane: Plane) -> None:
    for family in (4, 6):
        assert not passes(plane, "", packet(family, UDP_DNS))


def test_the_first_rule_that_matches_decides(plane: Plane) -> None:
    frame = packet(4, UDP_DNS)
    assert passes(plane, "permit protocol=udp\ndeny source=198.18.0.0/24", frame)
    assert not passes(plane, "deny source=198.18.0.0/24\npermit protocol=udp", frame)


def counts(plane: Plane) -> list[int]:
    """Packets of each rule of `live`, the default's last."""
    (shown,) = rules_of(plane.process.paths, "live")
    return [*(rule["packets"] for rule in shown["rules"]), shown["default_packets"]]


def test_count_counts_and_goes_on(plane: Plane) -> None:
    rules = "count protocol=udp\ncount destination_port=53 protocol=udp\npermit source=198.18.0.0/24\ncount\ndeny"
    replace(plane.process.paths, "live", rules)
    result = plane.send(
        0, [into(plane, packet(4, UDP_DNS)), into(plane, packet(4, TCP_SYN)), into(plane, packet(6, UDP_DNS))]
    )
    assert (result.moved.forwarded, result.moved.drops) == (2, {"acl_deny": 1})
    # a packet is counted by the first of the counting rules before the one that decides
    assert counts(plane) == [2, 0, 2, 0, 1, 0]


def test_bytes_are_those_of_the_frames(plane: Plane) -> None:
    frame = packet(4, UDP_DNS)
    replace(plane.process.paths, "live", "permit protocol=udp")
    plane.send(0, [into(plane, frame)] * 3)
    (shown,) = rules_of(plane.process.paths, "live")
    assert shown["rules"][0]["bytes"] == 3 * len(frame)
    (state,) = [one for one in plane.counters.reader.filters() if one.name == "live"]
    assert state.counts == ((3, 3 * len(frame)), (0, 0))


def test_a_whole_burst_is_judged_packet_by_packet(plane: Plane) -> None:
    """Both families, good and bad ones, in one burst; whoever passes keeps his order."""
    replace(plane.process.paths, "live", "deny protocol=tcp\npermit")
    kinds = [packet(4, UDP_DNS), packet(6, TCP_SYN), packet(4, TCP_SYN), packet(6, UDP_DNS), packet(4, b"", ttl=0)]
    result = plane.send(0, [into(plane, frame) for frame in kinds * 25], until=lambda m: m.dropped == 75)
    assert result.moved.forwarded == 50
    assert result.moved.drops["acl_deny"] == 50
    assert sorted(result.out[1]) == sorted([forwarded(kinds[0], 1), forwarded(kinds[3], 1)] * 25)


def fragments4(upper: Packet) -> tuple[bytes, bytes]:
    data = bytes(IP(src=SRC[4], dst=DST[4]) / upper)[20:]
    head = {"src": SRC[4], "dst": DST[4], "proto": int(IP(bytes(IP() / upper)).proto)}
    first = IP(flags="MF", **head) / Raw(data[:24])
    return frame4(0, first), frame4(0, IP(frag=3, **head) / Raw(data[24:]))


def fragments6(upper: Packet) -> tuple[bytes, bytes]:
    data = bytes(IPv6(src=SRC[6], dst=DST[6]) / upper)[40:]
    kind = IPv6(bytes(IPv6() / upper)).nh
    head = IPv6(src=SRC[6], dst=DST[6])
    first = head / IPv6ExtHdrFragment(nh=kind, offset=0, m=1) / Raw(data[:24])
    return frame6(0, first), frame6(0, head / IPv6ExtHdrFragment(nh=kind, offset=3, m=0) / Raw(data[24:]))


@pytest.mark.parametrize("family", [4, 6])
def test_fragments(plane: Plane, family: int) -> None:
    """The first has ports; later ones match no rule about them, and only they are what `fragments=true` means."""
    upper = TCP(sport=1000, dport=443, flags="A") / Raw(bytes(60))
    first, later = (fragments4 if family == 4 else fragments6)(upper)
    assert passes(plane, "permit protocol=tcp destination_port=443", first)
    assert not passes(plane, "permit protocol=tcp destination_port=443", later)
    assert not passes(plane, "permit protocol=tcp destination_port=0", later)
    assert not passes(plane, "permit protocol=tcp tcp_flags=!syn", later)
    assert passes(plane, "permit protocol=tcp", later)
    assert passes(plane, "permit fragments=true", later)
    assert not passes(plane, "permit fragments=true", first)
    assert passes(plane, "permit fragments=false", first)
    assert not passes(plane, "permit fragments=false", later)


@pytest.mark.parametrize("family", [4, 6])
def test_what_hides_the_ports_is_denied(plane: Plane, family: int) -> None:
    """RFC 1858 3: a first fragment without TCP's flags, and one that would overwrite them; and what is cut short."""
    tcp = bytes(TCP_SYN)
    if family == 4:
        tiny = frame4(0, IP(src=SRC[4], dst=DST[4], flags="MF", proto=6) / Raw(tcp[:8]))
        over = frame4(0, IP(src=SRC[4], dst=DST[4], frag=1, proto=6) / Raw(tcp[8:]))
        assert passes(plane, "permit", frame4(0, IP(src=SRC[4], dst=DST[4], frag=1, proto=17) / Raw(tcp[8:])))
    else:
        head = IPv6(src=SRC[6], dst=DST[6])
        tiny = frame6(0, head / IPv6ExtHdrFragment(nh=6, offset=0, m=1) / Raw(tcp[:8]))
        over = frame6(0, head / IPv6ExtHdrFragment(nh=6, offset=1, m=0) / Raw(tcp[8:]))
        deep = head
        for _ in range(9):
            deep = deep / IPv6ExtHdrDestOpt()
        assert not passes(plane, "permit", frame6(0, deep / UDP_DNS))
    assert not passes(plane, "permit", tiny)
    assert not passes(plane, "permit", over)
    short = packet(4, tcp[:4], proto=6) if family == 4 else packet(6, tcp[:4], nh=6)
    assert not passes(plane, "permit", short)


def test_upper_protocol_behind_extension_headers(plane: Plane) -> None:
    chains = [
        IPv6ExtHdrHopByHop(),
        IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop(),
        IPv6ExtHdrFragment(offset=0, m=0),
        AH(nh=17, payloadlen=4, icv=bytes(12)),
    ]
    for chain in chains:
        frame = frame6(0, IPv6(src=SRC[6], dst=DST[6]) / chain / UDP_DNS)
        assert passes(plane, "permit protocol=udp destination_port=53", frame), chain.summary()
        assert not passes(plane, "permit protocol=udp destination_port=54", frame), chain.summary()


def test_ipv4_options_are_before_the_ports(plane: Plane) -> None:
    frame = packet(4, UDP_DNS, options=[Raw(b"\x94\x04\0\0")])
    assert passes(plane, "permit protocol=udp destination_port=53", frame)


def test_padding_is_no_header(plane: Plane) -> None:
    """What an Ethernet frame has behind its packet."""
    frame = packet(4, b"\x03\xe8", proto=17) + bytes(26)
    assert not passes(plane, "permit", frame)


def test_neighbour_discovery_passes_the_default(plane: Plane) -> None:
    """Of the link itself (hop limit 255, RFC 4861 7.1), unless a rule denies it."""
    near = packet(6, ICMPv6ND_NS(tgt="2001:db8::1"), dst="2001:db8::1", hlim=255)
    far = packet(6, ICMPv6ND_NS(tgt="2001:db8::1"), dst="2001:db8::1", hlim=254)
    for rules, frame, punted in (("", near, 1), ("", far, 0), ("deny protocol=icmpv6", near, 0)):
        replace(plane.process.paths, "live", rules)
        assert plane.send(0, [into(plane, frame)]).moved.punted == punted


def test_what_is_for_the_router_is_judged_too(plane: Plane) -> None:
    ping = packet(4, ECHO[4], dst="10.0.0.1")
    for rules, punted in (("permit protocol=icmp", 1), ("permit protocol=udp", 0)):
        replace(plane.process.paths, "live", rules)
        assert plane.send(0, [into(plane, ping)]).moved.punted == punted


def test_dscp_and_ecn_are_kept(plane: Plane) -> None:
    assert passes(plane, "permit", packet(4, UDP_DNS, tos=0xBB))
    assert passes(plane, "permit", packet(6, UDP_DNS, tc=0xBB))


def send_tagged(plane: Plane, frame: bytes) -> Result:
    return plane.send(0, [into(plane, frame[:12] + struct.pack(">HH", 0x8100, 100) + frame[12:])])


def test_a_sub_interface_has_its_own_list(plane: Plane) -> None:
    replace(plane.process.paths, "live", "deny")
    assert send_tagged(plane, packet(4, TCP_SYN)).moved.forwarded == 1
    assert send_tagged(plane, packet(4, UDP_DNS)).moved.drops == {"acl_deny": 1}


def test_what_cannot_be_replaced_stays(plane: Plane) -> None:
    """The error names list, rule and field."""
    frame = packet(4, UDP_DNS)
    assert passes(plane, "permit", frame)
    with pytest.raises(
        RequestError, match=r':2: acl live: rule 1: source_port: found "70000": must be a port'
    ) as caught:
        replace(plane.process.paths, "live", "# one\ndeny protocol=udp source_port=70000\npolice")
    assert "acl live: rule 2: policer: found nothing: must be given" in str(caught.value)
    with pytest.raises(NotFoundError, match=r"found 'other': must be one of live, tagged"):
        replace(plane.process.paths, "other", "permit")
    with pytest.raises(RequestError, match=r"raise fastpath\.filter_counters, now 4096"):
        replace(plane.process.paths, "live", "permit\n" * 4097)
    assert plane.send(0, [into(plane, frame)]).moved.forwarded == 1


def test_commands(plane: Plane, tmp_path: Path) -> None:
    """`acl replace`, `acl show` and `acl reload`, as an operator types them."""
    name, file = plane.process.settings.name, tmp_path / "new.rules"
    file.write_text("permit protocol=udp  # DNS and others\n\ncount\n")
    out, _ = run("--name", name, "acl", "replace", "live", str(file))
    assert out.startswith("acl live: 2 rules in force, built in ")
    frame = packet(4, UDP_DNS)
    plane.send(0, [into(plane, frame), into(plane, packet(4, TCP_SYN))])
    lines = run("--name", name, "acl", "show", "live")[0].splitlines()
    assert [line.split() for line in lines] == [
        ["rule", "packets", "bytes", "what"],
        ["1", "1", str(len(frame)), "permit", "protocol=udp"],
        ["2", "1", "54", "count"],
        ["default", "1", "54", "deny"],
    ]
    shown = {line.split()[0]: line.split() for line in run("--name", name, "acl", "show")[0].splitlines()[1:]}
    assert shown["live"] == ["live", "2", "port0", "3", str(len(frame) + 108), str(file)]
    assert shown["tagged"][:3] == ["tagged", "1", "port3"]
    (taken,) = json.loads(run("--name", name, "acl", "reload", "live", "--json")[0])
    assert (taken["name"], taken["rules"]) == ("live", 0)
    (one,) = json.loads(run("--name", name, "acl", "show", "live", "--json")[0])
    assert (one["rules"], one["default_packets"], one["ports"]) == ([], 0, ["port0"])
    assert "acl live stays as it is" in run("--name", name, "acl", "replace", "live", "/absent.rules", code=1)[1]
    assert "must be one of live, tagged" in run("--name", name, "acl", "show", "other", code=4)[1]


def test_replaced_lists_leave_nothing_behind(plane: Plane) -> None:
    """Counters, contexts and their memory: of many more lists than there is room for."""
    rules = "".join(f"deny source=10.{i // 250}.{i % 250}.0/24\n" for i in range(1500)) + "permit"
    for _ in range(6):
        replace(plane.process.paths, "live", rules)
        assert plane.send(0, [into(plane, packet(4, UDP_DNS))]).moved.forwarded == 1
        assert counts(plane)[1500] == 1
