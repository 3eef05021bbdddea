"""The feed decoder on lines recorded from ExaBGP 5.0.15 (tests/vectors/exabgp/record.py)."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from dpdkrouter.bgp import events
from dpdkrouter.bgp.attributes import AsSegment, BgpAttributes, SegmentType
from dpdkrouter.bgp.feed import Feed

if TYPE_CHECKING:
    from collections.abc import Mapping

VECTORS = Path(__file__).parents[1] / "vectors" / "exabgp"
V4, V6 = "192.0.2.9", "2001:db8::9"
HOP4, HOP6 = socket.inet_aton(V4), socket.inet_pton(socket.AF_INET6, V6)
LINK_LOCAL = socket.inet_pton(socket.AF_INET6, "fe80::9")
PATH = (
    AsSegment(SegmentType.SEQUENCE, (64500, 4200000000)),
    AsSegment(SegmentType.SET, (64501, 64502)),
)


def decoded(name: str) -> tuple[list[events.Event], Feed]:
    feed = Feed()
    return feed.receive((VECTORS / name).read_bytes()), feed


def updates(found: list[events.Event]) -> list[events.Update]:
    return [event for event in found if isinstance(event, events.Update)]


def net(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def test_bird_session() -> None:
    found, feed = decoded("bird.jsonl")
    assert found[0] == events.Hello("0123456789abcdef", 1, False, 0, 4711, ())
    up = next(event for event in found if isinstance(event, events.PeerUp) and event.peer == V4)
    assert (up.local_address, up.asn, up.local_asn) == ("192.0.2.1", 65001, 65000)
    assert up.capabilities == events.Capabilities(
        families=frozenset({"ipv4"}),
        hold_time=90,
        router_id=V4,
        route_refresh=True,
        enhanced_refresh=True,
        restart_time=120,
    )
    assert {(e.peer, e.family) for e in found if isinstance(e, events.EndOfRib)} == {
        (V4, "ipv4"),
        (V6, "ipv6"),
    }
    marks = [event for event in found if isinstance(event, events.RefreshMark)]
    assert marks == [events.RefreshMark(V4, "ipv4", False), events.RefreshMark(V4, "ipv4", True)]
    notes = [event for event in found if isinstance(event, events.NotificationEvent)]
    assert {(note.peer, note.direction, note.code) for note in notes} == {
        (V4, "receive", 6),
        (V6, "receive", 6),
    }
    assert {event.peer for event in found if isinstance(event, events.PeerDown)} == {V4, V6}
    assert (feed.counters["garbage"], feed.counters["malformed"]) == (0, 0)


def test_bird_attributes() -> None:
    found, _ = decoded("bird.jsonl")
    first = next(update for update in updates(found) if update.announced == net("198.51.100.0"))
    assert first.attributes == BgpAttributes(
        origin=0,
        as_path=(AsSegment(SegmentType.SEQUENCE, (65001, 4200000001)),),
        next_hop=HOP4,
        med=5,
        communities=(65001 << 16 | 7,),
        large_communities=((65001, 1, 2),),
        extended_communities=(0x0002FDE900000009,),
    )
    by_prefix = {update.announced: update for update in updates(found)}
    incomplete = by_prefix[net("203.0.113.128")]
    assert incomplete.announced_lengths == bytes((25,))
    assert incomplete.attributes is not None
    assert incomplete.attributes.origin == 2
    six = next(update for update in updates(found) if update.family == "ipv6" and update.announced)
    assert six.attributes is not None
    assert (six.attributes.next_hop, six.attributes.link_local) == (HOP6, LINK_LOCAL)
    gone = {
        (
            u.family,
            u.withdrawn[n * len(u.withdrawn) // len(u.withdrawn_lengths) :][: 4 if u.family == "ipv4" else 16],
        )
        for u in updates(found)
        for n in range(len(u.withdrawn_lengths))
    }
    assert gone == {
        ("ipv4", net("203.0.113.128")),
        ("ipv6", net("2001:db8:a::")),
        ("ipv6", net("2001:db8:b::1")),
    }


def test_ibgp_add_path_and_reflection() -> None:
    found, _ = decoded("speaker.jsonl")
    up = next(event for event in found if isinstance(event, events.PeerUp))
    assert up.capabilities is not None
    assert up.capabilities.add_path_sent == {"ipv4"}
    assert up.capabilities.families == {"ipv4", "ipv6"}
    assert (up.capabilities.route_refresh, up.capabilities.restart_time) == (False, None)
    first, second, third = updates(found)[:3]
    assert first.attributes == BgpAttributes(
        origin=0,
        as_path=PATH,
        next_hop=HOP4,
        local_pref=200,
        originator_id=0xC000024D,
        cluster_list=(0xC000024E, 0xC000024F),
        atomic_aggregate=True,
        aggregator=(64501, 0xC0000250),
    )
    assert first.announced == net("198.51.100.0") * 2
    assert (first.announced_lengths, first.announced_path_ids) == (b"\x18\x18", b"\0\0\0\4\0\0\0\5")
    # The withdrawal and the next announcement are one Update: withdrawals apply first.
    assert (second.withdrawn, second.withdrawn_path_ids) == (net("198.51.100.0"), b"\0\0\0\5")
    assert (second.announced, second.announced_lengths) == (net("203.0.113.0"), b"\x19")  # host bits cleared
    assert (third.withdrawn, third.withdrawn_lengths, third.withdrawn_path_ids) == (
        net("10.0.0.0"),
        b"\x08",
        b"\0\0\0\2",
    )
    assert third.announced == net("203.0.113.0")


def test_malformed_updates_become_withdrawals() -> None:
    """RFC 7606: malformed ORIGIN, no ORIGIN, no LOCAL_PREF by iBGP, no NEXT_HOP, a broken COMMUNITY."""
    found, feed = decoded("speaker.jsonl")
    reasons = [event.reason for event in found if isinstance(event, events.MalformedUpdate)]
    assert reasons == [
        "origin is malformed",
        "origin is missing",
        "local-preference is missing",
        "next hop 'no-nexthop' is not usable",
        "attributes are malformed, says ExaBGP",
    ]
    assert feed.counters["malformed"] == 5
    last = max(index for index, event in enumerate(found) if isinstance(event, events.MalformedUpdate))
    first = min(index for index, event in enumerate(found) if isinstance(event, events.MalformedUpdate))
    between = updates(found[first : last + 2])
    assert all(update.withdrawn == net("203.0.113.0") and not update.announced for update in between)
    assert len(between) == 5


def test_ipv6_next_hops() -> None:
    found, _ = decoded("speaker.jsonl")
    hops = [
        (update.attributes.next_hop, update.attributes.link_local)
        for update in updates(found)
        if update.family == "ipv6" and update.attributes is not None
    ]
    # Global and link-local; then :: with link-local, and link-local alone, which are equal and so one Update.
    assert hops == [(HOP6, LINK_LOCAL), (LINK_LOCAL, LINK_LOCAL)]
    assert all(
        len(update.announced) == 16 * len(update.announced_lengths)
        for update in updates(found)
        if update.family == "ipv6"
    )


def test_default_route_and_unknown_attribute() -> None:
    found, _ = decoded("speaker.jsonl")
    default = next(update for update in updates(found) if update.announced_lengths == b"\0")
    assert default.announced == bytes(4)
    assert default.attributes == BgpAttributes(origin=0, as_path=PATH, next_hop=HOP4, local_pref=200)


def line(message: Mapping[str, object], kind: str = "update", local: int = 65000, peer: int = 65001) -> bytes:
    """A line as ExaBGP makes it, around a message of the test's own."""
    return (
        json.dumps(
            {
                "type": kind,
                "neighbor": {
                    "address": {"local": "192.0.2.1", "peer": V4},
                    "asn": {"local": local, "peer": peer},
                    "direction": "receive",
                    **message,
                },
            }
        ).encode()
        + b"\n"
    )


