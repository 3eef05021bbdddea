"""A routing table as columns, and a seeded generator of one with the shape of today's Internet table.

An address is two 64-bit halves in host order; an IPv4 address stands in the top 32 bits of the first, so that
everything here works on prefixes of `hi` for both families. The generator first lays out allocated blocks as
the registries do, gives each a heavy-tailed popularity, and then draws for every prefix length runs of
neighbouring prefixes inside blocks, until the length has its share. So prefixes are clustered and nested,
as real ones are, not uniform.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
U16 = NDArray[np.uint16]
U8 = NDArray[np.uint8]

GROUPS = 500
"""Next-hop groups that the routes of a table point to."""

SHARES4 = {24: 60.0, 23: 10.0, 22: 12.0, 21: 5.5, 20: 4.7, 19: 2.7, 18: 1.5, 17: 1.0, 16: 1.5, 15: 0.18, 14: 0.11,
           13: 0.053, 12: 0.027, 11: 0.009, 10: 0.0035, 9: 0.0012, 8: 0.001, 25: 0.016, 26: 0.016, 27: 0.012,
           28: 0.012, 29: 0.01, 30: 0.008, 31: 0.001, 32: 0.015}  # fmt: skip
SHARES6 = {48: 55.0, 44: 10.0, 32: 11.0, 40: 8.0, 20: 0.01, 22: 0.01, 24: 0.02, 26: 0.02, 28: 0.05, 29: 2.6, 30: 0.5,
           31: 0.3, 33: 1.6, 34: 1.2, 35: 0.6, 36: 2.6, 37: 0.2, 38: 0.8, 39: 0.3, 41: 0.3, 42: 1.1, 43: 0.3, 45: 0.7,
           46: 1.2, 47: 1.0, 49: 0.02, 52: 0.02, 56: 0.15, 60: 0.02, 64: 0.3, 112: 0.01, 126: 0.02, 127: 0.02,
           128: 0.05}  # fmt: skip
"""Per cent of the prefixes; what is missing to 100 goes to the most frequent length."""

MEAN_RUN = 4
"""Neighbours announced together, on average."""

POOLS6 = [  # (prefix, its length, length of the blocks given out from it, part of them given out)
    (0x2001020000000000, 23, 32, 0.7), (0x2001040000000000, 22, 32, 0.7), (0x2001067C00000000, 32, 36, 0.9),
    (0x2001067800000000, 32, 36, 0.9), (0x20010C0000000000, 22, 32, 0.6), (0x2001120000000000, 23, 32, 0.6),
    (0x2003000000000000, 19, 19, 1.0), (0x2400000000000000, 12, 32, 0.0055), (0x2600000000000000, 13, 32, 0.007),
    (0x2602F00000000000, 20, 36, 0.25), (0x2620000000000000, 24, 32, 0.5), (0x2800000000000000, 14, 32, 0.006),
    (0x2804000000000000, 17, 32, 0.3), (0x2A00000000000000, 12, 29, 0.10), (0x2A10000000000000, 14, 29, 0.22),
    (0x2C0F000000000000, 16, 32, 0.03),
]  # fmt: skip
"""Where the five registries give IPv6 addresses out, roughly, and how densely."""

RESERVED4 = {0, 10, 127}
"""First bytes never given out."""


@dataclass(frozen=True, slots=True)
class Routes:
    """Prefixes, each once, with the group each points to."""

    family: int
    hi: U64
    lo: U64
    lengths: U8
    groups: U16

    def __len__(self) -> int:
        return len(self.hi)

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_] | slice) -> "Routes":
        """Some of them."""
        return Routes(self.family, self.hi[chosen], self.lo[chosen], self.lengths[chosen], self.groups[chosen])

    def with_groups(self, groups: U16) -> "Routes":
        """The same prefixes, pointing elsewhere."""
        return Routes(self.family, self.hi, self.lo, self.lengths, groups)


def packed(family: int, hi: U64, lo: U64) -> bytes:
    """Addresses in network order, one after the other."""
    if family == 4:
        return (hi >> np.uint64(32)).astype(">u4").tobytes()
    return np.column_stack((hi, lo)).astype(">u8").tobytes()


def masks(lengths: U8) -> tuple[U64, U64]:
    """(hi, lo) network masks of prefix lengths."""
    ones = np.uint64(0xFFFFFFFFFFFFFFFF)
    n = lengths.astype(np.uint64)
    # a shift by 64 or more is undefined, so each half is chosen by cases
    high = np.where(n == 0, np.uint64(0), ones << ((np.uint64(64) - np.minimum(n, np.uint64(64))) & np.uint64(63)))
    below = np.where(n > 64, n - np.uint64(64), np.uint64(0))
    low = np.where(n <= 64, np.uint64(0), ones << ((np.uint64(64) - below) & np.uint64(63)))
    return high, low


@dataclass(frozen=True, slots=True)
class Blocks:
    """What registries gave out: prefixes up to /64, and how popular each is."""

    hi: U64
    lengths: U8
    weight: NDArray[np.float64]


def blocks4(rng: np.random.Generator) -> Blocks:
    """Blocks of /10 to /22, carved one after the other from each first byte; a fifth is never announced."""
    sizes = rng.choice(np.arange(10, 23), size=200_000, p=_normal([1, 2, 4, 8, 12, 20, 40, 30, 40, 60, 60, 50, 90]))
    drawn = iter(sizes.tolist())
    starts: list[int] = []
    lengths: list[int] = []
    for first in range(1, 224):
        at, end = first << 24, 0 if first in RESERVED4 else (first + 1) << 24
        while at < end:
            length = next(drawn)
            size = 1 << (32 - length)
            at = -(-at // size) * size
            if at + size <= end:
                starts.append(at)
                lengths.append(length)
            at += size
    hi = np.array(starts, dtype=np.uint64) << np.uint64(32)
    return _popular(rng, hi, np.array(lengths, dtype=np.uint8), np.array(rng.random(len(hi)) < 0.8))


def blocks6(rng: np.random.Generator) -> Blocks:
    """Blocks of /19 to /36 from the registries' pools."""
    found: list[U64] = []
    lengths: list[U8] = []
    for prefix, length, block, part in POOLS6:
        count = 1 << (block - length)
        numbers = _runs(rng, count, max(1, int(count * part)))
        found.append(np.uint64(prefix) + (numbers << np.uint64(64 - block)))
        lengths.append(np.full(len(numbers), block, dtype=np.uint8))
    hi = np.concatenate(found)
    return _popular(rng, hi, np.concatenate(lengths), np.ones(len(hi), dtype=np.bool_))


