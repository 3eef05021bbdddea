"""Recursive next-hop resolution, and that losing a next hop rewrites groups and leaves prefixes alone."""

from __future__ import annotations

import ipaddress

import pytest

from dpdkrouter.rib import nexthops
from dpdkrouter.rib.attributes import Attributes, Kind, NextHop
from dpdkrouter.rib.cover import covered
from dpdkrouter.rib.enums import Source
from dpdkrouter.rib.nexthops import Member, NextHops, Resolution, Round
from dpdkrouter.rib.table import Rib
from ribkit import Table, announce, replay, sequence, via, withdraw

UNREACHABLE = Resolution(Kind.UNREACHABLE)


class Router:
    """A RIB with two ports, its tracker, and a FIB that only follows the rounds."""

    def __init__(self, *, allow_default: bool = False, multipath: int = 1) -> None:
        self.rib = Rib(asn=65000, router_id=1, multipath=multipath)
        self.hops = NextHops(self.rib, allow_default=allow_default)
        self.connected = self.rib.add_origin(Source.CONNECTED)
        self.static = self.rib.add_origin(Source.STATIC)
        self.peer = self.rib.add_origin(Source.EBGP, peer_address="192.0.2.9", router_id=9)
        self.table: Table = {}
        self.groups: dict[int, Resolution] = {}
        self.connect(1, "192.0.2.0/24", "2001:db8:1::/64")
        self.connect(2, "198.51.100.0/24", "2001:db8:2::/64")
        self.settle()

    def connect(self, port: int, *prefixes: str) -> None:
        for prefix in prefixes:
            announce(self.rib, self.connected, Attributes.glean(port), prefix)

    def learn(self, prefix: str, *next_hops: str) -> None:
        announce(self.rib, self.peer, via(*next_hops, as_path=sequence(64500)), prefix)

    def settle(self) -> list[Round]:
        rounds = []
        for turn in self.hops.converge():
            for hopset in turn.delta.added:
                self.groups[hopset] = self.hops.members(hopset)
            for hopset in turn.changed:
                assert hopset in self.groups, "a change of a group that no prefix uses"
                self.groups[hopset] = self.hops.members(hopset)
            replay(self.table, turn.delta)
            for hopset in turn.delta.released:
                del self.groups[hopset]
            rounds.append(turn)
        assert self.hops.settled
        for hopset in {hopset for hopset, _ in self.table.values()}:
            assert self.groups[hopset] == self.hops.members(hopset), "a group was not rewritten"
        return rounds

    def at(self, prefix: str) -> Resolution | None:
        network = ipaddress.ip_network(prefix)
        found = self.table.get((network.version, network.network_address.packed, network.prefixlen))
        return None if found is None else self.groups[found[0]]


def unicast(*members: Member, metric: int = 0) -> Resolution:
    return Resolution(Kind.UNICAST, members, metric)


def test_a_connected_next_hop_is_itself_on_the_port() -> None:
    router = Router()
    router.learn("203.0.113.0/24", "192.0.2.9")
    router.learn("2001:db8:100::/48", "2001:db8:2::9")
    router.settle()
    assert router.at("203.0.113.0/24") == unicast(Member(1, "192.0.2.9"))
    assert router.at("2001:db8:100::/48") == unicast(Member(2, "2001:db8:2::9"))
    assert router.at("192.0.2.0/24") == Resolution(Kind.GLEAN, (Member(1, None),))


def test_a_new_next_hop_takes_one_decision() -> None:
    router = Router()
    router.learn("203.0.113.0/24", "192.0.2.9")
    assert len(router.settle()) == 1


