"""From decisions to a real route segment: what a lookup says after routes, neighbours and ports change."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.fib import Action, Fib
from dpdkrouter.fib.programmer import Programmer
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

    def __init__(self, path: Path) -> None:
        self.fib = Fib.open(path, SMALL, "programmer")
        self.rib = Rib(asn=65000, router_id=1)
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
    }
    for number, kind in enumerate(kinds):
        announce(router.rib, router.static, Attributes(kind=kind), f"10.{number}.0.0/16")
    router.settle()
    assert [router.at(f"10.{i}.0.1")[0][0] for i in range(4)] == list(kinds.values())
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
