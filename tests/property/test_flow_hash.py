"""The hash of flows: ICMP errors, tunnels and fragments of a flow are found where the flow is."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpath.flows import BY_LABEL, flow_bucket

TCP, UDP, ICMP, ICMP6, IPIP, IP6, GRE, FRAGMENT, OPTIONS = 6, 17, 1, 58, 4, 41, 47, 44, 60
ERRORS = {4: (3, 4, 5, 11, 12), 6: (1, 2, 3, 4, 100, 127)}
NO_ERRORS = {4: (0, 8, 9, 13), 6: (128, 129, 133, 135, 200)}
PORTS = st.integers(0, 0xFFFF)
OUTER = {4: (ip_address("192.0.2.1").packed, ip_address("198.51.100.9").packed)}
OUTER[6] = (ip_address("2001:db8::1").packed, ip_address("2001:db8:9::9").packed)


@dataclass(frozen=True)
class Packet:
    """A TCP or UDP packet of a flow, or of another protocol without ports."""

    src: bytes
    dst: bytes
    protocol: int
    sport: int
    dport: int
    body: bytes = b""

    @property
    def family(self) -> int:
        return 4 if len(self.src) == 4 else 6

    @property
    def back(self) -> Packet:
        """Of the other direction."""
        return replace(self, src=self.dst, dst=self.src, sport=self.dport, dport=self.sport)

    @property
    def segment(self) -> bytes:
        return struct.pack(">HH", self.sport, self.dport) + bytes(4) + self.body

    @property
    def raw(self) -> bytes:
        return ip(self.src, self.dst, self.protocol, self.segment)


def ip(src: bytes, dst: bytes, protocol: int, payload: bytes, *, fragment: int = 0, label: int = 0) -> bytes:
    """fragment: the header's word, of IPv4 alone. label: of IPv6."""
    if len(src) == 4:
        return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 7, fragment, 64, protocol, 0) + src + dst + payload
    return struct.pack(">IHBB", 6 << 28 | label, len(payload), protocol, 64) + src + dst + payload


def flows(family: int) -> st.SearchStrategy[Packet]:
    address = st.binary(min_size=4, max_size=4) if family == 4 else st.binary(min_size=16, max_size=16)
    return st.builds(Packet, address, address, st.sampled_from((TCP, UDP)), PORTS, PORTS, st.binary(max_size=40))


ANY = st.one_of(flows(4), flows(6))


def error(about: bytes, family: int, kind: int) -> bytes:
    """From a router on the way to whom the packet is from."""
    source = about[12:16] if family == 4 else about[8:24]
    return ip(OUTER[family][0], source, {4: ICMP, 6: ICMP6}[family], bytes([kind, 0]) + bytes(6) + about)


def gre(payload: bytes, flags: int = 0) -> bytes:
    """RFC 2784 and 2890: checksum, key and sequence number as the flags say."""
    kind = 0x0800 if payload[0] >> 4 == 4 else 0x86DD
    options = bytes(4 * (flags & 0xB000).bit_count())
    return struct.pack(">HH", flags, kind) + options + payload


def tunnel(inner: bytes, outer: int, flags: int | None) -> bytes:
    """IP in IP; GRE with these flags."""
    if flags is not None:
        return ip(*OUTER[outer], GRE, gre(inner, flags))
    return ip(*OUTER[outer], IPIP if inner[0] >> 4 == 4 else IP6, inner)


TUNNELS = st.builds(
    lambda outer, flags: lambda inner: tunnel(inner, outer, flags),
    st.sampled_from((4, 6)),
    st.one_of(st.none(), st.sampled_from((0, 0x8000, 0x2000, 0x1000, 0xB000))),
)
Wrap = Callable[[bytes], bytes]


@given(ANY, st.data())
def test_an_error_goes_the_way_of_the_flow_that_it_reports_about(flow: Packet, data: st.DataObject) -> None:
    """The quote is at least the header and 8 bytes: RFC 792, RFC 1812 4.3.2.3, RFC 4443 2.4 (c)."""
    kind = data.draw(st.sampled_from(ERRORS[flow.family]))
    header = {4: 20, 6: 40}[flow.family]
    quote = flow.back.raw[: header + data.draw(st.integers(4, 60))]
    assert flow_bucket(error(quote, flow.family, kind)) == flow_bucket(flow.raw)