def test_next_hops_recurse_through_static_and_bgp_routes() -> None:
    router = Router()
    router.learn("10.3.0.0/16", "10.2.0.1")
    router.learn("10.2.0.0/16", "10.1.0.1")
    assert router.settle() == []
    announce(router.rib, router.static, via("192.0.2.7", med=30), "10.1.0.0/16")
    router.settle()
    assert router.at("10.3.0.0/16") == unicast(Member(1, "192.0.2.7"))
    assert router.hops.resolution("10.1.0.1").metric == 30
    assert router.rib.paths(4, bytes([10, 3, 0, 0]), 16)[0].metric == 30
    withdraw(router.rib, router.static, "10.1.0.0/16")
    router.settle()
    assert router.at("10.3.0.0/16") is None


def test_a_next_hop_with_a_port_needs_no_route() -> None:
    router = Router()
    announce(router.rib, router.static, Attributes(next_hops=(NextHop("fe80::1", 2),)), "2001:db8:5::/48")
    router.learn("2001:db8:6::/48", "2001:db8:5::1")
    router.settle()
    assert router.at("2001:db8:5::/48") == unicast(Member(2, "fe80::1"))
    assert router.at("2001:db8:6::/48") == unicast(Member(2, "fe80::1"))


def test_losing_a_link_repairs_groups_before_prefixes() -> None:
    router = Router()
    router.connect(2, "192.0.2.0/25")
    prefixes = [f"10.{i}.0.0/16" for i in range(200)]
    announce(router.rib, router.peer, via("192.0.2.9", as_path=sequence(64500)), *prefixes)
    router.settle()
    assert router.at(prefixes[0]) == unicast(Member(2, "192.0.2.9"))
    withdraw(router.rib, router.connected, "192.0.2.0/25")
    (turn,) = router.settle()
    assert len(turn.delta) == 1, "only the connected prefix itself"
    assert len(turn.changed) == 1
    assert router.at(prefixes[-1]) == unicast(Member(1, "192.0.2.9"))
    withdraw(router.rib, router.connected, "192.0.2.0/24")
    first, second = router.settle()
    assert (len(first.delta), len(first.changed)) == (1, 1)
    assert len(second.delta) == 200
    assert router.at(prefixes[0]) is None


def test_only_what_a_delta_covers_is_resolved_again() -> None:
    router = Router()
    router.learn("10.1.0.0/16", "192.0.2.9")
    router.settle()
    asked: list[str] = []
    original = router.rib.interns.hopsets_using
    assert original("192.0.2.9")
    router.learn("10.2.0.0/16", "192.0.2.9")
    for turn in router.hops.converge():
        asked += sorted(router.hops._concerned(turn.delta))
        replay(router.table, turn.delta)
    assert asked == []
    router.connect(2, "192.0.2.8/31")
    for turn in router.hops.converge():
        asked += sorted(router.hops._concerned(turn.delta))
    assert asked == ["192.0.2.9"]


def test_not_through_the_default_route_unless_allowed() -> None:
    for allowed in (False, True):
        router = Router(allow_default=allowed)
        announce(router.rib, router.static, via("192.0.2.7"), "0.0.0.0/0")
        router.learn("10.1.0.0/16", "203.0.113.1")
        router.settle()
        assert (router.at("10.1.0.0/16") is not None) == allowed


def test_own_addresses_and_unreachable_routes_do_not_resolve() -> None:
    router = Router()
    announce(router.rib, router.connected, Attributes(kind=Kind.LOCAL), "192.0.2.1/32")
    announce(router.rib, router.static, Attributes(kind=Kind.UNREACHABLE), "203.0.113.0/24")
    router.learn("10.1.0.0/16", "192.0.2.1")
    router.learn("10.2.0.0/16", "203.0.113.1")
    router.settle()
    assert router.at("10.1.0.0/16") is None
    assert router.at("10.2.0.0/16") is None


def test_a_blackhole_route_resolves_to_discarding() -> None:
    router = Router()
    announce(router.rib, router.static, Attributes(kind=Kind.BLACKHOLE), "203.0.113.1/32")
    router.learn("10.1.0.0/16", "203.0.113.1")
    router.settle()
    assert router.at("10.1.0.0/16") == Resolution(Kind.BLACKHOLE)


