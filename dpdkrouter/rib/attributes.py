"""Path attributes as values: what a source says about a batch of prefixes.

Invariants: everything here is frozen; `Attributes.pack` gives equal bytes for equal attribute sets, which
is what the RIB interns by (the bytes take a fifth of the memory of the objects), and `Attributes.unpack`
gives the set back, next hops in their canonical spelling. packed.pxd has the layout, which the UPDATE decoder
writes without ever making one of these. Sources make these, `Rib.attributes` takes them, show commands get
them back from `Rib.paths`.

RFC 4271 section 4.3 and 5.1, RFC 1997 (communities), RFC 4360, RFC 8092, RFC 4456 (ORIGINATOR_ID,
CLUSTER_LIST), RFC 5065.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

_HEAD = struct.Struct("=BBBBIIIIIIHHHHHH")
_HOP = struct.Struct("=BBHI16s")
_MED, _LOCAL_PREF, _ORIGINATOR, _AGGREGATOR, _ATOMIC = 1, 2, 4, 8, 16  # as in packed.pxd
_MAX_SEGMENT = 255


class Kind(IntEnum):
    """What becomes of a packet that matches the route."""

    UNICAST = 0
    BLACKHOLE = 1
    UNREACHABLE = 2
    LOCAL = 3
    GLEAN = 4
    BROADCAST = 5  # a directed broadcast of a connected prefix: dropped (RFC 2644)
    PROHIBIT = 6  # dropped, and ICMP says that it is not allowed


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
    """What a best route points to: a kind and, for unicast and glean, its next hops in a fixed order.

    backup: the next hops that take over when none of `next_hops` can be used.
    """

    kind: Kind
    next_hops: tuple[NextHop, ...]
    backup: tuple[NextHop, ...] = ()


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
        """Compact bytes, equal for equal sets. ValueError for what fits no UPDATE or is no address."""
        path = b"".join([_pack_segment(segment) for segment in self.as_path])
        present = (
            _MED * (self.med is not None)
            | _LOCAL_PREF * (self.local_pref is not None)
            | _ORIGINATOR * (self.originator_id is not None)
            | _AGGREGATOR * (self.aggregator is not None)
            | _ATOMIC * self.atomic_aggregate
        )
        try:
            head = _HEAD.pack(
                self.kind,
                self.origin,
                present,
                0,
                self.med or 0,
                self.local_pref or 0,
                self.originator_id or 0,
                *(self.aggregator or (0, 0)),
                len(path),
                len(self.next_hops),
                len(self.communities),
                len(self.extended_communities),
                len(self.large_communities),
                len(self.cluster_list),
                0,
            )
            return b"".join(
                (
                    head,
                    *[_pack_hop(hop) for hop in self.next_hops],
                    path,
                    struct.pack(f"!{len(self.communities)}I", *self.communities),
                    struct.pack("8s" * len(self.extended_communities), *self.extended_communities),
                    *[struct.pack("!III", *large) for large in self.large_communities],
                    struct.pack(f"!{len(self.cluster_list)}I", *self.cluster_list),
                )
            )
        except struct.error as error:
            raise ValueError(f"attributes {self}: a value is out of range: {error}") from None

    @classmethod
    def unpack(cls, packed: bytes) -> Attributes:
        """The set that `pack` or the UPDATE decoder gave `packed` for."""
        head = _HEAD.unpack_from(packed)
        kind, origin, present, _, med, local_pref, originator, asn, speaker, path_bytes = head[:10]
        hops, communities, extended, large, clusters = head[10:15]
        at = _HEAD.size
        next_hops = tuple([_unpack_hop(packed, at + i * _HOP.size) for i in range(hops)])
        at += hops * _HOP.size
        as_path = _unpack_path(packed[at : at + path_bytes])
        at += path_bytes
        found = struct.unpack_from(f"!{communities}I", packed, at)
        at += communities * 4
        found_extended = struct.unpack_from("8s" * extended, packed, at)
        at += extended * 8
        found_large = tuple(struct.iter_unpack("!III", packed[at : at + large * 12]))
        at += large * 12
        return cls(
            next_hops=next_hops,
            kind=Kind(kind),
            origin=Origin(origin),
            as_path=as_path,
            med=med if present & _MED else None,
            local_pref=local_pref if present & _LOCAL_PREF else None,
            communities=found,
            extended_communities=found_extended,
            large_communities=found_large,
            originator_id=originator if present & _ORIGINATOR else None,
            cluster_list=struct.unpack_from(f"!{clusters}I", packed, at),
            atomic_aggregate=bool(present & _ATOMIC),
            aggregator=(asn, speaker) if present & _AGGREGATOR else None,
        )


def _pack_segment(segment: Segment) -> bytes:
    count = len(segment.asns)
    if not 0 < count <= _MAX_SEGMENT or not all(0 <= asn <= 0xFFFFFFFF for asn in segment.asns):
        raise ValueError(f"AS path segment {segment}: holds 1 to {_MAX_SEGMENT} ASNs of 0 to 4294967295")
    return struct.pack(f"!BB{count}I", segment.kind, count, *segment.asns)


def _unpack_path(packed: bytes) -> tuple[Segment, ...]:
    segments, at = [], 0
    while at < len(packed):
        kind, count = packed[at], packed[at + 1]
        segments.append(Segment(SegmentKind(kind), struct.unpack_from(f"!{count}I", packed, at + 2)))
        at += 2 + 4 * count
    return tuple(segments)


def _pack_hop(hop: NextHop) -> bytes:
    family, address = 0, b""
    if hop.address is not None:
        family = 6 if ":" in hop.address else 4
        try:
            address = socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, hop.address)
        except OSError:
            raise ValueError(f"next hop {hop.address!r} is not an IPv4 or IPv6 address") from None
    return _HOP.pack(family, hop.port is not None, hop.weight, hop.port or 0, address)


def _unpack_hop(packed: bytes, at: int) -> NextHop:
    family, on_port, weight, port, address = _HOP.unpack_from(packed, at)
    text = None
    if family:
        text = socket.inet_ntop(socket.AF_INET6 if family == 6 else socket.AF_INET, address[: 16 if family == 6 else 4])
    return NextHop(text, port if on_port else None, weight)
