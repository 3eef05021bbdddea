"""Jumbo frames: ports of 9000 and 1500 bytes; what is forwarded, punted, injected, fragmented or refused at that size."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6PacketTooBig

from planekit import Plane
from planekit.fabric import Special
from planekit.frames import decoded, forwarded, frame4, frame6, to, udp4, udp6
from planekit.wires import far_mac, near_mac

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MTU = 9000  # of ports 0 and 1
SMALL = 1500  # of port 2
MORE = 0x2000


@pytest.fixture(scope="module")
def running(hugepages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with Plane("jumbo", tmp_path_factory.mktemp("jumbo"), mtus=(MTU, MTU, SMALL)) as plane:
        yield plane


@pytest.fixture(scope="module")
def chains(hugepages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """Ports of 1500 on wires of 9000: what net_pcap receives and no mbuf holds is a chain of up to five."""
    folder = tmp_path_factory.mktemp("chain")
    with Plane("chain", folder, lcores=(0,), mtus=(SMALL,) * 3, whole=True, wire_mtu=MTU) as plane:
        yield plane
        assert plane.counters.snapshot().wrong() == []


def chained(plane: Plane, frame: bytes) -> bytes:
    """To the device's own MAC, which net_pcap makes up."""
    return plane.counters.reader.ports()[0].mac + frame[6:]


def body(family: int, packet: int) -> bytes:
    """A UDP payload that makes a packet of so many bytes."""
    return random.Random(packet).randbytes(packet - {4: 28, 6: 48}[family])


@pytest.mark.parametrize("size", [1501, 2035, 2048, 4096, 8192, 8999, MTU])
@pytest.mark.parametrize("family", [4, 6])
def test_forwarded_byte_for_byte(plane: Plane, family: int, size: int) -> None:
    """Among small frames, and by workers that hand over."""
    frames = [to(family, 1, body(family, size), sport=n) for n in range(12)]
    small = [to(10 - family, 1, b"small", sport=n) for n in range(12)]
    result = plane.send(0, [frame for pair in zip(frames, small, strict=True) for frame in pair])
    assert (result.moved.forwarded, result.moved.drops) == (24, {})
    assert sorted(result.out[1]) == sorted(forwarded(frame, 1) for frame in frames + small)


@pytest.mark.parametrize("family", [4, 6])
def test_spread_over_several_next_hops(plane: Plane, family: int) -> None:
    make, prefix = {4: (udp4, "198.19.{}.7"), 6: (udp6, "2001:db8:19:{:x}::7")}[family]
    target = prefix.format(int(Special.ECMP))
    framed = {4: frame4, 6: frame6}[family]
    frames = [framed(0, make(target, body(family, MTU), sport=n)) for n in range(40)]
    result = plane.send(0, frames)
    assert result.moved.forwarded == 40
    out = {frame for port in (0, 1) for frame in result.out[port]}
    assert all(len({forwarded(frame, port) for port in (0, 1)} & out) == 1 for frame in frames)
    assert result.out[0]
    assert result.out[1]


def test_a_jumbo_packet_leaves_a_small_port_in_fragments(plane: Plane) -> None:
    data = body(4, MTU)
    frame = frame4(0, udp4("198.18.2.7", data, id=4711, ttl=9))
    result = plane.send(0, [frame])
    assert (result.moved.forwarded, result.moved.drops) == (1, {})
    assert (len(result.out[2]), result.moved.fragments) == (7, 6)
    whole = bytearray(8980)
    for out in result.out[2]:
        assert len(out) <= 14 + SMALL
        assert (out[:6], out[6:12]) == (far_mac(2), near_mac(2))
        (word,) = struct.unpack(">H", out[20:22])
        at = (word & 0x1FFF) * 8
        whole[at : at + len(out) - 34] = out[34:]
        assert bool(word & MORE) is (at + len(out) - 34 < 8980)
    assert bytes(whole) == frame[34:]


def test_too_big_for_a_small_port(plane: Plane) -> None:
    """With its MTU; the quote is no longer than for other packets."""
    frames = [to(4, 2, body(4, MTU), flags="DF"), to(6, 2, body(6, MTU))]
    result = plane.send(0, frames)
    assert result.moved.drops == {"mtu_exceeded": 2}
    by_family = {out[14] >> 4: decoded(out) for out in result.out[0]}
    assert (by_family[4][ICMP].code, by_family[4][ICMP].nexthopmtu) == (4, SMALL)
    assert by_family[6][ICMPv6PacketTooBig].mtu == SMALL
    quotes = {4: (42, 548), 6: (62, 1280 - 48)}
    for frame, family in zip(frames, (4, 6), strict=True):
        (out,) = [out for out in result.out[0] if out[14] >> 4 == family]
        start, size = quotes[family]
        assert out[start:] == frame[14 : 14 + size]


