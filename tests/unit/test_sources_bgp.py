"""What shows that a BGP peer has sent everything, and what becomes of its routes until then, on a real RIB."""

from __future__ import annotations

import socket
from array import array
from dataclasses import replace
from ipaddress import ip_network

import pytest

from dpdkrouter.bgp.attributes import BgpAttributes
from dpdkrouter.bgp.configuration import BgpPeer
from dpdkrouter.bgp.decoded import Decoded, Routes
from dpdkrouter.bgp.events import (
    Capabilities,
    EndOfRib,
    Event,
    FeedError,
    Hello,
    PeerDown,
    PeerState,
    PeerUp,
    Received,
    RefreshMark,
    Update,
)
from dpdkrouter.bgp.exports import Exports
from dpdkrouter.bgp.limits import Limits
from dpdkrouter.bgp.policies import PeerRules
from dpdkrouter.bgp.session import Sessions
from dpdkrouter.errors import RequestError
from dpdkrouter.rib.attributes import Attributes
from dpdkrouter.rib.policy import Checks, Policy
from dpdkrouter.rib.table import Rib
from dpdkrouter.sources.bgp import LEARN_S, QUIET_S, BgpSource

PEER = "192.0.2.9"
ALL = Capabilities(
    families=frozenset({"ipv4", "ipv6"}),
    router_id="192.0.2.9",
    route_refresh=True,
    enhanced_refresh=True,
    restart_time=120,
    restart_families=frozenset({"ipv4", "ipv6"}),
    forwarding_kept=frozenset({"ipv4", "ipv6"}),
)
PLAIN = Capabilities(families=frozenset({"ipv4", "ipv6"}), router_id="192.0.2.9", route_refresh=True)


class Source:
    """A BgpSource with one peer, told events at times."""

    def __init__(self, restart_time: int = 120, limits: Limits | None = None, refresh: bool = True) -> None:
        families = ("ipv4", "ipv6")
        peer = BgpPeer(
            PEER, 65001, "192.0.2.1", 65000, "192.0.2.1", families, restart_time=restart_time, route_refresh=refresh
        )
        self.rib = Rib(asn=65000, router_id=1)
        self.now = 0.0
        self.sessions = Sessions([peer], 0.0)
        exports = Exports([peer], {PEER: Policy("accept", default=True)}, {PEER: {"ipv4": "192.0.2.1"}}, {})
        exports.update({ip_network("203.0.113.0/24"): "announce"})
        self.exports = exports
        rules = {PEER: PeerRules(Policy("accept", default=True), Checks(), limits or Limits())}
        self.bgp = BgpSource(self.rib, [peer], exports, self.sessions, 0.0, rules)

    def note(self, *events: Event) -> list[str]:
        """The lines that ExaBGP gets."""
        return self.bgp.note(events, self.now)

    def after(self, seconds: float) -> bool:
        """Let time pass; True when routes were swept."""
        self.now += seconds
        return self.bgp.tick(self.now)

    def routes(self) -> int:
        """Routes of the peer in the RIB, stale or not."""
        return sum(origin.paths[0] + origin.paths[1] for origin in self.rib.counts().origins)

    def up(self, capabilities: Capabilities | None) -> list[str]:
        """The session comes up."""
        return self.note(PeerUp(PEER, "192.0.2.1", 65001, 65000, capabilities))


def update(*prefixes: str, peer: str = PEER) -> Update:
    """An UPDATE with IPv4 prefixes."""
    networks = [prefix.split("/") for prefix in prefixes]
    return Update(
        peer,
        "ipv4",
        BgpAttributes(0, (), socket.inet_aton(PEER)),
        b"".join(socket.inet_aton(address) for address, _ in networks),
        bytes(int(length) for _, length in networks),
    )


def received(*prefixes: str) -> Received:
    """The same by the tap."""
    found = update(*prefixes)
    attributes = Attributes.via(PEER).pack()
    sets = array("I", [1] * len(prefixes)).tobytes()
    routes = Routes(4, found.announced, found.announced_lengths, sets, [attributes], None)
    return Received(PEER, 7, Decoded((routes,), updates=1))


def withdrawal(prefix: str) -> Update:
    """An UPDATE that withdraws an IPv4 prefix."""
    address, length = prefix.split("/")
    return Update(PEER, "ipv4", None, withdrawn=socket.inet_aton(address), withdrawn_lengths=bytes([int(length)]))


def hello(*, gap: bool, peers: tuple[PeerState, ...] = ()) -> Hello:
    """A helper connects."""
    return Hello("e", 1, gap, 0, 1, peers)


