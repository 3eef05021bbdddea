"""From decisions to a real route segment: what a lookup says after routes, neighbours and ports change."""

from __future__ import annotations

import os
import select
import socket
import struct
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.audit import Audit
from dpdkrouter.fib import Action, Fib, Member
from dpdkrouter.fib.programmer import Programmer
from dpdkrouter.fib.records import TableFullError
from dpdkrouter.fib.repair import Repair
from dpdkrouter.rib.attributes import Attributes, Kind
from dpdkrouter.rib.enums import Source
from dpdkrouter.rib.nexthops import NextHops
from dpdkrouter.rib.table import Rib
from ribkit import announce, sequence, via, withdraw
from table_model import SMALL, segment_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OWN, PEER, OTHER = (bytes.fromhex(f"0200000000{last}") for last in ("01", "09", "0a"))
NEXT_HOP = ip_address("192.0.2.9")


class Router:
    """RIB, next hops, programmer and segment, with port 0 on 192.0.2.0/24 and port 1 on 198.51.100.0/24."""

    def __init__(self, path: Path, backups: int = 0) -> None:
        self.fib = Fib.open(path, SMALL, "programmer")
        self.rib = Rib(asn=65000, router_id=1, backups=backups)
        self.hops = NextHops(self.rib)
        self.programmer = Programmer(self.fib, self.hops)
        self.connected = self.rib.add_origin(Source.CONNECTED)
        self.static = self.rib.add_origin(Source.STATIC)
        self.peer = self.rib.add_origin(Source.EBGP, peer_address=str(NEXT_HOP), router_id=9)
        announce(self.rib, self.connected, Attributes.glean(0), "192.0.2.0/24")
        announce(self.rib, self.connected, Attributes.glean(1), "198.51.100.0/24")
        self.settle()

    def settle(self) -> None:
        for round_ in self.hops.converge():
            self.programmer.apply(round_)

    def learn(self, *prefixes: str, hop: str = str(NEXT_HOP)) -> None:
        announce(self.rib, self.peer, via(hop, as_path=sequence(64500)), *prefixes)
        self.settle()

    def at(self, address: str) -> list[tuple[Action, int, bytes]]:
        """(action, port, MAC) of an address's members."""
        found = self.fib.reader.lookup(ip_address(address))
        assert found.group == found.table_group
        return [(adjacency.action, adjacency.port, adjacency.dst) for _, adjacency in found.members]


@pytest.fixture
def path() -> Iterator[Path]:
    path = segment_path("/dev/shm", "programmer")
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def router(path: Path) -> Iterator[Router]:
    router = Router(path)
    yield router
    router.fib.close()


def test_a_route_resolves_until_its_next_hop_has_a_mac(router: Router) -> None:
    router.learn("10.0.0.0/8")
    assert router.at("10.1.1.1") == [(Action.RESOLVE, 0, bytes(6))]
    router.programmer.set_neighbour(0, NEXT_HOP, PEER)
    assert router.at("10.1.1.1") == [(Action.RESOLVE, 0, bytes(6))], "our own MAC is not known yet"
    router.programmer.set_port(0, OWN, 1500)
    assert router.at("10.1.1.1") == [(Action.FORWARD, 0, PEER)]
    router.programmer.set_neighbour(0, NEXT_HOP, OTHER)
    assert router.at("10.1.1.1") == [(Action.FORWARD, 0, OTHER)]
    router.programmer.set_neighbour(0, NEXT_HOP, None)
    assert router.at("10.1.1.1") == [(Action.RESOLVE, 0, bytes(6))]


def test_a_port_s_mac_and_mtu_reach_every_adjacency_on_it(router: Router) -> None:
    router.learn("10.0.0.0/8")
    router.learn("10.1.0.0/16", hop="198.51.100.7")
    for port, address in ((0, NEXT_HOP), (1, ip_address("198.51.100.7"))):
        router.programmer.set_port(port, OWN, 1500)
        router.programmer.set_neighbour(port, address, PEER)
    router.programmer.set_port(0, OTHER, 9000)
    adjacencies = {
        (adjacency.port, adjacency.src, adjacency.mtu)
        for adjacency in router.fib.reader.adjacencies().values()
        if adjacency.action == Action.FORWARD
    }
    assert adjacencies == {(0, OTHER, 9000), (1, OWN, 1500)}