def _normal(weights: list[float]) -> NDArray[np.float64]:
    array = np.array(weights, dtype=np.float64)
    array /= array.sum()
    return array


def _popular(rng: np.random.Generator, hi: U64, lengths: U8, used: NDArray[np.bool_]) -> Blocks:
    """Heavy-tailed weights: a few blocks hold most of the prefixes."""
    weight = np.minimum(rng.pareto(1.1, len(hi)) + 0.05, 400.0) * used
    return Blocks(hi, lengths, weight / weight.sum())


def _runs(rng: np.random.Generator, slots: int, wanted: int) -> U64:
    """`wanted` different numbers below `slots`, in runs of neighbours, in random order of the runs."""
    found = np.empty(0, dtype=np.uint64)
    while len(found) < wanted:
        starts = rng.integers(0, slots, size=max(16, wanted // MEAN_RUN), dtype=np.uint64)
        found = np.unique(np.concatenate((found, _spread(rng, starts, np.full(len(starts), slots, dtype=np.uint64)))))
    return rng.permutation(found)[:wanted] if wanted < slots else found


def _spread(rng: np.random.Generator, starts: U64, ends: U64) -> U64:
    """Each start and a geometric number of neighbours after it, below its end."""
    lengths = rng.geometric(1 / MEAN_RUN, size=len(starts))
    offset = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    numbers = np.repeat(starts, lengths) + offset.astype(np.uint64)
    return numbers[numbers < np.repeat(ends, lengths)]


def _of_length(rng: np.random.Generator, blocks: Blocks, length: int, wanted: int) -> tuple[U64, U64]:
    """`wanted` prefixes of one length, in runs inside blocks."""
    at = min(length, 64)
    inside = blocks.lengths <= at
    if length <= 24 and not inside.any():
        inside = blocks.lengths <= blocks.lengths.min()
    hi, block = blocks.hi[inside], blocks.lengths[inside].astype(np.uint64)
    weight = blocks.weight[inside]
    # by room too, or a popular small block would be full at once and most draws wasted
    weight = weight * np.sqrt(2.0 ** (at - block.astype(np.float64))) + 1e-9
    weight = np.minimum(weight / weight.sum(), 1e-3)
    weight /= weight.sum()
    found = np.empty(0, dtype=np.uint64)
    for _ in range(200):
        if len(found) >= wanted:
            break
        chosen = rng.choice(len(hi), size=(wanted - len(found)) // 2 + 16, p=weight)
        width = np.uint64(at) - block[chosen]
        first = hi[chosen] >> np.uint64(64 - at)
        room = np.uint64(1) << width
        # rather near the block's start: the way that sites are numbered
        start = (rng.random(len(chosen)) ** 2 * room.astype(np.float64)).astype(np.uint64)
        fresh = _spread(rng, first + start, first + room)
        _, order = np.unique(np.concatenate((found, fresh)), return_index=True)
        found = np.concatenate((found, fresh))[np.sort(order)]
    found = found[:wanted]
    high = found << np.uint64(64 - at)
    low = np.zeros(len(found), dtype=np.uint64)
    if length > 64:
        low = rng.integers(0, 1 << 16, size=len(found), dtype=np.uint64) << np.uint64(min(128 - length, 48))
    return high, low


def _counts(shares: dict[int, float], total: int) -> Iterator[tuple[int, int]]:
    counts = {length: int(total * share / 100) for length, share in shares.items()}
    most = max(counts, key=lambda length: counts[length])
    counts[most] += total - sum(counts.values())
    yield from sorted(counts.items())


def generate(family: int, total: int, seed: int = 1) -> Routes:
    """`total` prefixes (rarely a few less), in random order, pointing to groups 1 to GROUPS."""
    rng = np.random.default_rng([seed, family])
    blocks = blocks4(rng) if family == 4 else blocks6(rng)
    columns = [(*_of_length(rng, blocks, length, count), length)
               for length, count in _counts(SHARES4 if family == 4 else SHARES6, total)]  # fmt: skip
    hi = np.concatenate([high for high, _, _ in columns])
    lo = np.concatenate([low for _, low, _ in columns])
    lengths = np.concatenate([np.full(len(high), length, dtype=np.uint8) for high, _, length in columns])
    groups = rng.integers(1, GROUPS + 1, size=len(hi), dtype=np.uint16)
    order = rng.permutation(len(hi))
    return Routes(family, hi[order], lo[order], lengths[order], groups[order])