def refreshes(lines: list[str]) -> int:
    """How many route refreshes are asked for."""
    return sum("route-refresh" in line for line in lines)


@pytest.fixture
def source() -> Source:
    return Source()


def test_first_hello_announces_and_asks_for_nothing(source: Source) -> None:
    lines = source.note(hello(gap=False))
    assert [line for line in lines if "203.0.113.0/24" in line] == lines != []
    assert not source.bgp.settled


def test_end_of_rib_of_every_family_settles(source: Source) -> None:
    source.up(ALL)
    source.note(update("10.0.0.0/24"), EndOfRib(PEER, "ipv6"))
    assert not source.bgp.settled
    source.note(EndOfRib(PEER, "ipv4"))
    assert source.bgp.settled


def test_family_that_the_peer_does_not_speak_is_not_waited_for(source: Source) -> None:
    source.up(replace(ALL, families=frozenset({"ipv4"})))
    source.note(EndOfRib(PEER, "ipv4"))
    assert source.bgp.settled


def test_peer_without_end_of_rib_settles_when_quiet(source: Source) -> None:
    source.up(PLAIN)
    source.after(QUIET_S + 1)
    assert not source.bgp.settled, "it has not begun"
    source.note(update("10.0.0.0/24"))
    source.after(QUIET_S - 1)
    source.note(update("10.0.1.0/24"))
    source.after(QUIET_S - 1)
    assert not source.bgp.settled
    source.after(2)
    assert source.bgp.settled
    assert source.routes() == 2


def test_after_a_gap_only_a_refresh_that_began_after_it_counts(source: Source) -> None:
    source.up(ALL)
    source.note(update("10.0.0.0/24", "10.0.1.0/24"), EndOfRib(PEER, "ipv4"), EndOfRib(PEER, "ipv6"))
    assert refreshes(source.note(hello(gap=True, peers=(PeerState(PEER, True, ALL),)))) == 2
    source.note(RefreshMark(PEER, "ipv4", end=True), EndOfRib(PEER, "ipv4"))
    assert source.routes() == 2, "the end of a refresh that began before the gap proves nothing"
    source.note(RefreshMark(PEER, "ipv4", end=False), update("10.0.0.0/24"), RefreshMark(PEER, "ipv4", end=True))
    assert source.routes() == 1


def test_control_restarted_settles_with_the_refresh(source: Source) -> None:
    source.note(hello(gap=True, peers=(PeerState(PEER, True, ALL),)))
    for family in ("ipv4", "ipv6"):
        assert not source.bgp.settled
        source.note(RefreshMark(PEER, family, end=False), RefreshMark(PEER, family, end=True))
    assert source.bgp.settled


def test_peer_that_marks_no_end_of_a_refresh_is_swept_when_quiet(source: Source) -> None:
    source.up(PLAIN)
    source.note(update("10.0.0.0/24", "10.0.1.0/24"))
    source.note(hello(gap=True, peers=(PeerState(PEER, True, PLAIN),)))
    source.note(update("10.0.0.0/24"))
    assert not source.after(QUIET_S - 1)
    assert source.after(2)
    assert source.routes() == 1


def test_peer_that_cannot_refresh_gets_a_new_session_and_keeps_its_routes(source: Source) -> None:
    source.up(replace(PLAIN, route_refresh=False))
    source.note(update("10.0.0.0/24"))
    lines = source.note(hello(gap=True, peers=(PeerState(PEER, True, replace(PLAIN, route_refresh=False)),)))
    assert [line for line in lines if "teardown" in line]
    assert refreshes(lines) == 0
    source.note(PeerDown(PEER, "the end of the session that was torn down"))
    assert source.routes() == 1


def test_helper_that_knows_no_peer_takes_no_routes_away(source: Source) -> None:
    source.up(ALL)
    source.note(update("10.0.0.0/24"), EndOfRib(PEER, "ipv4"), EndOfRib(PEER, "ipv6"))
    source.bgp.feed_lost(source.now)
    assert refreshes(source.note(hello(gap=True))) == 2
    assert source.routes() == 1
    source.note(RefreshMark(PEER, "ipv4", end=False), update("10.0.0.0/24"), RefreshMark(PEER, "ipv4", end=True))
    source.note(RefreshMark(PEER, "ipv6", end=False), RefreshMark(PEER, "ipv6", end=True))
    assert not source.after(LEARN_S * 3)
    assert source.routes() == 1


def test_lost_line_asks_for_everything(source: Source) -> None:
    source.up(ALL)
    assert refreshes(source.note(FeedError("too long"))) == 2


