"""From the Loc-RIB's deltas to the route segment: hop sets become groups, next hops adjacencies.

What it holds: which group stands for which hop set, which adjacency for which (port, address). Prefixes point to
groups, groups to adjacencies, so a neighbour's new MAC is one adjacency store and a lost next hop one group store,
however many prefixes use them. A next hop whose neighbour failed is left out of groups that have another one, or a
backup; the repair thread (repair.pyx) does the same at once, and `catch_up` then makes its work the groups' own. On a
restart it adopts what the segment has: groups and adjacencies keep their ids, and
packets go on.

A default route's group is its own, whatever other routes have its hop set: by it the fast path knows that route (loose
uRPF). It stands under minus the family where others stand under their hop set.

Called by the control process, on its one thread.
"""

from __future__ import annotations

import logging
from array import array
from collections import defaultdict
from ipaddress import ip_address
from typing import TYPE_CHECKING

from dpdkrouter.fib.records import Action, Adjacency, Applied, Member, TableFullError
from dpdkrouter.rib.attributes import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from ipaddress import IPv4Address, IPv6Address

    from dpdkrouter.fib.fib import Fib
    from dpdkrouter.fib.records import Interface
    from dpdkrouter.rib.nexthops import NextHops, Resolution, Round
    from dpdkrouter.rib.views import FamilyDelta

log = logging.getLogger("control.fib")

SWEEP = 32768  # routes removed at once
REFUSALS = ("full", "grace", "group")  # reasons for which routes are refused

# A hop that an adjacency stands for: a next hop, the glean of a port, or an action without a port.
Key = tuple[Action, int, bytes]
_ACTIONS = {
    Kind.LOCAL: Action.LOCAL,
    Kind.BLACKHOLE: Action.BLACKHOLE,
    Kind.UNREACHABLE: Action.UNREACHABLE,
    Kind.BROADCAST: Action.BROADCAST,
    Kind.PROHIBIT: Action.PROHIBIT,
}


def _key(adjacency: Adjacency) -> Key:
    """What the adjacency stands for, resolved or not."""
    action = Action.RESOLVE if adjacency.action == Action.FORWARD else adjacency.action
    return action, adjacency.port, adjacency.next_hop


