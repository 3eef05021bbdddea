"""Each step of the decision alone: two paths differ in it and, the other way round, in every later one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dpdkrouter.rib.attributes import Attributes, Kind, NextHop, Origin, Segment, SegmentKind
from dpdkrouter.rib.enums import Source, Step
from dpdkrouter.rib.table import Rib
from ribkit import announce, pack, reachable, sequence, via, withdraw

if TYPE_CHECKING:
    from dpdkrouter.rib.views import Path

PREFIX = "198.51.100.0/24"
# What a path is unless a test says otherwise: (attributes, origin's source, router id, peer address)
DEFAULT = {"local_pref": 100, "as_path": sequence(64500, 64501), "origin": Origin.EGP, "med": 10}


class Contest:
    """A RIB with next hops 192.0.2.1 and up reachable, and one path from each peer."""

    def __init__(self, **options: Any) -> None:
        self.rib = Rib(asn=65000, router_id=0x0A000001, **options)
        reachable(self.rib, *(f"192.0.2.{i}" for i in range(1, 10)))
        self.origins: list[int] = []

    def add(
        self,
        source: Source = Source.EBGP,
        *,
        router_id: int = 50,
        address: str = "192.0.2.50",
        hop: str = "192.0.2.1",
        path_ids: tuple[int, ...] | None = None,
        **attributes: Any,
    ) -> int:
        origin = self.rib.add_origin(source, peer_address=address, router_id=router_id)
        self.origins.append(origin)
        value = via(hop, **{**DEFAULT, **attributes})
        prefixes = (PREFIX,) * (len(path_ids) if path_ids else 1)
        announce(self.rib, origin, value, *prefixes, path_ids=path_ids)
        return origin

    def paths(self) -> list[Path]:
        self.rib.decide()
        family, packed, lengths = pack(PREFIX)
        return self.rib.paths(family, packed, lengths[0])

    def steps(self) -> dict[int, Step]:
        return {path.origin_id: path.step for path in self.paths()}


# Every step: what the winner has, what the loser has, and from where in LATER the loser is better.
LATER = [
    ("local_pref", 200),
    ("as_path", sequence(64500)),
    ("origin", Origin.IGP),
    ("med", 5),
    ("source", Source.EBGP),
    ("hop", "192.0.2.2"),
    ("router_id", 1),
    ("cluster_list", ()),
    ("address", "192.0.2.3"),
]
STEPS = [
    (Step.LOCAL_PREF, {"local_pref": 101}, {"local_pref": 100}, 1),
    (Step.AS_PATH, {"as_path": sequence(64500)}, {"as_path": sequence(64500, 64501)}, 2),
    (Step.ORIGIN, {"origin": Origin.IGP}, {"origin": Origin.EGP}, 3),
    (Step.MED, {"med": 9}, {"med": 10}, 4),
    (Step.EBGP_OVER_IBGP, {"source": Source.EBGP}, {"source": Source.IBGP}, 5),
    (Step.METRIC, {"hop": "192.0.2.1"}, {"hop": "192.0.2.4"}, 6),
    (Step.ROUTER_ID, {"router_id": 49}, {"router_id": 50}, 7),
    (Step.CLUSTER_LIST, {"cluster_list": (7,)}, {"cluster_list": (7, 8)}, 8),
    (Step.PEER_ADDRESS, {"address": "192.0.2.4"}, {"address": "192.0.2.50"}, 9),
]


@pytest.mark.parametrize(("step", "better", "worse", "later"), STEPS, ids=[step[0].name for step in STEPS])
@pytest.mark.parametrize("loser_first", [False, True])
def test_step_decides_before_every_later_one(
    step: Step, better: dict[str, Any], worse: dict[str, Any], later: int, loser_first: bool
) -> None:
    contest = Contest()
    contest.rib.set_next_hop("192.0.2.1", True, 10)
    contest.rib.set_next_hop("192.0.2.2", True, 1)
    contest.rib.set_next_hop("192.0.2.4", True, 20)
    base = {"source": Source.IBGP, "cluster_list": (7, 8)} if later < 5 else {"cluster_list": (7, 8)}
    advantages = dict(LATER[later:])
    winner = {**base, **better}
    loser = {**base, **advantages, **worse}
    if loser_first:
        lost, won = contest.add(**loser), contest.add(**winner)
    else:
        won, lost = contest.add(**winner), contest.add(**loser)
    assert contest.steps() == {won: Step.BEST, lost: step}


def test_path_id_is_the_last_step() -> None:
    contest = Contest()
    contest.add(path_ids=(7, 3, 9))
    assert [(path.path_id, path.step) for path in contest.paths()] == [
        (3, Step.BEST),
        (7, Step.PATH_ID),
        (9, Step.PATH_ID),
    ]


def test_default_local_preference_is_100() -> None:
    contest = Contest()
    absent = contest.add(local_pref=None, as_path=sequence(64500))
    given = contest.add(local_pref=100)
    assert contest.steps() == {absent: Step.BEST, given: Step.AS_PATH}


def test_absent_med_is_0() -> None:
    contest = Contest()
    absent, given = contest.add(med=None), contest.add(med=1)
    assert contest.steps() == {absent: Step.BEST, given: Step.MED}


def test_a_set_counts_1_and_confederations_0() -> None:
    contest = Contest()
    confederation = Segment(SegmentKind.CONFED_SEQUENCE, (1, 2, 3, 4))
    short = contest.add(as_path=(confederation, *sequence(64500), Segment(SegmentKind.SET, (1, 2, 3))))
    long = contest.add(as_path=sequence(64500, 64501, 64502))
    assert contest.steps() == {short: Step.BEST, long: Step.AS_PATH}


def test_med_is_not_compared_between_neighbouring_ases() -> None:
    contest = Contest()
    other = contest.add(as_path=sequence(64600, 64501), med=1, router_id=60)
    first = contest.add(med=100, router_id=50)
    assert contest.steps() == {first: Step.BEST, other: Step.ROUTER_ID}


def test_med_is_compared_between_all_when_asked_to() -> None:
    contest = Contest(any_as=True)
    other = contest.add(as_path=sequence(64600, 64501), med=1, router_id=60)
    first = contest.add(med=100, router_id=50)
    assert contest.steps() == {other: Step.BEST, first: Step.MED}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2), (0, 2, 1), (2, 0, 1)])
def test_med_does_not_depend_on_the_order_of_arrival(order: tuple[int, ...]) -> None:
    # The classical trap: compared in pairs as they come, any of the three may win.
    contest = Contest()
    routes: list[dict[str, Any]] = [
        {"as_path": sequence(64500, 1), "med": 20, "router_id": 1},
        {"as_path": sequence(64600, 1), "med": 0, "router_id": 2},
        {"as_path": sequence(64500, 1), "med": 10, "router_id": 3},
    ]
    origins = {index: contest.add(**routes[index]) for index in order}
    assert contest.steps() == {
        origins[0]: Step.MED,
        origins[1]: Step.BEST,
        origins[2]: Step.ROUTER_ID,
    }


def test_originator_id_stands_for_the_router_id() -> None:
    contest = Contest()
    reflected = contest.add(Source.IBGP, router_id=9, originator_id=3, cluster_list=(7,))
    direct = contest.add(Source.IBGP, router_id=4)
    assert contest.steps() == {reflected: Step.BEST, direct: Step.ROUTER_ID}


@pytest.mark.parametrize(
    ("attributes", "step"),
    [
        ({"as_path": sequence(64500, 65000)}, Step.AS_LOOP),
        ({"as_path": (*sequence(64500), Segment(SegmentKind.SET, (1, 65000)))}, Step.AS_LOOP),
        ({"originator_id": 0x0A000001}, Step.ORIGINATOR_LOOP),
        ({"cluster_list": (1, 0x0A000001)}, Step.CLUSTER_LOOP),
    ],
)
def test_loops_are_kept_out_and_counted(attributes: dict[str, Any], step: Step) -> None:
    contest = Contest()
    looping = contest.add(local_pref=500, **attributes)
    assert contest.steps() == {looping: step}
    assert contest.rib.counts().prefixes == (0, 0)
    assert [one.looped for one in contest.rib.counts().origins] == [(1, 0)]
    sound = contest.add()
    assert contest.steps() == {looping: step, sound: Step.BEST}
    withdraw(contest.rib, looping, PREFIX)
    assert [one.looped for one in contest.rib.counts().origins] == [(0, 0), (0, 0)]


def test_next_hop_not_reachable() -> None:
    contest = Contest()
    lost = contest.add(local_pref=500, hop="203.0.113.1")
    won = contest.add()
    assert contest.steps() == {lost: Step.NEXT_HOP, won: Step.BEST}
    contest.rib.set_next_hop("203.0.113.1", True)
    assert contest.steps() == {lost: Step.BEST, won: Step.LOCAL_PREF}
    contest.rib.set_next_hop("203.0.113.1", False)
    assert contest.steps() == {lost: Step.NEXT_HOP, won: Step.BEST}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (Source.CONNECTED, Source.STATIC),
        (Source.STATIC, Source.CLI),
        (Source.CLI, Source.EBGP),
        (Source.EBGP, Source.KERNEL),
        (Source.KERNEL, Source.IBGP),
        (Source.STATIC, Source.IBGP),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_source(better: Source, worse: Source, swapped: bool) -> None:
    contest = Contest()
    if swapped:
        lost, won = contest.add(worse, local_pref=900), contest.add(better)
    else:
        won, lost = contest.add(better), contest.add(worse, local_pref=900)
    assert contest.steps() == {won: Step.BEST, lost: Step.SOURCE}


def test_local_preference_rules_over_ebgp_and_what_wins_stands_for_bgp() -> None:
    contest = Contest()
    external = contest.add(Source.EBGP, local_pref=100)
    internal = contest.add(Source.IBGP, local_pref=200)
    assert contest.steps() == {internal: Step.BEST, external: Step.LOCAL_PREF}
    kernel = contest.add(Source.KERNEL)
    assert contest.steps() == {kernel: Step.BEST, internal: Step.SOURCE, external: Step.LOCAL_PREF}


def test_a_source_without_usable_path_leaves_the_prefix_to_the_next() -> None:
    contest = Contest()
    static = contest.add(Source.STATIC, hop="203.0.113.1")
    external = contest.add()
    assert contest.steps() == {static: Step.NEXT_HOP, external: Step.BEST}


class TestMultipath:
    def chosen(self, contest: Contest) -> tuple[set[int], set[str | None]]:
        paths = contest.paths()
        family, packed, _ = pack(PREFIX)
        route = contest.rib.lookup(family, packed)
        assert route is not None
        hops = contest.rib.hopset(route.hopset)
        return {path.origin_id for path in paths if path.multipath}, {hop.address for hop in hops.next_hops}

    def test_off_by_default(self) -> None:
        contest = Contest()
        contest.add(hop="192.0.2.1")
        contest.add(hop="192.0.2.2", router_id=51)
        assert self.chosen(contest) == (set(), {"192.0.2.1"})

    def test_takes_the_first_by_the_tie_break(self) -> None:
        contest = Contest(multipath=2)
        third = contest.add(hop="192.0.2.3", router_id=53)
        first = contest.add(hop="192.0.2.1", router_id=51)
        second = contest.add(hop="192.0.2.2", router_id=52)
        assert self.chosen(contest) == ({first, second}, {"192.0.2.1", "192.0.2.2"})
        assert contest.steps() == {first: Step.BEST, second: Step.ROUTER_ID, third: Step.ROUTER_ID}
        withdraw(contest.rib, first, PREFIX)
        assert self.chosen(contest) == ({second, third}, {"192.0.2.2", "192.0.2.3"})

    def test_only_equal_as_paths_unless_relaxed(self) -> None:
        for relaxed, hops in ((False, {"192.0.2.1"}), (True, {"192.0.2.1", "192.0.2.2"})):
            contest = Contest(multipath=4, relaxed=relaxed)
            contest.add(hop="192.0.2.1")
            contest.add(hop="192.0.2.2", router_id=51, as_path=sequence(64700, 64701))
            assert self.chosen(contest)[1] == hops

    def test_what_lost_before_is_no_member(self) -> None:
        contest = Contest(multipath=4)
        contest.rib.set_next_hop("192.0.2.2", True, 5)
        contest.add(hop="192.0.2.1")
        contest.add(hop="192.0.2.2", router_id=51)
        assert self.chosen(contest) == (set(), {"192.0.2.1"})

    def test_a_shared_next_hop_counts_once(self) -> None:
        contest = Contest(multipath=4)
        contest.add(hop="192.0.2.1")
        contest.add(hop="192.0.2.1", router_id=51, communities=(1,))
        assert self.chosen(contest)[1] == {"192.0.2.1"}
        assert contest.rib.counts().hopsets == 1


def test_kinds_without_next_hops_are_usable() -> None:
    rib = Rib()
    origin = rib.add_origin(Source.STATIC)
    kinds = (Kind.BLACKHOLE, Kind.UNREACHABLE, Kind.PROHIBIT, Kind.LOCAL)
    for i, kind in enumerate(kinds):
        announce(rib, origin, Attributes(kind=kind), f"10.{i}.0.0/16")
    announce(rib, origin, Attributes.glean(3), "10.9.0.0/16")
    rib.decide()
    found = []
    for i in (0, 1, 2, 3, 9):
        route = rib.lookup(4, bytes([10, i, 0, 1]))
        assert route is not None
        found.append(rib.hopset(route.hopset))
    assert [hops.kind for hops in found] == [*kinds, Kind.GLEAN]
    assert found[4].next_hops == (NextHop(None, 3),)