def test_session_lost_without_graceful_restart_takes_its_routes(source: Source) -> None:
    source.up(PLAIN)
    source.note(update("10.0.0.0/24"), PeerDown(PEER, "hold timer"))
    assert source.routes() == 0


def test_session_lost_with_graceful_restart_keeps_them_for_a_while(source: Source) -> None:
    source.up(ALL)
    source.note(update("10.0.0.0/24"), EndOfRib(PEER, "ipv4"), EndOfRib(PEER, "ipv6"), PeerDown(PEER, "closed"))
    assert not source.after(119)
    assert source.routes() == 1
    assert source.after(2)
    assert source.routes() == 0


def test_peer_that_did_not_keep_forwarding_loses_its_routes_when_it_is_back(source: Source) -> None:
    source.up(ALL)
    source.note(update("10.0.0.0/24"), PeerDown(PEER, "closed"))
    source.up(replace(ALL, forwarding_kept=frozenset({"ipv6"})))
    assert source.routes() == 0


def test_exabgp_restarted_keeps_routes_until_the_peers_have_said_everything(source: Source) -> None:
    source.up(ALL)
    source.note(update("10.0.0.0/24", "10.0.1.0/24"))
    source.bgp.feed_lost(source.now)
    source.note(hello(gap=False))
    source.up(replace(ALL, forwarding_kept=frozenset()))
    assert source.routes() == 2, "it is us who restarted, not the peer"
    source.note(update("10.0.0.0/24"), EndOfRib(PEER, "ipv4"), EndOfRib(PEER, "ipv6"))
    assert source.routes() == 1


def test_peer_that_was_lost_while_control_was_dead_is_not_waited_for_long(source: Source) -> None:
    source.note(hello(gap=True, peers=(PeerState(PEER, False, None),)))
    source.after(QUIET_S + 1)
    assert source.bgp.settled


def test_peer_without_a_session_is_not_waited_for_long(source: Source) -> None:
    """The tap tells a helper all sessions that there are; BGP's first decision waits until all peers have settled."""
    assert refreshes(source.note(replace(hello(gap=True), feed="tap"))) == 0
    source.after(QUIET_S + 1)
    assert source.bgp.settled


def test_withdrawn_for_good(source: Source) -> None:
    assert [line for line in source.exports.stop() if "withdraw" in line and "203.0.113.0/24" in line]
    assert source.note(hello(gap=False)) == []
    assert list(source.exports.announced()) == []


# ---- limits of prefixes

THREE = ("10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24")


def test_limit_closes_the_session_and_keeps_it_closed() -> None:
    source = Source(limits=Limits((2, None), restart=100))
    source.up(ALL)
    assert source.note(update(*THREE[:2])) == []
    assert source.note(update(THREE[2])) == [f"neighbor {PEER} teardown 1"]
    assert source.routes() == 0
    assert "more than 2 ipv4 prefixes" in source.sessions.view({})[0].last_error
    source.note(PeerDown(PEER, "closed"))
    assert source.up(ALL) == [f"neighbor {PEER} teardown 1"]
    source.note(update(THREE[0]))
    assert source.routes() == 0, "nothing counts until it may come up again"
    source.after(100)
    assert "eor" in source.up(ALL)[0]
    source.note(update(*THREE[:2]))
    assert source.routes() == 2
    assert source.note(update(THREE[2])) == [f"neighbor {PEER} teardown 1"]


def test_closed_session_opens_by_refresh_alone_without_a_time() -> None:
    source = Source(limits=Limits((2, None)))
    source.up(ALL)
    source.note(update(*THREE))
    source.after(1e6)
    assert "teardown 1" in source.up(ALL)[0]
    assert source.note(hello(gap=True, peers=(PeerState(PEER, True, ALL),)))[-1] == f"neighbor {PEER} teardown 1"
    assert source.bgp.refresh(PEER, source.now) == []
    assert "eor" in source.up(ALL)[0]


def test_discarded_prefixes_are_asked_for_when_there_is_room() -> None:
    source = Source(limits=Limits((2, None), action="discard"))
    source.up(ALL)
    assert source.note(update(*THREE)) == []
    assert source.routes() == 2
    assert source.rib.size_of(source.rib.counts().origins[0].origin_id) == ((2, 0), (1, 0))
    source.after(1)
    assert source.bgp.take_lines() == []
    source.note(withdrawal(THREE[0]))
    source.after(1)
    assert refreshes(source.bgp.take_lines()) == 1
    source.note(update(THREE[0]))
    source.after(1)
    assert source.bgp.take_lines() == [], "nothing was discarded since"


def test_replaced_routes_are_not_more_routes() -> None:
    source = Source(limits=Limits((2, None)))
    source.up(ALL)
    for _ in range(3):
        assert source.note(update(*THREE[:2])) == []
    assert source.routes() == 2


