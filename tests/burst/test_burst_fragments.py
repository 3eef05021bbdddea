"""IPv4 fragmentation: what leaves is put together again by a model of its own, and is what came."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import IP
from scapy.packet import Raw

from planekit.frames import checksum, frame4, to
from planekit.wires import far_mac, near_mac

if TYPE_CHECKING:
    from planekit import Plane

MTU = 1300  # of port 2
MORE = 0x2000


@dataclass(frozen=True)
class Fragment:
    """One frame that left by port 2."""

    header: bytes
    body: bytes
    offset: int  # bytes
    more: bool


def read(frame: bytes) -> Fragment:
    """Checked on the way: addresses of the link, lengths and the checksum."""
    assert (frame[:6], frame[6:12], frame[12:14]) == (far_mac(2), near_mac(2), b"\x08\x00")
    size = (frame[14] & 15) * 4
    header, total = frame[14 : 14 + size], int.from_bytes(frame[16:18], "big")
    assert total == len(frame) - 14 <= MTU
    assert checksum(header) == 0
    word = int.from_bytes(header[6:8], "big")
    return Fragment(header, frame[14 + size :], (word & 0x1FFF) * 8, bool(word & MORE))


def sent(plane: Plane, packet: bytes) -> list[Fragment]:
    result = plane.send(0, [frame4(0, packet)])
    frames = result.out[2]
    assert (result.moved.forwarded, result.moved.drops) == (1, {})
    assert result.moved.fragments == len(frames) - 1
    return [read(frame) for frame in frames]


@pytest.mark.parametrize("size", [1281, 1288, 1400, 1472])
def test_a_packet_too_large_leaves_in_fragments(plane: Plane, size: int) -> None:
    body = random.Random(size).randbytes(size)
    packet = bytes(IP(src="198.18.0.5", dst="198.18.2.7", ttl=9, tos=0xB8, id=4711, proto=99) / Raw(body))
    fragments = sent(plane, packet)
    assert len(fragments) == 2
    assert b"".join(one.body for one in fragments) == body
    assert [one.offset for one in fragments] == [0, len(fragments[0].body)]
    assert [one.more for one in fragments] == [True, False]
    assert all(len(one.body) % 8 == 0 for one in fragments if one.more)
    for one in fragments:
        assert (one.header[1], one.header[4:6], one.header[8:10]) == (0xB8, struct.pack(">H", 4711), b"\x08\x63")
        assert one.header[12:20] == packet[12:20]


def test_options_are_copied_as_they_ask(plane: Plane) -> None:
    """RFC 791 3.1: the copied flag is the highest bit of an option's type."""
    alert, record = b"\x94\x04\0\0", b"\x07\x07\x04\0\0\0\0\0"
    packet = IP(src="198.18.0.5", dst="198.18.2.7", proto=17, options=[Raw(alert + record)]) / Raw(bytes(1400))
    first, second = sent(plane, bytes(packet))
    assert (first.header[20:], second.header[20:]) == (alert + record, alert)


def test_others_of_the_burst_leave_as_they_came(plane: Plane) -> None:
    frames = [to(4, 2), to(4, 2, bytes(1400)), to(4, 1), to(6, 2), to(4, 2, bytes(1400), flags="DF")]
    result = plane.send(0, frames, until=lambda moved: moved.originated == 1)
    assert (result.moved.forwarded, result.moved.fragments, result.moved.drops) == (4, 1, {"mtu_exceeded": 1})
    assert [len(out) for out in result.out] == [1, 1, 4]
