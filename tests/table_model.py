"""The table's reference: longest prefix by looking at every length. And helpers that pack what Fib takes."""

import os
from array import array
from collections.abc import Iterable
from pathlib import Path

from dpdkrouter.fib import Action, Adjacency, Applied, Fib, FibReader, Limits, Source

SMALL = Limits(2000, 2000, 300, 300, 8, 16, 1)
Key = tuple[int, int]
"""(prefix as a number, length)"""


def bits(family: int) -> int:
    return 32 if family == 4 else 128


class Model:
    """Routes of one family as {(prefix, length): group}."""

    def __init__(self, family: int) -> None:
        self.width = bits(family)
        self.routes: dict[Key, int] = {}

    def lookup(self, address: int) -> int:
        for length in range(self.width, -1, -1):
            prefix = address >> (self.width - length) << (self.width - length)
            if (prefix, length) in self.routes:
                return self.routes[prefix, length]
        return 0

    def edges(self) -> list[int]:
        """The addresses at which answers can change: first, last and neighbours of every prefix."""
        found = {0, (1 << self.width) - 1}
        for prefix, length in self.routes:
            last = prefix | ((1 << (self.width - length)) - 1)
            found |= {prefix, last, max(prefix - 1, 0), min(last + 1, (1 << self.width) - 1)}
        return sorted(found)


def pack(family: int, numbers: Iterable[int]) -> bytes:
    """Numbers as packed addresses in network order."""
    return b"".join(number.to_bytes(bits(family) // 8, "big") for number in numbers)


Change = tuple[int, int, int]
"""(prefix, length, group)"""


def columns(family: int, changes: list[Change], source: Source = Source.EBGP) -> tuple[bytes, bytes, bytes, bytes]:
    """Changes as Fib.apply takes them."""
    return (
        pack(family, [change[0] for change in changes]),
        bytes(change[1] for change in changes),
        array("H", [change[2] for change in changes]).tobytes(),
        bytes([source] * len(changes)),
    )


def apply(fib: Fib, family: int, changes: list[Change], source: Source = Source.EBGP) -> Applied:
    """Apply changes as one batch."""
    return fib.apply(family, *columns(family, changes, source))


def answers(reader: FibReader, family: int, addresses: list[int], burst: int = 64) -> list[int]:
    """What the fast path's code says for each address."""
    return list(memoryview(reader.table_groups(family, pack(family, addresses), burst)).cast("H"))


def fill_groups(fib: Fib, count: int) -> list[int]:
    """So many groups of one forwarding adjacency each."""
    return [
        fib.group_create(
            [
                (
                    fib.adjacency_create(Adjacency(Action.FORWARD, i % 32, bytes([2, 0, 0, 0, i >> 8, i & 255]))),
                    1,
                )
            ]
        )
        for i in range(count)
    ]


def routes(reader: FibReader, family: int) -> dict[Key, int]:
    """All rules of a segment, by walking it."""
    found: dict[Key, int] = {}
    after: int | None = None
    size = bits(family) // 8
    while True:
        chunk = reader.routes(family, after, 257)
        groups = memoryview(chunk.groups).cast("H")
        for i in range(len(chunk)):
            key = (int.from_bytes(chunk.prefixes[i * size : (i + 1) * size], "big"), chunk.lengths[i])
            assert key not in found
            found[key] = groups[i]
        after = chunk.after
        if after is None:
            return found


def segment_path(directory: str | Path, what: str) -> Path:
    """Where a test makes a segment: named so that what a killed run leaves is seen to be ours."""
    return Path(directory) / f"table-t{os.getpid()}-{what}"
