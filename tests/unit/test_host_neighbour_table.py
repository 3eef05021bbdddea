"""What neighbours mean: events and time in, changes and requests out."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpdkrouter.host.neighbour_table import SETTLE_S, USABLE, YIELD_S, Neighbour, NeighbourTable, Request, State, Verb

if TYPE_CHECKING:
    from dpdkrouter.host.neighbour_table import Key

A: Key = ("p0", ip_address("192.0.2.9"))
B: Key = ("p0", ip_address("2001:db8::9"))
MAC, MAC2 = bytes.fromhex("020000000009"), bytes.fromhex("02000000000a")


def table(*, limit: int = 4, refresh_s: float = 30.0, in_use: bool = True) -> NeighbourTable:
    return NeighbourTable({4: limit, 6: limit}, lambda _key: in_use, refresh_s)


def known(made: NeighbourTable, key: Key = A, state: State = State.STALE, now: float = 0.0) -> NeighbourTable:
    """The table after `key` became usable and everybody was told."""
    made.learned(key, state, MAC, False, now)
    made.take_changes()
    made.take_requests()
    return made


@pytest.mark.parametrize("state", list(State))
def test_only_usable_states_with_a_mac_are_told(state: State) -> None:
    made = table()
    made.learned(A, state, MAC, False, 0.0)
    assert made.take_changes() == ([Neighbour(*A, MAC)] if state in USABLE else [])
    made = table()
    made.learned(A, state, None, False, 0.0)
    assert made.take_changes() == []


def test_a_change_of_state_alone_is_no_change() -> None:
    made = known(table())
    made.learned(A, State.REACHABLE, MAC, False, 1.0)
    assert made.take_changes() == []
    made.learned(A, State.REACHABLE, MAC2, False, 1.0)
    assert made.take_changes() == [Neighbour(*A, MAC2)]


def test_changes_are_the_latest_of_each() -> None:
    made = known(table())
    made.learned(A, State.FAILED, None, False, 1.0)
    made.learned(A, State.REACHABLE, MAC2, False, 1.0)
    made.learned(B, State.REACHABLE, MAC, False, 1.0)
    assert made.take_changes() == [Neighbour(*A, MAC2), Neighbour(*B, MAC)]
    assert made.take_changes() == []


def test_failing_loses_at_once_and_leaves_no_entry_in_the_kernel() -> None:
    made = known(table())
    made.learned(A, State.FAILED, None, False, 1.0)
    assert made.take_changes() == [Neighbour(*A, None)]
    assert made.take_requests() == [Request(Verb.DELETE, A)]


def test_a_failed_managed_neighbour_is_left_to_the_kernel() -> None:
    made = table()
    made.manage(A)
    made.manage(A)
    assert made.take_requests() == [Request(Verb.MANAGE, A)]
    made.learned(A, State.FAILED, None, True, 1.0)
    assert made.take_requests() == []
    made.deleted(A, 2.0)
    assert made.take_requests() == [Request(Verb.MANAGE, A)]


def test_collected_while_in_use_is_resolved_again_then_lost() -> None:
    made = known(table())
    made.deleted(A, 10.0)
    assert made.take_requests() == [Request(Verb.USE, A)]
    made.tick(1.0, 10.0 + SETTLE_S - 0.1)
    assert made.take_changes() == []
    made.tick(1.0, 10.0 + SETTLE_S)
    assert made.take_changes() == [Neighbour(*A, None)]


def test_collected_and_back_in_time_is_no_change() -> None:
    made = known(table())
    made.deleted(A, 10.0)
    made.learned(A, State.INCOMPLETE, None, False, 10.0)
    made.learned(A, State.REACHABLE, MAC, False, 10.1)
    made.tick(1.0, 100.0)
    assert made.take_changes() == []


def test_collected_while_not_in_use_is_lost_at_once() -> None:
    made = known(table(in_use=False))
    made.deleted(A, 10.0)
    assert made.take_changes() == [Neighbour(*A, None)]
    assert made.take_requests() == []


def test_hold_keeps_and_release_asks_again() -> None:
    made = known(known(table()), B)
    made.hold()
    made.learned(A, State.FAILED, None, False, 1.0)
    made.deleted(A, 1.0)
    made.deleted(B, 1.0)
    made.tick(60.0, 1e6)
    assert made.take_changes() == []
    made.take_requests()
    made.release(2e6)
    assert {(request.verb, request.key) for request in made.take_requests()} == {(Verb.USE, A), (Verb.USE, B)}
    made.learned(A, State.REACHABLE, MAC, False, 2e6 + 1)
    made.tick(1.0, 2e6 + SETTLE_S)
    assert made.take_changes() == [Neighbour(*B, None)]


def test_a_probe_begun_during_hold_that_fails_after_it_is_asked_again() -> None:
    made = known(known(table()), B)
    made.manage(B)
    made.hold()
    made.release(100.0)
    made.take_requests()
    made.learned(A, State.FAILED, None, False, 100.1)
    made.learned(B, State.FAILED, None, True, 100.1)
    assert made.take_changes() == []
    assert made.take_requests() == [Request(Verb.USE, A), Request(Verb.MANAGE, B)]
    made.learned(A, State.REACHABLE, MAC, False, 101.0)
    made.tick(1.0, 100.0 + SETTLE_S)
    assert made.take_changes() == [Neighbour(*B, None)]
    made.learned(A, State.FAILED, None, False, 100.0 + SETTLE_S)
    assert made.take_changes() == [Neighbour(*A, None)]
    assert made.take_requests() == [Request(Verb.DELETE, A)]


def test_news_are_told_during_hold() -> None:
    made = known(table())
    made.hold()
    made.learned(A, State.REACHABLE, MAC2, False, 1.0)
    assert made.take_changes() == [Neighbour(*A, MAC2)]


def test_who_does_not_answer_gives_way_to_the_next() -> None:
    made = table(limit=2)
    silent = [("p0", IPv4Address("192.0.2.100") + i) for i in range(4)]
    assert made.resolve(silent[0], 0.0)
    assert made.resolve(silent[1], 0.9 * YIELD_S)
    assert not made.resolve(silent[2], 0.95 * YIELD_S)
    assert made.resolve(silent[2], 1.1 * YIELD_S)
    assert not made.resolve(silent[3], 1.2 * YIELD_S), "the second has not had its time"
    assert made.resolve(silent[3], 2 * YIELD_S)
    requests = [(request.verb, request.key) for request in made.take_requests()]
    assert requests == [
        (Verb.USE, silent[0]),
        (Verb.USE, silent[1]),
        (Verb.DELETE, silent[0]),
        (Verb.USE, silent[2]),
        (Verb.DELETE, silent[1]),
        (Verb.USE, silent[3]),
    ]
    assert (made.resolving, made.counters.displaced, made.counters.refused) == (2, 2, 2)


def test_the_limit_is_a_family_s_and_frees_itself() -> None:
    made = table(limit=2)
    keys: list[Key] = [("p0", IPv4Address("192.0.2.1") + i) for i in range(4)]
    assert [made.resolve(key, 0.0) for key in keys] == [True, True, False, False]
    assert made.resolve(B, 0.0)
    assert made.counters.refused == 2
    assert len(made.take_requests()) == 3
    made.learned(keys[0], State.REACHABLE, MAC, False, 0.02)
    assert made.resolve(keys[2], 0.02)
    assert not made.resolve(keys[3], 0.02)
    made.tick(1.0, SETTLE_S + 0.02)
    assert made.resolve(keys[3], SETTLE_S + 0.02)


def test_resolving_what_is_known_costs_nothing() -> None:
    made = known(table(limit=0), A, State.REACHABLE)
    assert made.resolve(A, 0.0)
    assert made.take_requests() == []
    known(made, A, State.STALE)
    assert made.resolve(A, 0.0)  # used, so it is verified
    assert made.take_requests() == [Request(Verb.USE, A)]


def test_refreshing_takes_turns() -> None:
    made = table(refresh_s=30.0)
    keys: list[Key] = [("p0", IPv4Address("192.0.2.1") + i) for i in range(90)]
    for key in keys:
        known(made, key)
    asked: list[Key] = []
    for second in range(30):
        made.tick(1.0, float(second))
        batch = [request.key for request in made.take_requests()]
        assert len(batch) == 3
        asked += batch
    assert sorted(asked) == sorted(keys)
    made.tick(1e9, 31.0)
    assert len(made.take_requests()) == 90  # however late, once each


@pytest.mark.parametrize("state", [State.REACHABLE, State.DELAY, State.PROBE, State.PERMANENT])
def test_only_stale_ones_are_refreshed(state: State) -> None:
    made = known(table(refresh_s=1.0), A, state)
    made.tick(10.0, 10.0)
    assert made.take_requests() == []


def test_dump_shows_what_is_gone() -> None:
    made = known(known(table(in_use=False)), B)
    made.begin_dump()
    made.learned(A, State.STALE, MAC, False, 1.0)
    made.end_dump(1.0)
    assert made.take_changes() == [Neighbour(*B, None)]


def test_static_and_managed_change_hands() -> None:
    made = table()
    made.set_static({A: MAC})
    made.manage(A)
    assert made.take_requests() == [Request(Verb.PERMANENT, A, MAC)]
    made.set_static({A: MAC})
    assert made.take_requests() == []
    made.set_static({})
    assert made.take_requests() == [Request(Verb.DELETE, A)]
    made.deleted(A, 1.0)
    assert made.take_requests() == [Request(Verb.MANAGE, A)]


def test_what_an_earlier_process_left_is_taken_back() -> None:
    made = table()
    made.begin_dump()
    made.learned(A, State.PERMANENT, MAC, False, 0.0)
    made.learned(B, State.REACHABLE, MAC, True, 0.0)
    made.end_dump(0.0)
    assert made.take_requests() == [Request(Verb.DELETE, A)]
    made.unmanage_others()
    assert made.take_requests() == [Request(Verb.USE, B)]


def test_verify_keeps_what_is_managed_managed() -> None:
    made = known(known(known(table()), B), ("p1", A[1]))
    made.manage(B)
    made.take_requests()
    made.verify("p0")
    assert made.take_requests() == [Request(Verb.PROBE, A), Request(Verb.PROBE, B), Request(Verb.MANAGE, B)]


EVENTS = st.tuples(
    st.sampled_from(["learn", "delete", "resolve", "manage", "unmanage", "hold", "release", "tick", "dump"]),
    st.sampled_from([A, B]),
    st.sampled_from(list(State)),
    st.sampled_from([MAC, MAC2, None]),
)


@given(st.lists(EVENTS, max_size=60))
def test_users_end_up_with_the_kernels_truth(events: list[tuple[str, Key, State, bytes | None]]) -> None:
    """Applying all changes gives `usable`, and in the end that is what the kernel has."""
    made = table()
    kernel: dict[Key, tuple[State, bytes | None]] = {}
    believed: dict[Key, bytes] = {}
    now = 0.0
    for what, key, state, mac in [*events, ("release", A, State.NONE, None), ("dump", A, State.NONE, None)]:
        now += 0.5
        match what:
            case "learn" if state is not State.NOARP:
                kernel[key] = (state, mac)
                made.learned(key, state, mac, False, now)
            case "delete":
                kernel.pop(key, None)
                made.deleted(key, now)
            case "resolve":
                made.resolve(key, now)
            case "manage":
                made.manage(key)
            case "unmanage":
                made.unmanage(key)
            case "hold":
                made.hold()
            case "release":
                made.release(now)
            case "tick":
                made.tick(0.5, now)
            case "dump":
                made.begin_dump()
                for entry, (entry_state, entry_mac) in kernel.items():
                    made.learned(entry, entry_state, entry_mac, False, now)
                made.end_dump(now)
    made.tick(SETTLE_S, now + SETTLE_S)
    for change in made.take_changes():
        if change.mac is None:
            believed.pop((change.port, change.address), None)
        else:
            believed[change.port, change.address] = change.mac
    assert believed == {(n.port, n.address): n.mac for n in made.usable()}
    assert believed == {key: mac for key, (state, mac) in kernel.items() if state & USABLE and mac is not None}
