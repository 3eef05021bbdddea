"""Forwarding, byte by byte, through every way that a port sends: own queue, another worker's, the host thread's."""

from __future__ import annotations

import struct
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import IP, TCP, IPOption_Timestamp
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.packet import Raw

from dpdkrouter.fib import Member
from planekit.fabric import Special
from planekit.frames import checksum, forwarded, frame4, frame6, special, to, udp4, udp6
from planekit.wires import far_mac, near_mac

if TYPE_CHECKING:
    from planekit import Plane

SIZES = (1, 2, 3, 31, 63, 64, 65, 200)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("port", [0, 1, 2])
def test_forwarded_frames_differ_by_macs_and_hop_alone(plane: Plane, family: int, port: int) -> None:
    lengths = (0, 1, 17, 18, 19, 100, 1000, 1200)
    frames = [to(family, port, bytes([n & 255]) * length, sport=n + 1) for n, length in enumerate(lengths)]
    result = plane.send(0, frames)
    assert result.moved.forwarded == len(frames)
    assert result.moved.drops == result.moved.punts == {}
    assert sorted(result.out[port]) == sorted(forwarded(frame, port) for frame in frames)


@pytest.mark.parametrize("count", SIZES)
def test_bursts_of_any_size_come_out_whole_and_in_order(plane: Plane, count: int) -> None:
    frames = [to(4 if n % 3 else 6, 1, struct.pack(">I", n)) for n in range(count)]
    result = plane.send(0, frames)
    wanted = [forwarded(frame, 1) for frame in frames]
    for family in (b"\x08\x00", b"\x86\xdd"):
        got = [frame for frame in result.out[1] if frame[12:14] == family]
        assert got == [frame for frame in wanted if frame[12:14] == family]


def test_every_port_reaches_every_port(plane: Plane) -> None:
    """From port 2 with three queues too, which fan out over both workers."""
    for source in range(3):
        for port in range(3):
            frames = [
                frame4(source, udp4(f"198.18.{port}.{host}", src=f"198.18.{source}.9", sport=host))
                for host in range(1, 41)
            ]
            result = plane.send(source, frames)
            assert sorted(result.out[port]) == sorted(forwarded(frame, port) for frame in frames), (source, port)


def test_both_workers_take_part(plane: Plane) -> None:
    before = [lcore.rx for lcore in plane.counters.snapshot().lcores]
    plane.send(1, [frame4(1, udp4("198.18.0.7", src=f"198.18.1.{n}", sport=n)) for n in range(1, 200)])
    plane.send(2, [frame4(2, udp4("198.18.0.7", src=f"198.18.2.{n}", sport=n)) for n in range(1, 200)])
    after = [lcore.rx for lcore in plane.counters.snapshot().lcores]
    assert all(b > a for a, b in zip(before[1:], after[1:], strict=True)), (before, after)


def test_every_old_checksum_gives_what_a_full_sum_gives(plane: Plane) -> None:
    """All 65,536 checksums would do; these are the ones around both carries of RFC 1624's section 3."""
    frames = []
    for wanted in [*range(0xFE00, 0x10000, 3), 0xFEFE, 0xFEFF, 0xFF00, 0xFFFE, 0, 1, 0xFF, 0x100, *range(2, 0x200, 5)]:
        packet = bytearray(bytes(udp4("198.18.1.7", ttl=64, id=0)))
        packet[10:12] = b"\0\0"
        here = checksum(bytes(packet[:20]))
        identification = (here - wanted) % 0xFFFF  # adding it lowers the checksum by as much
        packet[4:6] = struct.pack(">H", identification)
        packet[10:12] = struct.pack(">H", checksum(bytes(packet[:20])))
        frames.append(frame4(0, bytes(packet)))
    assert {struct.unpack(">H", f[24:26])[0] for f in frames} >= {0xFEFF, 0xFF00, 0xFFFE, 0}
    result = plane.send(0, frames)
    assert result.out[1] == [forwarded(frame, 1) for frame in frames]


