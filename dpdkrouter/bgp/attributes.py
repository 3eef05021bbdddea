"""Path attributes as values, decoded from ExaBGP's JSON, and the checks of RFC 7606 that ExaBGP leaves to us.

ExaBGP 5.0.15 turns most malformed attributes into withdrawals by itself. It announces a malformed ORIGIN as
the string "invalid", and does not look for missing mandatory attributes: `parse` refuses both, and the
caller treats the routes as withdrawn. Attributes that we don't know are left out: we announce nothing that
a peer told us.
"""

from __future__ import annotations

import enum
import socket
from dataclasses import dataclass
from typing import Any

_ORIGINS = {"igp": 0, "egp": 1, "incomplete": 2}
_MAX_U32 = 0xFFFFFFFF


class SegmentType(enum.IntEnum):
    """AS_PATH segment types (RFC 4271 section 4.3); ExaBGP shows confederation segments as sequences."""

    SET = 1
    SEQUENCE = 2


_SEGMENTS = {"as-set": SegmentType.SET, "as-sequence": SegmentType.SEQUENCE}


@dataclass(frozen=True, slots=True)
class AsSegment:
    """One segment of an AS_PATH."""

    kind: SegmentType
    asns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BgpAttributes:
    """The attributes of an announcement.

    next_hop and link_local: network order, 4 or 16 bytes. IPv4 identifiers are integers, extended
    communities the 64-bit value, large communities their three parts (RFC 8092), communities the 32-bit
    value (RFC 1997).
    """

    origin: int
    as_path: tuple[AsSegment, ...]
    next_hop: bytes
    link_local: bytes | None = None
    med: int | None = None
    local_pref: int | None = None
    communities: tuple[int, ...] = ()
    large_communities: tuple[tuple[int, int, int], ...] = ()
    extended_communities: tuple[int, ...] = ()
    originator_id: int | None = None
    cluster_list: tuple[int, ...] = ()
    atomic_aggregate: bool = False
    aggregator: tuple[int, int] | None = None


class MalformedAttributesError(ValueError):
    """The routes that came with these attributes are to be treated as withdrawn (RFC 7606 section 2)."""


def parse(found: dict[str, Any], next_hop: bytes, link_local: bytes | None, internal: bool) -> BgpAttributes:
    """Attributes of an UPDATE's `attribute` object; raises MalformedAttributesError with the reason.

    `internal` tells an iBGP session: LOCAL_PREF is mandatory there, and ignored otherwise, like
    ORIGINATOR_ID and CLUSTER_LIST (RFC 7606 sections 7.5, 7.9, 7.10).
    """
    for name in ("origin", "as-path"):
        if name not in found:
            raise MalformedAttributesError(f"{name} is missing")
    origin = _ORIGINS.get(found["origin"])
    if origin is None:
        raise MalformedAttributesError("origin is malformed")
    if internal and "local-preference" not in found:
        raise MalformedAttributesError("local-preference is missing")
    try:
        return BgpAttributes(
            origin=origin,
            as_path=_as_path(found["as-path"]),
            next_hop=next_hop,
            link_local=link_local,
            med=_u32(found["med"]) if "med" in found else None,
            local_pref=_u32(found["local-preference"]) if internal else None,
            communities=tuple(_community(pair) for pair in found.get("community", ())),
            large_communities=tuple(_large(parts) for parts in found.get("large-community", ())),
            extended_communities=tuple(_u64(item["value"]) for item in found.get("extended-community", ())),
            originator_id=_ipv4(found["originator-id"]) if internal and "originator-id" in found else None,
            cluster_list=tuple(_ipv4(text) for text in found.get("cluster-list", ())) if internal else (),
            atomic_aggregate=bool(found.get("atomic-aggregate", False)),
            aggregator=_aggregator(found["aggregator"]) if "aggregator" in found else None,
        )
    except MalformedAttributesError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise MalformedAttributesError(f"attributes can't be read: {error!r}"[:200]) from None


def _as_path(found: dict[str, Any]) -> tuple[AsSegment, ...]:
    # ExaBGP numbers the segments: the keys "0", "1", .. come in order.
    segments = tuple(
        AsSegment(_SEGMENTS[segment["element"]], tuple(_u32(asn) for asn in segment["value"]))
        for segment in found.values()
    )
    if any(0 in segment.asns for segment in segments):
        raise MalformedAttributesError("as-path holds AS 0 (RFC 7607)")
    return segments


def _u32(value: Any) -> int:
    return _bounded(value, _MAX_U32)


def _u64(value: Any) -> int:
    return _bounded(value, (1 << 64) - 1)


def _bounded(value: Any, high: int) -> int:
    if type(value) is not int or not 0 <= value <= high:
        raise ValueError(f"{value!r} is not a number from 0 to {high}")
    return value


def _community(pair: list[int]) -> int:
    high, low = pair
    return _bounded(high, 0xFFFF) << 16 | _bounded(low, 0xFFFF)


def _large(parts: list[int]) -> tuple[int, int, int]:
    first, second, third = parts
    return _u32(first), _u32(second), _u32(third)


def _ipv4(text: str) -> int:
    return int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")


def _aggregator(text: str) -> tuple[int, int]:
    asn, _, speaker = text.partition(":")
    return _u32(int(asn)), _ipv4(speaker)
