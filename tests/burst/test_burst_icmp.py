"""ICMP errors of the router's own: what they quote, whence they come, and about what none may be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_Redirect,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    in6_chksum,
)
from scapy.packet import Packet, Raw

from planekit.fabric import UNRESOLVED4, UNRESOLVED6, Special
from planekit.frames import checksum, decoded, frame4, frame6, special, to, udp4, udp6
from planekit.wires import far_mac, near_mac

if TYPE_CHECKING:
    from planekit import Plane

TTL = {4: "ttl", 6: "hlim"}
# reason -> (IPv4 type, code), (ICMPv6 type, code)
CODES = {
    "ttl_expired": ((11, 0), (3, 0)),
    "no_route": ((3, 0), (1, 0)),
    "unreachable": ((3, 1), (1, 3)),
    "prohibited": ((3, 13), (1, 1)),
    "mtu_exceeded": ((3, 4), (2, 0)),
    "next_hop_unresolved": ((3, 1), (1, 3)),
}
LIMITS = {4: 576, 6: 1280}


def error_frame(family: int, reason: str, size: int = 40) -> bytes:
    """A frame into port 0 that is dropped for this reason."""
    body = bytes(n & 255 for n in range(size))
    if reason == "ttl_expired":
        return to(family, 1, body, **{TTL[family]: 1})
    if reason == "no_route":
        packet = udp4("203.0.113.9", body) if family == 4 else udp6("2001:db8:ffff::9", body)
        return frame4(0, packet) if family == 4 else frame6(0, packet)
    if reason == "unreachable":
        return special(family, Special.UNREACHABLE, payload=body)
    if reason == "prohibited":
        return special(family, Special.PROHIBIT, payload=body)
    if reason == "mtu_exceeded":
        return to(family, 2, bytes(n & 255 for n in range(1400)), **({"flags": "DF"} if family == 4 else {}))
    return special(family, Special.RESOLVE, payload=body)


def check4(frame: bytes, sent: bytes, reason: str) -> Packet:
    packet = decoded(frame)
    ip, icmp = packet[IP], packet[ICMP]
    assert checksum(frame[14:34]) == 0
    assert checksum(frame[34 : 14 + ip.len] + b"\0" * (ip.len % 2)) == 0
    assert (ip.src, ip.dst, ip.ttl, ip.tos) == ("10.0.0.1", "198.18.0.5", 64, 0xC0)
    assert (icmp.type, icmp.code) == CODES[reason][0]
    assert len(frame) == 14 + ip.len <= 14 + LIMITS[4]
    quoted = frame[42:]
    assert quoted == sent[14 : 14 + len(quoted)]
    assert len(quoted) == min(len(sent) - 14, LIMITS[4] - 28), "as much as fits, RFC 1812 4.3.2.3"
    return icmp


def check6(frame: bytes, sent: bytes, reason: str) -> Packet:
    packet = decoded(frame)
    ip = packet[IPv6]
    assert in6_chksum(58, ip, frame[54:]) == 0
    assert (ip.src, ip.dst, ip.hlim, ip.nh) == ("2001:db8::1", "2001:db8:18::5", 64, 58)
    assert (frame[54], frame[55]) == CODES[reason][1]
    assert len(frame) == 54 + ip.plen <= 14 + LIMITS[6]
    quoted = frame[62:]
    assert quoted == sent[14 : 14 + len(quoted)]
    assert len(quoted) == min(len(sent) - 14, LIMITS[6] - 48), "as much as fits, RFC 4443 2.4 (c)"
    kinds = {"ttl_expired": ICMPv6TimeExceeded, "mtu_exceeded": ICMPv6PacketTooBig}
    return packet[kinds.get(reason, ICMPv6DestUnreach)]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("reason", list(CODES))
def test_error(plane: Plane, family: int, reason: str) -> None:
    """Type, code, source, checksums and quote; and it goes to the source's next hop."""
    frame = error_frame(family, reason)
    result = plane.send(0, [frame], until=lambda moved: moved.originated == 1)
    assert result.moved.drops == {reason: 1}
    assert [len(frames) for frames in result.out] == [1, 0, 0]
    answer = result.out[0][0]
    assert answer[:12] == far_mac(0) + near_mac(0)
    icmp = (check4 if family == 4 else check6)(answer, frame, reason)
    if reason == "mtu_exceeded":
        assert (icmp.nexthopmtu if family == 4 else icmp.mtu) == 1300


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 500, 1300])
def test_the_quote_is_as_long_as_it_may_be(plane: Plane, family: int, size: int) -> None:
    frame = error_frame(family, "no_route", size)
    answer = plane.send(0, [frame], until=lambda moved: moved.originated == 1).out[0][0]
    (check4 if family == 4 else check6)(answer, frame, "no_route")


