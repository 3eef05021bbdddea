"""Attributes written as a speaker would, decoded again: the same set, and the very bytes that the RIB interns by."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from dpdkrouter.bgp.decoded import Negotiated
from dpdkrouter.bgp.update import UpdateDecoder
from dpdkrouter.rib.attributes import Attributes, NextHop, Origin, Segment, SegmentKind
from updatekit import attribute, reach, segment, shown, update

if TYPE_CHECKING:
    import random

U32 = st.integers(0, 0xFFFFFFFF)
ASN = st.integers(1, 0xFFFFFFFF)
SEGMENT = st.builds(
    Segment,
    st.sampled_from([SegmentKind.SET, SegmentKind.SEQUENCE]),
    st.lists(ASN, min_size=1, max_size=9).map(tuple),
)
SETS = st.builds(
    Attributes,
    next_hops=st.sampled_from(["192.0.2.1", "198.51.100.7", "2001:db8::1", "fe80::9"]).map(lambda one: (NextHop(one),)),
    origin=st.sampled_from(Origin),
    as_path=st.lists(SEGMENT, max_size=4).map(tuple),
    med=st.none() | U32,
    local_pref=U32,
    communities=st.lists(U32, max_size=5).map(tuple),
    extended_communities=st.lists(st.binary(min_size=8, max_size=8), max_size=4).map(tuple),
    large_communities=st.lists(st.tuples(U32, U32, U32), max_size=4).map(tuple),
    originator_id=st.none() | U32,
    cluster_list=st.lists(U32, max_size=4).map(tuple),
    atomic_aggregate=st.booleans(),
    aggregator=st.none() | st.tuples(ASN, U32),
)


def on_the_wire(attributes: Attributes) -> tuple[list[bytes], bytes]:
    """The attributes in the order of their types, and the NLRI field."""
    (hop,) = attributes.next_hops
    address = hop.address or ""
    found = [
        attribute(0x40, 1, bytes([attributes.origin])),
        attribute(0x40, 2, b"".join(segment(*one.asns, kind=one.kind) for one in attributes.as_path)),
        attribute(0x40, 5, struct.pack("!I", attributes.local_pref)),
    ]
    routes = b"\x08\x0a"
    if ":" in address:
        packed = Attributes.via(address).pack()
        found.append(reach(b"\x10\x20\x01", packed[-16:]))
        routes = b""
    else:
        found.append(attribute(0x40, 3, bytes(int(part) for part in address.split("."))))
    if attributes.med is not None:
        found.append(attribute(0x80, 4, struct.pack("!I", attributes.med)))
    if attributes.atomic_aggregate:
        found.append(attribute(0x40, 6, b""))
    if attributes.aggregator is not None:
        found.append(attribute(0xC0, 7, struct.pack("!II", *attributes.aggregator)))
    if attributes.originator_id is not None:
        found.append(attribute(0x80, 9, struct.pack("!I", attributes.originator_id)))
    for flags, kind, value in (
        (0xC0, 8, b"".join(struct.pack("!I", one) for one in attributes.communities)),
        (0x80, 10, b"".join(struct.pack("!I", one) for one in attributes.cluster_list)),
        (0xC0, 16, b"".join(attributes.extended_communities)),
        (0xC0, 32, b"".join(struct.pack("!III", *one) for one in attributes.large_communities)),
    ):
        if value:
            found.append(attribute(flags, kind, value))
    return found, routes


@given(SETS, st.randoms(use_true_random=False), st.booleans())
def test_what_is_written_is_read(attributes: Attributes, order: random.Random, extended: bool) -> None:
    found, routes = on_the_wire(attributes)
    order.shuffle(found)
    if extended:
        found = [one if one[0] & 0x10 else bytes([one[0] | 0x10, one[1], 0]) + one[2:] for one in found]
    decoder = UpdateDecoder(Negotiated(frozenset({"ipv4", "ipv6"}), internal=True))
    decoded = decoder.decode(update(b"".join(found), routes))
    assert decoded.reset is None
    assert not decoded.faults
    ((_, _, seen),) = shown(decoded)
    assert seen == attributes
    assert decoded.routes[0].attributes == [attributes.pack()]
