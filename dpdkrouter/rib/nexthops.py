"""Next-hop tracking: which ports and addresses a next hop comes down to, and which groups that changes.

Every next hop without a port is resolved through the Loc-RIB: the best covering route, again and again,
until it ends on a port. A connected (glean) route on port P gives (P, the address itself). After each
decision only those next hops are resolved again whose way the delta can concern: each remembers every
address it looked up. What changed goes to the RIB (`set_next_hop`) and, as hop set ids, to the FIB writer,
which rewrites their groups and touches no prefix (prefix-independent convergence).

Invariants: `members` of every hop set in use follows from the Loc-RIB of the last decision that `refresh`
has seen. A next hop never resolves through a route that itself depends on it: that route is passed over for
the next shorter one, so having the route in the Loc-RIB or not gives the same answer and cannot oscillate.
Not through a default route unless allowed (as FRR), never to an own address (RFC 4271 section 5.1.3). A
blackhole route resolves, to discarding (RFC 5635).

Called by the control process, on the thread of its Rib. RFC 4271 section 9.1.2.1, DESIGN "A prefix points
to a next-hop group".
"""

from __future__ import annotations

import math
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpdkrouter.rib.attributes import HopSet, Kind, NextHop
from dpdkrouter.rib.cover import covered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dpdkrouter.rib.table import Rib
    from dpdkrouter.rib.views import Delta

MAX_DEPTH = 8
# Lookups for one next hop: bounds what wide multipath routes that resolve through each other can cost.
MAX_LOOKUPS = 512
MAX_WEIGHT = 65535
CHUNK = 8192  # prefixes of a family that a round decides; deciding and writing one takes some 0.3 us