def test_warning_takes_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    source = Source(limits=Limits((2, None), action="warn", warning=100))
    source.up(ALL)
    source.note(update(THREE[0]))
    assert not caplog.records
    assert source.note(update(*THREE)) == []
    assert source.routes() == 3
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    source.note(update("10.0.3.0/24"))
    assert len(caplog.records) == 2, "said once"


def test_limit_of_one_family_is_not_that_of_the_other() -> None:
    source = Source(limits=Limits((None, 1)))
    source.up(ALL)
    assert source.note(update(*THREE)) == []
    assert source.routes() == 3


def test_refresh_needs_a_session_that_can() -> None:
    source = Source()
    with pytest.raises(RequestError, match="not up"):
        source.bgp.refresh(PEER, 0.0)
    source.up(replace(ALL, route_refresh=False))
    with pytest.raises(RequestError, match="no route refresh"):
        source.bgp.refresh(PEER, 0.0)
    source.up(ALL)
    assert refreshes(source.bgp.refresh(PEER, 0.0)) == 2


# ---- graceful restart (RFC 4724)


def lost(source: Source) -> None:
    source.note(PeerDown(PEER, "peer reset the connection"))


def test_routes_stay_as_long_as_the_peer_asked_for() -> None:
    source = Source(restart_time=120)
    source.up(replace(ALL, restart_time=30))
    source.note(update("10.0.0.0/24"))
    lost(source)
    assert source.routes() == 1
    assert not source.after(29)
    assert source.after(1)
    assert source.routes() == 0


def test_routes_stay_no_longer_than_we_allow() -> None:
    source = Source(restart_time=30)
    source.up(replace(ALL, restart_time=4000))
    source.note(update("10.0.0.0/24"))
    lost(source)
    assert source.after(30)


def test_families_without_graceful_restart_go_at_once() -> None:
    source = Source()
    source.up(replace(ALL, restart_families=frozenset({"ipv6"})))
    source.note(update("10.0.0.0/24"))
    lost(source)
    assert source.routes() == 0


def test_switched_off_routes_go_at_once() -> None:
    source = Source(restart_time=0)
    source.up(ALL)
    source.note(update("10.0.0.0/24"))
    lost(source)
    assert source.routes() == 0


def test_limit_ends_the_session_by_the_tap_when_it_is_there() -> None:
    source = Source(limits=Limits((2, None)))
    source.up(ALL)
    lines = source.note(received("10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"))
    assert lines == ["dpdkrouter notify 7 6 1"]
    assert source.routes() == 0


def ends(lines: list[str]) -> list[str]:
    """Families of which an End-of-RIB is to be sent."""
    return [line.split()[4] for line in lines if " announce eor " in line]


def test_end_of_rib_follows_our_announcements_for_the_families_in_use(source: Source) -> None:
    lines = source.note(hello(gap=False), PeerUp(PEER, "192.0.2.1", 65001, 65000, ALL))
    assert ["203.0.113.0/24" in line for line in lines] == [True, False, False]
    assert ends(lines) == ["ipv4", "ipv6"]
    only = replace(ALL, families=frozenset({"ipv4"}))
    assert ends(source.up(only)) == ["ipv4"], "a family that was not negotiated has no End-of-RIB"


def test_end_of_rib_of_a_session_that_came_up_unheard(source: Source) -> None:
    lines = source.note(hello(gap=True, peers=(PeerState(PEER, True, ALL),)))
    assert "203.0.113.0/24" in lines[0]
    assert ends(lines) == ["ipv4", "ipv6"]


def test_without_route_refresh_of_ours_the_session_is_restarted() -> None:
    source = Source(refresh=False)
    source.up(ALL)
    source.note(update("198.51.100.0/24"))
    lines = source.note(hello(gap=True, peers=(PeerState(PEER, True, ALL),)))
    assert refreshes(lines) == 0
    assert lines[-1] == f"neighbor {PEER} teardown 4"
    assert source.routes() == 1, "what it sent stays meanwhile"
    source.up(ALL)
    with pytest.raises(RequestError, match="no route refresh"):
        source.bgp.refresh(PEER, source.now)


def test_room_again_without_route_refresh_restarts_the_session() -> None:
    source = Source(limits=Limits((2, None), action="discard"), refresh=False)
    source.up(ALL)
    source.note(update(*THREE))
    source.note(withdrawal(THREE[0]), withdrawal(THREE[1]))
    source.after(1)
    assert source.bgp.take_lines() == [f"neighbor {PEER} teardown 4"]
