"""Changes to a table that was sent: UPDATEs of one prefix each, and after every second's a new prefix to look for."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench_lab.stream import attribute, attributes, message

if TYPE_CHECKING:
    from bench_lab.stream import Stream

FIRST_MARKER = 0x64400000  # 100.64.0.0: a /24 for each second
SETS = 5000
DIFFERENT = 5  # seconds; then they come again, when the table has other attributes


@dataclass(frozen=True)
class Churn:
    """data: some seconds' UPDATEs, of `sizes` bytes each; markers: (address, the UPDATE that announces it) a second."""

    data: bytes
    sizes: list[int]
    markers: list[tuple[bytes, bytes]]


def churn_of(stream: Stream, hop4: bytes, asn: int, rate: int, seconds: int) -> Churn:
    """`rate` UPDATEs a second, each with other attributes for a prefix of the stream."""
    chance = random.Random(8654)
    sets = [attributes(chance, asn) + attribute(0x40, 3, hop4) for _ in range(SETS)]
    parts = [
        b"".join(message(chance.choice(sets), chance.choice(stream.known4)) for _ in range(rate - 1))
        for _ in range(DIFFERENT)
    ]
    markers = []
    for second in range(seconds):
        address = (FIRST_MARKER + (second << 8)).to_bytes(4, "big")
        markers.append((address, message(sets[0], b"\x18" + address[:3])))
    return Churn(b"".join(parts), [len(part) for part in parts], markers)