def test_a_route_that_covers_its_own_next_hop_comes_to_rest() -> None:
    router = Router()
    router.learn("192.0.2.8/29", "192.0.2.9")
    router.settle()
    assert router.at("192.0.2.8/29") == unicast(Member(1, "192.0.2.9"))
    router.learn("172.16.0.0/12", "172.16.0.1")
    router.settle()
    assert router.at("172.16.0.0/12") is None


def test_next_hops_that_go_through_each_other_come_to_rest() -> None:
    router = Router()
    router.learn("192.0.2.9/32", "198.51.100.9")
    router.learn("198.51.100.9/32", "192.0.2.9")
    router.settle()
    assert router.hops.resolution("192.0.2.9").reachable
    assert router.hops.resolution("198.51.100.9").reachable
    router.learn("10.1.0.0/16", "10.2.0.1")
    router.learn("10.2.0.0/16", "10.1.0.1")
    router.settle()
    assert router.at("10.1.0.0/16") is None


def test_recursion_has_a_depth_limit() -> None:
    router = Router()
    announce(router.rib, router.static, via("192.0.2.7"), "10.0.0.0/24")
    for i in range(1, 12):
        router.learn(f"10.0.{i}.0/24", f"10.0.{i - 1}.1")
    router.settle()
    assert [router.at(f"10.0.{i}.0/24") is not None for i in range(12)] == [True] * 8 + [False] * 4


def test_members_and_weights_are_split_through_recursion() -> None:
    router = Router()
    two = Attributes(next_hops=(NextHop("192.0.2.7", None, 1), NextHop("198.51.100.7", None, 2)))
    announce(router.rib, router.static, two, "10.1.0.0/16")
    outer = Attributes(next_hops=(NextHop("10.1.0.1", None, 1), NextHop("192.0.2.8", None, 1)))
    announce(router.rib, router.static, outer, "10.2.0.0/16")
    router.settle()
    assert router.at("10.2.0.0/16") == unicast(
        Member(1, "192.0.2.7", 1), Member(1, "192.0.2.8", 3), Member(2, "198.51.100.7", 2)
    )
    withdraw(router.rib, router.connected, "198.51.100.0/24")
    turns = router.settle()
    assert turns[0].changed
    assert router.at("10.1.0.0/16") == unicast(Member(1, "192.0.2.7"))
    assert router.at("10.2.0.0/16") == unicast(Member(1, "192.0.2.7"), Member(1, "192.0.2.8"))


def test_multipath_groups_hold_the_next_hops_of_every_path() -> None:
    router = Router(multipath=4)
    second = router.rib.add_origin(Source.EBGP, peer_address="198.51.100.9", router_id=10)
    router.learn("10.1.0.0/16", "192.0.2.9")
    announce(router.rib, second, via("198.51.100.9", as_path=sequence(64500)), "10.1.0.0/16")
    router.settle()
    assert router.at("10.1.0.0/16") == unicast(Member(1, "192.0.2.9"), Member(2, "198.51.100.9"))
    withdraw(router.rib, router.connected, "198.51.100.0/24")
    turns = router.settle()
    assert len(turns[0].changed) == 1
    assert router.at("10.1.0.0/16") == unicast(Member(1, "192.0.2.9"))


def test_next_hops_out_of_use_are_forgotten() -> None:
    router = Router()
    router.learn("10.1.0.0/16", "192.0.2.9")
    router.settle()
    assert router.hops.tracked() == ["192.0.2.9"]
    withdraw(router.rib, router.peer, "10.1.0.0/16")
    router.settle()
    assert (router.hops.tracked(), router.hops._users, router.hops._looked_up) == ([], {}, {})
    router.learn("10.1.0.0/16", "192.0.2.9")
    router.settle()
    assert router.at("10.1.0.0/16") == unicast(Member(1, "192.0.2.9"))


def test_what_does_not_come_to_rest_is_bounded() -> None:
    router = Router()
    router.learn("10.1.0.0/16", "192.0.2.9")
    assert len(list(router.hops.converge(limit=1))) == 1
    assert not router.hops.settled