def test_kinds_without_next_hops(router: Router) -> None:
    kinds = {
        Kind.BLACKHOLE: Action.BLACKHOLE,
        Kind.UNREACHABLE: Action.UNREACHABLE,
        Kind.LOCAL: Action.LOCAL,
        Kind.BROADCAST: Action.BROADCAST,
        Kind.PROHIBIT: Action.PROHIBIT,
    }
    for number, kind in enumerate(kinds):
        announce(router.rib, router.static, Attributes(kind=kind), f"10.{number}.0.0/16")
    router.settle()
    assert [router.at(f"10.{i}.0.1")[0][0] for i in range(5)] == list(kinds.values())
    assert router.at("198.51.100.200") == [(Action.GLEAN, 1, bytes(6))]


def test_a_moved_next_hop_rewrites_its_group_for_all_routes(router: Router) -> None:
    prefixes = [f"10.{i}.0.0/16" for i in range(50)]
    router.learn(*prefixes, hop="203.0.113.1")
    announce(router.rib, router.static, via("192.0.2.9"), "203.0.113.0/24")
    router.settle()
    group = router.fib.reader.lookup(ip_address("10.0.0.1")).group
    assert router.at("10.49.0.1") == [(Action.RESOLVE, 0, bytes(6))]
    announce(router.rib, router.static, via("198.51.100.7"), "203.0.113.0/24")
    router.settle()
    for i in range(50):
        assert router.at(f"10.{i}.0.1") == [(Action.RESOLVE, 1, bytes(6))]
    assert router.fib.reader.lookup(ip_address("10.0.0.1")).group == group


def test_withdrawn_routes_give_their_group_back(router: Router) -> None:
    before = router.fib.reader.use()["groups"].used
    router.learn("10.0.0.0/8")
    assert router.fib.reader.use()["groups"].used == before + 1
    withdraw(router.rib, router.peer, "10.0.0.0/8")
    router.settle()
    assert router.at("10.0.0.1") == []
    assert router.fib.reader.use()["groups"].used == before


def test_a_returning_control_process_keeps_groups_and_neighbours(path: Path) -> None:
    first = Router(path)
    first.programmer.set_port(0, OWN, 1500)
    first.programmer.set_neighbour(0, NEXT_HOP, PEER)
    first.learn("10.0.0.0/8")
    group = first.fib.reader.lookup(ip_address("10.0.0.1")).group
    first.fib.close()
    second = Router(path)
    assert second.programmer.adopted_neighbours == {(0, NEXT_HOP.packed): PEER}
    assert second.at("10.0.0.1") == [(Action.FORWARD, 0, PEER)], "kept before any peer has said it again"
    second.learn("10.0.0.0/8")
    assert second.at("10.0.0.1") == [(Action.FORWARD, 0, PEER)]
    assert second.fib.reader.lookup(ip_address("10.0.0.1")).group == group
    second.fib.close()


FIRST, SECOND = "192.0.2.9", "198.51.100.7"


@pytest.fixture
def backed(path: Path) -> Iterator[Router]:
    """10.0.0.0/8 by FIRST on port 0, and less well by SECOND on port 1; both have MACs."""
    router = Router(path, backups=10)
    for port, address in enumerate((FIRST, SECOND)):
        router.programmer.set_port(port, OWN, 1500)
        router.programmer.set_neighbour(port, ip_address(address), PEER)
    router.learn("10.0.0.0/8", hop=FIRST)
    other = router.rib.add_origin(Source.EBGP, peer_address=SECOND, router_id=7)
    announce(router.rib, other, via(SECOND, as_path=sequence(64501, 64502)), "10.0.0.0/8")
    router.settle()
    yield router
    router.fib.close()


