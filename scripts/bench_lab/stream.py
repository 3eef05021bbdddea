"""A full table as one peer would send it: the bytes of all its UPDATEs, made before the measurement.

As in a real table: 4 prefixes an UPDATE on average, one attribute set for two UPDATEs that are far from each other,
AS paths of 1 to 12, communities on 70 %, mostly /24 and /48. Seeded: every run has the same stream.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

MARKER = b"\xff" * 16
LENGTHS4 = [24] * 62 + [23] * 11 + [22] * 14 + [21] * 6 + [20] * 5 + [19] * 2
LENGTHS6 = [48] * 50 + [32] * 12 + [44] * 10 + [40] * 10 + [36] * 6 + [46] * 6 + [29, 33, 34, 35, 38, 42]
PREFIXES = [1, 1, 2, 2, 3, 4, 5, 6, 8, 8]  # an UPDATE: 4 on average
PATH_LENGTHS = [1] + [2] * 8 + [3] * 22 + [4] * 28 + [5] * 20 + [6] * 11 + [7] * 5 + [8] * 2 + [9, 10, 12]
UPDATES_A_SET = 2


@dataclass(frozen=True)
class Stream:
    """What is sent, and (family, one address of each of some random prefixes) to look up."""

    data: bytes
    routes: dict[str, int]
    sets: int
    updates: int
    samples4: bytes
    samples6: bytes
    known4: list[bytes]  # IPv4 prefixes of it as NLRI


def attribute(flags: int, code: int, value: bytes) -> bytes:
    return struct.pack("!BBB", flags, code, len(value)) + value


def attributes(chance: random.Random, asn: int, longer: int = 0) -> bytes:
    """All but the next hop; longer: the AS's own number so many times more."""
    others = [chance.randrange(1, 400_000) for _ in range(chance.choice(PATH_LENGTHS) - 1)]
    path = [asn] * (1 + longer) + others
    found = attribute(0x40, 1, bytes([chance.choice((0, 0, 0, 2))]))
    found += attribute(0x40, 2, struct.pack(f"!BB{len(path)}I", 2, len(path), *path))
    if chance.random() < 0.2:
        found += attribute(0x80, 4, struct.pack("!I", chance.randrange(1000)))
    if chance.random() < 0.7:
        many = [chance.randrange(1 << 32) for _ in range(chance.randrange(1, 9))]
        found += attribute(0xC0, 8, struct.pack(f"!{len(many)}I", *many))
    if chance.random() < 0.1:
        found += attribute(0xC0, 32, struct.pack("!III", asn, chance.randrange(1000), 1))
    return found


def _prefixes(chance: random.Random, count: int, lengths: list[int], first: int, bits: int) -> list[tuple[int, int]]:
    """(address, length) of prefixes one after the other, with gaps."""
    found, at = [], first
    for _ in range(count):
        length = chance.choice(lengths)
        step = 1 << (bits - length)
        at = (at + step - 1) // step * step
        found.append((at, length))
        at += step * chance.choice((1, 1, 1, 2))
    return found


def _packed(prefixes: list[tuple[int, int]], bits: int) -> bytes:
    return b"".join(
        bytes([length]) + address.to_bytes(bits // 8, "big")[: (length + 7) // 8] for address, length in prefixes
    )


def _runs(chance: random.Random, prefixes: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    runs, at = [], 0
    while at < len(prefixes):
        size = chance.choice(PREFIXES)
        runs.append(prefixes[at : at + size])
        at += size
    chance.shuffle(runs)
    return runs


def message(attributes: bytes, nlri: bytes) -> bytes:
    body = struct.pack("!HH", 0, len(attributes)) + attributes + nlri
    return MARKER + struct.pack("!HB", 19 + len(body), 2) + body


def build(ipv4: int, ipv6: int, hop4: bytes, hop6: bytes, asn: int = 65001, longer: int = 0) -> Stream:
    """A table of so many prefixes of a peer of this AS, followed by the End-of-RIB of each family."""
    chance = random.Random(4271)
    prefixes4 = _prefixes(chance, ipv4, LENGTHS4, 1 << 24, 32)
    prefixes6 = _prefixes(chance, ipv6, LENGTHS6, 0x2001 << 112, 128)
    messages, sets = [], 0
    for prefixes, bits in ((prefixes4, 32), (prefixes6, 128)):
        runs = _runs(chance, prefixes)
        chosen = [attributes(chance, asn, longer) for _ in range(len(runs) // UPDATES_A_SET + 1)]
        sets += len(chosen)
        for number, run in enumerate(runs):
            common, nlri = chosen[number % len(chosen)], _packed(run, bits)
            if bits == 32:
                messages.append(message(common + attribute(0x40, 3, hop4), nlri))
            else:
                value = struct.pack("!HBB", 2, 1, 16) + hop6 + b"\0" + nlri
                messages.append(message(attribute(0x80, 14, value) + common, b""))
    chance.shuffle(messages)
    ends = [message(b"", b""), message(attribute(0x80, 15, b"\0\2\1"), b"")]
    assert prefixes4[-1][0] >> 24 < 127  # what comes then is no unicast space all through
    sample4, sample6 = chance.choices(prefixes4, k=8000), chance.choices(prefixes6, k=2000)
    return Stream(
        b"".join(messages + ends),
        {"ipv4": ipv4, "ipv6": ipv6},
        sets,
        len(messages),
        b"".join(address.to_bytes(4, "big") for address, _ in sample4),
        b"".join(address.to_bytes(16, "big") for address, _ in sample6),
        [_packed([prefix], 32) for prefix in sample4],
    )
