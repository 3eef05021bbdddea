"""A port has so many neighbours and no more; next hops of routes and static ones are beside that."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from dpdkrouter.host.neighbour_table import Neighbour, NeighbourTable, Request, State, Verb

if TYPE_CHECKING:
    from dpdkrouter.host.neighbour_table import Key

MAC = bytes.fromhex("020000000009")


def key(number: int, port: str = "p0") -> Key:
    return port, ip_address(f"192.0.2.{number}")


def full(most: int = 2) -> NeighbourTable:
    """A table of which p0 has its `most` neighbours: 192.0.2.1 and on."""
    made = NeighbourTable({4: 64, 6: 64}, most={"p0": most})
    for number in range(1, most + 1):
        made.learned(key(number), State.REACHABLE, MAC, False, 0.0)
    assert len(made.take_changes()) == most
    assert made.full("p0")
    return made


def test_no_other_is_asked_for_or_believed() -> None:
    made = full()
    assert not made.resolve(key(9), 1.0)
    made.learned(key(9), State.REACHABLE, MAC, False, 1.0)
    assert (made.take_changes(), made.take_requests(), made.counters.full) == ([], [], 2)
    assert made.resolve(key(9, "p1"), 1.0), "other ports have room"
    assert not made.full("p1")


def test_who_only_spoke_to_us_leaves_the_kernel_at_once() -> None:
    """A station that asks for us from ever new addresses would fill the kernel's table, which the whole host shares."""
    made = full()
    made.learned(key(9), State.STALE, MAC, False, 1.0)
    assert made.take_requests() == [Request(Verb.DELETE, key(9))]


def test_next_hops_and_static_neighbours_are_beside_it() -> None:
    made = full()
    made.learned(key(9), State.REACHABLE, MAC, False, 1.0)
    made.manage(key(9))
    assert made.take_changes() == [Neighbour(*key(9), MAC)]
    made.set_static({key(8): MAC})
    made.learned(key(8), State.PERMANENT, MAC, False, 1.0)
    assert made.take_changes() == [Neighbour(*key(8), MAC)]


def test_who_goes_makes_room() -> None:
    made = full()
    made.learned(key(9), State.REACHABLE, MAC, False, 1.0)
    made.learned(key(1), State.FAILED, None, False, 2.0)
    assert not made.full("p0")
    assert made.resolve(key(9), 3.0)
    assert made.take_changes() == [Neighbour(*key(1), None), Neighbour(*key(9), MAC)]
    assert made.full("p0")


def test_a_known_neighbour_moves_whatever_the_limit() -> None:
    made = full()
    other = bytes.fromhex("02000000000a")
    made.learned(key(1), State.STALE, other, False, 1.0)
    assert made.take_changes() == [Neighbour(*key(1), other)]


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from([*State])), max_size=60))
def test_never_more_than_the_limit(events: list[tuple[int, State]]) -> None:
    made = NeighbourTable({4: 64, 6: 64}, most={"p0": 3})
    for number, state in events:
        made.learned(key(number), state, MAC, False, 0.0)
        assert len(list(made.usable())) <= 3
        assert made.full("p0") == (len(list(made.usable())) == 3)