@pytest.mark.parametrize("family", [4, 6])
def test_padding_and_trailers_pass(plane: Plane, family: int) -> None:
    frame = to(family, 1, b"x").ljust(90, b"\xaa")
    assert plane.send(0, [frame]).out[1] == [forwarded(frame, 1)]


@pytest.mark.parametrize("family", [4, 6])
def test_a_trailer_makes_no_packet_too_big(plane: Plane, family: int) -> None:
    """Port 2's MTU is 1300: the packet is short, only its frame is not, and what follows the packet is cut off."""
    frame = to(family, 2, b"x" * 100)
    result = plane.send(0, [frame.ljust(1400, b"\xaa")])
    assert result.out[2] == [forwarded(frame, 2)]


def test_options_and_extension_headers_pass(plane: Plane) -> None:
    options = IP(src="198.18.0.5", dst="198.18.1.7", options=[IPOption_Timestamp()]) / TCP() / Raw(b"o")
    headers = (
        IPv6(src="2001:db8:18::5", dst="2001:db8:18:1::7") / IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment() / Raw(b"h")
    )
    frames = [frame4(0, options), frame6(0, headers)]
    assert sorted(plane.send(0, frames).out[1]) == sorted(forwarded(frame, 1) for frame in frames)


@pytest.mark.parametrize("family", [4, 6])
def test_the_last_hop_that_may_pass(plane: Plane, family: int) -> None:
    frame = to(4, 1, ttl=2) if family == 4 else to(6, 1, hlim=2)
    assert plane.send(0, [frame]).out[1] == [forwarded(frame, 1)]


@pytest.mark.parametrize("family", [4, 6])
def test_exactly_the_mtu_passes(plane: Plane, family: int) -> None:
    frame = to(family, 2, b"m" * (1300 - (28 if family == 4 else 48)))
    assert len(frame) == 1314
    assert plane.send(0, [frame]).out[2] == [forwarded(frame, 2)]


# ---- several members (Special.ECMP: ports 0 and 1, weights 3 to 1)


def flows(family: int, count: int) -> list[bytes]:
    return [special(family, Special.ECMP, host=n % 200 + 1, sport=1024 + n) for n in range(count)]


@pytest.mark.parametrize("family", [4, 6])
def test_flows_spread_by_weight(plane: Plane, family: int) -> None:
    out = plane.send(0, flows(family, 2000)).out
    share = len(out[0]) / 2000
    assert 0.70 < share < 0.80, f"{share:.3f} of the flows took the member with weight 3 of 4"


@pytest.mark.parametrize("family", [4, 6])
def test_a_flow_stays_on_its_member(plane: Plane, family: int) -> None:
    """Whatever its packets hold, however often it is sent."""
    seen: Counter[int] = Counter()
    for n in range(40):
        out = plane.send(0, [special(family, Special.ECMP, sport=5000 + n) for _ in range(8)]).out
        assert sorted((len(out[0]), len(out[1]))) == [0, 8]
        seen[len(out[0])] += 1
    assert set(seen) == {0, 8}, "the flows of this test all took one member"


def test_fragments_of_an_ipv6_packet_stay_together(plane: Plane) -> None:
    for n in range(40):
        parts = []
        for offset in (0, 64, 128):
            fragment = IPv6ExtHdrFragment(nh=17, offset=offset, m=int(offset < 128), id=n)
            head = IPv6(src="2001:db8:18::5", dst=f"2001:db8:19:{Special.ECMP}::{n + 1:x}")
            parts.append(frame6(0, head / fragment / Raw(bytes([n + offset]) * 64)))
        out = plane.send(0, parts).out
        assert sorted((len(out[0]), len(out[1]))) == [0, 3]


