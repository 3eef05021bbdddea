"""The UPDATE decoder on right messages: every attribute, both families, ADD-PATH, 2-byte speakers."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from dpdkrouter.bgp.decoded import Decoded, Negotiated
from dpdkrouter.bgp.faults import Fault
from dpdkrouter.bgp.update import UpdateDecoder
from dpdkrouter.rib.attributes import Attributes, NextHop, Origin, Segment, SegmentKind
from dpdkrouter.rib.enums import Source
from dpdkrouter.rib.table import Rib
from ribkit import sequence, via
from updatekit import (
    AS_PATH,
    GOOD,
    GOOD6,
    HOP4,
    HOP6,
    NEXT_HOP,
    ORIGIN,
    attribute,
    message,
    nlri,
    reach,
    segment,
    shown,
    unreach,
    update,
)

BOTH = frozenset({"ipv4", "ipv6"})
PLAIN = via("192.0.2.1", as_path=sequence(65001, 65002))
PLAIN6 = via("2001:db8::1", as_path=sequence(65001, 65002))


def decode(data: bytes, **properties: Any) -> Decoded:
    return UpdateDecoder(Negotiated(**{"families": BOTH, **properties})).decode(data)


def test_announces_and_withdraws_in_the_order_of_the_rfc() -> None:
    found = decode(update(routes=nlri("198.51.100.0/24", "0.0.0.0/0", "203.0.113.7/32"), withdrawn=nlri("10.0.0.0/9")))
    assert shown(found) == [
        ("10.0.0.0/9", 0, None),
        ("198.51.100.0/24", 0, PLAIN),
        ("0.0.0.0/0", 0, PLAIN),
        ("203.0.113.7/32", 0, PLAIN),
    ]
    assert (found.updates, found.ends, found.faults, found.reset) == (1, (), {}, None)
    assert decode(b"") == Decoded()


def test_host_bits_are_cleared() -> None:
    assert shown(decode(update(routes=b"\x09\x0a\xff"))) == [("10.128.0.0/9", 0, PLAIN)]


def test_both_families_in_one_message() -> None:
    attributes = reach(nlri("2001:db8:1::/48")) + GOOD + unreach(nlri("2001:db8:2::/48"))
    assert shown(decode(update(attributes))) == [
        ("198.51.100.0/24", 0, PLAIN),
        ("2001:db8:2::/48", 0, None),
        ("2001:db8:1::/48", 0, PLAIN6),
    ]
    assert shown(decode(update(GOOD6 + reach(nlri("192.0.2.0/24"), HOP4, afi=1), routes=b""))) == [
        ("192.0.2.0/24", 0, PLAIN)
    ]


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        (HOP6 + b"\xfe\x80" + bytes(13) + b"\x07", "2001:db8::1"),
        (bytes(16) + b"\xfe\x80" + bytes(13) + b"\x07", "fe80::7"),
    ],
)
def test_next_hop_of_two_addresses(hop: bytes, expected: str) -> None:
    ((_, _, attributes),) = shown(decode(update(GOOD6 + reach(nlri("2001:db8::/32"), hop), routes=b"")))
    assert attributes is not None
    assert attributes.next_hops == (NextHop(expected),)


def test_all_attributes() -> None:
    path = segment(65001, 400000) + segment(1, 2, kind=1)
    attributes = (
        attribute(0x50, 2, path)
        + attribute(0x40, 1, b"\2")
        + NEXT_HOP
        + attribute(0x80, 4, struct.pack("!I", 7))
        + attribute(0x40, 5, struct.pack("!I", 300))
        + attribute(0x40, 6, b"")
        + attribute(0xC0, 7, struct.pack("!II", 400001, 9))
        + attribute(0xE0, 8, struct.pack("!II", 65001 << 16 | 5, 0xFFFF029A))
        + attribute(0x80, 9, struct.pack("!I", 77))
        + attribute(0x80, 10, struct.pack("!II", 1, 2))
        + attribute(0xC0, 16, b"\0\2\0\1\0\0\0\5")
        + attribute(0xC0, 25, bytes(20))
        + attribute(0xC0, 32, struct.pack("!III", 65001, 2, 3))
        + attribute(0xC0, 99, b"unknown")
        + attribute(0x80, 26, b"")
    )
    expected = Attributes(
        next_hops=(NextHop("192.0.2.1"),),
        origin=Origin.INCOMPLETE,
        as_path=(Segment(SegmentKind.SEQUENCE, (65001, 400000)), Segment(SegmentKind.SET, (1, 2))),
        med=7,
        local_pref=300,
        communities=(65001 << 16 | 5, 0xFFFF029A),
        extended_communities=(b"\0\2\0\1\0\0\0\5",),
        large_communities=((65001, 2, 3),),
        originator_id=77,
        cluster_list=(1, 2),
        atomic_aggregate=True,
        aggregator=(400001, 9),
    )
    found = decode(update(attributes), internal=True)
    assert shown(found) == [("198.51.100.0/24", 0, expected)]
    assert found.routes[0].attributes == [expected.pack()]
    assert not found.faults


def test_external_peers_have_no_say_in_internal_attributes() -> None:
    inside = attribute(0x40, 5, b"x") + attribute(0x00, 9, bytes(4)) + attribute(0x80, 10, struct.pack("!I", 1)) + GOOD
    found = decode(update(inside))
    assert shown(found) == [("198.51.100.0/24", 0, PLAIN)]
    assert found.faults == {Fault.NOT_INTERNAL: 3}


def test_one_form_whatever_the_wire_says() -> None:
    medium = attribute(0x80, 4, struct.pack("!I", 1))
    first = decode(update(GOOD + medium)).routes[0].attributes
    second = decode(update(attribute(0x90, 4, struct.pack("!I", 1)) + NEXT_HOP + AS_PATH + ORIGIN)).routes[0].attributes
    old = attribute(0x40, 2, segment(65001, 65002, width=2))
    third = decode(update(medium + ORIGIN + old + NEXT_HOP), as4=False).routes[0].attributes
    assert first == second == third


def test_following_equal_sets_are_written_once() -> None:
    other = GOOD + attribute(0x80, 4, bytes(4))
    data = update() + update(routes=nlri("10.0.0.0/8")) + update(other) + update(routes=nlri("10.0.0.0/9"))
    (routes,) = decode(data).routes
    assert list(memoryview(routes.sets).cast("I")) == [1, 1, 2, 3]
    assert routes.attributes[0] == routes.attributes[2] != routes.attributes[1]


def test_add_path() -> None:
    data = update(
        GOOD + unreach(nlri("2001:db8::/32")),
        nlri("198.51.100.0/24", "198.51.100.0/24", path_ids=[4, 0xFFFFFFFF]),
        nlri("10.0.0.0/8", path_ids=[7]),
    )
    assert shown(decode(data, add_path=frozenset({"ipv4"}))) == [
        ("10.0.0.0/8", 7, None),
        ("198.51.100.0/24", 4, PLAIN),
        ("198.51.100.0/24", 0xFFFFFFFF, PLAIN),
        ("2001:db8::/32", 0, None),
    ]


@pytest.mark.parametrize(
    ("old", "new", "aggregators", "path"),
    [
        (segment(1, 23456, width=2), segment(400000), b"", sequence(1, 400000)),
        (segment(1, 23456, 23456, width=2), segment(400000, 400001), b"", sequence(1, 400000, 400001)),
        (segment(1, width=2), segment(1, 400000), b"", sequence(1)),
        (segment(23456, width=2), segment(400000), attribute(0xC0, 7, struct.pack("!HI", 5, 9)), sequence(400000)),
        (
            segment(23456, width=2),
            segment(400000),
            attribute(0xC0, 7, struct.pack("!HI", 5, 9)) + attribute(0xC0, 18, struct.pack("!II", 400001, 8)),
            sequence(23456),
        ),
        (
            segment(5, 6, kind=1, width=2) + segment(23456, width=2),
            segment(9, kind=3) + segment(400000),
            b"",
            (Segment(SegmentKind.SET, (5, 6)), Segment(SegmentKind.SEQUENCE, (400000,))),
        ),
    ],
)
def test_as4_path(old: bytes, new: bytes, aggregators: bytes, path: tuple[Segment, ...]) -> None:
    attributes = ORIGIN + attribute(0x40, 2, old) + NEXT_HOP + attribute(0xC0, 17, new) + aggregators
    ((_, _, found),) = shown(decode(update(attributes), as4=False))
    assert found is not None
    assert found.as_path == path


def test_as4_aggregator() -> None:
    old = attribute(0xC0, 7, struct.pack("!HI", 23456, 9)) + attribute(0xC0, 18, struct.pack("!II", 400001, 8))
    attributes = ORIGIN + attribute(0x40, 2, segment(1, width=2)) + NEXT_HOP + old
    ((_, _, found),) = shown(decode(update(attributes), as4=False))
    assert found is not None
    assert found.aggregator == (400001, 8)
    ((_, _, found),) = shown(decode(update(GOOD + attribute(0xC0, 7, struct.pack("!II", 5, 9)))))
    assert found is not None
    assert found.aggregator == (5, 9)


def test_end_of_rib() -> None:
    found = decode(update(b"", b"") + update() + update(unreach(b""), b""))
    assert (found.ends, found.updates) == ((4, 6), 1)
    ended = decode(update(unreach(b"", afi=25, safi=70), b"") + update(unreach(b""), b""), families=frozenset({"ipv4"}))
    assert ended == Decoded()


def test_families_that_were_not_negotiated_are_left_out() -> None:
    data = update(GOOD6 + reach(nlri("2001:db8::/32")) + unreach(nlri("2001:db8:1::/48")), routes=b"")
    assert decode(data, families=frozenset({"ipv4"})) == Decoded(updates=1, faults={Fault.FAMILY: 2})
    assert decode(update(withdrawn=nlri("10.0.0.0/8")), families=frozenset({"ipv6"})) == Decoded(
        updates=1, faults={Fault.FAMILY: 2}
    )
    assert decode(update(GOOD6 + reach(b"junk", afi=1, safi=128), routes=b"")).faults == {Fault.FAMILY: 1}


def test_prefixes_that_no_packet_can_follow_are_left_out() -> None:
    found = decode(
        update(
            GOOD + reach(nlri("ff00::/8", "fe80::/64", "fe00::/9", "2001:db8::/32", "::/0")),
            nlri("224.0.0.0/4", "10.0.0.0/8", "239.1.1.1/32", "224.0.0.0/3"),
        )
    )
    assert [prefix for prefix, _, _ in shown(found)] == [
        "10.0.0.0/8",
        "224.0.0.0/3",
        "fe00::/9",
        "2001:db8::/32",
        "::/0",
    ]
    assert found.faults == {Fault.PREFIX: 4}


def test_extended_messages() -> None:
    many = nlri(*[f"10.{i >> 8}.{i & 255}.0/24" for i in range(16000)])
    data = update(GOOD, many)
    assert len(shown(decode(data, max_message=65535))) == 16000
    refused = decode(data)
    assert refused.reset is not None
    assert (refused.reset.code, refused.reset.subcode) == (1, 2)


def test_into_the_rib() -> None:
    rib = Rib(asn=65000)
    peer = rib.add_origin(Source.EBGP, peer_address="192.0.2.9")
    loop = ORIGIN + attribute(0x40, 2, segment(65001, 65000)) + NEXT_HOP
    data = update() + update(loop, nlri("10.0.0.0/8")) + update(GOOD6 + reach(nlri("2001:db8::/32")), b"")
    for routes in decode(data).routes:
        rib.apply(peer, routes.family, routes.prefixes, routes.lengths, routes.sets, routes.attributes, routes.path_ids)
    (counts,) = rib.counts().origins
    assert (counts.paths, counts.looped) == ((2, 1), (1, 0))
    (path,) = rib.paths(4, bytes([198, 51, 100, 0]), 24)
    assert path.attributes == PLAIN
    assert path.attr_id == rib.attributes(PLAIN)
    (routes,) = decode(update(b"", b"", nlri("198.51.100.0/24", "198.51.100.0/24"))).routes
    assert rib.apply(peer, 4, routes.prefixes, routes.lengths, routes.sets, routes.attributes) == 1
    assert rib.paths(4, bytes([198, 51, 100, 0]), 24) == []


def test_other_messages_are_not_decoded() -> None:
    found = decode(update() + message(b"", 4) + update(routes=nlri("10.0.0.0/8")))
    assert len(shown(found)) == 1
    assert found.reset is not None
    assert (found.reset.code, found.reset.subcode, found.reset.data) == (1, 3, b"\4")
