"""Path attributes as values: what a source says about a batch of prefixes.

Invariants: everything here is frozen; `Attributes.pack` gives equal bytes for equal attribute sets, which
is what the RIB interns by (the bytes take a fifth of the memory of the objects), and `Attributes.unpack`
gives the set back. Sources make these, `Rib.attributes` takes them, show commands get them back from
`Rib.paths`.

RFC 4271 section 4.3 and 5.1, RFC 1997 (communities), RFC 4360, RFC 8092, RFC 4456 (ORIGINATOR_ID,
CLUSTER_LIST), RFC 5065.
"""

from __future__ import annotations

import marshal
from dataclasses import dataclass
from enum import IntEnum

# Version 2 of marshal writes no back references, so equal values always give equal bytes.
_MARSHAL_VERSION = 2


class Kind(IntEnum):
    """What becomes of a packet that matches the route."""

    UNICAST = 0
    BLACKHOLE = 1
    UNREACHABLE = 2
    LOCAL = 3
    GLEAN = 4
    BROADCAST = 5  # a directed broadcast of a connected prefix: dropped (RFC 2644)


class Origin(IntEnum):
    """ORIGIN of RFC 4271 section 5.1.1; lower is preferred."""

    IGP = 0
    EGP = 1
    INCOMPLETE = 2


class SegmentKind(IntEnum):
    """Type of an AS path segment, numbered as on the wire (RFC 4271 section 4.3, RFC 5065 section 3)."""

    SET = 1
    SEQUENCE = 2
    CONFED_SEQUENCE = 3
    CONFED_SET = 4


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of an AS path."""

    kind: SegmentKind
    asns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NextHop:
    """An address to resolve, or one on a known port, or (address None) a port to glean on."""

    address: str | None
    port: int | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class HopSet:
    """What a best route points to: a kind and, for unicast and glean, its next hops in a fixed order."""

    kind: Kind
    next_hops: tuple[NextHop, ...]


@dataclass(frozen=True, slots=True)
class Attributes:
    """One distinct attribute set. `med` and `local_pref` None mean absent: decided as 0 and 100."""

    next_hops: tuple[NextHop, ...] = ()
    kind: Kind = Kind.UNICAST
    origin: Origin = Origin.IGP
    as_path: tuple[Segment, ...] = ()
    med: int | None = None
    local_pref: int | None = None
    communities: tuple[int, ...] = ()
    extended_communities: tuple[bytes, ...] = ()
    large_communities: tuple[tuple[int, int, int], ...] = ()
    originator_id: int | None = None
    cluster_list: tuple[int, ...] = ()
    atomic_aggregate: bool = False
    aggregator: tuple[int, int] | None = None

    @classmethod
    def glean(cls, port: int) -> Attributes:
        """Attributes of a connected prefix: each address in it is a next hop on `port`."""
        return cls(next_hops=(NextHop(None, port),), kind=Kind.GLEAN)

    @classmethod
    def via(cls, *addresses: str) -> Attributes:
        """Attributes of a plain route over equal next hops that are still to be resolved."""
        return cls(next_hops=tuple(NextHop(address) for address in addresses))

    @property
    def path_length(self) -> int:
        """Length by RFC 4271 section 9.1.2.2 a) and RFC 5065 section 5.3: a set is 1, confederations 0."""
        length = 0
        for segment in self.as_path:
            if segment.kind == SegmentKind.SEQUENCE:
                length += len(segment.asns)
            elif segment.kind == SegmentKind.SET:
                length += 1
        return length

    @property
    def neighbour_as(self) -> int:
        """The AS the route came from, for comparing MED; 0 when it began in our own AS or with a set."""
        for segment in self.as_path:
            if segment.kind == SegmentKind.SEQUENCE and segment.asns:
                return segment.asns[0]
            if segment.kind == SegmentKind.SET:
                return 0
        return 0

    def pack(self) -> bytes:
        """Compact bytes, equal for equal sets."""
        return marshal.dumps(
            (
                tuple([(hop.address, hop.port, hop.weight) for hop in self.next_hops]),
                int(self.kind),
                int(self.origin),
                tuple([(int(segment.kind), segment.asns) for segment in self.as_path]),
                self.med,
                self.local_pref,
                self.communities,
                self.extended_communities,
                self.large_communities,
                self.originator_id,
                self.cluster_list,
                self.atomic_aggregate,
                self.aggregator,
            ),
            _MARSHAL_VERSION,
        )

    @classmethod
    def unpack(cls, packed: bytes) -> Attributes:
        """The set that `pack` gave `packed` for. Only for our own bytes: marshal does not check its input."""
        hops, kind, origin, segments, *rest = marshal.loads(packed)
        return cls(
            tuple(NextHop(*hop) for hop in hops),
            Kind(kind),
            Origin(origin),
            tuple(Segment(SegmentKind(segment_kind), asns) for segment_kind, asns in segments),
            *rest,
        )