def test_losing_a_member_moves_only_its_flows(plane: Plane) -> None:
    frames = flows(4, 400)
    fib, group, hops = plane.fabric.fib, plane.fabric.group[Special.ECMP], plane.fabric.forward
    try:
        fib.group_update(group, [Member(hop) for hop in hops])
        before = [{frame[34:36] for frame in out} for out in plane.send(0, frames).out]
        fib.group_update(group, [Member(hop) for hop in hops[:2]])
        after = [{frame[34:36] for frame in out} for out in plane.send(0, frames).out]
    finally:
        fib.group_update(group, [Member(hops[0], 3), Member(hops[1], 1)])
    assert min(map(len, before)) > 60
    assert before[0] < after[0]
    assert before[1] < after[1]
    assert after[2] == set()


def test_a_new_mac_is_used_by_the_next_packet(plane: Plane) -> None:
    fabric = plane.fabric
    moved = fabric.hop(1, 1500)
    other = bytes.fromhex("020000000199")
    fabric.fib.adjacency_set(fabric.forward[1], type(moved)(moved.action, 1, other, moved.src, 1500))
    try:
        frame = to(4, 1)
        assert plane.send(0, [frame]).out[1] == [other + near_mac(1) + forwarded(frame, 1)[12:]]
    finally:
        fabric.fib.adjacency_set(fabric.forward[1], moved)
    assert plane.send(0, [frame]).out[1][0][:6] == far_mac(1)


def test_ipv6_flows_by_port_and_by_address(plane: Plane) -> None:
    """Either alone is enough to tell flows apart."""
    by_port = [special(6, Special.ECMP, host=1, sport=n) for n in range(1, 101)]
    by_source = [frame6(0, udp6(f"2001:db8:19:{Special.ECMP}::1", src=f"2001:db8:18::{n:x}")) for n in range(1, 101)]
    for frames in (by_port, by_source):
        out = plane.send(0, frames).out
        assert len(out[0]) > 50
        assert len(out[1]) > 5


def test_workers_sample_their_stages(plane: Plane) -> None:
    """Sooner or later a poll that moved packets was a sampled one; every stage that these packets pass took time."""
    for _ in range(200):
        plane.send(0, [to(4, 1), to(6, 1)])
        lcores = [one for one in plane.counters.reader.lcores() if one.slot and one.sampled_packets]
        stages = {name for one in lcores for name, cycles in one.stage_cycles.items() if cycles}
        if stages >= {"receive", "parse", "lookup4", "lookup6", "choose", "rewrite", "transmit"}:
            break
    else:
        pytest.fail(f"sampled only {stages}")
    for one in lcores:
        assert one.sampled_polls <= one.sampled_packets <= one.rx_packets
        assert sum(one.stage_cycles.values()) <= one.cycles_busy


def test_a_flow_has_one_member_whatever_it_travels_with(plane: Plane) -> None:
    """A burst of usual packets is hashed at once; one packet with options has each hashed by itself: the same members."""
    sources = ("198.18.0.5", "198.130.200.9", "9.255.0.1", "223.1.128.7")
    flows = [
        udp4(f"198.19.{Special.ECMP}.{n % 250 + 1}", src=sources[n % 4], sport=n * 257 & 0xFFFF, dport=n, proto=proto)
        for n, proto in ((n, (17, 6, 47)[n % 3]) for n in range(120))
    ]
    usual = [frame4(0, packet) for packet in flows]
    odd = frame4(0, IP(src="198.18.0.5", dst="198.18.1.7", options=IPOption_Timestamp()) / Raw(b"odd"))
    alone = plane.send(0, usual)
    mixed = [plane.send(0, [frame, odd]) for frame in usual]
    for frame, beside in zip(usual, mixed, strict=True):
        (port,) = [port for port in (0, 1) if forwarded(frame, port) in alone.out[port]]
        assert forwarded(frame, port) in beside.out[port]
    assert all(alone.out[port] for port in (0, 1)), "both members take part"
