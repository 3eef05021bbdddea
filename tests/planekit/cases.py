"""The differential test's frames: what a transit packet can be, by name, with what ours does with each.

All go into port 0. `fate` is "forwarded", "punted", or the drop reason; an ICMP error follows from the reason.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.packet import Packet, Raw

from planekit.fabric import Special
from planekit.frames import checksum, ethernet, frame4, frame6, special, to, udp4, udp6

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = bytes(range(64))
HERE4, HERE6 = "198.18.0.5", "2001:db8:18::5"
THERE4, THERE6 = "198.18.1.7", "2001:db8:18:1::7"
LOST4, LOST6 = "203.0.113.9", "2001:db8:ffff::9"
LATER: dict[str, Any] = {"offset": 5, "m": 0, "id": 7}


@dataclass(frozen=True)
class Case:
    """One frame into port 0."""

    name: str
    frame: bytes
    fate: str


def damaged(frame: bytes, at: int, value: int | bytes, *, sum4: bool = False) -> bytes:
    """The frame with other bytes at an offset of its IP header; sum4: its IPv4 checksum set right again."""
    data = bytearray(frame)
    new = bytes([value]) if isinstance(value, int) else value
    data[14 + at : 14 + at + len(new)] = new
    if sum4:
        length = (data[14] & 15) * 4
        data[24:26] = b"\0\0"
        data[24:26] = struct.pack(">H", checksum(bytes(data[14 : 14 + length])))
    return bytes(data)


def lost4(packet: Packet, host: int = 5, **header: Any) -> bytes:
    """To a destination without a route. Linux answers a host five times and then once a second."""
    return frame4(0, IP(src=f"198.18.0.{host}", dst=LOST4, **header) / packet)


def lost6(*layers: Packet, dst: str = LOST6, **header: Any) -> bytes:
    packet: Packet = IPv6(src=HERE6, dst=dst, **header)
    for layer in layers:
        packet = packet / layer
    return frame6(0, packet)


def plain() -> Iterator[Case]:
    for family in (4, 6):
        hops = "ttl" if family == 4 else "hlim"
        kind = {"tos": 0xB9} if family == 4 else {"tc": 0xB9}
        yield Case(f"ipv{family} udp", to(family, 1, BODY), "forwarded")
        yield Case(f"ipv{family} without payload", to(family, 1, b""), "forwarded")
        yield Case(f"ipv{family} padded", to(family, 1, b"x").ljust(120, b"\xaa"), "forwarded")
        yield Case(f"ipv{family} dscp and ecn", to(family, 1, BODY, **kind), "forwarded")
        yield Case(f"ipv{family} as long as the mtu", to(family, 2, bytes(1300 - 28 - 20 * (family == 6))), "forwarded")
        yield Case(f"ipv{family} hops 2", to(family, 1, BODY, **{hops: 2}), "forwarded")
        yield Case(f"ipv{family} hops 255", to(family, 1, BODY, **{hops: 255}), "forwarded")
        for left in (0, 1):
            yield Case(f"ipv{family} hops {left}", to(family, 1, BODY, **{hops: left}), "ttl_expired")
        yield Case(f"ipv{family} hops 1, dscp and ecn", to(family, 1, BODY, **{hops: 1}, **kind), "ttl_expired")
        yield Case(f"ipv{family} hops 1, long", to(family, 1, bytes(1400), **{hops: 1}), "ttl_expired")
        yield Case(f"ipv{family} hops 1, no route", hopless(family, hops), "no_route")
        yield Case(f"ipv{family} back whence it came", to(family, 0, BODY), "forwarded")
        neighbour = {"src": "10.0.0.77" if family == 4 else "2001:db8::77"}
        yield Case(f"ipv{family} back whence it came, from a neighbour", to(family, 0, BODY, **neighbour), "forwarded")
    yield Case("ipv4 tcp", frame4(0, IP(src=HERE4, dst=THERE4) / TCP(flags="S")), "forwarded")
    yield Case("ipv4 checksum becomes zero", damaged(to(4, 1, BODY, id=0), 4, _id_for_zero(), sum4=True), "forwarded")
    yield Case("ipv6 flow label", to(6, 1, BODY, fl=0xABCDE), "forwarded")


def hopless(family: int, hops: str) -> bytes:
    packet = udp4(LOST4, BODY, ttl=1) if family == 4 else udp6(LOST6, BODY, hlim=1)
    return frame4(0, packet) if hops == "ttl" else frame6(0, packet)


def _id_for_zero() -> bytes:
    """The identification that makes the checksum 0xfeff, so that a hop less makes it 0xffff, that is zero."""
    header = bytes(IP(bytes(udp4(THERE4, BODY, id=0))))[:20]
    return struct.pack(">H", (int.from_bytes(header[10:12], "big") - 0xFEFF) % 0xFFFF)


def options() -> Iterator[Case]:
    for name, option in (
        ("nop", IPOption_NOP()),
        ("record route", IPOption_RR(routers=["0.0.0.0", "0.0.0.0"])),
        ("timestamp", Raw(b"\x44\x0c\x05\0" + bytes(8))),
        ("router alert", Raw(b"\x94\x04\0\0")),
        ("unknown", Raw(b"\x9e\x04\0\0")),
    ):
        yield Case(f"ipv4 option {name}", frame4(0, udp4(THERE4, BODY, options=[option])), "forwarded")
    source = IPOption_LSRR(routers=[THERE4])
    yield Case("ipv4 option source route", frame4(0, udp4(THERE4, BODY, options=[source])), "forwarded")
    yield Case("ipv4 option of length 0", frame4(0, udp4(THERE4, BODY, options=[Raw(b"\x07\0\0\0")])), "forwarded")
    expired = udp4(THERE4, BODY, options=[IPOption_NOP()], ttl=1)
    yield Case("ipv4 option nop, hops 1", frame4(0, expired), "ttl_expired")


def fragments() -> Iterator[Case]:
    parts4: dict[str, dict[str, Any]] = {
        "first": {"flags": "MF"},
        "middle": {"flags": "MF", "frag": 20},
        "last": {"frag": 20},
    }
    parts6: dict[str, dict[str, Any]] = {"first": {"m": 1, "offset": 0}, "later": {"m": 0, "offset": 20}}
    for hops, suffix, fate in ((64, "", "forwarded"), (1, ", hops 1", "ttl_expired")):
        for name, header in parts4.items():
            packet = IP(src=HERE4, dst=THERE4, ttl=hops, proto=17, **header) / Raw(BODY)
            yield Case(f"ipv4 fragment {name}{suffix}", frame4(0, packet), fate)
        for name, header in parts6.items():
            packet = IPv6(src=HERE6, dst=THERE6, hlim=hops) / IPv6ExtHdrFragment(nh=17, id=9, **header) / Raw(BODY)
            yield Case(f"ipv6 fragment {name}{suffix}", frame6(0, packet), fate)


def too_big() -> Iterator[Case]:
    for size in (1273, 1400):
        yield Case(f"ipv4 df, {size} of payload", to(4, 2, bytes(size), flags="DF"), "mtu_exceeded")
        yield Case(f"ipv6 {size} of payload", to(6, 2, bytes(size)), "mtu_exceeded")
    yield Case("ipv4 without df, too big", to(4, 2, bytes(range(250)) * 5 + bytes(150)), "forwarded")
    yield Case("ipv4 without df, too big, hops 1", to(4, 2, bytes(1400), ttl=1), "ttl_expired")
    for options in (
        b"\x94\x04\x00\x00",
        b"\x44\x0c\x05\x00" + bytes(8),
        b"\x94\x04\x00\x00\x07\x07\x04\x00\x00\x00\x00\x00",
    ):
        optioned = to(4, 2, bytes(1400), options=[Raw(options)])
        yield Case(f"ipv4 without df, too big, options {options[:5].hex()}", optioned, "forwarded")
    for offset, flags in ((0, "MF"), (100, "MF"), (100, 0)):
        part = IP(src="198.18.0.5", dst="198.18.2.7", proto=17, id=77, frag=offset, flags=flags) / Raw(bytes(1400))
        yield Case(f"ipv4 fragment at {offset} {flags}, too big", frame4(0, part), "forwarded")
    yield Case("ipv4 df, too big, hops 1", to(4, 2, bytes(1400), flags="DF", ttl=1), "ttl_expired")
    yield Case("ipv6 too big, hops 1", to(6, 2, bytes(1400), hlim=1), "ttl_expired")
    late = IP(src=HERE4, dst="198.18.2.7", flags="DF", frag=20, proto=17) / Raw(bytes(1400))
    yield Case("ipv4 df, too big, later fragment", frame4(0, late), "mtu_exceeded")


def ways() -> Iterator[Case]:
    for family in (4, 6):
        lost = frame4(0, udp4(LOST4, BODY)) if family == 4 else frame6(0, udp6(LOST6, BODY))
        yield Case(f"ipv{family} no route", lost, "no_route")
        yield Case(f"ipv{family} blackhole", special(family, Special.BLACKHOLE), "blackhole")
        yield Case(f"ipv{family} unreachable", special(family, Special.UNREACHABLE), "unreachable")
        yield Case(f"ipv{family} prohibit", special(family, Special.PROHIBIT), "prohibited")
        source = f"198.18.1.{5}" if family == 4 else "2001:db8:18:1::5"
        packet = udp4(LOST4, BODY, src=source) if family == 4 else udp6(LOST6, BODY, src=source)
        frame = frame4(0, packet) if family == 4 else frame6(0, packet)
        yield Case(f"ipv{family} no route, the source is behind another port", frame, "no_route")
    yield Case("ipv4 directed broadcast", special(4, Special.BROADCAST, 255), "directed_broadcast")


def martians() -> Iterator[Case]:
    for src in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.5", "240.0.0.1", "255.255.255.255"):
        yield Case(f"ipv4 from {src}", frame4(0, udp4(THERE4, BODY, src=src)), "ipv4_source")
    for host, dst in enumerate(("0.0.0.0", "0.1.2.3", "127.0.0.1", "240.0.0.1"), 90):
        frame = frame4(0, udp4(dst, BODY, src=f"198.18.0.{host}"))
        yield Case(f"ipv4 to {dst}", frame, "ipv4_destination")
    for src in ("::", "::1", "ff02::1", "ff0e::1"):
        yield Case(f"ipv6 from {src}", frame6(0, udp6(THERE6, BODY, src=src)), "ipv6_source")
    for dst in ("::", "::1"):
        yield Case(f"ipv6 to {dst}", frame6(0, udp6(dst, BODY)), "ipv6_destination")
    yield Case("ipv6 from link-local", frame6(0, udp6(THERE6, BODY, src="fe80::9")), "ipv6_link_local")
    yield Case("ipv6 to link-local", frame6(0, udp6("fe80::77", BODY)), "punted")
    yield Case("ipv4 to 255.255.255.255", frame4(0, udp4("255.255.255.255", BODY), b"\xff" * 6), "punted")
    yield Case("ipv4 to 224.0.0.9", frame4(0, udp4("224.0.0.9", BODY, ttl=1), bytes.fromhex("01005e000009")), "punted")
    for dst in ("224.0.1.1", "239.1.1.1"):
        frame = frame4(0, udp4(dst, BODY), bytes.fromhex("01005e010101"))
        yield Case(f"ipv4 to {dst}", frame, "ipv4_multicast")
    for dst in ("ff05::2", "ff0e::1"):
        yield Case(f"ipv6 to {dst}", frame6(0, udp6(dst, BODY), bytes.fromhex("333300000001")), "ipv6_multicast")
    yield Case("ipv4 unicast in a broadcast frame", frame4(0, udp4(THERE4, BODY), b"\xff" * 6), "mac_mismatch")
    yield Case(
        "ipv6 unicast in a multicast frame", frame6(0, udp6(THERE6), bytes.fromhex("333300000001")), "mac_mismatch"
    )
    yield Case("ipv4 to another mac", frame4(0, udp4(THERE4, BODY), bytes([2, 9, 9, 9, 9, 9])), "mac_mismatch")


def broken() -> Iterator[Case]:
    good4, good6 = to(4, 1, BODY), to(6, 1, BODY)
    yield Case("ipv4 bad checksum", damaged(good4, 10, good4[24] ^ 1), "ipv4_checksum")
    yield Case("ipv4 bad checksum, hops 1", damaged(good4, 8, 1), "ipv4_checksum")
    for first in (0x35, 0x55, 0x65):
        yield Case(f"ipv4 first byte {first:#x}", damaged(good4, 0, first, sum4=True), "ipv4_version")
    yield Case("ipv4 header of 16 bytes", damaged(good4, 0, 0x44), "ipv4_header_length")
    yield Case("ipv4 header longer than the frame", damaged(good4[:34], 0, 0x46), "ipv4_header_length")
    for size in (0, 19, len(good4) - 13, 65535):
        lying = damaged(good4, 2, struct.pack(">H", size), sum4=True)
        yield Case(f"ipv4 total length {size}", lying, "ipv4_total_length")
    yield Case("ipv4 total length of less than the frame", damaged(good4, 2, b"\0\x20", sum4=True), "forwarded")
    for size in (0, 1, 19):
        yield Case(f"ipv4 cut to {size} bytes", good4[: 14 + size], "ipv4_truncated")
    for first in (0x00, 0x40, 0x70):
        yield Case(f"ipv6 first byte {first:#x}", damaged(good6, 0, first), "ipv6_version")
    for size in (len(good6) - 53, 65535):
        yield Case(f"ipv6 payload length {size}", damaged(good6, 4, struct.pack(">H", size)), "ipv6_payload_length")
    yield Case("ipv6 payload length of less than the frame", damaged(good6, 4, b"\0\x10"), "forwarded")
    for size in (0, 1, 39):
        yield Case(f"ipv6 cut to {size} bytes", good6[: 14 + size], "ipv6_truncated")
    yield Case("ethertype 0x8847", ethernet(0, bytes(46), 0x8847), "ethertype_unsupported")


def extensions() -> Iterator[Case]:
    udp = UDP(sport=1, dport=2) / Raw(BODY)
    for name, header in (
        ("hop-by-hop", IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0\0\0\0")])),
        ("hop-by-hop with an unknown option to skip", Raw(b"\x11\0\x3e\x04\0\0\0\0")),
        ("hop-by-hop with an unknown option to discard", Raw(b"\x11\0\x5e\x04\0\0\0\0")),
        ("hop-by-hop with an unknown option to report", Raw(b"\x11\0\x9e\x04\0\0\0\0")),
        ("destination options", IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0\0\0\0")])),
        ("routing type 0", IPv6ExtHdrRouting(addresses=["2001:db8:18:2::7"])),
    ):
        base = IPv6(src=HERE6, dst=THERE6)
        if isinstance(header, Raw):
            base.nh = 0
        yield Case(f"ipv6 {name}", frame6(0, base / header / udp), "forwarded")
    no_next = IPv6(src=HERE6, dst=THERE6, nh=59)
    yield Case("ipv6 no next header", frame6(0, no_next / Raw(BODY)), "forwarded")
    yield Case("ipv6 unknown next header", frame6(0, IPv6(src=HERE6, dst=THERE6, nh=253) / Raw(BODY)), "forwarded")


def about_errors() -> Iterator[Case]:
    """To nowhere: those that may not be answered, and some like them that may."""
    for kind in (0, 3, 4, 5, 8, 11, 12, 13, 14, 30):
        yield Case(f"icmp type {kind}, no route", lost4(ICMP(type=kind) / Raw(BODY), 100 + kind), "no_route")
    yield Case("icmp without its type, no route", lost4(Raw(b""), 99, proto=1), "no_route")
    error = ICMPv6TimeExceeded() / IPv6() / Raw(b"e")
    yield Case("icmpv6 error, no route", lost6(error), "no_route")
    yield Case(
        "icmpv6 error behind options, no route", lost6(IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), error), "no_route"
    )
    yield Case("icmpv6 echo, no route", lost6(ICMPv6EchoRequest(data=b"e")), "no_route")
    yield Case("icmpv6 echo behind options, no route", lost6(IPv6ExtHdrHopByHop(), ICMPv6EchoRequest()), "no_route")
    yield Case("icmpv6 redirect, no route", lost6(Raw(b"\x89\0\0\0" + bytes(36)), nh=58), "no_route")
    yield Case("icmpv6 later fragment, no route", lost6(IPv6ExtHdrFragment(nh=58, **LATER), Raw(bytes(8))), "no_route")
    yield Case("icmpv6 without its type, no route", lost6(Raw(b""), nh=58), "no_route")
    yield Case("udp later fragment, no route", lost6(IPv6ExtHdrFragment(nh=17, **LATER), Raw(bytes(8))), "no_route")
    yield Case("ipv4 in a broadcast frame, no route", frame4(0, udp4(LOST4, BODY), b"\xff" * 6), "mac_mismatch")


def to_the_router() -> Iterator[Case]:
    for name, frame in (
        ("icmp echo", frame4(0, IP(src=HERE4, dst="10.0.0.1") / ICMP() / Raw(BODY))),
        ("icmp echo to another port's address", frame4(0, IP(src=HERE4, dst="10.0.1.1") / ICMP() / Raw(BODY))),
        ("icmp echo, hops 1", frame4(0, IP(src=HERE4, dst="10.0.0.1", ttl=1) / ICMP() / Raw(BODY))),
        ("udp to a closed port", frame4(0, udp4("10.0.0.1", BODY))),
        ("tcp to a closed port", frame4(0, IP(src=HERE4, dst="10.0.0.1") / TCP(dport=179, flags="S"))),
        ("icmpv6 echo", frame6(0, IPv6(src=HERE6, dst="2001:db8::1") / ICMPv6EchoRequest(data=BODY))),
        ("icmpv6 echo, hops 1", frame6(0, IPv6(src=HERE6, dst="2001:db8::1", hlim=1) / ICMPv6EchoRequest(data=BODY))),
        ("udp6 to a closed port", frame6(0, udp6("2001:db8::1", BODY))),
    ):
        yield Case(f"router: {name}", frame, "punted")


def all_cases() -> list[Case]:
    sources = (
        plain, options, fragments, too_big, ways, martians, broken, extensions, about_errors, to_the_router,
    )  # fmt: skip
    return [case for source in sources for case in source()]
