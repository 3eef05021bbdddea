"""What the kernel knows about neighbours, what its users were told, and what to ask of the kernel next.

Pure: events and time go in, `Neighbour` changes and `Request`s come out; neighbours.py is the socket around
it. States are the kernel's (RFC 4861 7.3.2, used for ARP too). A neighbour is *usable* with a MAC in state
reachable, stale, delay, probe or permanent.

Ageing. The kernel sees no transit packet, so to it a neighbour that carries ten gigabits is unused: it
would go stale, its MAC never be verified, and the kernel's collector would take it (after 60 s without use,
and earlier when the table fills). So every REFRESH_S each stale neighbour is *used* (NTF_USE): the
kernel then probes it as if it had packets, and says reachable, or failed. A dead host, or one whose address
another machine has taken without a word, is noticed within about 85 s (reachable at most 45 s, our turn 30 s,
delay 5 s, three probes); links and BGP notice sooner.

Losing. A neighbour that fails its probes is lost at once. One that only vanished (collected, flushed by an
operator) while `in_use` is resolved again first and lost when it is not back within SETTLE_S. During `hold`
(the fast path is absent, so no probe can be answered) nothing is lost; `release` asks again for all that
went meanwhile and gives them SETTLE_S. A probe that began during `hold` may fail only after it: for SETTLE_S
after `release` what fails is asked again too.

Limits. Resolutions under way are at most `limit` a family: the kernel's table is shared by all namespaces of
the host, and a scan of a connected prefix must not fill it. When all of them are taken, one that has had no
answer for YIELD_S gives way to the next, so that a real neighbour is asked for whatever a scan asks for. What
fails is deleted from the kernel's table at once, for the same reason. Managed neighbours (next hops; the kernel
itself keeps asking for them) do not count. What users are told of a port is at most `most[port]` neighbours:
beyond that a port is *full*, and no other one is resolved or believed but next hops and static ones; what merely
spoke to us is deleted from the kernel's table. Changes wait as the latest state of each neighbour, so a slow reader
costs no memory.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Key = tuple[str, IPv4Address | IPv6Address]  # port, address

REFRESH_S = 30.0
SETTLE_S = 4.0  # a little more than the kernel's three requests, one second apart
YIELD_S = 0.05  # many times what a host on the link needs to answer
_FOREVER = float("inf")


class State(enum.IntFlag):
    """NUD_* of linux/neighbour.h."""

    NONE = 0
    INCOMPLETE = 0x01
    REACHABLE = 0x02
    STALE = 0x04
    DELAY = 0x08
    PROBE = 0x10
    FAILED = 0x20
    NOARP = 0x40
    PERMANENT = 0x80


USABLE = State.REACHABLE | State.STALE | State.DELAY | State.PROBE | State.PERMANENT


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour as of now; `mac` (6 bytes) is None exactly when it is not usable."""

    port: str
    address: IPv4Address | IPv6Address
    mac: bytes | None

    @property
    def usable(self) -> bool:
        """Whether packets can be sent to it."""
        return self.mac is not None