@pytest.mark.parametrize("family", [4, 6])
def test_too_big_for_a_jumbo_port(plane: Plane, family: int) -> None:
    """One byte more than 9000, of a sender whose link takes it."""
    sender = {4: to(4, 1, body(4, MTU + 1), flags="DF"), 6: to(6, 1, body(6, MTU + 1))}[family]
    result = plane.send(0, [sender])
    assert result.moved.drops == {"mtu_exceeded": 1}
    (out,) = result.out[0]
    report = decoded(out)
    assert (report[ICMP].nexthopmtu if family == 4 else report[ICMPv6PacketTooBig].mtu) == MTU


@pytest.mark.parametrize("size", [1501, 4096, MTU])
@pytest.mark.parametrize("family", [4, 6])
def test_punted_to_the_twin_whole(plane: Plane, family: int, size: int) -> None:
    packet = udp4("10.0.0.1", body(4, size)) if family == 4 else udp6("2001:db8::1", body(6, size))
    frame = (frame4 if family == 4 else frame6)(0, packet)
    result = plane.send(0, [frame])
    assert (result.moved.punted, result.moved.drops) == (1, {})
    assert plane.twin_frames(0, 1) == [frame]


@pytest.mark.parametrize("size", [1501, 4096, MTU])
def test_what_the_kernel_sends_on_a_twin_leaves_whole(plane: Plane, size: int) -> None:
    data = [udp4("203.0.113.5", body(4, size), sport=n) for n in range(8)]
    data += [udp6("2001:db8:ffff::5", body(6, size), sport=n) for n in range(8)]
    frames = [
        far_mac(1) + near_mac(1) + struct.pack(">H", 0x0800 if one.version == 4 else 0x86DD) + bytes(one)
        for one in data
    ]
    result = plane.observe(lambda: plane.wires.twin[1].send(*frames), lambda m: m.injected == 16)
    assert sorted(result.out[1]) == sorted(frames)


@pytest.mark.parametrize("family", [4, 6])
def test_what_the_kernel_sends_far_away_is_routed_whole(plane: Plane, family: int) -> None:
    """Through host0 and the table: by a jumbo port as it is."""
    packet = udp4("198.18.1.7", body(4, MTU)) if family == 4 else udp6("2001:db8:18:1::7", body(6, MTU))
    result = plane.observe(lambda: plane.wires.host0.send(bytes(packet)), lambda m: m.injected == 1)
    (out,) = result.out[1]
    assert out[:12] == far_mac(1) + near_mac(1)
    assert out[14:] == bytes(packet)


@pytest.mark.parametrize("size", [2036, 4096, 6000, MTU])
@pytest.mark.parametrize("family", [4, 6])
def test_a_chain_is_punted_whole(chains: Plane, family: int, size: int) -> None:
    packet = udp4("10.0.0.1", body(4, size)) if family == 4 else udp6("2001:db8::1", body(6, size))
    frame = chained(chains, (frame4 if family == 4 else frame6)(0, packet))
    result = chains.send(0, [frame])
    assert (result.moved.punted, result.moved.drops) == (1, {})
    assert chains.twin_frames(0, 1) == [frame]


@pytest.mark.parametrize("family", [4, 6])
def test_a_chain_that_is_too_big_is_quoted(chains: Plane, family: int) -> None:
    frame = chained(chains, to(4, 1, body(4, MTU), flags="DF") if family == 4 else to(6, 1, body(6, MTU)))
    result = chains.send(0, [frame])
    assert result.moved.drops == {"mtu_exceeded": 1}
    (out,) = result.out[0]
    assert out[42:] == frame[14 : 14 + 548] if family == 4 else out[62:] == frame[14 : 14 + 1280 - 48]


def test_a_chain_that_no_mbuf_holds_is_not_fragmented(chains: Plane) -> None:
    """Mbufs hold the largest MTU of all ports: no neighbour that keeps to it sends such a packet. It is counted, and all
    buffers come back: these chains are more of them than there are."""
    frames = [chained(chains, to(4, 1, body(4, MTU), sport=n)) for n in range(40)]
    for _ in range(130):
        result = chains.send(0, frames)
        assert result.moved.drops == {"fragmentation_failed": 40}
    whole = [chained(chains, to(4, 1, sport=n)) for n in range(40)]
    assert chains.send(0, whole).moved.forwarded == 40