@given(ANY, st.integers(0, 3), st.data())
def test_a_quote_that_ends_before_the_ports(flow: Packet, left: int, data: st.DataObject) -> None:
    """Addresses and protocol are left, turned around: as of a packet that ends there itself."""
    header = {4: 20, 6: 40}[flow.family]
    about = error(flow.back.raw[: header + left], flow.family, ERRORS[flow.family][0])
    assert flow_bucket(about) == flow_bucket(flow.raw[: header + left])
    short = about[: len(about) - left - data.draw(st.integers(1, header))]
    itself = ip(OUTER[flow.family][0], flow.dst, {4: ICMP, 6: ICMP6}[flow.family], b"")
    assert flow_bucket(short) == flow_bucket(itself), "no whole header is quoted: its own addresses decide"


@given(ANY, st.data())
def test_other_icmp_is_a_flow_of_its_own(flow: Packet, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(NO_ERRORS[flow.family]))
    itself = ip(OUTER[flow.family][0], flow.dst, {4: ICMP, 6: ICMP6}[flow.family], b"")
    assert flow_bucket(error(flow.back.raw, flow.family, kind)) == flow_bucket(itself)


@given(ANY, TUNNELS, TUNNELS, TUNNELS)
def test_tunnels_go_by_what_they_carry(flow: Packet, one: Wrap, two: Wrap, three: Wrap) -> None:
    """Down to four headers; further within, nobody looks."""
    wanted = flow_bucket(flow.raw)
    assert flow_bucket(one(flow.raw)) == wanted
    assert flow_bucket(two(one(flow.raw))) == wanted
    assert flow_bucket(three(two(one(flow.raw)))) == wanted
    other = replace(flow, sport=flow.sport ^ 0x5555, src=bytes(len(flow.src)))
    deep = [tunnel(three(two(one(packet.raw))), 4, None) for packet in (flow, other)]
    assert flow_bucket(deep[0]) == flow_bucket(deep[1])


@given(ANY, TUNNELS)
def test_errors_in_tunnels_and_about_tunnels(flow: Packet, wrap: Wrap) -> None:
    wanted = flow_bucket(flow.raw)
    about = error(flow.back.raw, flow.family, ERRORS[flow.family][0])
    assert flow_bucket(wrap(about)) == wanted
    inside = wrap(flow.back.raw)
    family = inside[0] >> 4
    assert flow_bucket(error(inside, family, ERRORS[family][0])) == wanted


@given(flows(4), st.integers(0, 2), st.lists(st.integers(1, 0x1FFF), min_size=1), st.binary(min_size=8, max_size=64))
def test_fragments_of_ipv4_go_by_their_addresses(flow: Packet, kind: int, later: list[int], body: bytes) -> None:
    """The first with ports, or with a tunnel's inner packet, or with an error's quote; the others with anything."""
    protocol, payload = (
        (flow.protocol, flow.segment),
        (IPIP, flow.raw),
        (ICMP, bytes([3, 4, 0, 0, 0, 0, 5, 220]) + flow.raw),
    )[kind]
    first = ip(flow.src, flow.dst, protocol, payload, fragment=0x2000)
    rest = [ip(flow.src, flow.dst, protocol, body, fragment=word | 0x2000 * (word % 2)) for word in later]
    assert {flow_bucket(packet) for packet in rest} == {flow_bucket(first)}
    assert flow_bucket(first) == flow_bucket(ip(flow.src, flow.dst, 99, b"", fragment=0x2000)), "the protocol too"


@given(flows(6), st.lists(st.integers(1, 0x1FFF), min_size=1), st.binary(min_size=8, max_size=64), st.booleans(), PORTS)
def test_fragments_of_ipv6_go_by_their_addresses(
    flow: Packet, later: list[int], body: bytes, options: bool, word: int
) -> None:
    def fragment(protocol: int, offset: int, more: bool, payload: bytes) -> bytes:
        head = struct.pack(">BBHI", protocol, 0, offset << 3 | more, 4711)
        if options:  # before the fragment header, and so in all
            return ip(flow.src, flow.dst, OPTIONS, bytes([FRAGMENT, 1]) + bytes(14) + head + payload)
        return ip(flow.src, flow.dst, FRAGMENT, head + payload)

    first = fragment(flow.protocol, 0, True, flow.segment)
    # RFC 8200 4.5: the protocol that later ones name need not be the first one's
    rest = [fragment(word & 0xFF, offset, bool(offset % 2), body) for offset in later]
    assert {flow_bucket(packet) for packet in rest} == {flow_bucket(first)}
    assert flow_bucket(fragment(flow.protocol, 0, False, flow.segment)) == flow_bucket(first), "RFC 6946: atomic ones"