def announce(prefix: str, med: int = 1, hop: str = V4) -> bytes:
    attribute = {"origin": "igp", "as-path": {"0": {"element": "as-sequence", "value": [65001]}}, "med": med}
    return line(
        {"message": {"update": {"attribute": attribute, "announce": {"ipv4 unicast": {hop: [{"nlri": prefix}]}}}}}
    )


def withdraw(prefix: str) -> bytes:
    return line({"message": {"update": {"withdraw": {"ipv4 unicast": [{"nlri": prefix}]}}}})


def test_coalescing_keeps_order() -> None:
    data = (
        announce("10.0.0.0/8")
        + announce("11.0.0.0/8")  # one Update
        + withdraw("10.0.0.0/8")
        + announce("12.0.0.0/8")  # withdrawn after it was announced: a new one
        + announce("13.0.0.0/8", med=2)  # other attributes
    )
    first, second, third = updates(Feed().receive(data))
    assert (first.announced, first.withdrawn, first.messages) == (net("10.0.0.0") + net("11.0.0.0"), b"", 2)
    assert (second.withdrawn, second.announced) == (net("10.0.0.0"), net("12.0.0.0"))
    assert third.announced == net("13.0.0.0")


def test_external_session_ignores_internal_attributes() -> None:
    attribute = {
        "origin": "igp",
        "as-path": {},
        "local-preference": 5,
        "originator-id": "192.0.2.3",
        "cluster-list": ["192.0.2.4"],
    }
    message = {
        "message": {"update": {"attribute": attribute, "announce": {"ipv4 unicast": {V4: [{"nlri": "10.0.0.0/8"}]}}}}
    }
    (update,) = updates(Feed().receive(line(message)))
    assert update.attributes == BgpAttributes(origin=0, as_path=(), next_hop=HOP4)