class Verb(enum.Enum):
    """What the kernel is asked for."""

    USE = enum.auto()  # as if there were a packet to send: resolve, or verify what is stale
    MANAGE = enum.auto()  # keep it resolved from now on
    PROBE = enum.auto()  # verify it now, whatever its state
    PERMANENT = enum.auto()  # a static neighbour
    DELETE = enum.auto()


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to ask of the kernel; `mac` for PERMANENT only."""

    verb: Verb
    key: Key
    mac: bytes | None = None


@dataclass(slots=True)
class Counters:
    """What happened since the start."""

    resolutions: int = 0  # asked of the kernel by resolve()
    refused: int = 0  # resolve() beyond the limit, or the kernel's table was full
    displaced: int = 0  # of the resolutions, those that gave way to others without an answer
    refreshed: int = 0  # stale neighbours asked about again
    collected: int = 0  # in use, and taken by the kernel's collector or by hand
    overruns: int = 0  # events lost, followed by a full dump
    full: int = 0  # not resolved or not believed because their port is full
    errors: int = 0  # requests that the kernel refused otherwise


@dataclass(slots=True)
class _Entry:
    state: State
    mac: bytes | None
    managed: bool
    epoch: int


class NeighbourTable:
    """See the module. `limit` is per address version; `in_use` is asked about usable neighbours only; `most` is per port,
    of those that it does not name any number."""

    def __init__(
        self,
        limit: Mapping[int, int],
        in_use: Callable[[Key], bool] = lambda _key: True,
        refresh_s: float = REFRESH_S,
        most: Mapping[str, int] | None = None,
    ) -> None:
        self.counters = Counters()
        self._limit = dict(limit)
        self._in_use = in_use
        self._refresh_s = refresh_s
        self._most = dict(most or {})
        self._told_on: Counter[str] = Counter()  # neighbours told, by port
        self._entries: dict[Key, _Entry] = {}
        self._told: dict[Key, bytes] = {}  # what users believe: usable with this MAC
        self._changes: dict[Key, Neighbour] = {}
        self._requests: list[Request] = []
        self._managed: set[Key] = set()
        self._static: dict[Key, bytes] = {}
        self._resolving: dict[Key, float] = {}  # until when
        self._leaving: dict[Key, float] = {}  # told usable, gone in the kernel; lost when not back by then
        self._held = False
        self._settled = 0.0  # SETTLE_S after the last release
        self._epoch = 0
        self._refresh: Iterator[Key] = iter(())
        self._owed = 0.0  # of a turn through all neighbours, not yet taken

    # --- the kernel's side

    def learned(self, key: Key, state: State, mac: bytes | None, managed: bool, now: float) -> None:
        """RTM_NEWNEIGH: an entry is new or changed."""
        if state & State.NOARP:  # multicast, and devices without addresses
            return
        self._entries[key] = _Entry(state, mac, managed, self._epoch)
        if state & USABLE and mac is not None and key not in self._told and self._too_many(key):
            self._resolving.pop(key, None)
            self.counters.full += 1
            if state & State.STALE and not managed:
                self._request(Verb.DELETE, key)  # it has spoken to us, and the kernel has nothing to say to it
        elif state & USABLE and mac is not None:
            self._leaving.pop(key, None)
            self._resolving.pop(key, None)
            if self._told.get(key) != mac:
                self._tell(key, mac)
        elif state & State.FAILED:
            self._resolving.pop(key, None)
            asked_again = self._lose(key, now)
            if not asked_again and key not in self._managed and not managed:
                self._request(Verb.DELETE, key)
        elif key in self._told and key not in self._leaving:  # being resolved anew
            self._leaving[key] = self._deadline(now)

    def deleted(self, key: Key, now: float) -> None:
        """RTM_DELNEIGH: collected, deleted by hand or by us."""
        self._entries.pop(key, None)
        self._resolving.pop(key, None)
        if key in self._static:
            self._request(Verb.PERMANENT, key, self._static[key])
        elif key in self._managed:
            self._request(Verb.MANAGE, key)
        elif key not in self._told:
            return
        elif not self._held:
            if not self._in_use(key):
                self._lose(key, now)
                return
            self.counters.collected += 1
            self._request(Verb.USE, key)
        if key in self._told:
            self._leaving.setdefault(key, self._deadline(now))

    def begin_dump(self) -> None:
        """A dump of all entries begins; `learned` for each, then `end_dump`."""
        self._epoch += 1

    def end_dump(self, now: float) -> None:
        """All entries were seen: what was not is gone, and what is ours to keep is asked for again."""
        for key in [key for key, entry in self._entries.items() if entry.epoch != self._epoch]:
            self.deleted(key, now)
        for key in self._told.keys() - self._entries.keys() - self._leaving.keys():
            self._leaving[key] = self._deadline(now)
        for key, entry in self._entries.items():
            if entry.state & State.PERMANENT and key not in self._static:
                self._request(Verb.DELETE, key)  # static in an earlier configuration

    # --- the users' side

    def resolve(self, key: Key, now: float) -> bool:
        """Ask for a neighbour; False (and counted) when too many are being asked for. Repeating is free."""
        self._believe(key)
        entry = self._entries.get(key)
        if key in self._resolving or (entry is not None and entry.state & (State.REACHABLE | State.PERMANENT)):
            return True
        if key in self._managed:
            self._request(Verb.MANAGE, key)
            return True
        if key not in self._told and self._too_many(key):
            self.counters.full += 1
            return False
        if entry is None or not entry.state & USABLE:
            version = key[1].version
            under_way = [key for key in self._resolving if key[1].version == version]
            if len(under_way) >= self._limit[version] and not self._displace(under_way, now):
                self.counters.refused += 1
                return False
            self._resolving[key] = now + SETTLE_S
        self.counters.resolutions += 1
        self._request(Verb.USE, key)
        return True

    def _displace(self, under_way: list[Key], now: float) -> bool:
        """End the oldest resolution if it had its time; whether there is room now."""
        oldest = next((key for key in under_way if key not in self._told), None)
        if oldest is None or now < self._resolving[oldest] - SETTLE_S + YIELD_S:
            return False
        del self._resolving[oldest]
        self.counters.displaced += 1
        self._request(Verb.DELETE, oldest)
        return True

    def manage(self, key: Key) -> None:
        """Have the kernel resolve it and keep it resolved."""
        if key not in self._managed:
            self._managed.add(key)
            self._believe(key)
            if key not in self._static:
                self._request(Verb.MANAGE, key)

    def unmanage(self, key: Key) -> None:
        """Let it age like any other."""
        if key in self._managed:
            self._managed.remove(key)
            if key not in self._static:
                self._request(Verb.USE, key)  # NTF_USE without the flag takes the flag away

    def unmanage_others(self) -> None:
        """Let age what the kernel manages and nobody here asked for: an earlier control process did."""
        for key, entry in self._entries.items():
            if entry.managed and key not in self._managed and key not in self._static:
                self._request(Verb.USE, key)

    def set_static(self, static: Mapping[Key, bytes]) -> None:
        """Make exactly these the static neighbours."""
        for key in self._static.keys() - static.keys():
            self._request(Verb.DELETE, key)  # its deletion makes it managed again where it should be
        for key, mac in static.items():
            if self._static.get(key) != mac:
                self._request(Verb.PERMANENT, key, mac)
        self._static = dict(static)

    def verify(self, port: str) -> None:
        """Ask each neighbour of a port again: its link was down and another machine may be there now."""
        for key, entry in self._entries.items():
            if key[0] == port and entry.state & USABLE and not entry.state & State.PERMANENT:
                self._request(Verb.PROBE, key)
                if key in self._managed:
                    self._request(Verb.MANAGE, key)  # asking for a state took the flag away

    def hold(self) -> None:
        """The fast path is absent: from now on lose nothing and refresh nothing."""
        self._held = True
        self._leaving = dict.fromkeys(self._leaving, _FOREVER)

    def release(self, now: float) -> None:
        """The fast path is back: what went meanwhile is asked for again and lost if it does not come back."""
        if self._held:
            self._held = False
            self._settled = now + SETTLE_S
            for key in self._leaving:
                self._ask_again(key)

    def forget_port(self, port: str, *, again: bool) -> None:
        """The port's TAP is gone, its neighbours with it; `again`: it has another, with the same wishes."""
        for key in [key for key in self._entries.keys() | self._told.keys() if key[0] == port]:
            self._entries.pop(key, None)
            self._resolving.pop(key, None)
            self._forget(key)
        if again:
            for key in self._managed:
                if key[0] == port and key not in self._static:
                    self._request(Verb.MANAGE, key)
            for key, mac in self._static.items():
                if key[0] == port:
                    self._request(Verb.PERMANENT, key, mac)
        else:
            self._managed = {key for key in self._managed if key[0] != port}
            self._static = {key: mac for key, mac in self._static.items() if key[0] != port}

    def tick(self, elapsed_s: float, now: float) -> None:
        """Once in a while: end what has timed out, and refresh the share of neighbours that is due."""
        for key in [key for key, until in self._resolving.items() if until <= now]:
            del self._resolving[key]
        for key in [key for key, until in self._leaving.items() if until <= now]:
            self._forget(key)
        if not self._held:
            self._owed += len(self._told) * elapsed_s / self._refresh_s
            share, self._owed = int(self._owed), self._owed % 1
            for key in self._due(share):
                self.counters.refreshed += 1
                self._request(Verb.USE, key)

    def usable(self) -> Iterable[Neighbour]:
        """All that users were told to be usable."""
        return [Neighbour(port, address, mac) for (port, address), mac in self._told.items()]

    def full(self, port: str) -> bool:
        """Whether the port has as many neighbours as it may."""
        return port in self._most and self._told_on[port] >= self._most[port]

    @property
    def resolving(self) -> int:
        """Resolutions under way."""
        return len(self._resolving)

    def take_changes(self) -> list[Neighbour]:
        """The changes since the last call: the latest of each neighbour."""
        changes, self._changes = list(self._changes.values()), {}
        return changes

    def take_requests(self) -> list[Request]:
        """What to ask of the kernel, in order."""
        requests, self._requests = self._requests, []
        return requests

    # --- inside

    def _due(self, share: int) -> Iterator[Key]:
        """Of the next `share` neighbours in turn those that are stale and not managed."""
        for _ in range(min(share, len(self._told))):
            key = next(self._refresh, None)
            if key is None:
                self._refresh = iter(list(self._told))
                key = next(self._refresh)
            entry = self._entries.get(key)
            if entry and entry.state & State.STALE and key not in self._managed:
                yield key

    def _believe(self, key: Key) -> None:
        """Tell what the kernel knew already while the port was full."""
        entry = self._entries.get(key)
        known = entry is not None and entry.state & USABLE and key not in self._told
        if known and entry is not None and entry.mac is not None and not self._too_many(key):
            self._tell(key, entry.mac)

    def _too_many(self, key: Key) -> bool:
        return self.full(key[0]) and key not in self._managed and key not in self._static

    def _deadline(self, now: float) -> float:
        return _FOREVER if self._held else now + SETTLE_S

    def _lose(self, key: Key, now: float) -> bool:
        """Nobody answered; whether it was asked again, because nobody could have."""
        if key in self._told and self._held:
            self._leaving[key] = _FOREVER
        elif key in self._told and now < self._settled:
            self._ask_again(key)
            return True
        else:
            self._forget(key)
        return False

    def _ask_again(self, key: Key) -> None:
        self._leaving[key] = self._settled
        self._request(Verb.MANAGE if key in self._managed else Verb.USE, key)

    def _forget(self, key: Key) -> None:
        self._leaving.pop(key, None)
        if key in self._told:
            self._tell(key, None)

    def _tell(self, key: Key, mac: bytes | None) -> None:
        if mac is None:
            del self._told[key]
            self._told_on[key[0]] -= 1
        else:
            self._told_on[key[0]] += key not in self._told
            self._told[key] = mac
        self._changes[key] = Neighbour(*key, mac)

    def _request(self, verb: Verb, key: Key, mac: bytes | None = None) -> None:
        self._requests.append(Request(verb, key, mac))