@pytest.mark.parametrize("family", [4, 6])
def test_padding_is_not_quoted(plane: Plane, family: int) -> None:
    frame = error_frame(family, "no_route", 4)
    answer = plane.send(0, [frame.ljust(120, b"\xaa")], until=lambda moved: moved.originated == 1).out[0][0]
    (check4 if family == 4 else check6)(answer, frame, "no_route")


def lost4(packet: Packet) -> bytes:
    return frame4(0, IP(src="198.18.0.5", dst="203.0.113.9") / packet)


def lost6(*layers: Packet) -> bytes:
    packet: Packet = IPv6(src="2001:db8:18::5", dst="2001:db8:ffff::9")
    for layer in layers:
        packet = packet / layer
    return frame6(0, packet)


ECHO6, ERROR6 = ICMPv6EchoRequest(data=b"e"), ICMPv6TimeExceeded() / IPv6() / Raw(b"e")


def test_beyond_the_scope_of_its_source(plane: Plane) -> None:
    """RFC 4443 3.1 code 2, from the port's link-local address to the station that sent it."""
    frame = frame6(0, udp6("2001:db8:18:1::7", src="fe80::9"))
    frame = frame[:6] + bytes.fromhex("020000000177") + frame[12:]
    result = plane.send(0, [frame], until=lambda moved: moved.originated == 1)
    assert result.moved.drops == {"ipv6_link_local": 1}
    answer = result.out[0][0]
    packet = decoded(answer)
    assert answer[:12] == bytes.fromhex("020000000177") + near_mac(0)
    assert (packet[IPv6].src, packet[IPv6].dst, packet[ICMPv6DestUnreach].code) == ("fe80::1", "fe80::9", 2)
    assert in6_chksum(58, packet[IPv6], answer[54:]) == 0
    assert answer[62:] == frame[14:]


LATER = {"offset": 5, "m": 0, "id": 7}
SILENT = {
    **{f"icmp type {kind}": lost4(ICMP(type=kind)) for kind in (3, 4, 5, 11, 12)},
    "icmp without its type": frame4(0, IP(src="198.18.0.5", dst="203.0.113.9", proto=1)),
    "icmpv6 error": lost6(ERROR6),
    "icmpv6 redirect": lost6(ICMPv6ND_Redirect()),
    "icmpv6 error behind options": lost6(IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), ERROR6),
    "icmpv6 error, first fragment": lost6(IPv6ExtHdrFragment(offset=0, m=1), ERROR6),
    "icmpv6, later fragment": lost6(IPv6ExtHdrFragment(nh=58, **LATER), Raw(b"f" * 8)),
    "icmpv6 without its type": frame6(0, IPv6(src="2001:db8:18::5", dst="2001:db8:ffff::9", nh=58)),
    "extension header cut off": frame6(0, IPv6(src="2001:db8:18::5", dst="2001:db8:ffff::9", nh=60)),
}
ANSWERED = {
    **{f"icmp type {kind}": lost4(ICMP(type=kind)) for kind in (0, 8, 13, 14)},
    "tcp": lost4(TCP()),
    "icmpv6 echo": lost6(ECHO6),
    "icmpv6 echo reply": lost6(ICMPv6EchoReply()),
    "icmpv6 echo behind options": lost6(IPv6ExtHdrHopByHop(), ECHO6),
    "tcp behind options": lost6(IPv6ExtHdrDestOpt(), TCP()),
    "udp, later fragment": lost6(IPv6ExtHdrFragment(nh=17, **LATER), Raw(b"f" * 8)),
}


