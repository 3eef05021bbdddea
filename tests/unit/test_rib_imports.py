"""Import filters on a real RIB: checks before the policy, rules, what they change, and what stays visible."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpdkrouter.bgp.bogons import BOGONS
from dpdkrouter.rib.aspath import compile_expression
from dpdkrouter.rib.attributes import Attributes, Kind, NextHop, Segment, SegmentKind
from dpdkrouter.rib.enums import Source, Step
from dpdkrouter.rib.imports import ImportFilter
from dpdkrouter.rib.policy import (
    BLACKHOLE,
    NO_ADVERTISE,
    NO_EXPORT,
    Change,
    Checks,
    Communities,
    Entry,
    Match,
    Policy,
    Rule,
)
from dpdkrouter.rib.table import Rib
from ribkit import announce, pack, reachable, sequence, via, withdraw

if TYPE_CHECKING:
    from dpdkrouter.rib.views import Path

HOP = "192.0.2.9"
ACCEPT = Policy("accept", default=True)
PREFIX = "8.8.0.0/16"


def entries(*ranges: tuple[str, int, int]) -> tuple[Entry, ...]:
    return tuple(Entry(ip_network(prefix), low, high) for prefix, low, high in ranges)


def policy(*rules: Rule, default: bool = False) -> Policy:
    return Policy("p", rules, default)


class Peer:
    """A RIB with one eBGP peer behind a filter."""

    def __init__(self, policy: Policy | None, **checks: Any) -> None:
        self.rib = Rib(asn=65000, router_id=1)
        reachable(self.rib, HOP)
        self.filter = ImportFilter(policy, Checks(**checks))
        self.origin = self.rib.add_origin(Source.EBGP, peer_address=HOP, imports=self.filter)

    def take(self, *prefixes: str, **attributes: Any) -> None:
        announce(self.rib, self.origin, via(HOP, **{"as_path": sequence(65001), **attributes}), *prefixes)
        self.rib.decide()

    def path(self, prefix: str = PREFIX) -> Path:
        self.rib.decide()
        family, packed, lengths = pack(prefix)
        (path,) = self.rib.paths(family, packed, lengths[0])
        return path

    def accepted(self, prefix: str = PREFIX) -> bool:
        path = self.path(prefix)
        assert path.rejected == (path.step == Step.POLICY) == (not path.best)
        return not path.rejected


def test_no_policy_refuses_all_and_keeps_it_visible() -> None:
    peer = Peer(None)
    peer.take(PREFIX, local_pref=7)
    path = peer.path()
    assert (path.step, path.rejected, path.verdict) == (Step.POLICY, True, "no import policy (RFC 8212)")
    assert path.attributes.local_pref == 7
    assert peer.rib.counts().prefixes == (0, 0)
    assert peer.rib.counts().origins[0].rejected == (1, 0)


@pytest.mark.parametrize("bogon", BOGONS, ids=str)
def test_bogons_and_what_is_within_them(bogon: Any) -> None:
    peer = Peer(ACCEPT, bogons=BOGONS)
    inner = str(list(bogon.subnets(1))[1]) if bogon.prefixlen < bogon.max_prefixlen else str(bogon)
    peer.take(str(bogon))
    peer.take(inner)
    assert peer.path(str(bogon)).verdict == peer.path(inner).verdict == "bogon (RFC 6890)"
    assert peer.rib.counts().prefixes == (0, 0)


@pytest.mark.parametrize("prefix", ["0.0.0.0/0", "::/0", "8.0.0.0/8", "11.0.0.0/8", "192.0.0.0/8", "2a00::/12"])
def test_what_only_covers_bogons_is_none(prefix: str) -> None:
    peer = Peer(ACCEPT, bogons=BOGONS)
    peer.take(prefix)
    assert peer.accepted(prefix)


def test_own_prefixes() -> None:
    peer = Peer(ACCEPT, own=(ip_network("8.8.8.0/24"), ip_network("2a00:1::/64")))
    peer.take("8.8.8.0/24", "8.8.8.1/32", "8.8.0.0/16", "8.8.9.0/24")
    peer.take("2a00:1::1/128", "2a00::/16")
    refused = {
        prefix for prefix in ("8.8.8.0/24", "8.8.8.1/32", "8.8.0.0/16", "8.8.9.0/24") if not peer.accepted(prefix)
    }
    assert refused == {"8.8.8.0/24", "8.8.8.1/32"}
    assert peer.path("8.8.8.1/32").verdict == "within a prefix of our own ports"
    assert (peer.accepted("2a00:1::1/128"), peer.accepted("2a00::/16")) == (False, True)


def test_a_path_that_does_not_begin_with_the_peers_as() -> None:
    peer = Peer(ACCEPT, first_as=65001)
    for path, taken in ((sequence(65001, 7), True), (sequence(7, 65001), False), ((), False), (sequence(65001), True)):
        peer.take(PREFIX, as_path=path)
        assert peer.accepted() is taken
    peer.take(PREFIX, as_path=sequence(65002, 65001))
    assert peer.path().verdict == "AS path does not begin with the peer's AS 65001 (RFC 4271 6.3)"
    other = Peer(ACCEPT)
    other.take(PREFIX, as_path=sequence(7, 65001))
    assert other.accepted()


def test_too_long() -> None:
    peer = Peer(ACCEPT, longest=(24, 48))
    peer.take("8.8.8.0/24", "8.8.8.0/25")
    peer.take("2a00:1::/48", "2a00:1::/49")
    assert peer.accepted("8.8.8.0/24")
    assert peer.accepted("2a00:1::/48")
    assert not peer.accepted("8.8.8.0/25")
    assert not peer.accepted("2a00:1::/49")
    assert peer.path("8.8.8.0/25").verdict == "longer than /24 (IPv4) or /48 (IPv6)"


def test_first_rule_that_matches_decides() -> None:
    peer = Peer(
        policy(
            Rule("no", False, entries(("8.8.8.0/24", 24, 24))),
            Rule("yes", True, entries(("8.8.0.0/16", 16, 24))),
            Rule("late", False, entries(("8.8.0.0/16", 16, 32))),
        )
    )
    peer.take("8.8.8.0/24", "8.8.9.0/24", "8.8.9.0/25", "9.9.9.0/24")
    shown = {prefix: peer.path(prefix).verdict for prefix in ("8.8.8.0/24", "8.8.9.0/24", "8.8.9.0/25", "9.9.9.0/24")}
    assert shown == {
        "8.8.8.0/24": "policy p: rule no",
        "8.8.9.0/24": "policy p: rule yes",
        "8.8.9.0/25": "policy p: rule late",
        "9.9.9.0/24": "policy p: default",
    }
    assert peer.filter.counts() == {
        "policy p: default": (1, 0),
        "policy p: rule no": (1, 0),
        "policy p: rule yes": (1, 0),
        "policy p: rule late": (1, 0),
    }
    assert peer.accepted("8.8.9.0/24")
    withdraw(peer.rib, peer.origin, "8.8.8.0/24", "9.9.9.0/24")
    assert peer.filter.counts() == {"policy p: rule yes": (1, 0), "policy p: rule late": (1, 0)}
    assert peer.rib.counts().origins[0].rejected == (1, 0)
    peer.rib.flush(peer.origin)
    assert peer.filter.counts() == {}
    assert peer.rib.counts().origins[0].rejected == (0, 0)


SET = (Segment(SegmentKind.SEQUENCE, (65001,)), Segment(SegmentKind.SET, (65002, 65003)))
MATCHES = [
    (Match(communities=Communities(frozenset({5, 9}))), {"communities": (1, 9)}, {"communities": (1, 2)}),
    (
        Match(communities=Communities(large=frozenset({(1, 2, 3)}))),
        {"large_communities": ((9, 9, 9), (1, 2, 3))},
        {"large_communities": ((1, 2, 4), (2, 3, 1))},
    ),
    (
        Match(communities=Communities(frozenset({5}), frozenset({(1, 2, 3)}))),
        {"communities": (5,)},
        {"communities": (6,), "extended_communities": (bytes([0, 0, 0, 1, 0, 0, 0, 2]),)},
    ),
    (Match(path_has=frozenset({7, 65002})), {"as_path": SET}, {"as_path": sequence(65001, 65003)}),
    (Match(origin_as=frozenset({65003})), {"as_path": sequence(65001, 65003)}, {"as_path": SET}),
    (Match(origin_as=frozenset({65001})), {"as_path": sequence(65001)}, {"as_path": ()}),
    (Match(neighbour_as=frozenset({65001})), {"as_path": SET}, {"as_path": sequence(65002, 65001)}),
    (Match(path=compile_expression("^65001_7_")), {"as_path": sequence(65001, 7, 8)}, {"as_path": sequence(65001, 78)}),
    (Match(longer_than=2), {"as_path": sequence(1, 1, 2)}, {"as_path": SET}),
    (
        Match(longer_than=0, neighbour_as=frozenset({65001}), communities=Communities(frozenset({5}))),
        {"as_path": sequence(65001), "communities": (5,)},
        {"as_path": sequence(65001), "communities": (6,)},
    ),
]


@pytest.mark.parametrize(("match", "yes", "no"), MATCHES)
def test_match_of_attributes_compiled_and_as_value(match: Match, yes: dict[str, Any], no: dict[str, Any]) -> None:
    peer = Peer(policy(Rule("r", True, match=match)))
    for attributes, wanted in ((yes, True), (no, False), (yes, True)):
        peer.take(PREFIX, **attributes)
        assert peer.accepted() is wanted is match.holds(via(HOP, **{"as_path": sequence(65001), **attributes}))


def test_changes_of_an_accepting_rule() -> None:
    change = Change(
        local_pref=200,
        med=0,
        add=Communities(frozenset({5, 6}), frozenset({(1, 2, 3)})),
        remove=Communities(frozenset({7}), frozenset({(9, 9, 9)})),
    )
    peer = Peer(policy(Rule("r", True, change=change)))
    peer.take(PREFIX, med=10, communities=(7, 5, 8), large_communities=((9, 9, 9),), cluster_list=(1,))
    found = peer.path().attributes
    assert (found.local_pref, found.med) == (200, 0)
    assert found.communities == (5, 8, 6)
    assert found.large_communities == ((1, 2, 3),)
    assert (found.cluster_list, found.as_path) == ((1,), sequence(65001))


def test_set_values_rule_the_decision() -> None:
    peer = Peer(policy(Rule("r", True, change=Change(local_pref=50, med=3))))
    other = peer.rib.add_origin(Source.EBGP, peer_address="192.0.2.8")
    announce(peer.rib, other, via(HOP, as_path=sequence(1, 2, 3)), PREFIX)
    peer.take(PREFIX)
    family, packed, lengths = pack(PREFIX)
    steps = {path.peer_address: path.step for path in peer.rib.paths(family, packed, lengths[0])}
    assert steps == {"192.0.2.8": Step.BEST, HOP: Step.LOCAL_PREF}


def test_rejected_routes_keep_what_was_received() -> None:
    peer = Peer(policy(Rule("r", False, change=Change(local_pref=50))))
    peer.take(PREFIX, med=4)
    assert (peer.path().attributes.local_pref, peer.path().attributes.med) == (None, 4)


def test_route_that_becomes_acceptable_and_back() -> None:
    peer = Peer(policy(Rule("r", True, match=Match(communities=Communities(frozenset({5}))))))
    for communities, wanted in (((5,), True), ((), False), ((5,), True)):
        peer.take(PREFIX, communities=communities)
        assert peer.accepted() is wanted
        assert peer.rib.counts().prefixes == (int(wanted), 0)


def test_blackhole_of_any_length_where_the_peer_may_announce() -> None:
    rules = (
        Rule("not this", False, entries(("8.8.8.0/24", 24, 24))),
        Rule("theirs", True, entries(("8.8.0.0/16", 16, 24))),
    )
    peer = Peer(policy(*rules), longest=(24, 48), blackhole=True, bogons=BOGONS)
    peer.take("8.8.8.8/32", "9.9.9.9/32", "10.0.0.1/32", communities=(BLACKHOLE,))
    path = peer.path("8.8.8.8/32")
    assert (path.best, path.attributes.kind, path.attributes.next_hops) == (True, Kind.BLACKHOLE, ())
    assert path.attributes.communities == (BLACKHOLE, NO_EXPORT)
    assert not peer.accepted("9.9.9.9/32")
    assert peer.path("10.0.0.1/32").verdict == "bogon (RFC 6890)"
    route = peer.rib.lookup(4, bytes([8, 8, 8, 8]))
    assert route is not None
    assert peer.rib.hopset(route.hopset).kind == Kind.BLACKHOLE


def test_blackhole_community_means_nothing_unless_allowed() -> None:
    peer = Peer(ACCEPT, longest=(24, 48))
    peer.take("8.8.8.8/32", PREFIX, communities=(BLACKHOLE,))
    assert not peer.accepted("8.8.8.8/32")
    assert peer.path().attributes.kind == Kind.UNICAST


def test_blackhole_by_the_default() -> None:
    peer = Peer(ACCEPT, blackhole=True)
    peer.take(PREFIX, communities=(BLACKHOLE,))
    assert peer.path().attributes.kind == Kind.BLACKHOLE


def test_blackhole_that_stays_here_anyway_is_left_as_it_is() -> None:
    peer = Peer(ACCEPT, blackhole=True)
    peer.take(PREFIX, communities=(BLACKHOLE, NO_ADVERTISE))
    assert peer.path().attributes.communities == (BLACKHOLE, NO_ADVERTISE)


def test_blackholes_that_no_prefix_list_covers_are_refused() -> None:
    rules = (
        Rule("never", False, match=Match(communities=Communities(frozenset({5})))),
        Rule("theirs", True, entries(("8.8.0.0/16", 16, 24))),
        Rule("any with 7", True, match=Match(communities=Communities(frozenset({7})))),
    )
    peer = Peer(policy(*rules, default=True), blackhole=True, blackhole_listed=True)
    peer.take("8.8.8.8/32", "9.9.9.9/32", communities=(BLACKHOLE,))
    peer.take("9.9.9.8/32", communities=(BLACKHOLE, 7))
    peer.take("9.9.9.7/32", communities=(BLACKHOLE, 5))
    peer.take("9.9.9.0/24")
    unlisted = "blackhole that no prefix list covers (RFC 7999)"
    wanted = {
        "8.8.8.8/32": "policy p: rule theirs",
        "9.9.9.9/32": unlisted,
        "9.9.9.8/32": unlisted,
        "9.9.9.7/32": "policy p: rule never",
        "9.9.9.0/24": "policy p: default",
    }
    assert {prefix: peer.path(prefix).verdict for prefix in wanted} == wanted
    assert peer.rib.counts().prefixes == (2, 0)


def test_short_blackholes_are_refused() -> None:
    peer = Peer(ACCEPT, blackhole=True, blackhole_least=(30, 128))
    peer.take("8.8.8.8/30", "8.8.8.0/29", communities=(BLACKHOLE,))
    peer.take("2a00:1::1/128", "2a00:1::2/127", communities=(BLACKHOLE,))
    assert peer.accepted("8.8.8.8/30")
    assert peer.accepted("2a00:1::1/128")
    assert not peer.accepted("8.8.8.0/29")
    assert peer.path("2a00:1::2/127").verdict == "blackhole shorter than /30 (IPv4) or /128 (IPv6)"


def test_ids_of_attribute_sets_that_are_used_again_are_looked_at_again() -> None:
    peer = Peer(policy(Rule("r", True, match=Match(communities=Communities(frozenset({5}))))))
    for i in range(50):
        wanted = i % 2 == 1
        peer.take(PREFIX, communities=(5,) if wanted else (), med=i)
        assert peer.accepted() is wanted
    assert peer.rib.counts().attribute_sets == 1


def test_many_routes_in_one_batch_with_several_verdicts() -> None:
    peer = Peer(policy(Rule("even", True, entries(*((f"8.{n}.0.0/16", 16, 16) for n in range(0, 256, 2))))))
    peer.take(*(f"8.{n}.0.0/16" for n in range(256)))
    assert peer.rib.counts().prefixes == (128, 0)
    assert peer.filter.counts() == {"policy p: default": (128, 0), "policy p: rule even": (128, 0)}


def test_other_origins_are_not_filtered() -> None:
    peer = Peer(None)
    static = peer.rib.add_origin(Source.STATIC)
    announce(peer.rib, static, Attributes(next_hops=(NextHop("192.0.2.7", 0),)), PREFIX)
    peer.rib.decide()
    family, packed, lengths = pack(PREFIX)
    (path,) = peer.rib.paths(family, packed, lengths[0])
    assert (path.best, path.rejected, path.verdict) == (True, False, "")


def test_too_many_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="65 rules"):
        ImportFilter(policy(*(Rule(str(n), True) for n in range(65))), Checks())


def test_sixty_four_rules_and_the_last_one_decides() -> None:
    rules = [Rule(str(n), False, match=Match(origin_as=frozenset({n}))) for n in range(63)]
    peer = Peer(policy(*rules, Rule("last", True, match=Match(origin_as=frozenset({65001})))))
    peer.take(PREFIX)
    assert peer.path().verdict == "policy p: rule last"


@given(
    st.lists(st.integers(0, 9), max_size=6),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 1)), max_size=6),
    st.sets(st.integers(0, 9)),
    st.sets(st.integers(0, 9)),
    st.sets(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 1))),
    st.sets(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 1))),
)
def test_compiled_change_of_communities_is_that_of_the_value(
    standard: list[int],
    large: list[tuple[int, int, int]],
    gone: set[int],
    added: set[int],
    large_gone: set[tuple[int, int, int]],
    large_added: set[tuple[int, int, int]],
) -> None:
    change = Change(
        remove=Communities(frozenset(gone), frozenset(large_gone)),
        add=Communities(frozenset(added), frozenset(large_added)),
    )
    peer = Peer(policy(Rule("r", True, change=change)))
    more: dict[str, Any] = {"extended_communities": (b"12345678",), "cluster_list": (3, 4), "med": 7}
    peer.take(PREFIX, communities=tuple(standard), large_communities=tuple(large), **more)
    before = via(HOP, as_path=sequence(65001), communities=tuple(standard), large_communities=tuple(large), **more)
    assert peer.path().attributes == change.apply(before)
