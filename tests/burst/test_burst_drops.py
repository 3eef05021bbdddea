"""Each drop reason alone: one frame (or what it takes), one counter. A reason without a case here fails the test.

`CASES` holds those that one frame into port 0 shows; the others need a machine's state and have a function each.
frame_truncated is in test_burst_capture too: no kernel interface lets a frame below 14 bytes pass.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import IP, IPOption_NOP
from scapy.layers.l2 import ARP

from dpdkrouter.segment import DropReason
from planekit import capture
from planekit.fabric import UNRESOLVED4, Special
from planekit.frames import checksum, ethernet, frame4, frame6, special, to, udp4, udp6
from planekit.wires import near_mac

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from planekit import Moved, Plane

BROADCAST_MAC = b"\xff" * 6


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


GOOD4, GOOD6 = to(4, 1), to(6, 1)
FOREIGN = [
    frame4(0, udp4("198.18.1.7", src="203.0.113.9")),
    frame6(0, udp6("2001:db8:18:1::7", src="2001:db8:ffff::9")),
]
# What port 0 has then, the tables for it, and the two frames that are dropped for it.
FILTERS = {
    "urpf_strict": (('urpf = "strict"',), "", FOREIGN),
    "urpf_loose": (('urpf = "loose"',), "", FOREIGN),
    "ipv4_options": (('ip_options = "drop"',), "", [to(4, port, options=[IPOption_NOP()]) for port in (1, 2)]),
    "acl_deny": (('acl_in = "none"',), '[[acl]]\nname = "none"\n', [GOOD4, GOOD6]),
    "policed": (('policer_in = "small"',), '[[policer]]\nname = "small"\ncir = 1\ncbs = 30\n', [GOOD4, GOOD6]),
}
CASES: dict[str, list[bytes]] = {
    "mac_mismatch": [
        bytes([2, 9, 9, 9, 9, 9]) + GOOD4[6:],
        bytes([2, 9, 9, 9, 9, 9]) + GOOD6[6:],
        BROADCAST_MAC + GOOD4[6:],  # RFC 1812 5.3.4
        bytes.fromhex("333300000001") + GOOD6[6:],
    ],
    "ethertype_unsupported": [ethernet(0, bytes(46), kind) for kind in (0x0000, 0x05DC, 0x8100, 0x8847, 0x88CC)],
    "vlan_unknown": [ethernet(0, bytes([0, 9, 8, 0]) + GOOD4[14:], kind) for kind in (0x8100, 0x88A8)],
    "ipv4_truncated": [GOOD4[: 14 + n] for n in (0, 1, 19)],
    "ipv4_version": [damaged(GOOD4, 0, first) for first in (0x05, 0x35, 0x55, 0x65)],
    "ipv4_header_length": [damaged(GOOD4, 0, 0x44), damaged(GOOD4, 0, 0x40), damaged(GOOD4[:34], 0, 0x46)],
    "ipv4_checksum": [damaged(GOOD4, 10, GOOD4[24] ^ 1), damaged(GOOD4, 8, 65), damaged(GOOD4, 1, 4)],
    "ipv4_total_length": [damaged(GOOD4, 2, struct.pack(">H", n), sum4=True) for n in (0, 19, len(GOOD4) - 13, 65535)],
    "ipv4_source": [
        frame4(0, udp4("198.18.1.7", src=src))
        for src in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.5", "239.1.1.1", "240.0.0.1", "255.255.255.255")
    ],
    "ipv4_destination": [frame4(0, udp4(dst)) for dst in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "240.0.0.1")],
    "ipv4_multicast": [frame4(0, udp4(dst)) for dst in ("224.0.1.1", "232.1.1.1", "239.255.255.250")],
    "ipv6_truncated": [GOOD6[: 14 + n] for n in (0, 1, 39)],
    "ipv6_version": [damaged(GOOD6, 0, first) for first in (0x00, 0x40, 0x50, 0x70)],
    "ipv6_payload_length": [damaged(GOOD6, 4, struct.pack(">H", n)) for n in (len(GOOD6) - 53, 65535)],
    "ipv6_source": [
        frame6(0, udp6("2001:db8:18:1::7", src=src)) for src in ("::", "::1", "ff02::1", "ff0e::1", "::ffff:198.18.0.5")
    ],
    "ipv6_destination": [frame6(0, udp6(dst)) for dst in ("::", "::1", "::ffff:198.18.1.7")],
    "ipv6_multicast": [frame6(0, udp6(dst)) for dst in ("ff01::1", "ff05::2", "ff0e::1")],
    "ipv6_link_local": [
        frame6(0, udp6("2001:db8:18:1::7", src="fe80::9")),
        frame6(0, udp6(f"2001:db8:19:{Special.RESOLVE}::7", src="fe80::9")),
        frame6(0, udp6("2001:db8:18:2::7", bytes(1400), src="fe80::9")),
    ],
    "ttl_expired": [to(4, 1, ttl=ttl) for ttl in (0, 1)] + [to(6, 1, hlim=hops) for hops in (0, 1)],
    "no_route": [frame4(0, udp4("203.0.113.9")), frame6(0, udp6("2001:db8:ffff::9"))],
    "blackhole": [special(family, Special.BLACKHOLE) for family in (4, 6)],
    "unreachable": [special(family, Special.UNREACHABLE) for family in (4, 6)],
    "prohibited": [special(family, Special.PROHIBIT) for family in (4, 6)],
    "directed_broadcast": [special(family, Special.BROADCAST) for family in (4, 6)],
    "mtu_exceeded": [to(4, 2, bytes(1400), flags="DF"), to(4, 2, bytes(1273), flags="DF"), to(6, 2, bytes(1253))],
    "port_down": [special(family, Special.ABSENT_PORT) for family in (4, 6)],
}


def alone(moved: Moved, reason: str, count: int) -> None:
    """That reason moved, and nothing else of what was received."""
    assert moved.drops == {reason: count}
    assert (moved.dropped, moved.forwarded, moved.punted, moved.tx_drops) == (count, 0, 0, 0)


CASE_LIST = [(reason, number) for reason, frames in CASES.items() for number in range(len(frames))]


@pytest.mark.parametrize(("reason", "number"), CASE_LIST)
def test_drop_of_one_frame(plane: Plane, reason: str, number: int) -> None:
    alone(plane.send(0, [CASES[reason][number]]).moved, reason, 1)


@pytest.mark.parametrize("reason", [reason.name for reason in DropReason])
def test_drop(plane: Plane, tmp_path: Path, reason: str) -> None:
    """The reason's state of affairs, brought about and seen in its counter alone."""
    if reason in STATES:
        STATES[reason](plane)
    elif reason == "frame_truncated":
        result = capture.run("drop", tmp_path, [GOOD4[:13], GOOD6[:1], GOOD4[:12] + b"\x81\0\0"])
        alone(result.moved, reason, 3)
    elif reason in FILTERS:
        filters, tables, frames = FILTERS[reason]
        alone(capture.run("drop", tmp_path, frames, filters=filters, tables=tables).moved, reason, 2)
    else:
        frames = CASES[reason]
        alone(plane.send(0, frames).moved, reason, len(frames))


