"""Shorthands of the RIB's tests: prefixes as text, attributes in a line, the Loc-RIB as a dict by replaying
deltas.
"""

from __future__ import annotations

import ipaddress
from array import array
from typing import TYPE_CHECKING, Any

from dpdkrouter.rib.attributes import Attributes, NextHop, Segment, SegmentKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dpdkrouter.rib.table import Rib
    from dpdkrouter.rib.views import Delta

Table = dict[tuple[int, bytes, int], tuple[int, int]]


def pack(*prefixes: str) -> tuple[int, bytes, bytes]:
    """Family, prefixes and lengths as a batch wants them."""
    networks = [ipaddress.ip_network(prefix) for prefix in prefixes]
    return (
        networks[0].version,
        b"".join(network.network_address.packed for network in networks),
        bytes(network.prefixlen for network in networks),
    )


def words(values: Iterable[int]) -> bytes:
    """u32 values in native order."""
    return array("I", values).tobytes()


def sequence(*asns: int) -> tuple[Segment, ...]:
    """An AS path of one sequence."""
    return (Segment(SegmentKind.SEQUENCE, asns),)


def via(*addresses: str, **more: Any) -> Attributes:
    """Attributes with these next hops and whatever else."""
    return Attributes(next_hops=tuple(NextHop(address) for address in addresses), **more)


def announce(
    rib: Rib, origin: int, attributes: Attributes, *prefixes: str, path_ids: Sequence[int] | None = None
) -> int:
    family, packed, lengths = pack(*prefixes)
    ids = None if path_ids is None else words(path_ids)
    return rib.announce(origin, family, packed, lengths, rib.attributes(attributes), ids)


def withdraw(rib: Rib, origin: int, *prefixes: str, path_ids: Sequence[int] | None = None) -> int:
    family, packed, lengths = pack(*prefixes)
    return rib.withdraw(origin, family, packed, lengths, None if path_ids is None else words(path_ids))


def replay(table: Table, delta: Delta) -> None:
    """Apply a delta as the FIB writer would; fails when it repeats itself or withdraws what is not there."""
    for family, width in ((4, 4), (6, 16)):
        part = delta.family(family)
        assert len(part.prefixes) == len(part) * width
        assert len(part.hopset) == len(part.source) == len(part)
        for i in range(len(part)):
            key = (family, part.prefixes[i * width : (i + 1) * width], part.lengths[i])
            result = (part.hopset[i], part.source[i])
            if result[0] == 0:
                assert result[1] == 0
                del table[key]
            else:
                assert table.get(key) != result, "a delta that changes nothing"
                table[key] = result


def reachable(rib: Rib, *addresses: str) -> None:
    for address in addresses:
        rib.set_next_hop(address, True)
