"""The control process's end of the tap: frames in, events out; and what the RIB and the summary make of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dpdkrouter.bgp.configuration import BgpPeer
from dpdkrouter.bgp.events import Event, Hello, PeerDown, PeerUp, Received
from dpdkrouter.bgp.exports import Exports
from dpdkrouter.bgp.frames import HEADER, LINE, SESSION, START, UPDATES, frame, is_frames
from dpdkrouter.bgp.helper import FrameBuffer
from dpdkrouter.bgp.limits import Limits
from dpdkrouter.bgp.policies import PeerRules
from dpdkrouter.bgp.session import Sessions
from dpdkrouter.bgp.tapfeed import TapFeed
from dpdkrouter.errors import FeedBrokenError
from dpdkrouter.rib.policy import Checks, Policy
from dpdkrouter.rib.table import Rib
from dpdkrouter.sources.bgp import BgpSource
from updatekit import AS_PATH, GOOD, GOOD6, NEXT_HOP, attribute, nlri, reach, shown, unreach, update

PEER = "192.0.2.9"


def state(now: str) -> bytes:
    neighbor = {"address": {"local": "192.0.2.1", "peer": PEER}, "asn": {"local": 65000, "peer": 65001}, "state": now}
    return frame(LINE, json.dumps({"type": "state", "neighbor": neighbor}).encode())


def session(epoch: int, **more: Any) -> bytes:
    found = {
        "peer": PEER,
        "epoch": epoch,
        "local_address": "192.0.2.99",
        "internal": False,
        "as4": True,
        "max_message": 4096,
        "families": ["ipv4", "ipv6"],
        "add_path": [],
    }
    return frame(SESSION, json.dumps(found | more).encode(), epoch)


def updates(epoch: int, *messages: bytes) -> bytes:
    return frame(UPDATES, b"".join(messages), epoch)


def received(events: list[Event]) -> list[Received]:
    return [event for event in events if isinstance(event, Received)]


def test_events_in_one_order_however_the_stream_is_cut() -> None:
    data = state("up") + session(1) + updates(1, update(), update(b"", b"")) + state("down")
    for step in (1, 7, len(data)):
        feed, events = TapFeed(), []
        for at in range(0, len(data), step):
            events += feed.receive(data[at : at + step])
        assert [type(event) for event in events] == [PeerUp, Received, PeerDown]
        (found,) = received(events)
        assert (found.peer, found.epoch, found.decoded.updates, found.decoded.ends) == (PEER, 1, 1, (4,))
        assert [prefix for prefix, _, _ in shown(found.decoded)] == ["198.51.100.0/24"]
    assert is_frames(data)
    assert not is_frames(b'{"dpdkrouter": "hello"}\n')


def test_a_session_is_decoded_as_it_was_negotiated() -> None:
    path_id = nlri("198.51.100.0/24", path_ids=[7])
    feed = TapFeed()
    events = feed.receive(session(3, add_path=["ipv4"], families=["ipv4"]) + updates(3, update(GOOD, path_id)))
    assert [(prefix, number) for prefix, number, _ in shown(received(events)[0].decoded)] == [("198.51.100.0/24", 7)]
    (own,) = received(feed.receive(session(4, local_address="192.0.2.1") + updates(4, update())))
    assert [attributes for _, _, attributes in shown(own.decoded)] == [None]


def test_what_belongs_to_no_session_is_left_out() -> None:
    feed = TapFeed()
    assert received(feed.receive(updates(1, update()) + session(1) + session(2) + updates(1, update()))) == []
    assert feed.late == 2
    (found,) = received(feed.receive(updates(2, update(), update(reach(b"") + reach(b"")), update())))
    assert found.decoded.reset is not None
    assert received(feed.receive(updates(2, update()))) == []
    assert feed.late == 3


@pytest.mark.parametrize(
    "data",
    [
        HEADER.pack(9, 0, 0),
        HEADER.pack(UPDATES, 2 << 20, 0),
        frame(SESSION, b"{}"),
        session(1, local_address="nowhere"),
    ],
)
def test_what_is_no_stream_of_frames(data: bytes) -> None:
    with pytest.raises(FeedBrokenError, match="the tap"):
        TapFeed().receive(data)


def drain(buffer: FrameBuffer) -> bytes:
    out = b""
    while block := buffer.next_block():
        out += block
        buffer.sent(len(block))
    return out


def test_the_helper_keeps_frames_until_they_are_taken() -> None:
    buffer = FrameBuffer("e", respawned=False, limit=1000)
    data = state("up") + session(1) + updates(1, update())
    buffer.feed(data[:100])
    assert not buffer.ready
    buffer.feed(data[100:] + frame(START, b""))
    assert buffer.ready
    assert not buffer.full()
    buffer.feed(updates(1, *[update()] * 30))
    assert buffer.full()
    buffer.connected()
    events = TapFeed().receive(drain(buffer))
    hello = events[0]
    assert isinstance(hello, Hello)
    assert (hello.gap, hello.feed, hello.peers) == (False, "tap", ())
    assert sum(event.decoded.updates for event in received(events)) == 31
    assert not buffer.full()


def test_after_a_gap_the_hello_has_what_decoding_needs() -> None:
    buffer = FrameBuffer("e", respawned=False)
    buffer.feed(state("up") + session(5, families=["ipv4"]) + frame(START, b""))
    buffer.connected()
    drain(buffer)
    buffer.feed(updates(5, update()))
    half = buffer.next_block()
    buffer.sent(len(half) // 2)
    buffer.disconnected()
    buffer.feed(updates(5, update(routes=nlri("10.0.0.0/8"))))
    buffer.connected()
    hello, *events = TapFeed().receive(drain(buffer))
    assert isinstance(hello, Hello)
    assert hello.gap
    assert [(peer.peer, peer.up, peer.session and peer.session["epoch"]) for peer in hello.peers] == [(PEER, True, 5)]
    assert [prefix for one in received(events) for prefix, _, _ in shown(one.decoded)] == ["10.0.0.0/8"]
    buffer.feed(state("down"))
    buffer.disconnected()
    buffer.connected()
    (hello,) = TapFeed().receive(drain(buffer))
    assert isinstance(hello, Hello)
    assert [(peer.up, peer.session) for peer in hello.peers] == [(False, None)]


class Control:
    """A BgpSource that is fed by a tap."""

    def __init__(self) -> None:
        peer = BgpPeer(PEER, 65001, "192.0.2.1", 65000, "192.0.2.1", ("ipv4", "ipv6"))
        self.rib = Rib(asn=65000, router_id=1)
        self.sessions = Sessions([peer], 0.0)
        accept = Policy("accept", default=True)
        exports = Exports([peer], {PEER: accept}, {PEER: {}}, {})
        rules = {PEER: PeerRules(accept, Checks(), Limits())}
        self.bgp = BgpSource(self.rib, [peer], exports, self.sessions, 0.0, rules)
        self.feed = TapFeed()

    def take(self, *data: bytes) -> list[str]:
        return self.bgp.note(self.feed.receive(b"".join(data)), 1.0)

    def paths(self) -> tuple[int, int]:
        origin = self.bgp.origin_of(PEER)
        return next(one.paths for one in self.rib.counts().origins if one.origin_id == origin)


def test_routes_reach_the_rib_and_counts_the_summary() -> None:
    control = Control()
    control.take(state("up"), session(1), updates(1, update(), update(GOOD6 + reach(nlri("2001:db8::/32")), b"")))
    assert control.paths() == (1, 1)
    control.take(updates(1, update(b"", b"", nlri("198.51.100.0/24")), update(b"", b""), update(unreach(b""), b"")))
    assert control.paths() == (0, 1)
    (view,) = control.sessions.view({})
    assert (view.state, view.updates, view.malformed, view.last_error) == ("up", 3, 0, "")


def test_malformed_updates_withdraw_and_are_told(caplog: pytest.LogCaptureFixture) -> None:
    control = Control()
    bad = update(attribute(0x40, 1, b"\3") + AS_PATH + NEXT_HOP)
    control.take(state("up"), session(1), updates(1, update(), bad, bad))
    assert control.paths() == (0, 0)
    (view,) = control.sessions.view({})
    assert (view.state, view.malformed, view.last_error) == ("up", 2, "malformed UPDATE: origin (2 times)")
    assert "UPDATE treated as withdrawal: origin (2 times)" in caplog.text


def test_a_session_that_must_end_is_ended_with_a_notification() -> None:
    control = Control()
    wrong = update(GOOD + attribute(0x40, 99, b"x"))
    control.take(state("up"), session(8))
    assert control.take(updates(8, update(), wrong)) == ["dpdkrouter notify 8 3 2 40630178"]
    twice = update(reach(b"") + reach(b""))
    assert control.take(session(9), updates(9, twice)) == ["dpdkrouter notify 9 3 1"]
    assert control.paths() == (1, 0)
    control.take(state("down"))
    assert control.paths() == (0, 0)


def test_the_summary_knows_the_feed() -> None:
    control = Control()
    buffer = FrameBuffer("e", respawned=False)
    buffer.feed(frame(START, b""))
    buffer.connected()
    assert control.sessions.feed == ""
    control.take(drain(buffer))
    assert control.sessions.feed == "tap"
    control.bgp.feed_lost(2.0)
    assert control.sessions.feed == ""
