"""The compiled RIB against a small model in plain Python, under random announcements, withdrawals, flushes,
stale marks and next hops.

After every decision: replaying the deltas gives the model's table, every path's step is the model's,
lookups find the model's longest match, counts agree, and the hop set ids told as added and not yet released
are those that prefixes use.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from dpdkrouter.rib.attributes import Attributes, Kind, NextHop, Origin, Segment, SegmentKind
from dpdkrouter.rib.enums import Source, Step
from dpdkrouter.rib.table import Rib
from ribkit import Table, pack, replay, words

ASN, ROUTER_ID = 65000, 9
PREFIXES = {
    4: [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.0.0.0/9",
        "10.128.0.0/9",
        "10.0.0.0/32",
        "10.0.0.1/32",
        "192.0.2.0/25",
    ],
    6: ["::/0", "2001:db8::/32", "2001:db8::/64", "2001:db8:0:1::/64", "2001:db8::/128", "2001:db8::1/128"],
}
HOPS = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]
ADDRESSES = [None, "192.0.2.1", "192.0.2.2", "2001:db8::1"]


class Peer(NamedTuple):
    source: Source
    address: str | None
    router_id: int


@dataclass
class Path:
    origin: int
    path_id: int
    attributes: Attributes
    stale: bool = False


def segments() -> st.SearchStrategy[Segment]:
    return st.builds(
        Segment,
        st.sampled_from(SegmentKind),
        st.lists(st.sampled_from([1, 2, 3, ASN]), min_size=1, max_size=2).map(tuple),
    )


def attribute_sets() -> st.SearchStrategy[Attributes]:
    unicast = st.builds(
        Attributes,
        next_hops=st.lists(
            st.builds(NextHop, st.sampled_from(HOPS), st.sampled_from([None, None, None, 1])),
            min_size=1,
            max_size=2,
        ).map(tuple),
        origin=st.sampled_from(Origin),
        as_path=st.lists(segments(), max_size=2).map(tuple),
        med=st.sampled_from([None, 0, 1, 2]),
        local_pref=st.sampled_from([None, None, 100, 200]),
        originator_id=st.sampled_from([None, None, 1, 2, ROUTER_ID]),
        cluster_list=st.sampled_from([(), (), (1,), (1, 2), (ROUTER_ID,)]),
    )
    return st.one_of(unicast, unicast, st.sampled_from([Attributes.glean(1), Attributes(kind=Kind.BLACKHOLE)]))


def batches() -> st.SearchStrategy[tuple[int, list[tuple[str, int]]]]:
    def of_family(family: int) -> st.SearchStrategy[tuple[int, list[tuple[str, int]]]]:
        one = st.tuples(st.sampled_from(PREFIXES[family]), st.sampled_from([0, 0, 1]))
        return st.tuples(st.just(family), st.lists(one, min_size=1, max_size=6))

    return st.sampled_from([4, 6]).flatmap(of_family)


class Model:
    """The decision, a screen long."""

    def __init__(self, multipath: int, relaxed: bool) -> None:
        self.multipath, self.relaxed = multipath, relaxed
        self.peers: dict[int, Peer] = {}
        self.hops = dict.fromkeys(HOPS, (False, 0))
        self.prefixes: dict[tuple[int, str], dict[tuple[int, int], Path]] = {}

    def reach(self, path: Path) -> int | None:
        """The metric of the nearest next hop, or None."""
        if path.attributes.kind != Kind.UNICAST:
            return 0
        found = [
            (True, 0) if hop.port is not None else self.hops[str(hop.address)] for hop in path.attributes.next_hops
        ]
        return min((metric for there, metric in found if there), default=None)

    def kept_out(self, path: Path) -> Step | None:
        if any(ASN in segment.asns for segment in path.attributes.as_path):
            return Step.AS_LOOP
        if path.attributes.originator_id == ROUTER_ID:
            return Step.ORIGINATOR_LOOP
        if ROUTER_ID in path.attributes.cluster_list:
            return Step.CLUSTER_LOOP
        return Step.NEXT_HOP if self.reach(path) is None else None

    def key(self, path: Path, step: Step) -> tuple[int, ...] | bytes:
        attributes, peer = path.attributes, self.peers[path.origin]
        if step == Step.PEER_ADDRESS:
            if peer.address is None:
                return b""
            address = ipaddress.ip_address(peer.address)
            return bytes([address.version]) + address.packed
        return {
            Step.LOCAL_PREF: (-(100 if attributes.local_pref is None else attributes.local_pref),),
            Step.AS_PATH: (attributes.path_length,),
            Step.ORIGIN: (int(attributes.origin),),
            Step.EBGP_OVER_IBGP: (int(peer.source == Source.IBGP),),
            Step.METRIC: (self.reach(path) or 0,),
            Step.ROUTER_ID: (attributes.originator_id or peer.router_id,),
            Step.CLUSTER_LIST: (len(attributes.cluster_list),),
            Step.PATH_ID: (path.origin, path.path_id),
        }[step]

    def contest(self, paths: list[Path], steps: dict[tuple[int, int], Step]) -> list[Path]:
        """The multipath set, the best first."""

        def drop(kept: list[Path], step: Step) -> None:
            nonlocal paths
            for path in paths:
                if path not in kept:
                    steps[path.origin, path.path_id] = step
            paths = kept

        def lowest(step: Step) -> None:
            best = min(self.key(path, step) for path in paths)
            drop([path for path in paths if self.key(path, step) == best], step)

        for step in (Step.LOCAL_PREF, Step.AS_PATH, Step.ORIGIN):
            lowest(step)
        groups: dict[int, int] = {}
        for path in paths:
            asn, med = path.attributes.neighbour_as, path.attributes.med or 0
            groups[asn] = min(groups.get(asn, med), med)
        drop(
            [path for path in paths if (path.attributes.med or 0) == groups[path.attributes.neighbour_as]],
            Step.MED,
        )
        for step in (Step.EBGP_OVER_IBGP, Step.METRIC):
            lowest(step)
        last = (Step.ROUTER_ID, Step.CLUSTER_LIST, Step.PEER_ADDRESS, Step.PATH_ID)
        ordered = sorted(paths, key=lambda path: [self.key(path, step) for step in last])
        for step in last:
            lowest(step)
        steps[paths[0].origin, paths[0].path_id] = Step.BEST
        best = paths[0].attributes
        if best.kind != Kind.UNICAST:
            return paths
        alike = [path for path in ordered if self.relaxed or path.attributes.as_path == best.as_path]
        return [path for path in alike if path.attributes.kind == Kind.UNICAST][: self.multipath]

    def decide(self, key: tuple[int, str]) -> tuple[list[Path], dict[tuple[int, int], Step]]:
        steps: dict[tuple[int, int], Step] = {}
        usable = []
        for path in self.prefixes.get(key, {}).values():
            reason = self.kept_out(path)
            if reason is None:
                usable.append(path)
            else:
                steps[path.origin, path.path_id] = reason
        if not usable:
            return [], steps
        bgp = [path for path in usable if self.peers[path.origin].source in (Source.EBGP, Source.IBGP)]
        chosen: list[Path] = []
        top = min(self.peers[path.origin].source for path in usable)
        if bgp and top >= Source.EBGP:
            chosen = self.contest(bgp, steps)
            top = min(
                self.peers[path.origin].source for path in [chosen[0], *(one for one in usable if one not in bgp)]
            )
        for path in usable:
            if self.peers[path.origin].source != top and (path not in bgp or path in chosen[:1] or not chosen):
                steps[path.origin, path.path_id] = Step.SOURCE
        if chosen and self.peers[chosen[0].origin].source == top:
            return chosen, steps
        return self.contest([path for path in usable if self.peers[path.origin].source == top], steps), steps


def hop_key(hops: list[NextHop]) -> set[tuple[str | None, int | None]]:
    return {(hop.address, hop.port) for hop in hops}


class RibMachine(RuleBasedStateMachine):
    @initialize(multipath=st.sampled_from([1, 1, 2, 3]), relaxed=st.booleans(), reachable=st.booleans())
    def start(self, multipath: int, relaxed: bool, reachable: bool) -> None:
        self.rib = Rib(asn=ASN, router_id=ROUTER_ID, multipath=multipath, relaxed=relaxed)
        self.model = Model(multipath, relaxed)
        self.table: Table = {}
        self.published: set[int] = set()
        for source in (Source.STATIC, Source.EBGP, Source.EBGP, Source.IBGP):
            self.add(Peer(source, ADDRESSES[1], 3))
        for hop in HOPS:
            self.hop(hop, reachable, 5)

    def origin(self, choice: int) -> int:
        return sorted(self.model.peers)[choice % len(self.model.peers)]

    @rule(
        peer=st.builds(
            Peer,
            st.sampled_from(list(Source.__members__.values())),
            st.sampled_from(ADDRESSES),
            st.integers(1, 3),
        )
    )
    def add(self, peer: Peer) -> None:
        if len(self.model.peers) < 8:
            origin = self.rib.add_origin(peer.source, peer_address=peer.address, router_id=peer.router_id)
            assert origin not in self.model.peers
            self.model.peers[origin] = peer

    @rule(choice=st.integers(0, 7), batch=batches(), attributes=attribute_sets())
    def announce(self, choice: int, batch: tuple[int, list[tuple[str, int]]], attributes: Attributes) -> None:
        origin, (family, entries) = self.origin(choice), batch
        _, packed, lengths = pack(*(prefix for prefix, _ in entries))
        path_ids = words(path_id for _, path_id in entries)
        changed = 0
        for prefix, path_id in entries:
            known = self.model.prefixes.setdefault((family, prefix), {})
            before = known.get((origin, path_id))
            changed += before is None or before.attributes != attributes
            known[origin, path_id] = Path(origin, path_id, attributes)
        attr_id = self.rib.attributes(attributes)
        assert self.rib.announce(origin, family, packed, lengths, attr_id, path_ids) == changed

    @rule(choice=st.integers(0, 7), batch=batches())
    def withdraw(self, choice: int, batch: tuple[int, list[tuple[str, int]]]) -> None:
        origin, (family, entries) = self.origin(choice), batch
        _, packed, lengths = pack(*(prefix for prefix, _ in entries))
        gone = sum(
            self.model.prefixes.get((family, prefix), {}).pop((origin, path_id), None) is not None
            for prefix, path_id in entries
        )
        path_ids = words(path_id for _, path_id in entries)
        assert self.rib.withdraw(origin, family, packed, lengths, path_ids) == gone

    def drop(self, origin: int, stale_only: bool, family: int | None) -> int:
        count = 0
        for (key_family, _), known in self.model.prefixes.items():
            for key, path in list(known.items()):
                if path.origin == origin and (path.stale or not stale_only) and family in (None, key_family):
                    del known[key]
                    count += 1
        return count

    @rule(choice=st.integers(0, 7))
    def flush(self, choice: int) -> None:
        origin = self.origin(choice)
        assert self.rib.flush(origin) == self.drop(origin, False, None)

    @precondition(lambda self: len(self.model.peers) > 1)
    @rule(choice=st.integers(0, 7))
    def remove(self, choice: int) -> None:
        origin = self.origin(choice)
        assert self.rib.remove_origin(origin) == self.drop(origin, False, None)
        del self.model.peers[origin]

    @rule(choice=st.integers(0, 7), family=st.sampled_from([None, 4, 6]))
    def mark_stale(self, choice: int, family: int | None) -> None:
        origin = self.origin(choice)
        fresh = [
            path
            for (key_family, _), known in self.model.prefixes.items()
            for path in known.values()
            if path.origin == origin and not path.stale and family in (None, key_family)
        ]
        for path in fresh:
            path.stale = True
        assert self.rib.mark_stale(origin, family) == len(fresh)

    @rule(choice=st.integers(0, 7), family=st.sampled_from([None, 4, 6]))
    def sweep_stale(self, choice: int, family: int | None) -> None:
        origin = self.origin(choice)
        assert self.rib.sweep_stale(origin, family) == self.drop(origin, True, family)

    @rule(address=st.sampled_from(HOPS), reachable=st.booleans(), metric=st.integers(0, 2))
    def hop(self, address: str, reachable: bool, metric: int) -> None:
        self.rib.set_next_hop(address, reachable, metric)
        self.model.hops[address] = (reachable, metric)

    @rule()
    def decide(self) -> None:
        delta = self.rib.decide()
        replay(self.table, delta)
        assert not self.published & set(delta.added)
        self.published |= set(delta.added)
        assert set(delta.released) <= self.published
        self.published -= set(delta.released)
        assert self.published == {hopset for hopset, _ in self.table.values()}
        expected = 0
        best = {origin: [0, 0] for origin in self.model.peers}
        for family, prefixes in PREFIXES.items():
            for prefix in prefixes:
                expected += self.check_prefix(family, prefix, best)
        assert len(self.table) == expected
        assert {one.origin_id: list(one.best) for one in self.rib.counts().origins} == best
        self.check_lookups()
        assert len(self.rib.decide()) == 0

    def check_prefix(self, family: int, prefix: str, best: dict[int, list[int]]) -> bool:
        _, packed, lengths = pack(prefix)
        chosen, steps = self.model.decide((family, prefix))
        paths = self.rib.paths(family, packed, lengths[0])
        assert {(path.origin_id, path.path_id): path.step for path in paths} == steps
        known = self.model.prefixes.get((family, prefix), {})
        assert {(path.origin_id, path.path_id): (path.attributes, path.stale) for path in paths} == {
            key: (path.attributes, path.stale) for key, path in known.items()
        }
        multipath = {(path.origin_id, path.path_id) for path in paths if path.multipath}
        assert multipath == ({(path.origin, path.path_id) for path in chosen} if len(chosen) > 1 else set())
        if not chosen:
            assert (family, packed, lengths[0]) not in self.table
            return False
        hopset, source = self.table[family, packed, lengths[0]]
        assert source == self.model.peers[chosen[0].origin].source
        value = self.rib.hopset(hopset)
        assert value.kind == chosen[0].attributes.kind
        hops = [hop for path in chosen for hop in path.attributes.next_hops]
        assert hop_key(list(value.next_hops)) == hop_key(hops)
        best[chosen[0].origin][family == 6] += 1
        return True

    def check_lookups(self) -> None:
        for family, prefixes in PREFIXES.items():
            for prefix in prefixes:
                address = ipaddress.ip_network(prefix)[-1]
                covering = [
                    (length, result)
                    for (of, packed, length), result in self.table.items()
                    if of == family and address in ipaddress.ip_network((packed, length))
                ]
                route = self.rib.lookup(family, address.packed)
                if not covering:
                    assert route is None
                else:
                    assert route is not None
                    assert (route.length, (route.hopset, route.source)) == max(covering)

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        self.decide()
        for origin in list(self.model.peers):
            self.rib.remove_origin(origin)
            self.drop(origin, False, None)
        self.model.peers.clear()
        replay(self.table, self.rib.decide())
        assert self.table == {}
        counts = self.rib.counts()
        assert (counts.prefixes, counts.attribute_sets, counts.hopsets) == ((0, 0), 0, 0)


TestRib = RibMachine.TestCase
TestRib.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