@pytest.mark.parametrize("family", [4, 6])
def test_covered_agrees_with_a_search(family: int) -> None:
    width = 4 if family == 4 else 16
    addresses = sorted(
        bytes([10, a, b, c]) + bytes(width - 4) for a in (0, 7) for b in (0, 8, 255) for c in (0, 1, 255)
    )
    prefixes = [
        (bytes([10, 7, 8, 0]), 24),
        (bytes([10, 0, 0, 1]), 32),
        (bytes([10, 0, 254, 0]), 23),
        (bytes(4), 4),
    ]
    for chosen in ([prefixes[0]], prefixes[1:3], prefixes[3:], [(bytes(4), 0)], [(bytes([200, 0, 0, 0]), 5)]):
        packed = b"".join(prefix + bytes(width - 4) for prefix, _ in chosen)
        lengths = bytes(length for _, length in chosen)
        expected = [
            i
            for i, address in enumerate(addresses)
            if any(
                int.from_bytes(address[:4], "big") >> (32 - length) == int.from_bytes(prefix, "big") >> (32 - length)
                for prefix, length in chosen
            )
        ]
        assert covered(family, packed, lengths, b"".join(addresses)) == expected


def test_much_is_decided_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nexthops, "CHUNK", 7)
    router = Router()
    prefixes = [f"8.{n}.0.0/16" for n in range(40)]
    for prefix in prefixes:
        router.learn(prefix, "192.0.2.9")
    rounds = router.settle()
    assert [len(turn.delta) for turn in rounds] == [7, 7, 7, 7, 7, 5]
    for prefix in prefixes:
        assert router.at(prefix) == Resolution(Kind.UNICAST, (Member(1, "192.0.2.9"),))
    assert router.rib.undecided == 0


def test_rib_that_changes_between_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes while a part is written, another decision from beginning to end included, is decided as if alone."""
    monkeypatch.setattr(nexthops, "CHUNK", 5)
    router = Router()
    for n in range(20):
        router.learn(f"8.{n}.0.0/16", "192.0.2.9")
    for turn, _ in enumerate(router.hops.converge()):
        if turn == 0:
            withdraw(router.rib, router.peer, "8.0.0.0/16", "8.19.0.0/16")
            router.rib.remove_origin(router.static)
        if turn == 1:
            router.learn("9.0.0.0/8", "192.0.2.9")
            for _ in router.hops.converge():
                pass
            assert router.rib.undecided == 0
    assert router.hops.settled
    best = router.rib.walk(4, best_only=True)
    assert len(best) == 2 + 18 + 1
    assert router.rib.add_origin(Source.STATIC) == router.static, "an origin's number is free when all is decided"


def test_origin_that_prefixes_still_stand_for_keeps_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nexthops, "CHUNK", 5)
    router = Router()
    for n in range(20):
        router.learn(f"8.{n}.0.0/16", "192.0.2.9")
    router.settle()
    router.rib.remove_origin(router.peer)
    rounds = router.hops.converge()
    next(rounds)
    assert router.rib.undecided
    assert router.rib.add_origin(Source.EBGP, peer_address="192.0.2.8") != router.peer
    for _ in rounds:
        pass
    assert router.rib.add_origin(Source.EBGP, peer_address="192.0.2.7") == router.peer


def test_attribute_sets_of_a_lost_peer_are_freed_in_parts() -> None:
    router = Router()
    count = 20000
    for n in range(count):
        attributes = via("192.0.2.9", med=n)
        announce(router.rib, router.peer, attributes, f"8.{n >> 8}.{n & 255}.0/24")
    router.settle()
    kept = router.rib.counts().attribute_sets - count
    router.rib.flush(router.peer)
    rounds = router.hops.converge()
    next(rounds)
    assert router.rib.counts().attribute_sets > kept, "some are left for the next part"
    for _ in rounds:
        pass
    assert (router.rib.counts().attribute_sets, router.rib.undecided) == (kept, 0)