def test_a_neighbour_that_failed_is_passed_over_until_it_is_back(backed: Router) -> None:
    assert backed.at("10.0.0.1") == [(Action.FORWARD, 0, PEER)]
    backed.programmer.set_neighbour(0, ip_address(FIRST), None)
    assert backed.at("10.0.0.1") == [(Action.FORWARD, 1, PEER)]
    assert all(map(backed.programmer.group_is_right, backed.programmer.hopsets()))
    backed.programmer.set_neighbour(1, ip_address(SECOND), None)
    assert backed.at("10.0.0.1") == [(Action.RESOLVE, 0, bytes(6))], "nothing is left: the best is asked for"
    backed.programmer.set_neighbour(0, ip_address(FIRST), OTHER)
    assert backed.at("10.0.0.1") == [(Action.FORWARD, 0, OTHER)]


def test_a_lost_port_s_group_is_the_backup_s_before_any_prefix_moves(backed: Router) -> None:
    group = backed.fib.reader.lookup(ip_address("10.0.0.1")).group
    withdraw(backed.rib, backed.connected, "192.0.2.0/24")
    rounds = backed.hops.converge()
    backed.programmer.apply(next(rounds))
    found = backed.fib.reader.lookup(ip_address("10.0.0.1"))
    assert (found.group, backed.at("10.0.0.1")) == (group, [(Action.FORWARD, 1, PEER)])
    for round_ in rounds:
        backed.programmer.apply(round_)
    assert backed.fib.reader.lookup(ip_address("10.0.0.1")).group != group
    assert backed.at("10.0.0.1") == [(Action.FORWARD, 1, PEER)]


def test_a_member_whose_neighbour_failed_leaves_its_share_to_the_others(backed: Router) -> None:
    announce(backed.rib, backed.static, via(FIRST, SECOND), "10.1.0.0/16")
    backed.settle()
    assert [port for _, port, _ in backed.at("10.1.0.1")] == [0, 1]
    backed.programmer.set_neighbour(1, ip_address(SECOND), None)
    assert backed.at("10.1.0.1") == [(Action.FORWARD, 0, PEER)]
    backed.programmer.set_neighbour(1, ip_address(SECOND), PEER)
    assert [port for _, port, _ in backed.at("10.1.0.1")] == [0, 1]


def test_repaired_groups_get_the_members_that_they_have_now(backed: Router) -> None:
    links, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    neighbours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for one in (ours, theirs):
        one.setblocking(False)
    repair = Repair(backed.fib, ours.detach(), theirs.detach(), [("wan0", 0)])
    repair.start()
    group = backed.fib.reader.lookup(ip_address("10.0.0.1")).group
    with links, neighbours:
        for flags in (0x1, 0x10001):  # IFF_UP, without and with the carrier
            before = set(backed.fib.reader.bucket_adjacencies(group))
            body = struct.pack("BxHiII", 0, 1, 7, flags, 0) + struct.pack("HH5s3x", 9, 3, b"wan0\0")
            links.send(struct.pack("IHHII", 16 + len(body), 16, 0, 0, 0) + body)
            select.select([repair.told], [], [], 30)
            os.eventfd_read(repair.told)
            backed.programmer.catch_up()
            assert set(backed.fib.reader.bucket_adjacencies(group)) != before
    repair.close()
    assert backed.fib.repaired_groups() == []
    assert backed.at("10.0.0.1") == [(Action.FORWARD, 0, PEER)]


# ---- default routes


def default_of(router: Router, family: int = 4) -> tuple[int, int]:
    """The group that the header names, and that which an address of no other route has."""
    address = ip_address("203.0.113.1" if family == 4 else "2001:db8:ffff::1")
    return router.fib.reader.default_group(family), router.fib.reader.lookup(address).group


def test_a_default_route_has_a_group_of_its_own(router: Router) -> None:
    router.learn("10.0.0.0/8")
    before = router.fib.reader.use()["groups"].used
    router.learn("0.0.0.0/0")
    named, group = default_of(router)
    assert named == group != 0
    assert group != router.fib.reader.lookup(ip_address("10.0.0.1")).group, "though by the same next hop"
    assert router.at("203.0.113.1") == router.at("10.0.0.1") == [(Action.RESOLVE, 0, bytes(6))]
    withdraw(router.rib, router.peer, "0.0.0.0/0")
    router.settle()
    assert default_of(router) == (0, 0)
    assert router.fib.reader.use()["groups"].used == before