@given(ANY)
def test_a_first_fragment_is_quoted_with_its_ports(flow: Packet) -> None:
    """What a server sent in fragments answers a flow that came in whole packets."""
    back = flow.back
    if flow.family == 4:
        quote = ip(back.src, back.dst, back.protocol, back.segment, fragment=0x2000)
        later = ip(back.src, back.dst, back.protocol, back.segment, fragment=0x0010)
    else:
        head = struct.pack(">BBHI", back.protocol, 0, 1, 4711)
        quote = ip(back.src, back.dst, FRAGMENT, head + back.segment)
        later = ip(back.src, back.dst, FRAGMENT, struct.pack(">BBHI", back.protocol, 0, 0x81, 4711) + back.segment)
    kind = ERRORS[flow.family][0]
    assert flow_bucket(error(quote, flow.family, kind)) == flow_bucket(flow.raw)
    alone = ip(flow.src, flow.dst, flow.protocol, b"", fragment=0x2000)
    if flow.family == 6:
        alone = ip(flow.src, flow.dst, FRAGMENT, struct.pack(">BBHI", flow.protocol, 0, 1, 4711))
    assert flow_bucket(error(later, flow.family, kind)) == flow_bucket(alone)


@given(flows(6), st.integers(1, 0xFFFFF), st.integers(1, 0xFFFFF), TUNNELS)
def test_the_flow_label_when_asked_for(flow: Packet, label: int, other: int, wrap: Wrap) -> None:
    def labelled(packet: Packet, number: int) -> bytes:
        return ip(packet.src, packet.dst, packet.protocol, packet.segment, label=number)

    elsewhere = replace(flow, sport=flow.sport ^ 1, protocol=TCP + UDP - flow.protocol)
    assert flow_bucket(labelled(flow, label), BY_LABEL) == flow_bucket(labelled(elsewhere, label), BY_LABEL)
    assert flow_bucket(labelled(flow, 0), BY_LABEL) == flow_bucket(flow.raw), "0: there is none (RFC 6437 3)"
    assert flow_bucket(labelled(flow, label)) == flow_bucket(labelled(flow, other)), "without the option"
    ends = ip(flow.src, flow.dst, IP6, wrap(elsewhere.raw), label=label)
    assert flow_bucket(ends, BY_LABEL) == flow_bucket(labelled(flow, label), BY_LABEL), "RFC 6438 3: of a tunnel"
    about = ip(OUTER[6][0], flow.src, ICMP6, bytes([2]) + bytes(7) + labelled(flow.back, other), label=label)
    about6 = ip(OUTER[6][0], flow.src, ICMP6, bytes([2]) + bytes(7) + labelled(flow.back, 0))
    assert flow_bucket(about, BY_LABEL) == flow_bucket(about6), "errors: the 5-tuple that they quote"


def test_labels_spread_what_is_one_flow_by_addresses() -> None:
    src, dst = OUTER[6]
    taken = {flow_bucket(ip(src, dst, IP6, b"", label=label), BY_LABEL) for label in range(1, 2000)}
    assert len(taken) == 256


@pytest.mark.parametrize("flags", [0x4000, 0x0001, 0x2001, 0x0800])
def test_shapes_of_gre_that_are_not_known(flags: int) -> None:
    """RFC 1701's routing, versions other than 0: by the outer header."""
    src, dst = OUTER[4]
    inner = Packet(src, dst, UDP, 1, 2).raw
    assert flow_bucket(ip(src, dst, GRE, gre(inner, flags))) == flow_bucket(ip(src, dst, GRE, b""))
    bridged = struct.pack(">HH", 0, 0x6558) + bytes(12) + b"\x08\x00" + inner
    assert flow_bucket(ip(src, dst, GRE, bridged)) == flow_bucket(ip(src, dst, GRE, b"")), "Ethernet in GRE"


@given(
    st.sampled_from((ICMP, ICMP6, IPIP, IP6, GRE, FRAGMENT, OPTIONS, 0, 43, TCP)),
    st.lists(st.binary(max_size=60), max_size=6),
    st.sampled_from((4, 6)),
    st.sampled_from((0, BY_LABEL)),
)
def test_whatever_follows_a_header_gives_a_bucket(protocol: int, parts: list[bytes], family: int, how: int) -> None:
    """Nothing is read beyond the end: bytes that follow the packet in memory make no difference."""
    starts = (b"\x45", b"\x60", b"\x03\x00", b"\x00\x00\x08\x00", b"\x29\xff", b"\x2c\x00")
    payload = b"".join(starts[n % 6] + part for n, part in enumerate(parts))
    packet = ip(*OUTER[family], protocol, payload)
    buckets = {flow_bucket(memoryview(packet + tail)[: len(packet)], how) for tail in (b"", b"\xff" * 128, bytes(128))}
    assert len(buckets) == 1
    assert 0 <= buckets.pop() < 256
