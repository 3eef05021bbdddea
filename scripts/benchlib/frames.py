"""The frames that are forwarded, as columns of bytes, and what each must look like when it comes out.

A frame's number stands in its UDP ports, so whatever order and port it comes out by, it can be told and compared with the
one that went in: every byte of its first line must be as it was, but for MACs, hops and checksum, and those must be what
the model says. Nothing of the router's code is used.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchlib.destinations import Addresses
from benchlib.routes import U8, U16

HEAD = 64
"""Bytes of a frame that a bench writes and compares: its first cache line."""

I64 = NDArray[np.int64]
ETHER, UDP = 14, 17
SOURCE4 = bytes([198, 51, 100, 7])
SOURCE6 = bytes.fromhex("20010db80000000000000000000000c7")
HOPS = 64
IMIX = (60, 60, 60, 60, 60, 60, 60, 590, 590, 590, 590, 1514)
"""Frame lengths without FCS, seven to four to one."""


@dataclass(frozen=True, slots=True)
class Frames:
    """heads: uint8[n, 64]; lengths: uint16[n]; family: uint8[n], 4 or 6."""

    heads: U8
    lengths: U16
    family: U8

    def __len__(self) -> int:
        return len(self.heads)

    def part(self, chosen: slice | NDArray[np.intp]) -> "Frames":
        return Frames(self.heads[chosen], self.lengths[chosen], self.family[chosen])


def _be(values: NDArray[np.uint64], size: int) -> U8:
    """Big-endian columns, `size` bytes of each value."""
    return values.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - size :]


def sum16(words: U8) -> NDArray[np.uint32]:
    """RFC 1071 over each row, folded, not complemented."""
    pairs = words.reshape(len(words), words.shape[1] // 2, 2).astype(np.uint32)
    total: NDArray[np.uint32] = (pairs @ np.array([256, 1], dtype=np.uint32)).sum(axis=1, dtype=np.uint32)
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


def set_checksum(heads: U8) -> None:
    """The IPv4 header's, computed anew over all of it."""
    heads[:, 24:26] = 0
    heads[:, 24:26] = _be((~sum16(heads[:, 14:34]) & 0xFFFF).astype(np.uint64), 2)


def make(family: int, addresses: Addresses, lengths: U16, mac: bytes) -> Frames:
    """UDP packets to these addresses, one each, in frames of these lengths (without FCS), sent to `mac`."""
    hi, lo = addresses
    count = len(hi)
    heads = np.zeros((count, HEAD), dtype=np.uint8)
    heads[:, 0:6] = np.frombuffer(mac, dtype=np.uint8)
    heads[:, 6:12] = np.frombuffer(bytes.fromhex("02fe00000001"), dtype=np.uint8)
    if family == 4:
        heads[:, 12:14] = 8, 0
        heads[:, 14] = 0x45
        heads[:, 16:18] = _be(lengths.astype(np.uint64) - np.uint64(ETHER), 2)
        heads[:, 20] = 0x40
        heads[:, 22:24] = HOPS, UDP
        heads[:, 26:30] = np.frombuffer(SOURCE4, dtype=np.uint8)
        heads[:, 30:34] = _be(hi >> np.uint64(32), 4)
        set_checksum(heads)
    else:
        heads[:, 12:14] = 0x86, 0xDD
        heads[:, 14] = 0x60
        heads[:, 18:20] = _be(lengths.astype(np.uint64) - np.uint64(ETHER + 40), 2)
        heads[:, 20:22] = UDP, HOPS
        heads[:, 22:38] = np.frombuffer(SOURCE6, dtype=np.uint8)
        heads[:, 38:46] = _be(hi, 8)
        heads[:, 46:54] = _be(lo, 8)
    udp = 34 if family == 4 else 54
    heads[:, udp : udp + 4] = _be(np.arange(count, dtype=np.uint64), 4)
    heads[:, udp + 4 : udp + 6] = _be(lengths.astype(np.uint64) - np.uint64(udp), 2)
    return Frames(heads, lengths, np.full(count, family, dtype=np.uint8))


