"""The table of sessions."""

from __future__ import annotations

from dpdkrouter.bgp import events
from dpdkrouter.bgp.configuration import BgpPeer
from dpdkrouter.bgp.session import Sessions, SessionView, notification_text
from dpdkrouter.bgp.sessionlog import KEPT, SessionLog

V4, V6 = "192.0.2.9", "2001:db8::9"
PEERS = (
    BgpPeer(V4, 65001, "192.0.2.1", 65000, "192.0.2.1", families=("ipv4", "ipv6"), description="transit"),
    BgpPeer(V6, 65002, "2001:db8::1", 65000, "192.0.2.1", families=("ipv6",)),
)
BOTH = events.Capabilities(families=frozenset({"ipv4", "ipv6"}), restart_time=120)
UP = events.PeerUp(V4, "192.0.2.1", 65001, 65000, BOTH)
EMPTY = events.Hello("e", 1, False, 0, 1, ())


def view(sessions: Sessions, peer: str = V4) -> SessionView:
    return next(line for line in sessions.view({V4: {"ipv4": 7}}) if line.peer == peer)


def test_from_unknown_to_up() -> None:
    sessions = Sessions(PEERS, 1.0)
    assert (view(sessions).state, view(sessions).since) == ("unknown", 1.0)
    sessions.note(EMPTY, 2.0)
    assert (view(sessions).state, view(sessions).since) == ("down", 2.0)
    sessions.note(UP, 3.0)
    sessions.note(events.Update(V4, "ipv4", None, messages=5), 4.0)
    seen = view(sessions)
    assert (seen.state, seen.since, seen.updates, seen.asn, seen.description) == (
        "up",
        3.0,
        5,
        65001,
        "transit",
    )
    assert seen.prefixes == {"ipv4": 7, "ipv6": 0}
    assert sessions.up_peers() == (V4,)
    assert view(sessions, V6).state == "down"


def test_pending_end_of_rib() -> None:
    sessions = Sessions(PEERS, 0.0)
    sessions.note(UP, 1.0)
    assert view(sessions).pending == ("ipv4", "ipv6")
    sessions.note(events.EndOfRib(V4, "ipv6"), 2.0)
    assert view(sessions).pending == ("ipv4",)
    assert not sessions.all_ended(V4)
    sessions.note(events.EndOfRib(V4, "ipv4"), 3.0)
    assert sessions.all_ended(V4)
    # A peer without graceful restart owes none.
    plain = events.Capabilities(families=frozenset({"ipv6"}))
    sessions.note(events.PeerUp(V6, "2001:db8::1", 65002, 65000, plain), 4.0)
    assert sessions.all_ended(V6)


def test_a_table_load_is_timed_until_the_last_end_of_rib() -> None:
    sessions = Sessions(PEERS, 0.0)
    sessions.note(UP, 1.0)
    assert (view(sessions).load_began, view(sessions).load_s) == (None, None)
    sessions.note(events.Update(V4, "ipv4", None, messages=5), 2.0)
    sessions.note(events.EndOfRib(V4, "ipv6"), 3.0)
    assert (view(sessions).load_began, view(sessions).load_s) == (2.0, None)
    sessions.note(events.EndOfRib(V4, "ipv4"), 4.5)
    sessions.note(events.Update(V4, "ipv4", None, messages=5), 9.0)
    assert (view(sessions).load_began, view(sessions).load_s) == (2.0, 2.5)
    sessions.note(UP, 20.0)
    assert view(sessions).load_s is None, "a new session, a new load"
    sessions.note(events.EndOfRib(V4, "ipv6"), 21.0)
    sessions.note(events.EndOfRib(V4, "ipv4"), 21.5)
    assert view(sessions).load_s == 0.5, "of an empty table"


def test_down_flaps_and_the_last_error() -> None:
    sessions = Sessions(PEERS, 0.0)
    sessions.note(UP, 1.0)
    sessions.note(events.NotificationEvent(V4, "receive", 6, 2, 'Shutdown Communication: "bye\x07"'), 2.0)
    sessions.note(events.PeerDown(V4, "notification received (6,2)"), 2.0)
    seen = view(sessions)
    assert (seen.state, seen.since, seen.flaps, seen.pending) == ("down", 2.0, 1, ())
    assert seen.last_error == 'received cease / administrative shutdown: Shutdown Communication: "bye "'
    sessions.note(events.PeerDown(V4, "closing connection"), 5.0)
    assert (view(sessions).flaps, view(sessions).since, view(sessions).last_error) == (
        1,
        2.0,
        seen.last_error,
    )


def test_malformed_updates_are_counted() -> None:
    sessions = Sessions(PEERS, 0.0)
    sessions.note(UP, 1.0)
    sessions.note(events.MalformedUpdate(V4, "origin is missing"), 2.0)
    assert (view(sessions).malformed, view(sessions).last_error) == (1, "malformed UPDATE: origin is missing")


def test_a_hello_after_a_gap_sets_the_states() -> None:
    sessions = Sessions(PEERS, 0.0)
    sessions.note(UP, 1.0)
    gap = events.Hello("e", 2, True, 9, 1, (events.PeerState(V6, True, BOTH), events.PeerState(V4, False, None)))
    sessions.note(gap, 5.0)
    assert (view(sessions).state, view(sessions).flaps, view(sessions, V6).state) == ("down", 1, "up")
    assert view(sessions, V6).pending == ()


def test_feed_lost() -> None:
    sessions = Sessions(PEERS, 0.0)
    sessions.note(UP, 1.0)
    sessions.feed_lost(2.0)
    assert (view(sessions).state, view(sessions).flaps) == ("unknown", 1)
    assert sessions.up_peers() == ()


def test_events_of_strangers_are_ignored() -> None:
    sessions = Sessions(PEERS, 0.0)
    sessions.note(events.PeerDown("192.0.2.66", "x"), 1.0)
    sessions.note(events.FeedError("long"), 1.0)
    assert [line.peer for line in sessions.view({})] == [V4, V6]


def test_notification_text() -> None:
    assert notification_text(events.NotificationEvent(V4, "send", 3, 5, "")) == "sent UPDATE error / subcode 5"
    assert notification_text(events.NotificationEvent(V4, "receive", 4, 0, "")) == "received hold timer expired"
    assert notification_text(events.NotificationEvent(V4, "receive", 9, 1, "")) == "received code 9 / subcode 1"


def test_log_has_what_happened_to_sessions() -> None:
    sessions = Sessions(PEERS, 0.0)
    sessions.note(UP, 1.0)
    sessions.note(UP, 1.5)
    sessions.note(events.NotificationEvent(V4, "receive", 6, 2, ""), 2.0)
    sessions.note(events.PeerDown(V4, "notification received (6,2)"), 2.0)
    sessions.note(events.PeerDown(V4, "no route to host"), 3.0)
    sessions.set_error(V6, "more than 2 ipv6 prefixes", 4.0)
    assert [(entry.at, entry.peer, entry.text) for entry in sessions.log.entries()] == [
        (1.0, V4, "established"),
        (2.0, V4, "received cease / administrative shutdown"),
        (2.0, V4, "lost: received cease / administrative shutdown"),
        (4.0, V6, "more than 2 ipv6 prefixes"),
    ]
    assert [entry.at for entry in sessions.log.entries(V6)] == [4.0]


def test_log_is_bounded_and_keeps_the_newest() -> None:
    log = SessionLog()
    for n in range(KEPT + 5):
        log.add(n, V4, str(n))
    assert [entry.text for entry in log.entries()] == [str(n) for n in range(5, KEPT + 5)]