def test_unusable_next_hops() -> None:
    for hop in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1", "no-nexthop"):
        malformed, update = Feed().receive(announce("10.0.0.0/8", hop=hop))
        assert isinstance(malformed, events.MalformedUpdate), hop
        assert isinstance(update, events.Update)
        assert (update.withdrawn, update.announced) == (net("10.0.0.0"), b""), hop


def test_several_next_hops_in_one_message() -> None:
    attribute = {"origin": "egp", "as-path": {}}
    groups = {V4: [{"nlri": "10.0.0.0/8"}], "192.0.2.10": [{"nlri": "11.0.0.0/8"}]}
    found = updates(
        Feed().receive(line({"message": {"update": {"attribute": attribute, "announce": {"ipv4 unicast": groups}}}}))
    )
    assert [(u.announced, u.attributes.next_hop) for u in found if u.attributes] == [
        (net("10.0.0.0"), HOP4),
        (net("11.0.0.0"), net("192.0.2.10")),
    ]


def test_too_long_line_is_said_and_the_next_one_read() -> None:
    feed = Feed(line_limit=1000)
    found = feed.receive(b"x" * 600) + feed.receive(b"y" * 600) + feed.receive(b"z" * 600)
    found += feed.receive(b"end\n" + announce("10.0.0.0/8") + b"w" * 1001 + b"\n" + announce("11.0.0.0/8"))
    assert [type(event) for event in found] == [
        events.FeedError,
        events.Update,
        events.FeedError,
        events.Update,
    ]
    assert (feed.counters["too_long"], feed.counters["garbage"]) == (2, 0)


def test_garbage_is_counted_and_changes_nothing() -> None:
    feed = Feed()
    bad = [
        b"not json",
        b"[]",
        b"12",
        b"null",
        b'{"type": "update"}',
        b'{"type": "update", "neighbor": {}}',
        b"\xff\xfe",
        line({"message": {"update": {"announce": {"ipv4 unicast": {V4: [{"nlri": "10.0.0.0/33"}]}}}}}),
        line(
            {
                "message": {
                    "update": {
                        "withdraw": {"ipv4 unicast": [{"nlri": "11.0.0.0/8"}]},
                        "announce": {"ipv4 unicast": {V4: [{"nlri": 5}]}},
                    }
                }
            }
        ),
        b"[" * 100000,
        line({"state": "up", "asn": None}, kind="state"),
        b'{"dpdkrouter": "hello", "peers": 3}',
    ]
    assert feed.receive(b"\n".join(bad) + b"\n") == []
    assert feed.counters["garbage"] + feed.counters["ignored"] == len(bad)
    assert len(feed.receive(announce("10.0.0.0/8"))) == 1
