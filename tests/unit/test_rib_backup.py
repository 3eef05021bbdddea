"""The path that stands in for the best: which one it is, and that the Loc-RIB follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from dpdkrouter.rib.attributes import Attributes, Kind, NextHop
from dpdkrouter.rib.enums import Source
from dpdkrouter.rib.table import Rib
from ribkit import announce, reachable, sequence, via, withdraw

if TYPE_CHECKING:
    from dpdkrouter.rib.attributes import HopSet

PREFIX = "198.51.100.0/24"
HOPS = tuple(f"192.0.2.{i}" for i in range(1, 7))


class Table:
    """A RIB with reachable next hops, and one origin a path."""

    def __init__(self, backups: int = 100, multipath: int = 1) -> None:
        self.rib = Rib(asn=65000, router_id=1, backups=backups, multipath=multipath)
        reachable(self.rib, *HOPS)

    def add(self, hop: str, length: int, source: Source = Source.EBGP, prefix: str = PREFIX, med: int = 0) -> int:
        origin = self.rib.add_origin(source, peer_address=hop, router_id=int(hop.rpartition(".")[2]))
        announce(self.rib, origin, via(hop, as_path=sequence(*range(64500, 64500 + length)), med=med), prefix)
        return origin

    def hopset(self) -> HopSet:
        """What the prefix points to."""
        self.rib.decide()
        route = self.rib.lookup(4, bytes((198, 51, 100, 1)))
        assert route is not None
        return self.rib.hopset(route.hopset)

    def shown(self) -> tuple[list[str | None], list[str | None]]:
        value = self.hopset()
        return [hop.address for hop in value.next_hops], [hop.address for hop in value.backup]


def test_the_second_best_stands_in_and_follows_what_comes_and_goes() -> None:
    table = Table()
    table.add(HOPS[0], 2)
    assert table.shown() == ([HOPS[0]], [])
    second = table.add(HOPS[1], 4)
    assert table.shown() == ([HOPS[0]], [HOPS[1]])
    table.add(HOPS[2], 3)
    assert table.shown() == ([HOPS[0]], [HOPS[2]])
    best = table.add(HOPS[3], 1)
    assert table.shown() == ([HOPS[3]], [HOPS[0]])
    withdraw(table.rib, second, PREFIX)
    withdraw(table.rib, best, PREFIX)
    assert table.shown() == ([HOPS[0]], [HOPS[2]])
    table.rib.set_next_hop(HOPS[2], reachable=False)
    assert table.shown() == ([HOPS[0]], [])


def test_a_path_by_the_same_next_hop_stands_in_for_nothing() -> None:
    table = Table()
    table.add(HOPS[0], 1)
    table.add(HOPS[0], 2)
    assert table.shown() == ([HOPS[0]], [])


def test_between_sources_the_order_is_that_of_the_decision() -> None:
    table = Table()
    table.add(HOPS[0], 1, Source.STATIC)
    table.add(HOPS[1], 1, Source.IBGP)
    table.add(HOPS[2], 5, Source.KERNEL)
    assert table.shown() == ([HOPS[0]], [HOPS[2]])
    table.add(HOPS[3], 5)
    assert table.shown() == ([HOPS[0]], [HOPS[2]]), "of BGP the iBGP path is best, and the kernel's comes before it"
    table.add(HOPS[4], 1)
    assert table.shown() == ([HOPS[0]], [HOPS[4]])


def test_a_lower_med_of_the_same_neighbour_stands_in_first() -> None:
    table = Table()
    table.add(HOPS[5], 1)
    table.add(HOPS[0], 2, med=20)
    table.add(HOPS[1], 2, med=10)
    assert table.shown() == ([HOPS[5]], [HOPS[1]])


def test_neither_connected_routes_nor_multipath_nor_what_is_discarded_has_a_backup() -> None:
    connected = Table()
    connected.add(HOPS[0], 1, Source.CONNECTED)
    connected.add(HOPS[1], 1)
    assert connected.shown() == ([HOPS[0]], [])
    shared = Table(multipath=2)
    shared.add(HOPS[0], 1)
    shared.add(HOPS[1], 1)
    shared.add(HOPS[2], 2)
    assert shared.shown() == ([HOPS[0], HOPS[1]], [])
    discarded = Table()
    discarded.add(HOPS[0], 1)
    blackhole = discarded.rib.add_origin(Source.IBGP)
    announce(discarded.rib, blackhole, Attributes(kind=Kind.BLACKHOLE, as_path=sequence(1, 2, 3)), PREFIX)
    discarded.add(HOPS[1], 9, Source.IBGP)
    assert discarded.shown() == ([HOPS[0]], [HOPS[1]])


def test_beyond_the_limit_routes_go_without() -> None:
    table = Table(backups=1)
    table.add(HOPS[0], 1, prefix="203.0.113.0/24")
    gone = table.add(HOPS[1], 2, prefix="203.0.113.0/24")
    table.rib.decide()
    table.add(HOPS[2], 1)
    last = table.add(HOPS[3], 2)
    assert table.shown() == ([HOPS[2]], [])
    withdraw(table.rib, gone, "203.0.113.0/24")
    table.rib.decide()
    withdraw(table.rib, last, PREFIX)
    assert table.shown() == ([HOPS[2]], [])
    table.add(HOPS[3], 2)
    assert table.shown() == ([HOPS[2]], [HOPS[3]]), "the other's backup is gone: there is room"


def test_a_backup_names_no_next_hop_of_the_best() -> None:
    table = Table()
    table.add(HOPS[0], 1)
    both = table.rib.add_origin(Source.IBGP)
    announce(table.rib, both, Attributes(next_hops=(NextHop(HOPS[0]), NextHop(HOPS[1]))), PREFIX)
    table.rib.decide()
    assert {hop.address for hop in (*table.hopset().next_hops, *table.hopset().backup)} == {HOPS[0], HOPS[1]}
    assert not set(table.hopset().next_hops) & set(table.hopset().backup)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4), st.booleans()), min_size=1, max_size=30))
def test_best_and_backup_are_what_the_decision_takes_first_and_without_it(
    changes: list[tuple[int, int, bool]],
) -> None:
    """The backup is what is best when the best's next hop is gone: MED plays no part, so the order is a total one."""
    table, origins = Table(), [0] * len(HOPS)
    present: dict[int, int] = {}
    for number, length, there in changes:
        hop = HOPS[number]
        origins[number] = origins[number] or table.rib.add_origin(Source.EBGP, peer_address=hop, router_id=number + 1)
        if there:
            present[number] = length
            announce(table.rib, origins[number], via(hop, as_path=sequence(*range(1, length + 1))), PREFIX)
        else:
            present.pop(number, None)
            withdraw(table.rib, origins[number], PREFIX)
        table.rib.decide()
        order = sorted(present, key=lambda one: (present[one], one))
        route = table.rib.lookup(4, bytes((198, 51, 100, 1)))
        if not order:
            assert route is None
            continue
        assert table.shown() == ([HOPS[order[0]]], [HOPS[one] for one in order[1:2]])