@dataclass(frozen=True, slots=True)
class Member:
    """A directly connected next hop; address None: each packet's own destination (glean)."""

    port: int
    address: str | None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a next hop or a hop set comes down to. Unicast has members; without any it is unreachable."""

    kind: Kind
    members: tuple[Member, ...] = ()
    metric: int = 0

    @property
    def reachable(self) -> bool:
        return self.kind != Kind.UNREACHABLE


@dataclass(frozen=True, slots=True)
class Round:
    """One decision and what it did to next hops.

    For the FIB writer, in this order: make groups for delta.added, rewrite the groups of `changed`, apply the
    delta, drop the groups of delta.released. Their members come from `NextHops.members`.
    """

    delta: Delta
    changed: frozenset[int]


@dataclass(slots=True)
class _Walk:
    """One resolution in progress: the addresses looked up so far, which are those it depends on."""

    seen: set[str]
    lookups: int = 0


_UNREACHABLE = Resolution(Kind.UNREACHABLE)


class NextHops:
    """Tracks the next hops of one Rib."""

    def __init__(self, rib: Rib, *, allow_default: bool = False) -> None:
        self._rib = rib
        self._shortest = 0 if allow_default else 1
        self._resolved: dict[str, Resolution] = {}
        self._looked_up: dict[str, set[str]] = {}
        self._users: dict[str, set[str]] = {}
        self._sorted: dict[int, tuple[bytes, list[str]]] = {4: (b"", []), 6: (b"", [])}
        self._sorted_valid = True
        self.settled = True

    # ---- for the FIB writer

    def converge(self, limit: int = 16) -> Iterator[Round]:
        """Decide and resolve until nothing changes, going over everything at most `limit` times; see `settled`.

        Apply each round before asking for the next: the first repairs a lost next hop, however long the next. A round
        decides CHUNK prefixes at most. Between two rounds the RIB may change, also by another call of this.
        """
        self.settled = False
        changed = self.refresh(None)
        while limit:
            delta = self._rib.decide(CHUNK)
            changed |= self.refresh(delta)
            left = self._rib.undecided
            if not (len(delta) or delta.added or delta.released or changed or left):
                self.settled = True
                return
            yield Round(delta, changed)
            changed = frozenset()
            limit -= not left

    def members(self, hopset_id: int) -> Resolution:
        """What a hop set comes down to; ValueError for an unknown id."""
        value: HopSet = self._rib.hopset(hopset_id)
        if value.kind == Kind.GLEAN:
            return Resolution(
                Kind.GLEAN, tuple(Member(hop.port, None) for hop in value.next_hops if hop.port is not None)
            )
        if value.kind != Kind.UNICAST:
            return Resolution(value.kind)
        return _combine([(hop.weight, self._of(hop)) for hop in value.next_hops], 0)

    def backup(self, hopset_id: int) -> Resolution:
        """What takes over when none of a hop set's members can be used; unreachable: nothing does."""
        return _combine([(hop.weight, self._of(hop)) for hop in self._rib.hopset(hopset_id).backup], 0)

    def resolution(self, address: str) -> Resolution:
        """What a tracked next hop comes down to; unreachable when it is not tracked."""
        return self._resolved.get(address, _UNREACHABLE)

    def tracked(self) -> list[str]:
        """The next hops that are resolved now."""
        return sorted(self._resolved)

    # ---- following the Loc-RIB

    def refresh(self, delta: Delta | None) -> frozenset[int]:
        """Resolve new next hops and those a delta concerns, tell the RIB; returns changed hop sets."""
        came, went = self._rib.interns.take_tracking()
        for address in went:
            self._forget(address)
        concerned = set(came)
        if delta is not None:
            concerned |= self._concerned(delta)
        changed: set[int] = set()
        for address in sorted(concerned):
            walk = _Walk(set())
            resolution = self._resolve(address, (), walk)
            self._remember(address, walk.seen)
            if self._resolved.get(address) != resolution:
                self._resolved[address] = resolution
                changed.update(self._rib.interns.hopsets_using(address))
            self._rib.set_next_hop(address, resolution.reachable, resolution.metric)
        return frozenset(changed)

    def _concerned(self, delta: Delta) -> set[str]:
        found: set[str] = set()
        if not self._sorted_valid:
            self._sorted = {family: _sort(self._users, family) for family in (4, 6)}
            self._sorted_valid = True
        for family, (packed, addresses) in self._sorted.items():
            part = delta.family(family)
            if addresses and len(part):
                for i in covered(family, part.prefixes, part.lengths, packed):
                    found |= self._users[addresses[i]]
        return found

    def _remember(self, address: str, looked_up: set[str]) -> None:
        before = self._looked_up.get(address, set())
        if before == looked_up:
            return
        for one in before - looked_up:
            self._drop_user(one, address)
        for one in looked_up - before:
            self._users.setdefault(one, set()).add(address)
        self._looked_up[address] = looked_up
        self._sorted_valid = False

    def _forget(self, address: str) -> None:
        self._resolved.pop(address, None)
        for one in self._looked_up.pop(address, set()):
            self._drop_user(one, address)
        self._sorted_valid = False
        self._rib.set_next_hop(address, False)

    def _drop_user(self, looked_up: str, address: str) -> None:
        self._users[looked_up].discard(address)
        if not self._users[looked_up]:
            del self._users[looked_up]

    # ---- resolution

    def _of(self, hop: NextHop) -> Resolution:
        if hop.port is not None:
            return Resolution(Kind.UNICAST, (Member(hop.port, hop.address),))
        return self.resolution(hop.address or "")

    def _resolve(self, address: str, above: tuple[str, ...], walk: _Walk) -> Resolution:
        """Resolve an address; `above`: the addresses that are being resolved through it."""
        family = 6 if ":" in address else 4
        packed = socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, address)
        walk.seen.add(address)
        length = 128
        while walk.lookups < MAX_LOOKUPS and len(above) < MAX_DEPTH:
            walk.lookups += 1
            route = self._rib.lookup(family, packed, max_length=length)
            if route is None or route.length < self._shortest:
                break
            value = self._rib.hopset(route.hopset)
            if value.kind == Kind.GLEAN:
                port = value.next_hops[0].port
                return (
                    Resolution(Kind.UNICAST, (Member(port, address),), route.metric)
                    if port is not None
                    else _UNREACHABLE
                )
            if value.kind == Kind.BLACKHOLE:
                return Resolution(Kind.BLACKHOLE, (), route.metric)
            if value.kind != Kind.UNICAST:
                break
            path = (*above, address)
            hops = [hop for hop in value.next_hops if hop.port is not None or hop.address not in path]
            if hops:
                return _combine([(hop.weight, self._through(hop, path, walk)) for hop in hops], route.metric)
            length = route.length - 1
        return _UNREACHABLE

    def _through(self, hop: NextHop, path: tuple[str, ...], walk: _Walk) -> Resolution:
        if hop.port is not None or hop.address is None:
            return self._of(hop)
        return self._resolve(hop.address, path, walk)


def _combine(parts: list[tuple[int, Resolution]], metric: int) -> Resolution:
    """Members of all parts; a part's share goes by its weight and is split by the weights within it."""
    unicast = [(weight, part) for weight, part in parts if part.kind == Kind.UNICAST]
    if not unicast:
        discards = any(part.kind == Kind.BLACKHOLE for _, part in parts)
        return Resolution(Kind.BLACKHOLE, (), metric) if discards else _UNREACHABLE
    sums = [sum(member.weight for member in part.members) for _, part in unicast]
    whole = math.lcm(*sums)
    weights: dict[tuple[int, str | None], int] = {}
    for (weight, part), total in zip(unicast, sums, strict=True):
        for member in part.members:
            key = (member.port, member.address)
            weights[key] = weights.get(key, 0) + weight * (whole // total) * member.weight
    divisor = math.gcd(*weights.values())
    excess = max(weights.values()) // divisor // MAX_WEIGHT + 1
    members = (
        Member(port, address, max(1, weight // divisor // excess)) for (port, address), weight in weights.items()
    )
    return Resolution(Kind.UNICAST, tuple(sorted(members, key=repr)), metric)


def _sort(addresses: Iterable[str], family: int) -> tuple[bytes, list[str]]:
    """The addresses of a family in packed order, and packed together."""
    kind = socket.AF_INET6 if family == 6 else socket.AF_INET
    pairs = sorted((socket.inet_pton(kind, one), one) for one in addresses if (":" in one) == (family == 6))
    return b"".join(packed for packed, _ in pairs), [address for _, address in pairs]