@pytest.mark.parametrize("what", list(SILENT))
def test_none_is_sent_about(plane: Plane, what: str) -> None:
    """RFC 1812 4.3.2.7, RFC 4443 2.4 (e). The same packet is dropped for a reason that has an error."""
    result = plane.send(0, [SILENT[what]])
    assert result.moved.drops == {"no_route": 1}
    assert (result.moved.originated, result.out) == (0, [[], [], []])


@pytest.mark.parametrize("what", list(ANSWERED))
def test_one_is_sent_about(plane: Plane, what: str) -> None:
    result = plane.send(0, [ANSWERED[what]], until=lambda moved: moved.originated == 1)
    assert result.moved.drops == {"no_route": 1}


@pytest.mark.parametrize("reason", ["blackhole", "directed_broadcast"])
@pytest.mark.parametrize("family", [4, 6])
def test_silent_reasons(plane: Plane, family: int, reason: str) -> None:
    number = Special.BLACKHOLE if reason == "blackhole" else Special.BROADCAST
    result = plane.send(0, [special(family, number)])
    assert (result.moved.drops, result.moved.originated) == ({reason: 1}, 0)


@pytest.mark.parametrize("family", [4, 6])
def test_a_hop_that_ends_is_older_than_an_mtu(plane: Plane, family: int) -> None:
    result = plane.send(0, [to(family, 2, bytes(1400), **{TTL[family]: 1})])
    assert result.moved.drops == {"ttl_expired": 1}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("number", [Special.RESOLVE, Special.GLEAN])
def test_a_hop_that_ends_is_not_resolved(plane: Plane, family: int, number: Special) -> None:
    """Else a traceroute would end in host unreachable, and anybody could make the router ask for neighbours."""
    result = plane.send(0, [special(family, number, **{TTL[family]: 1})], until=lambda moved: moved.originated == 1)
    assert (result.moved.drops, result.moved.punts) == ({"ttl_expired": 1}, {})


@pytest.mark.parametrize("family", [4, 6])
def test_errors_are_rate_limited(plane: Plane, family: int) -> None:
    """A prefix has 200 a second and 100 at once of each worker: RFC 1812 4.3.2.8, RFC 4443 2.4 (f)."""
    frames = [error_frame(family, "no_route")] * 1500
    moved = plane.send(0, frames).moved
    assert moved.drops == {"no_route": 1500, "originate_policed": 1500 - moved.originated}
    assert 16 <= moved.originated < 1500
    if family == 4:
        frame = frame4(0, udp4("203.0.113.9", src="198.18.1.5"))
    else:
        frame = frame6(0, udp6("2001:db8:ffff::9", src="2001:db8:118::5"))
    moved = plane.send(0, [frame], until=lambda moved: moved.originated + len(moved.drops) == 2).moved
    assert "originate_policed" not in moved.drops, "another prefix has a rate of its own"


def test_the_unresolved_next_hop_is_asked_for(plane: Plane) -> None:
    """Control reads these from the stats segment's ring."""
    tail, _ = plane.counters.reader.resolve_requests(0)
    frames = [special(4, Special.RESOLVE), special(6, Special.RESOLVE), special(4, Special.GLEAN, host=77)]
    plane.send(0, frames, until=lambda moved: moved.drops.get("next_hop_unresolved") == 3)
    _, requests = plane.counters.reader.resolve_requests(tail)
    asked = {(family, port, address[: 4 if family == 4 else 16]) for family, port, address in requests}
    assert asked == {(4, 1, UNRESOLVED4), (6, 1, UNRESOLVED6), (4, 1, bytes([198, 19, Special.GLEAN, 77]))}
    assert 3 <= len(requests) <= 12, "deduplicated, once a second"
