"""What the RIB answers with: deltas for the FIB writer, and paths, routes and counts for show commands.

Invariants: all are values, cut off from the RIB; the arrays of a delta and of a chunk have one element a
prefix and are never changed afterwards. Whoever calls `Rib` gets these, on the thread that called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpdkrouter.rib.attributes import Attributes
    from dpdkrouter.rib.enums import Source, Step


@dataclass(frozen=True, slots=True)
class FamilyDelta:
    """Changed best routes of one family, one element a prefix in each array.

    prefixes: network order, 4 or 16 bytes each; lengths: u8; hopset: u32 view; source: u8; 0 = withdrawn.
    """

    prefixes: bytes
    lengths: bytes
    hopset: memoryview
    source: bytes

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True, slots=True)
class Delta:
    """What one `Rib.decide` changed.

    added: hopset ids that had no prefix before and have one now; released: ids that no prefix uses any more.
    Ids in `released` are not given to another set before the next `decide`.
    """

    ipv4: FamilyDelta
    ipv6: FamilyDelta
    added: tuple[int, ...]
    released: tuple[int, ...]

    def family(self, family: int) -> FamilyDelta:
        return self.ipv4 if family == 4 else self.ipv6

    def __len__(self) -> int:
        return len(self.ipv4) + len(self.ipv6)


@dataclass(frozen=True, slots=True)
class Route:
    """A best route of the Loc-RIB, as `Rib.lookup` finds it. prefix: network order."""

    prefix: bytes
    length: int
    source: Source
    hopset: int
    metric: int


@dataclass(frozen=True, slots=True)
class Path:
    """One path of a prefix; `step` is where the decision dropped it, as the decision itself noted.

    verdict: what the origin's import filter said of it; attributes are those it gave, or of a rejected path as received.
    """

    origin_id: int
    source: Source
    peer_address: str | None
    path_id: int
    attr_id: int
    attributes: Attributes
    reachable: bool
    metric: int
    stale: bool
    best: bool
    multipath: bool
    rejected: bool
    step: Step
    verdict: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some paths of a walk. after: give it to the next call; None at the end. The u32 arrays are views."""

    prefixes: bytes
    lengths: bytes
    origin_ids: memoryview
    attr_ids: memoryview
    path_ids: memoryview
    hopset: memoryview
    best: bytes
    after: int | None

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True, slots=True)
class OriginCounts:
    """Paths of one Adj-RIB-In, as (IPv4, IPv6). looped: kept out for an AS, originator or cluster loop; rejected:
    by the import filter.
    """

    origin_id: int
    source: Source
    peer_address: str | None
    paths: tuple[int, int]
    best: tuple[int, int]
    stale: tuple[int, int]
    looped: tuple[int, int]
    rejected: tuple[int, int]


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """Paths of all origins of one source, as (IPv4, IPv6)."""

    source: Source
    paths: tuple[int, int]
    best: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of the RIB. prefixes: in the Loc-RIB, as (IPv4, IPv6). memory_bytes: the compiled arrays."""

    origins: tuple[OriginCounts, ...]
    sources: tuple[SourceCounts, ...]
    prefixes: tuple[int, int]
    attribute_sets: int
    hopsets: int
    memory_bytes: int