# ---- reasons that need a state


def port_down(plane: Plane) -> None:
    plane.set_link(1, False)
    try:
        alone(plane.send(0, [to(4, 1), to(6, 1)]).moved, "port_down", 2)
        assert plane.send(0, [to(4, 2)]).moved.forwarded == 1
    finally:
        plane.set_link(1, True)
    assert plane.send(0, [to(4, 1)]).moved.forwarded == 1


def arp(number: int = 1) -> bytes:
    return ethernet(0, bytes(ARP(pdst=f"10.0.0.{number % 250 + 1}")), 0x0806, BROADCAST_MAC)


def punt_policed(plane: Plane) -> None:
    """ARP has 10,000 a second and 1,000 at once; a ring holds 1,023, so a host thread that gets no CPU for some
    milliseconds fills it, and a sender that gets none is too slow to be policed: then once more."""
    for _ in range(10):
        moved = plane.observe(lambda: plane.flood(0, [arp(n) for n in range(2000)]), lambda m: m.rx > 0).moved
        if set(moved.drops) == {"punt_policed"}:
            break
    assert set(moved.drops) == {"punt_policed"}
    assert moved.punts == {"neighbor": moved.rx - moved.drops["punt_policed"]}


def bgp(number: int) -> bytes:
    return frame4(0, IP(src="198.18.0.5", dst="10.0.0.1", proto=6) / struct.pack(">HH16x", number + 1024, 179))


def punt_ring_full(plane: Plane) -> None:
    """A ring holds 1,023, of which 255 are for BGP alone, and the host thread stands still."""
    with host_thread_stopped(plane):
        before = plane.counters.snapshot()
        plane.inject(0, [frame4(0, udp4("10.0.0.1"))] * 800 + [bgp(n) for n in range(300)])
        moved = plane.moved_when(before, lambda m: m.rx == 1100)
        assert moved.drops == {"punt_ring_full": 1100 - 1023}
        assert moved.punts == {"local": 768, "bgp": 255}
        assert plane.send(0, [to(4, 1)]).moved.forwarded == 1, "workers forward while the host thread hangs"
    while plane.send(0, [arp()]).moved.punts != {"neighbor": 1}:  # until the host thread has taken what waited
        pass


@contextmanager
def host_thread_stopped(plane: Plane) -> Iterator[None]:
    """The process's main thread alone is stopped, as a system call that hangs would."""
    from planekit.ptrace import stopped

    with stopped(plane.process.pid):
        yield


@contextmanager
def resolving(plane: Plane, address: bytes = UNRESOLVED4) -> Iterator[None]:
    """In the end the next hop resolves, so that nothing stays parked."""
    fabric = plane.fabric
    try:
        yield
    finally:
        before = plane.counters.snapshot()
        fabric.fib.adjacency_set(fabric.resolve4, fabric.hop(1, 1500, address))
        plane.moved_when(before, lambda m: m.injected > 0)
        fabric.fib.adjacency_set(fabric.resolve4, fabric.unresolved4)