def mixed(four: Frames, six: Frames) -> Frames:
    """One of each in turn, half of both, numbered anew."""
    count = min(len(four), len(six)) // 2 * 2
    heads = np.empty((count, HEAD), dtype=np.uint8)
    lengths = np.empty(count, dtype=np.uint16)
    family = np.empty(count, dtype=np.uint8)
    for at, frames in ((0, four), (1, six)):
        heads[at::2] = frames.heads[: count // 2]
        lengths[at::2] = frames.lengths[: count // 2]
        family[at::2] = frames.family[: count // 2]
    number(heads, family)
    return Frames(heads, lengths, family)


def number(heads: U8, family: U8) -> None:
    """Write each frame's number anew."""
    numbers = _be(np.arange(len(heads), dtype=np.uint64), 4)
    for version, udp in ((4, 34), (6, 54)):
        rows = family == version
        heads[rows, udp : udp + 4] = numbers[rows]


@dataclass(frozen=True, slots=True)
class Hops:
    """Adjacencies by number: port, and the MACs that a frame leaves with."""

    port: U8
    dst: U8
    src: U8


@dataclass(frozen=True, slots=True)
class Expected:
    """What becomes of each frame: one adjacency of `members` (n rows, any number of columns), or punted."""

    members: U16
    punted: NDArray[np.bool_]


class WrongPacketError(Exception):
    """A packet that came out is not what the model says."""


def check(frames: Frames, expected: Expected, hops: Hops, out: U8, out_port: U8, punted: int) -> I64:
    """Compare everything that came out; returns the adjacency of each frame (-1: punted). punted: its `out_port`."""
    numbers = _numbers(out)
    if len(out) != len(frames) or not np.array_equal(np.sort(numbers), np.arange(len(frames))):
        raise WrongPacketError(f"{len(frames)} packets went in, {len(np.unique(numbers))} different ones came out")
    came = np.empty_like(out)
    port = np.empty_like(out_port)
    came[numbers], port[numbers] = out, out_port
    _same(port == punted, expected.punted, "punted or not")
    member = _member(came, expected, hops)
    sent = ~expected.punted
    _same(port[sent], hops.port[member[sent]], "egress port")
    want = frames.heads.copy()
    want[sent, 0:6], want[sent, 6:12] = hops.dst[member[sent]], hops.src[member[sent]]
    for version, hop in ((4, 22), (6, 21)):
        want[sent & (frames.family == version), hop] -= 1
    rows = np.nonzero(sent & (frames.family == 4))[0]
    fresh = want[rows]
    set_checksum(fresh)
    want[rows] = fresh
    _same(came, want, "MACs, hops, checksum or other bytes")
    return member


def _numbers(out: U8) -> I64:
    """The frames' numbers, from their UDP ports."""
    words = np.where((out[:, 12:13] == 8), out[:, 34:38], out[:, 54:58]).astype(np.int64)
    return np.asarray(words @ np.array([1 << 24, 1 << 16, 1 << 8, 1], dtype=np.int64))


def _member(came: U8, expected: Expected, hops: Hops) -> I64:
    """Which of the allowed adjacencies each frame took, by the MAC that it left for; -1: none of them, or punted."""
    found = np.full(len(came), -1, dtype=np.int64)
    for column in range(expected.members.shape[1]):
        candidate = expected.members[:, column]
        fits = (came[:, 0:6] == hops.dst[candidate]).all(axis=1) & ~expected.punted
        found[fits] = candidate[fits]
    lost = np.nonzero((found < 0) & ~expected.punted)[0]
    if len(lost):
        raise WrongPacketError(f"{len(lost)} packets left by no next hop of their route, the first is {lost[0]}")
    return found


def _same(found: NDArray[np.generic], want: NDArray[np.generic], what: str) -> None:
    wrong = found != want
    rows = np.nonzero(wrong.any(axis=1) if wrong.ndim > 1 else wrong)[0]
    if len(rows):
        raise WrongPacketError(f"{what}: {len(rows)} packets differ, the first is {rows[0]}")
