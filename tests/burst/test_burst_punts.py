"""What is for the host stack reaches its port's twin unchanged, in its punt class; what the kernel sends goes out."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RS, IPv6
from scapy.layers.l2 import ARP

from dpdkrouter.segment import PuntClass
from planekit.fabric import UNRESOLVED4, Special
from planekit.frames import ethernet, forwarded, frame4, frame6, special, to, udp4, udp6
from planekit.process import NEAR_PEER, PEER4, PEER6
from planekit.wires import far_mac, near_mac

if TYPE_CHECKING:
    from planekit import Plane

BROADCAST = b"\xff" * 6
ALL_NODES, SOLICITED = bytes.fromhex("333300000001"), bytes.fromhex("3333ff000001")


def tcp4(sport: int, dport: int, src: str = PEER4, ttl: int = 1) -> bytes:
    return frame4(0, IP(src=src, dst="10.0.0.1", ttl=ttl) / TCP(sport=sport, dport=dport))


def tcp6(dport: int, src: str = PEER6) -> bytes:
    return frame6(0, IPv6(src=src, dst="2001:db8::1", hlim=1) / TCP(sport=40000, dport=dport))


def icmp4(message: ICMP, dst: str = "10.0.0.1") -> bytes:
    return frame4(0, IP(src="198.18.0.5", dst=dst, ttl=1) / message)


def nd(message: object, dst: str, mac: bytes, src: str = "fe80::9", hops: int = 255) -> bytes:
    return frame6(0, IPv6(src=src, dst=dst, hlim=hops) / message, mac)


FRAMES: dict[str, list[bytes]] = {
    "bgp": [
        tcp4(179, 40000),
        tcp4(40000, 179),
        tcp6(179),
        tcp4(40000, 179, NEAR_PEER, ttl=255),  # RFC 5082
    ],
    "neighbor": [
        ethernet(0, bytes(ARP(pdst="10.0.0.1")), 0x0806, BROADCAST),
        ethernet(0, bytes(ARP(op=2, pdst="10.0.0.1")), 0x0806),
        nd(ICMPv6ND_NS(tgt="2001:db8::1"), "ff02::1:ff00:1", SOLICITED),
        nd(ICMPv6ND_NS(tgt="2001:db8::1"), "ff02::1:ff00:1", SOLICITED, src="::"),
        nd(ICMPv6ND_NA(tgt="fe80::9"), "fe80::0:1", near_mac(0)),
        nd(ICMPv6ND_NA(tgt="2001:db8:18::5"), "2001:db8::1", near_mac(0), src="2001:db8:18::5"),
        nd(ICMPv6ND_RS(), "ff02::2", ALL_NODES),
    ],
    "echo": [
        icmp4(ICMP()),
        icmp4(ICMP(type=0)),
        frame4(0, IP(src="198.18.0.5", dst="224.0.0.1") / ICMP(), bytes.fromhex("01005e000001")),
        frame6(0, IPv6(src="2001:db8:18::5", dst="2001:db8::1") / ICMPv6EchoRequest()),
        frame6(0, IPv6(src="2001:db8:18::5", dst="2001:db8::1") / ICMPv6EchoReply()),
        frame6(0, IPv6(src="fe80::9", dst="fe80::0:1") / ICMPv6EchoRequest()),
    ],
    "local": [
        tcp4(40000, 22),
        tcp4(40000, 179, "198.18.0.6"),  # nobody that is configured
        tcp4(179, 40000, "10.0.0.9"),
        tcp4(40000, 179, NEAR_PEER, ttl=254),  # RFC 5082 3: from farther away than its TTL security allows
        tcp6(22),
        tcp6(179, "2001:db8:18::6"),
        tcp6(179, "::c612:5"),  # the IPv4 peer's number
        icmp4(ICMP(type=13)),
        nd(ICMPv6ND_NA(tgt="2001:db8:18::5"), "2001:db8::1", near_mac(0), src="2001:db8:18::5", hops=254),
        frame4(0, udp4("224.0.0.5"), bytes.fromhex("01005e000005")),
        frame4(0, udp4("255.255.255.255"), BROADCAST),
        frame4(0, udp4("255.255.255.255", src="0.0.0.0"), BROADCAST),
        frame6(0, udp6("ff02::1", src="fe80::9"), ALL_NODES),
    ],
}


def test_every_class_is_tested() -> None:
    assert {*FRAMES, "resolve"} == {member.name for member in PuntClass}


@pytest.mark.parametrize(("name", "number"), [(name, n) for name, frames in FRAMES.items() for n in range(len(frames))])
def test_punt(plane: Plane, name: str, number: int) -> None:
    frame = FRAMES[name][number]
    result = plane.send(0, [frame])
    assert (result.moved.punts, result.moved.punted, result.moved.drops) == ({name: 1}, 1, {})
    assert plane.twin_frames(0, 1) == [frame], "the kernel sees the frame as it came"
    assert result.out == [[], [], []]


def test_punt_goes_to_the_twin_of_the_port_it_came_from(plane: Plane) -> None:
    frame = ethernet(2, bytes(ARP(pdst="10.0.2.1")), 0x0806, BROADCAST)
    plane.send(2, [frame])
    assert plane.twin_frames(2, 1) == [frame]


def test_transit_is_no_punt(plane: Plane) -> None:
    frames = [frame4(0, IP(src="198.18.0.5", dst="198.18.1.7") / TCP(dport=179)), to(4, 1), to(6, 1)]
    assert plane.send(0, frames).moved.punts == {}


@pytest.mark.parametrize("family", [4, 6])
def test_resolve_parks_until_the_neighbour_is_known(plane: Plane, family: int) -> None:
    """Then the parked packets go, in order, as the fast path would have sent them, counted injected."""
    fabric = plane.fabric
    index = fabric.resolve4 if family == 4 else fabric.resolve6
    frames = [special(family, Special.RESOLVE, sport=n + 1) for n in range(3)]
    parked = plane.send(0, frames)
    assert parked.moved.punts == {"resolve": 3}
    assert parked.out == [[], [], []]
    unresolved = fabric.unresolved4 if family == 4 else fabric.unresolved6
    try:
        known = fabric.hop(1, 1500, unresolved.next_hop)
        result = plane.observe(lambda: fabric.fib.adjacency_set(index, known), lambda m: m.injected == 3)
        assert result.out[1] == [forwarded(frame, 1) for frame in frames]
        assert plane.send(0, frames).moved.forwarded == 3
    finally:
        fabric.fib.adjacency_set(index, unresolved)


def test_an_error_about_a_parked_packet_leaves_at_once(plane: Plane) -> None:
    """Resolved onto a port with a smaller MTU: the packet was fine until then."""
    fabric = plane.fabric
    big = special(4, Special.RESOLVE, payload=bytes(1400), flags="DF")
    plane.send(0, [big])
    try:
        known = fabric.hop(2, 1300, UNRESOLVED4)
        result = plane.observe(lambda: fabric.fib.adjacency_set(fabric.resolve4, known), lambda m: m.originated == 1)
        assert result.moved.drops == {"mtu_exceeded": 1}
        assert len(result.out[0]) == 1
    finally:
        fabric.fib.adjacency_set(fabric.resolve4, fabric.unresolved4)


# ---- from the kernel


@pytest.mark.parametrize("port", [0, 1, 2])
def test_what_the_kernel_sends_on_a_twin_leaves_as_it_is(plane: Plane, port: int) -> None:
    frames = [far_mac(port) + near_mac(port) + struct.pack(">H", 0x0800) + bytes([n]) * (n * 30) for n in range(1, 40)]
    result = plane.observe(lambda: plane.wires.twin[port].send(*frames), lambda m: m.injected == 39)
    assert result.out[port] == frames


@pytest.mark.parametrize("family", [4, 6])
def test_what_the_kernel_sends_far_is_routed_with_its_hops_kept(plane: Plane, family: int) -> None:
    """Also with one hop: it begins here."""
    for port in range(3):
        if family == 4:
            packet = bytes(udp4(f"198.18.{port}.7", src="10.0.0.1", ttl=1))
        else:
            packet = bytes(udp6(f"2001:db8:18:{port}::7", src="2001:db8::1", hlim=1))
        result = plane.observe(partial(plane.wires.host0.send, packet), lambda m: m.injected == 1)
        kind = struct.pack(">H", 0x0800 if family == 4 else 0x86DD)
        assert result.out[port] == [far_mac(port) + near_mac(port) + kind + packet]


def test_what_the_kernel_sends_far_waits_for_its_next_hop(plane: Plane) -> None:
    fabric = plane.fabric
    packet = bytes(udp4(f"198.19.{Special.RESOLVE}.7", src="10.0.0.1", ttl=1))
    plane.observe(lambda: plane.wires.host0.send(packet), lambda m: True)
    try:
        known = fabric.hop(1, 1500, UNRESOLVED4)
        result = plane.observe(lambda: fabric.fib.adjacency_set(fabric.resolve4, known), lambda m: m.injected == 1)
        assert [frame[14:] for frame in result.out[1]] == [packet]
    finally:
        fabric.fib.adjacency_set(fabric.resolve4, fabric.unresolved4)
