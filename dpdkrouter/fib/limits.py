"""The table's maxima and the segment that follows from them: pure arithmetic, no file is touched.

Every part of the segment starts on a 4 KiB page; the readers' part and the whole are whole huge pages. The
order and the element sizes are those of fastpath/include/dr_layout.h. Used by the writer, `check` and
`doctor`.
"""

import hashlib
import struct
from dataclasses import astuple, dataclass, fields

_PAGE = 4096
_HUGE = 2 << 20
_RULES_LOAD = 0.8
"""Fullest that a rule hash gets.

1.5 M routes fit 2^21 slots, 400 k fit 2^19; a miss probes 13 slots then, 3 at half.
"""

_ALLOWED = {
    "max_ipv4_routes": (1, 1 << 26),
    "max_ipv6_routes": (1, 1 << 26),
    "max_groups": (1, 32767),
    "max_adjacencies": (1, 65535),
    "max_ecmp_groups": (1, 32767),
    "max_ipv4_extended": (1, 32768),
    "ipv6_trie_mib": (1, 4096),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The [table] section: at most this many of each. ValueError names the first field out of range."""

    max_ipv4_routes: int = 1_500_000
    max_ipv6_routes: int = 400_000
    max_groups: int = 32_767
    max_adjacencies: int = 16_384
    max_ecmp_groups: int = 1_024
    max_ipv4_extended: int = 4_096
    ipv6_trie_mib: int = 16

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), _ALLOWED[field.name]
            if not low <= value <= high:
                raise ValueError(f"table.{field.name}: found {value}: from {low} to {high}")

    @property
    def layout_id(self) -> int:
        """A 64-bit name of this layout: other maxima, another name."""
        packed = struct.pack("<7Q", *astuple(self))
        return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the file."""

    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is."""

    readers_bytes: int
    segment_bytes: int
    parts: dict[str, Part]


def rule_slots(routes: int) -> int:
    """Slots of the hash for so many rules: a power of two, at least 16."""
    slots = 16
    while routes > slots * _RULES_LOAD:
        slots *= 2
    return slots


def layout(limits: Limits) -> Layout:
    """Lay the segment out for these maxima."""
    readers = {
        "interfaces": 32 * 128,
        "adjacencies": (limits.max_adjacencies + 1) * 64,
        "groups": (limits.max_groups + 1) * 4,
        "buckets": limits.max_ecmp_groups * 512,
        "ipv4_root": 2 << 24,
        "ipv4_extended": limits.max_ipv4_extended * 512,
        "ipv6_root": 4 * ((1 << 21) + (1 << 12)),
        "ipv6_trie": limits.ipv6_trie_mib << 20,
    }
    writers = {
        "ipv4_rules": rule_slots(limits.max_ipv4_routes) * 8,
        "ipv6_rules": rule_slots(limits.max_ipv6_routes) * 32,
        "ipv4_depth": 1 << 24,
        "ipv4_extended_depth": limits.max_ipv4_extended * 256,
        "group_keys": (limits.max_groups + 1) * 320,
        "journal": _PAGE,
    }
    parts: dict[str, Part] = {}
    readers_bytes = _round(_place(readers, _PAGE, parts), _HUGE)
    return Layout(readers_bytes, _round(_place(writers, readers_bytes, parts), _HUGE), parts)


def segment_bytes(limits: Limits) -> int:
    """Length of the route segment's file: what must be free in its file system."""
    return layout(limits).segment_bytes


def _place(sizes: dict[str, int], at: int, parts: dict[str, Part]) -> int:
    for name, size in sizes.items():
        parts[name] = Part(at, size)
        at = _round(at + size, _PAGE)
    return at


def _round(size: int, unit: int) -> int:
    return -(-size // unit) * unit
