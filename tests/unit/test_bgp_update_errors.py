"""Malformed UPDATEs, a case for every rule of RFC 7606 and those of RFC 4271 section 6 that it leaves."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from dpdkrouter.bgp.decoded import MAX_MESSAGE, Decoded, Negotiated
from dpdkrouter.bgp.faults import Fault
from dpdkrouter.bgp.update import UpdateDecoder
from updatekit import (
    AS_PATH,
    GOOD,
    GOOD6,
    HOP4,
    HOP6,
    MARKER,
    NEXT_HOP,
    ORIGIN,
    PREFIX,
    attribute,
    nlri,
    reach,
    segment,
    shown,
    unreach,
    update,
)

BOTH = frozenset({"ipv4", "ipv6"})
INTERNAL = GOOD + attribute(0x40, 5, bytes(4))
BEFORE = update(routes=nlri("10.0.0.0/8"))


def decode(data: bytes, **properties: Any) -> Decoded:
    return UpdateDecoder(Negotiated(**{"families": BOTH, **properties})).decode(data)


WITHDRAWN = {
    "length beyond the attributes": (GOOD + b"\xc0\x08\x05\0\0\0\0", Fault.ATTRIBUTE_LENGTH),
    "extended length beyond the attributes": (GOOD + b"\xd0\x08\xff\xff\0\0\0\0", Fault.ATTRIBUTE_LENGTH),
    "one octet left": (GOOD + b"\xc0", Fault.ATTRIBUTE_LENGTH),
    "two octets left": (GOOD + b"\xc0\x08", Fault.ATTRIBUTE_LENGTH),
    "extended length cut off": (GOOD + b"\xd0\x08\0", Fault.ATTRIBUTE_LENGTH),
    "origin optional": (attribute(0xC0, 1, b"\0") + AS_PATH + NEXT_HOP, Fault.FLAGS),
    "as path not transitive": (ORIGIN + attribute(0x00, 2, segment(1)) + NEXT_HOP, Fault.FLAGS),
    "next hop optional": (GOOD6 + attribute(0x80, 3, HOP4), Fault.FLAGS),
    "med transitive": (GOOD + attribute(0xC0, 4, bytes(4)), Fault.FLAGS),
    "atomic aggregate optional": (GOOD + attribute(0xC0, 6, b""), Fault.FLAGS),
    "aggregator well-known": (GOOD + attribute(0x40, 7, bytes(8)), Fault.FLAGS),
    "communities not transitive": (GOOD + attribute(0x80, 8, bytes(4)), Fault.FLAGS),
    "no origin": (AS_PATH + NEXT_HOP, Fault.MISSING),
    "no as path": (ORIGIN + NEXT_HOP, Fault.MISSING),
    "no next hop": (GOOD6, Fault.MISSING),
    "no attributes": (b"", Fault.MISSING),
    "origin empty": (attribute(0x40, 1, b"") + AS_PATH + NEXT_HOP, Fault.ORIGIN),
    "origin too long": (attribute(0x40, 1, b"\0\0") + AS_PATH + NEXT_HOP, Fault.ORIGIN),
    "origin undefined": (attribute(0x40, 1, b"\3") + AS_PATH + NEXT_HOP, Fault.ORIGIN),
    "segment type 0": (ORIGIN + attribute(0x40, 2, segment(1, kind=0)) + NEXT_HOP, Fault.AS_PATH),
    "segment type 5": (ORIGIN + attribute(0x40, 2, segment(1, kind=5)) + NEXT_HOP, Fault.AS_PATH),
    "confederation segment": (ORIGIN + attribute(0x40, 2, segment(1, kind=3)) + NEXT_HOP, Fault.AS_PATH),
    "segment overrun": (ORIGIN + attribute(0x40, 2, b"\2\2\0\0\0\1") + NEXT_HOP, Fault.AS_PATH),
    "segment underrun": (ORIGIN + attribute(0x40, 2, segment(1) + b"\2") + NEXT_HOP, Fault.AS_PATH),
    "empty segment": (ORIGIN + attribute(0x40, 2, segment(1) + b"\2\0") + NEXT_HOP, Fault.AS_PATH),
    "AS 0": (ORIGIN + attribute(0x40, 2, segment(1, 0)) + NEXT_HOP, Fault.AS_PATH),
    "next hop too short": (GOOD6 + attribute(0x40, 3, HOP4[:3]), Fault.NEXT_HOP),
    "next hop too long": (GOOD6 + attribute(0x40, 3, HOP6), Fault.NEXT_HOP),
    "next hop 0": (GOOD6 + attribute(0x40, 3, bytes(4)), Fault.UNUSABLE_NEXT_HOP),
    "next hop loopback": (GOOD6 + attribute(0x40, 3, bytes([127, 0, 0, 1])), Fault.UNUSABLE_NEXT_HOP),
    "next hop multicast": (GOOD6 + attribute(0x40, 3, bytes([224, 0, 0, 1])), Fault.UNUSABLE_NEXT_HOP),
    "next hop our own": (GOOD6 + attribute(0x40, 3, bytes([192, 0, 2, 99])), Fault.UNUSABLE_NEXT_HOP),
    "med too short": (GOOD + attribute(0x80, 4, bytes(3)), Fault.MED),
    "communities empty": (GOOD + attribute(0xC0, 8, b""), Fault.COMMUNITY),
    "communities cut off": (GOOD + attribute(0xC0, 8, bytes(6)), Fault.COMMUNITY),
    "extended communities empty": (GOOD + attribute(0xC0, 16, b""), Fault.EXTENDED_COMMUNITY),
    "extended communities cut off": (GOOD + attribute(0xC0, 16, bytes(12)), Fault.EXTENDED_COMMUNITY),
    "ipv6 extended communities cut off": (GOOD + attribute(0xC0, 25, bytes(19)), Fault.EXTENDED_COMMUNITY),
    "large communities empty": (GOOD + attribute(0xC0, 32, b""), Fault.LARGE_COMMUNITY),
    "large communities cut off": (GOOD + attribute(0xC0, 32, bytes(16)), Fault.LARGE_COMMUNITY),
}


@pytest.mark.parametrize(("attributes", "fault"), WITHDRAWN.values(), ids=WITHDRAWN)
def test_treated_as_withdrawn(attributes: bytes, fault: Fault) -> None:
    found = decode(update(attributes, withdrawn=nlri("10.0.0.0/8")), local_address=bytes([192, 0, 2, 99]))
    assert shown(found) == [("10.0.0.0/8", 0, None), ("198.51.100.0/24", 0, None)]
    assert found.faults == {fault: 1}
    assert found.reset is None


INTERNAL_WITHDRAWN = {
    "no local preference": (GOOD, Fault.MISSING),
    "local preference too long": (GOOD + attribute(0x40, 5, bytes(5)), Fault.LOCAL_PREF),
    "originator id too short": (INTERNAL + attribute(0x80, 9, bytes(3)), Fault.ORIGINATOR_ID),
    "cluster list empty": (INTERNAL + attribute(0x80, 10, b""), Fault.CLUSTER_LIST),
    "cluster list cut off": (INTERNAL + attribute(0x80, 10, bytes(5)), Fault.CLUSTER_LIST),
}


@pytest.mark.parametrize(("attributes", "fault"), INTERNAL_WITHDRAWN.values(), ids=INTERNAL_WITHDRAWN)
def test_treated_as_withdrawn_from_internal_peers(attributes: bytes, fault: Fault) -> None:
    found = decode(update(attributes), internal=True)
    assert shown(found) == [("198.51.100.0/24", 0, None)]
    assert found.faults == {fault: 1}


def test_ipv6_routes_are_withdrawn_too() -> None:
    bad = attribute(0xC0, 8, b"")
    found = decode(update(bad + GOOD + reach(nlri("2001:db8::/32"))))
    assert shown(found) == [("198.51.100.0/24", 0, None), ("2001:db8::/32", 0, None)]
    for hop in (bytes(16), bytes(15) + b"\1", b"\xff" + bytes(15), bytes(32)):
        found = decode(update(GOOD6 + reach(nlri("2001:db8::/32"), hop), b""))
        assert shown(found) == [("2001:db8::/32", 0, None)]
        assert found.faults == {Fault.UNUSABLE_NEXT_HOP: 1}


DISCARDED = {
    "atomic aggregate with a value": (attribute(0x40, 6, b"\0"), {Fault.ATOMIC_AGGREGATE: 1}),
    "aggregator of a 2-byte speaker": (attribute(0xC0, 7, bytes(6)), {Fault.AGGREGATOR: 1}),
    "aggregator with AS 0": (attribute(0xC0, 7, bytes(8)), {Fault.AGGREGATOR: 1}),
    "AS4_PATH of a 4-byte speaker": (attribute(0xC0, 17, segment(5)), {Fault.AS4: 1}),
    "AS4_AGGREGATOR of a 4-byte speaker": (attribute(0xC0, 18, bytes(8)), {Fault.AS4: 1}),
    "communities twice": (attribute(0xC0, 99, b"") + attribute(0x80, 99, b"\0"), {Fault.DUPLICATE: 1}),
    "origin twice": (attribute(0x40, 1, b"\7"), {Fault.DUPLICATE: 1}),
}


@pytest.mark.parametrize(("more", "faults"), DISCARDED.values(), ids=DISCARDED)
def test_attribute_discarded(more: bytes, faults: dict[Fault, int]) -> None:
    found = decode(update(GOOD + more))
    assert shown(found) == shown(decode(update()))
    assert found.faults == faults


@pytest.mark.parametrize(
    "more",
    [
        attribute(0xC0, 17, b""),
        attribute(0xC0, 17, segment(1)[:-1]),
        attribute(0xC0, 17, segment(0)),
        attribute(0x80, 17, segment(1)),
        attribute(0xC0, 18, bytes(6)),
        attribute(0xC0, 18, bytes(8)),
    ],
)
def test_malformed_as4_attributes_are_discarded(more: bytes) -> None:
    old = ORIGIN + attribute(0x40, 2, segment(65001, 65002, width=2)) + NEXT_HOP
    found = decode(update(old + more), as4=False)
    assert shown(found) == shown(decode(update()))
    assert found.faults == {Fault.AS4: 1}


BAD_PREFIX = b"\x21\0\0\0\0\0"
RESETS = {
    "marker": (b"\0" + update()[1:], 1, 1, b"", Fault.MARKER),
    "length too small": (MARKER + b"\0\x16\2" + bytes(4), 1, 2, b"\0\x16", Fault.MESSAGE_LENGTH),
    "length beyond what is there": (MARKER + b"\0\x20\2" + bytes(4), 1, 2, b"\0\x20", Fault.MESSAGE_LENGTH),
    "header cut off": (MARKER, 1, 2, b"", Fault.MESSAGE_LENGTH),
    "length beyond the bound": (update(GOOD, nlri("10.0.0.0/24") * 1024), 1, 2, None, Fault.MESSAGE_LENGTH),
    "another type": (MARKER + b"\0\x13\4", 1, 3, b"\4", Fault.NOT_UPDATE),
    "withdrawn routes beyond the message": (MARKER + b"\0\x17\2\0\1\0\0", 3, 1, b"", Fault.UPDATE_LENGTH),
    "attributes beyond the message": (MARKER + b"\0\x17\2\0\0\0\1", 3, 1, b"", Fault.UPDATE_LENGTH),
    "unknown well-known": (update(GOOD + attribute(0x40, 99, b"x")), 3, 2, b"\x40\x63\1x", Fault.UNKNOWN_WELL_KNOWN),
    "reach twice": (update(reach(b"") + GOOD + reach(b"")), 3, 1, b"", Fault.MP_TWICE),
    "unreach twice": (update(unreach(b"") + GOOD + unreach(b"")), 3, 1, b"", Fault.MP_TWICE),
    "reach too short": (update(GOOD + attribute(0x80, 14, bytes(4))), 3, 9, None, Fault.MP_ATTRIBUTE),
    "unreach too short": (update(GOOD + attribute(0x80, 15, bytes(2))), 3, 9, b"\x80\x0f\2\0\0", Fault.MP_ATTRIBUTE),
    "reach transitive": (update(GOOD + reach(b"", flags=0xC0)), 3, 9, None, Fault.MP_ATTRIBUTE),
    "unreach well-known": (update(GOOD + unreach(b"", flags=0x40)), 3, 9, None, Fault.MP_ATTRIBUTE),
    "reach next hop of 4 for ipv6": (update(GOOD + reach(b"", HOP4)), 3, 9, None, Fault.MP_ATTRIBUTE),
    "reach next hop of 16 for ipv4": (update(GOOD + reach(b"", afi=1)), 3, 9, None, Fault.MP_ATTRIBUTE),
    "reach next hop beyond": (
        update(GOOD + attribute(0x80, 14, b"\0\2\1\x20" + HOP6 + b"\0")),
        3,
        9,
        None,
        Fault.MP_ATTRIBUTE,
    ),
    "reach prefix too long": (update(GOOD + reach(b"\x81" + bytes(17))), 3, 9, None, Fault.MP_ATTRIBUTE),
    "reach prefix cut off": (update(GOOD + reach(b"\x40" + bytes(7))), 3, 9, None, Fault.MP_ATTRIBUTE),
    "unreach prefix too long": (update(GOOD + unreach(b"\xff" + bytes(40))), 3, 9, None, Fault.MP_ATTRIBUTE),
    "prefix too long": (update(routes=BAD_PREFIX), 3, 10, b"", Fault.NETWORK_FIELD),
    "prefix cut off": (update(routes=PREFIX + b"\x18\x0a\0"), 3, 10, b"", Fault.NETWORK_FIELD),
    "withdrawn prefix too long": (update(withdrawn=BAD_PREFIX), 3, 10, b"", Fault.NETWORK_FIELD),
    "withdrawn prefix cut off": (update(withdrawn=b"\x08"), 3, 10, b"", Fault.NETWORK_FIELD),
    "nothing reachable, flags": (update(GOOD6 + attribute(0xC0, 4, bytes(4)), b""), 3, 4, None, Fault.FLAGS),
    "nothing reachable, origin": (update(attribute(0x40, 1, b"\3"), b""), 3, 6, b"\x40\1\1\3", Fault.ORIGIN),
    "nothing reachable, path": (update(attribute(0x40, 2, b"\2"), b""), 3, 11, b"", Fault.AS_PATH),
    "nothing reachable, length": (update(b"\x40\2\5\0", b""), 3, 5, b"\x40\2\5\0", Fault.ATTRIBUTE_LENGTH),
    "only withdrawals, communities": (
        update(attribute(0xC0, 8, b""), b"", nlri("192.0.2.0/24")),
        3,
        9,
        b"\xc0\x08\0",
        Fault.COMMUNITY,
    ),
    "unreach only, med": (
        update(unreach(nlri("2001:db8::/32")) + attribute(0x80, 4, b""), b""),
        3,
        5,
        b"\x80\4\0",
        Fault.MED,
    ),
    "the stronger action counts": (
        update(attribute(0x40, 1, b"\3") + unreach(b"") + unreach(b"")),
        3,
        1,
        b"",
        Fault.MP_TWICE,
    ),
}


@pytest.mark.parametrize(("data", "code", "subcode", "notified", "fault"), RESETS.values(), ids=RESETS)
def test_session_reset(data: bytes, code: int, subcode: int, notified: bytes | None, fault: Fault) -> None:
    found = decode(BEFORE + data)
    assert [prefix for prefix, _, _ in shown(found)] == ["10.0.0.0/8"]
    assert found.reset is not None
    assert (found.reset.code, found.reset.subcode, found.reset.fault) == (code, subcode, fault)
    if notified is None:
        assert found.reset.data in data
        assert found.reset.data
    else:
        assert found.reset.data == notified


def test_a_notification_fits_a_message() -> None:
    found = decode(update(GOOD + attribute(0x40, 99, bytes(60000))), max_message=65535)
    assert found.reset is not None
    assert 19 + 2 + len(found.reset.data) == MAX_MESSAGE


def test_path_ids_cut_off() -> None:
    found = decode(update(routes=struct.pack("!I", 1)), add_path=frozenset({"ipv4"}))
    assert found.reset is not None
    assert found.reset.subcode == 10


def test_giant_paths() -> None:
    path = segment(*range(1, 256)) * 60
    ((_, _, attributes),) = shown(decode(update(ORIGIN + attribute(0x40, 2, path) + NEXT_HOP), max_message=65535))
    assert attributes is not None
    assert attributes.path_length == 15300
    old = segment(*range(1, 256), width=2) * 127
    data = update(ORIGIN + attribute(0x40, 2, old) + NEXT_HOP)
    ((_, _, attributes),) = shown(decode(data, max_message=65535, as4=False))
    assert attributes is not None
    assert attributes.path_length == 255 * 127