def test_each_family_has_its_default_route(router: Router) -> None:
    announce(router.rib, router.static, Attributes(kind=Kind.BLACKHOLE), "::/0")
    announce(router.rib, router.static, Attributes(kind=Kind.BLACKHOLE), "0.0.0.0/0")
    router.settle()
    groups = [default_of(router, family) for family in (4, 6)]
    assert all(named == group != 0 for named, group in groups)
    assert groups[0] != groups[1]


def test_a_default_route_that_moves_keeps_its_group(router: Router) -> None:
    announce(router.rib, router.static, via(FIRST), "0.0.0.0/0")
    router.settle()
    named, group = default_of(router)
    announce(router.rib, router.static, via(SECOND), "0.0.0.0/0")
    router.settle()
    assert default_of(router) == (named, group)
    assert router.at("203.0.113.1") == [(Action.RESOLVE, 1, bytes(6))]


def test_a_default_route_follows_its_next_hops(backed: Router) -> None:
    announce(backed.rib, backed.static, via(FIRST, SECOND), "0.0.0.0/0")
    backed.settle()
    backed.programmer.set_neighbour(0, ip_address(FIRST), None)
    assert backed.at("203.0.113.1") == [(Action.FORWARD, 1, PEER)]
    backed.programmer.set_neighbour(0, ip_address(FIRST), OTHER)
    withdraw(backed.rib, backed.connected, "198.51.100.0/24")
    backed.settle()
    assert backed.at("203.0.113.1") == [(Action.FORWARD, 0, OTHER)]
    assert all(map(backed.programmer.group_is_right, backed.programmer.hopsets()))


def test_an_audit_knows_the_default_route_s_group(router: Router) -> None:
    router.learn("0.0.0.0/0", "10.0.0.0/8")
    audit = Audit(router.rib, router.programmer, router.fib)
    list(audit.steps())
    assert (audit.result().differences, audit.first) == (0, [])


def test_a_returning_control_process_keeps_the_default_route_s_group(path: Path) -> None:
    first = Router(path)
    first.learn("10.0.0.0/8", "0.0.0.0/0")
    named, group = default_of(first)
    first.fib.mark_stale(Source.EBGP)
    first.fib.close()
    second = Router(path)
    second.learn("0.0.0.0/0", "10.0.0.0/8")
    assert default_of(second) == (named, group)
    second.programmer.sweep([Source.EBGP])
    second.programmer.release_orphans()
    assert default_of(second) == (named, group)
    second.fib.close()
    third = Router(path)
    third.fib.mark_stale(Source.EBGP)
    third.programmer.sweep([Source.EBGP])
    third.programmer.release_orphans()
    assert default_of(third) == (0, 0), "nobody has said it again"
    third.fib.close()


def test_without_room_a_default_route_shares_a_group(path: Path) -> None:
    router = Router(path)
    router.learn("10.0.0.0/8")
    taken = []
    with suppress(TableFullError):
        while True:
            taken.append(router.fib.group_create([Member(1)]))
    router.learn("0.0.0.0/0")
    shared = router.fib.reader.lookup(ip_address("10.0.0.1")).group
    assert default_of(router) == (0, shared), "forwarding comes first"
    router.fib.group_release(taken.pop())
    list(Audit(router.rib, router.programmer, router.fib, repair=True).again())
    named, group = default_of(router)
    assert named == group != shared
    router.fib.close()


def test_other_limits_carry_the_default_route_s_group_over(path: Path) -> None:
    router = Router(path)
    router.learn("0.0.0.0/0")
    named = default_of(router)
    router.fib.close()
    larger = Fib.open(path, replace(SMALL, max_groups=SMALL.max_groups + 1), "programmer")
    assert larger.reader.default_group(4) == larger.reader.lookup(ip_address("203.0.113.1")).group == named[0]
    with pytest.raises(ValueError, match="not in use"):
        larger.default_group_set(4, SMALL.max_groups)
    larger.close()