def fragmentation_failed(plane: Plane) -> None:
    """A next hop with a smaller MTU than a link may have (RFC 791: 68), and with one of 68."""
    fabric = plane.fabric
    fabric.fib.adjacency_set(fabric.forward[1], fabric.hop(1, 36))
    try:
        alone(plane.send(0, [to(4, 1, bytes(1000))]).moved, "fragmentation_failed", 1)
        fabric.fib.adjacency_set(fabric.forward[1], fabric.hop(1, 68))
        assert plane.send(0, [to(4, 1, bytes(100))]).moved.fragments == 2
    finally:
        fabric.fib.adjacency_set(fabric.forward[1], fabric.hop(1, 1500))


def neighbors_full(plane: Plane) -> None:
    """Of the port that the packets would leave by; a next hop of a route is resolved all the same."""
    fabric = plane.fabric
    port = fabric.fib.reader.interfaces()[1]
    fabric.fib.interface_set(1, replace(port, full=True))
    try:
        result = plane.send(
            0, [special(4, Special.GLEAN), special(6, Special.GLEAN)], until=lambda m: m.originated == 2
        )
        alone(result.moved, "neighbors_full", 2)
        assert len(result.out[0]) == 2, "host and address unreachable"
        with resolving(plane):
            assert plane.send(0, [special(4, Special.RESOLVE)]).moved.punts == {"resolve": 1}
    finally:
        fabric.fib.interface_set(1, port)


def park_full(plane: Plane) -> None:
    """Four packets wait for a next hop; the others do not."""
    with resolving(plane):
        result = plane.send(0, [special(4, Special.RESOLVE)] * 7, until=lambda m: sum(m.drops.values()) == 3)
        assert result.moved.drops == {"park_full": 3}
        assert (result.moved.dropped, result.moved.punts) == (0, {"resolve": 7})


def next_hop_unresolved(plane: Plane) -> None:
    """After three seconds; test_burst_icmp looks at the host unreachable that comes back."""
    frames = [special(4, Special.RESOLVE), special(6, Special.RESOLVE), special(4, Special.GLEAN)]
    result = plane.send(0, frames, until=lambda m: sum(m.drops.values()) == 3 and m.originated == 3)
    assert result.moved.drops == {"next_hop_unresolved": 3}
    assert (result.moved.dropped, result.moved.punts) == (0, {"resolve": 3})
    assert len(result.out[0]) == 3


def tap_full(plane: Plane) -> None:
    """The kernel does not take it: here because the twin is down."""
    plane.wires.set_twin(0, False)
    try:
        result = plane.send(0, [arp()], until=lambda m: bool(m.drops))
    finally:
        plane.wires.set_twin(0, True)
    assert (result.moved.drops, result.moved.punts, result.moved.dropped) == ({"tap_full": 1}, {"neighbor": 1}, 0)


def inject_loop(plane: Plane) -> None:
    """The kernel routes to host0 what the router's tables give back to the kernel."""
    packets = [bytes(udp4("10.0.0.1", src="10.0.1.1")), bytes(udp6("2001:db8::1", src="2001:db8:1::1"))]
    result = plane.observe(lambda: plane.wires.host0.send(*packets), lambda m: sum(m.drops.values()) == 2)
    assert result.moved.drops == {"inject_loop": 2}


def inject_invalid(plane: Plane) -> None:
    """Multicast, and what is no IP at all."""
    packets = [bytes(udp4("224.0.0.22", src="10.0.0.1")), bytes(udp6("ff02::16", src="fe80::1")), b"\x45" + bytes(9)]
    result = plane.observe(lambda: plane.wires.host0.send(*packets), lambda m: sum(m.drops.values()) == 3)
    assert result.moved.drops == {"inject_invalid": 3}


def originate_failed(plane: Plane) -> None:
    """The error's own way is a blackhole; the packet that caused it is a drop of its own."""
    frame = frame4(0, udp4("203.0.113.9", src=f"198.19.{Special.BLACKHOLE}.5"))
    result = plane.send(0, [frame], until=lambda m: len(m.drops) == 2)
    assert result.moved.drops == {"no_route": 1, "originate_failed": 1}
    assert (result.moved.dropped, result.moved.originated) == (1, 0)


def originate_policed(plane: Plane) -> None:
    """More errors than a source's prefix may have; test_burst_icmp looks at whose rate it is."""
    moved = plane.send(0, CASES["no_route"] * 300).moved
    assert moved.drops == {"no_route": 600, "originate_policed": 600 - moved.originated}
    assert moved.originated > 0


STATES: dict[str, Callable[[Plane], None]] = {
    function.__name__: function
    for function in (
        port_down,
        punt_policed,
        punt_ring_full,
        neighbors_full,
        fragmentation_failed,
        park_full,
        next_hop_unresolved,
        tap_full,
        inject_loop,
        inject_invalid,
        originate_failed,
        originate_policed,
    )
}


def test_near_mac_is_what_the_port_has(plane: Plane) -> None:
    assert [port.mac for port in plane.counters.reader.ports()] == [near_mac(n) for n in range(3)]