class Programmer:
    """The one writer of groups, adjacencies and routes of a segment."""

    def __init__(self, fib: Fib, next_hops: NextHops) -> None:
        self._fib = fib
        self._next_hops = next_hops
        self._group_of: dict[int, int] = {0: 0}  # hop set -> group
        self._adjacencies: dict[Key, int] = {}
        self._neighbours: dict[tuple[int, bytes], bytes] = {}  # (port, address) -> MAC
        self._sources: dict[int, bytes] = {}  # port -> own MAC
        self._mtus: dict[int, int] = {}
        self._lost: set[Key] = set()  # next hops that had a MAC and have none
        self._users: defaultdict[Key, set[int]] = defaultdict(set)  # hop sets whose group has it, or may have to
        self._keys: dict[int, tuple[Key, ...]] = {}  # hop set -> where it is in _users
        # Groups of the former control process; several hop sets may come down to the same members.
        self._orphans: defaultdict[tuple[Member, ...], list[int]] = defaultdict(list)
        self._defaults: dict[int, int] = {}  # minus the family -> hop set of its default route
        self._kept: dict[int, int] = {}  # minus the family -> its default route's group, of the former control process
        self.refused: dict[str, int] = {}  # routes refused, by reason; retries.py takes off what has found room since
        self._short: set[int] = set()  # hop sets whose group could not be made or rewritten
        self._adopt()

    def _adopt(self) -> None:
        for index, adjacency in self._fib.reader.adjacencies().items():
            self._adjacencies[_key(adjacency)] = index
            if adjacency.action == Action.FORWARD:
                self._neighbours[adjacency.port, adjacency.next_hop] = adjacency.dst
                self._sources.setdefault(adjacency.port, adjacency.src)
            self._mtus.setdefault(adjacency.port, adjacency.mtu)
        self._kept = {-family: group for family in (4, 6) if (group := self._fib.reader.default_group(family))}
        for group in self._fib.reader.groups():
            if group in self._kept.values():
                continue
            self._orphans[self._fib.group_members(group)].append(group)

    @property
    def adopted_neighbours(self) -> Mapping[tuple[int, bytes], bytes]:
        """(port, packed address) -> MAC as the segment had them at the start."""
        return dict(self._neighbours)

    # ---- ports and neighbours

    def set_port(self, port: int, mac: bytes, mtu: int) -> None:
        """A port's own MAC and MTU: into every adjacency on it."""
        if self._sources.get(port) == mac and self._mtus.get(port) == mtu:
            return
        self._sources[port], self._mtus[port] = mac, mtu
        for (action, on, address), index in self._adjacencies.items():
            if on == port and action == Action.RESOLVE:
                self._fib.adjacency_set(index, self._hop(on, address))

    def set_interface(self, port: int, value: Interface) -> None:
        """What the fast path must know of a port: MTU and the sources of ICMP errors."""
        self._fib.interface_set(port, value)

    def set_neighbour(self, port: int, address: IPv4Address | IPv6Address, mac: bytes | None) -> None:
        """A neighbour's MAC, or None when it has none: one store, whatever the number of routes through it."""
        key = (port, address.packed)
        if self._neighbours.get(key) == mac:
            return
        if mac is None:
            del self._neighbours[key]
        else:
            self._neighbours[key] = mac
        hop = (Action.RESOLVE, port, address.packed)
        index = self._adjacencies.get(hop)
        if index is not None:
            self._fib.adjacency_set(index, self._hop(port, address.packed))
        users = list(self._users.get(hop, ()))
        if users and (mac is None) != (hop in self._lost):
            self._lost ^= {hop}
            for hopset in users:
                self._set_group(hopset)

    def _hop(self, port: int, address: bytes) -> Adjacency:
        mac = self._neighbours.get((port, address))
        source = self._sources.get(port)
        if mac is None or source is None:
            return Adjacency(Action.RESOLVE, port, mtu=self._mtus.get(port, 0), next_hop=address)
        return Adjacency(Action.FORWARD, port, mac, source, self._mtus.get(port, 0), address)

    def _adjacency(self, key: Key) -> int:
        index = self._adjacencies.get(key)
        if index is None:
            action, port, address = key
            value = self._hop(port, address) if action == Action.RESOLVE else Adjacency(action, port)
            index = self._adjacencies[key] = self._fib.adjacency_create(value)
        return index

    # ---- groups

    def _hops(self, resolution: Resolution) -> dict[Key, int]:
        """What a resolution comes down to, with weights."""
        if resolution.kind == Kind.GLEAN:
            return {(Action.GLEAN, member.port, b""): 1 for member in resolution.members}
        if resolution.kind == Kind.UNICAST:
            return {
                (Action.RESOLVE, member.port, ip_address(member.address or "").packed): member.weight
                for member in resolution.members
            }
        return {(_ACTIONS[resolution.kind], 0, b""): 1}

    def _wanted(self, hopset: int) -> tuple[dict[Key, int], dict[Key, int]]:
        """Members of a hop set's group and its backup: of those that can be used, or else of those that there are."""
        hopset = self._defaults.get(hopset, hopset)
        first = self._next_hops.members(hopset)
        second = self._next_hops.backup(hopset)
        hops = self._hops(first)
        backup = self._hops(second) if second.kind == Kind.UNICAST else {}
        if first.kind == Kind.UNREACHABLE and backup:
            return backup, {}
        alive = {key: weight for key, weight in hops.items() if key not in self._lost}
        if alive:
            return alive, {key: weight for key, weight in backup.items() if key not in alive}
        return ({key: weight for key, weight in backup.items() if key not in self._lost} or hops), {}

    def _members(self, hops: Mapping[Key, int]) -> tuple[Member, ...]:
        return tuple(sorted(Member(self._adjacency(key), weight) for key, weight in hops.items()))

    def _backup(self, hops: Mapping[Key, int]) -> tuple[Member, ...]:
        """As _members; nothing when the table is full: a route without a backup is a route."""
        try:
            return self._members(hops)
        except TableFullError:
            return ()

    def _set_group(self, hopset: int) -> None:
        """Make or rewrite the group of a hop set. A table that is full refuses its routes, nothing else."""
        try:
            self._register(hopset)
            hops, others = self._wanted(hopset)
            wanted, backup = self._members(hops), self._backup(others)
            group = self._group_of.get(hopset, 0)
            orphans = self._orphans.get(wanted) if not group and hopset > 0 else None
            if orphans:
                # also when its members are right already: a repair may have pointed it elsewhere before we died
                group = self._group_of[hopset] = orphans.pop()
            if group:
                self._fib.group_update(group, wanted, backup)
            else:
                self._group_of[hopset] = self._fib.group_create(wanted, backup)
            if hopset < 0:
                self._fib.default_group_set(-hopset, self._group_of[hopset])
            self._short.discard(hopset)
        except TableFullError as error:
            if hopset not in self._short:
                log.error("hop set refused: %s", error)
            self._short.add(hopset)

    def _register(self, hopset: int) -> None:
        """Have the hop set's group follow each of its next hops."""
        behind = self._defaults.get(hopset, hopset)
        keys = (*self._hops(self._next_hops.members(behind)), *self._hops(self._next_hops.backup(behind)))
        for key in keys:
            self._users[key].add(hopset)
        self._unregister(hopset, set(keys))
        self._keys[hopset] = keys

    def _unregister(self, hopset: int, kept: Collection[Key] = ()) -> None:
        for key in self._keys.pop(hopset, ()):
            if key in kept:
                continue
            self._users[key].discard(hopset)
            if not self._users[key]:
                del self._users[key]
                self._lost.discard(key)

    def catch_up(self) -> int:
        """Give groups that the repair thread has rewritten the members that they have now. How many there were."""
        repaired = set(self._fib.repaired_groups())
        if repaired:
            for hopset in [one for one, group in self._group_of.items() if group in repaired]:
                self._set_group(hopset)
        return len(repaired)

    # ---- rounds

    def apply(self, round_: Round) -> None:
        """One decision: new groups, rewritten groups, routes, then the groups that nothing uses any more."""
        for hopset in round_.delta.added:
            self._set_group(hopset)
        for hopset in round_.changed:
            if hopset in self._group_of:
                self._set_group(hopset)
        for own, hopset in self._defaults.items():
            if hopset in round_.changed:
                self._set_group(own)
        for family in (4, 6):
            part = round_.delta.family(family)
            if len(part):
                self._routes(family, part)
        for hopset in round_.delta.released:
            self._unregister(hopset)
            self._short.discard(hopset)
            group = self._group_of.pop(hopset, 0)
            if group:
                self._fib.group_release(group)

    def _routes(self, family: int, part: FamilyDelta) -> None:
        group_of = self._group_of
        try:
            groups = array("H", [group_of[hopset] for hopset in part.hopset])
        except KeyError:
            part, groups = self._without_group(family, part)
        at = part.lengths.find(0)
        if at >= 0:
            groups[at] = self._default_group(-family, part.hopset[at])
        self._note(self._fib.apply(family, part.prefixes, part.lengths, groups, part.source))
        if at >= 0 and not groups[at]:
            self._release_default(-family)

    def _default_group(self, own: int, hopset: int) -> int:
        """The group for a default route that has this hop set now; without room for one of its own the hop set's."""
        if not self._group_of.get(hopset, 0):
            return 0
        self._defaults[own] = hopset
        if own in self._kept:
            self._group_of[own] = self._kept.pop(own)
        self._set_group(own)
        return self._group_of.get(own) or self._group_of[hopset]

    def _release_default(self, own: int) -> None:
        """The family has no default route any more."""
        self._defaults.pop(own, None)
        self._unregister(own)
        self._short.discard(own)
        group = self._group_of.pop(own, 0) or self._kept.pop(own, 0)
        if group:
            self._fib.default_group_set(-own, 0)
            self._fib.group_release(group)

    def _without_group(self, family: int, part: FamilyDelta) -> tuple[FamilyDelta, array[int]]:
        """Routes whose hop set found no group are refused: withdrawn, so that nothing older stays in their place."""
        hopsets = [hopset if hopset in self._group_of else 0 for hopset in part.hopset]
        refused = sum(1 for have, want in zip(hopsets, part.hopset, strict=True) if have != want)
        self.refused["group"] = self.refused.get("group", 0) + refused
        log.error("%d IPv%d routes refused: no next-hop group is free", refused, family)
        return part, array("H", [self._group_of[hopset] for hopset in hopsets])

    def _note(self, applied: Applied) -> None:
        for reason, key, count in applied.shortages:
            self.refused[reason] = self.refused.get(reason, 0) + count
            log.error("%d routes refused: %s; raise table.%s", count, reason, key)

    # ---- for the audit

    def hopsets(self) -> list[int]:
        """The hop sets that have a group now."""
        return [hopset for hopset in self._group_of if hopset]

    def group_of(self, hopset: int) -> int:
        """The group of a hop set; 0: none."""
        return self._group_of.get(hopset, 0)

    def groups_for(self, family: int, lengths: bytes, hopsets: Iterable[int]) -> array[int]:
        """The group of each route, as Fib.apply takes them."""
        group_of = self._group_of
        groups = array("H", [group_of.get(hopset, 0) for hopset in hopsets])
        at = lengths.find(0)
        if at >= 0:
            groups[at] = group_of.get(-family) or groups[at]
        return groups

    def group_is_right(self, hopset: int) -> bool:
        """Whether the group has the members that the hop set comes down to, or the hop set is gone."""
        group = self._group_of.get(hopset, 0)
        return not group or self._members(self._wanted(hopset)[0]) == self._fib.group_members(group)

    def retry_groups(self) -> None:
        """Make or rewrite the groups for which there was no room."""
        for hopset in list(self._short):
            self._set_group(hopset)

    def mend_group(self, hopset: int) -> None:
        """Give a hop set's group its members again."""
        self._set_group(hopset)

    # ---- after a restart

    def sweep(self, sources: Iterable[int]) -> int:
        """Remove what nobody has announced again since the restart. Returns how many routes went."""
        return sum(self.sweeping(sources))

    def sweeping(self, sources: Iterable[int]) -> Iterator[int]:
        """As `sweep`, in parts: how many routes went with each."""
        for source in sources:
            swept = SWEEP
            while swept == SWEEP:
                swept = self._fib.sweep_stale(source, SWEEP)
                yield swept

    def release_orphans(self) -> None:
        """After the last sweep: groups of the former control process that no hop set took, and lone adjacencies."""
        for groups in self._orphans.values():
            for group in groups:
                self._fib.group_release(group)
        self._orphans.clear()
        for own in list(self._kept):
            self._release_default(own)
        used = {member.adjacency for group in self._fib.reader.groups() for member in self._fib.group_members(group)}
        for key, index in list(self._adjacencies.items()):
            if index not in used and key not in self._users:
                del self._adjacencies[key]
                self._fib.adjacency_release(index)
