"""BGP as a source: events of ExaBGP's feed become batches for the RIB, one origin a peer. No sockets here.

A session that ends takes its routes with it, unless graceful restart was negotiated (RFC 4724 section 4.2): then, and
when ExaBGP itself is gone, they are kept as stale for `restart_time` seconds and swept when the peer has sent
everything again.

What shows that a peer has sent everything: of a new session the End-of-RIB of each family (RFC 4724 section 2); after
a gap in the feed the end of a route refresh that began after the gap (RFC 7313 section 4); of a peer that sends no
such mark, that it was quiet for a while after it began. A peer that can do no refresh gets a new session. Time is an
argument.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING

from dpdkrouter.bgp import commands
from dpdkrouter.bgp.decoded import withdraws
from dpdkrouter.bgp.events import (
    EndOfRib,
    FeedError,
    Hello,
    MalformedUpdate,
    NotificationEvent,
    PeerDown,
    PeerUp,
    Received,
    RefreshMark,
    Update,
)
from dpdkrouter.bgp.limits import CEASE, CEASE_MAX_PREFIXES, LimitState
from dpdkrouter.bgp.session import fault_text, notification_text
from dpdkrouter.errors import RequestError
from dpdkrouter.rib.attributes import Attributes, NextHop, Origin, Segment, SegmentKind
from dpdkrouter.rib.enums import Source
from dpdkrouter.rib.imports import ImportFilter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dpdkrouter.bgp.attributes import BgpAttributes
    from dpdkrouter.bgp.configuration import BgpPeer
    from dpdkrouter.bgp.events import Capabilities, Event
    from dpdkrouter.bgp.exports import Exports
    from dpdkrouter.bgp.limits import Limits
    from dpdkrouter.bgp.policies import PeerRules
    from dpdkrouter.bgp.session import Sessions
    from dpdkrouter.rib.table import Rib

log = logging.getLogger("control.bgp")

FAMILY_NUMBERS = {"ipv4": 4, "ipv6": 6}
QUIET_S = 10.0  # a peer that sends no end mark and has sent nothing for so long has sent everything
LEARN_S = 60.0  # at least so long a peer has for sending everything, whatever restart_time is


def attributes_of(found: BgpAttributes) -> Attributes:
    """The RIB's attributes for those of an UPDATE. A link-local next hop is not used: the global one resolves too."""
    family = socket.AF_INET if len(found.next_hop) == 4 else socket.AF_INET6
    return Attributes(
        next_hops=(NextHop(socket.inet_ntop(family, found.next_hop)),),
        origin=Origin(found.origin),
        as_path=tuple(Segment(SegmentKind(int(segment.kind)), segment.asns) for segment in found.as_path),
        med=found.med,
        local_pref=found.local_pref,
        communities=found.communities,
        extended_communities=tuple(value.to_bytes(8, "big") for value in found.extended_communities),
        large_communities=found.large_communities,
        originator_id=found.originator_id,
        cluster_list=found.cluster_list,
        atomic_aggregate=found.atomic_aggregate,
        aggregator=found.aggregator,
    )


@dataclass(slots=True)
class _Peer:
    settings: BgpPeer
    origin: int
    limit: LimitState
    router_id: int = 0
    up: bool = False
    capabilities: Capabilities | None = None
    restarting: bool = False  # its session was lost gracefully and has not come back
    ends: bool = False  # it marks the end of what it is sending now
    sweep_at: float | None = None  # when stale routes go if nothing refreshes them
    quiet_at: float | None = None  # when it will have been quiet for long enough
    learned: bool = False  # has sent everything at least once since this process began
    refreshing: bool = False  # it was asked for everything: an End-of-RIB proves nothing now
    pending: set[str] = field(default_factory=set)  # families that it has not sent whole
    begun: set[str] = field(default_factory=set)  # families whose refresh has begun

    def expect(self, families: Iterable[str], sweep_at: float, *, refreshing: bool, ends: bool) -> None:
        """It begins to send everything of these families."""
        self.pending, self.begun = set(families), set()
        self.refreshing, self.ends = refreshing, ends
        self.sweep_at, self.quiet_at = sweep_at, None

    def families(self) -> tuple[str, ...]:
        """Those in use, as far as its OPEN is known: an end of any other never comes."""
        if self.capabilities is None:
            return self.settings.families
        return tuple(family for family in self.settings.families if family in self.capabilities.families)

    def can_refresh(self) -> bool:
        """Whether it can be asked for its routes again, as far as its OPEN is known."""
        return self.settings.route_refresh and (self.capabilities is None or self.capabilities.route_refresh)

    def kept_families(self) -> tuple[str, ...]:
        """Families for which graceful restart was negotiated (RFC 4724 section 3)."""
        found = self.capabilities
        if found is None or found.restart_time is None or self.settings.restart_time == 0:
            return ()
        return tuple(family for family in self.families() if family in found.restart_families)

    def kept_s(self) -> float:
        """How long its routes stay: the time that it asked for, at most ours (RFC 4724 section 4.2)."""
        asked = self.capabilities.restart_time if self.capabilities is not None else None
        return self.settings.restart_time if asked is None else min(asked, self.settings.restart_time)

    def complete(self) -> None:
        """It has sent everything, or had its time to."""
        self.pending.clear()
        self.refreshing, self.learned = False, True
        self.sweep_at = self.quiet_at = None


class BgpSource:
    """The peers of one router. `note` takes events and returns lines for ExaBGP."""

    def __init__(
        self,
        rib: Rib,
        peers: Sequence[BgpPeer],
        exports: Exports,
        sessions: Sessions,
        now: float,
        rules: Mapping[str, PeerRules],
    ) -> None:
        """exports: what the peers are told; rules: what may come of a peer, by peer."""
        self._rib = rib
        self._rules = rules
        self._lines: list[str] = []
        self._exports = exports
        self._sessions = sessions
        self._peers = {
            peer.address: _Peer(
                peer,
                self._add_origin(peer, 0),
                LimitState(rules[peer.address].limits, peer.address),
                sweep_at=now + _learn_s(peer),
            )
            for peer in peers
        }

    def _add_origin(self, peer: BgpPeer, router_id: int) -> int:
        source = Source.IBGP if peer.asn == peer.local_asn else Source.EBGP
        # Counts and notes of a filter are of one origin.
        rules = self._rules[peer.address]
        return self._rib.add_origin(
            source,
            peer_address=peer.address,
            router_id=router_id,
            asn=peer.asn,
            imports=ImportFilter(rules.policy, rules.checks),
            limits=rules.limits.kept,
        )

    def origin_of(self, address: str) -> int | None:
        """The RIB origin of a peer; None for an address that is none."""
        peer = self._peers.get(address)
        return None if peer is None else peer.origin

    def imports_of(self, address: str) -> ImportFilter:
        """The import filter of a peer."""
        found = self._rib.import_filter(self._peers[address].origin)
        assert found is not None, "each peer has one"
        return found

    def limits_of(self, address: str) -> Limits:
        """How many prefixes a peer may send."""
        return self._rules[address].limits

    @property
    def settled(self) -> bool:
        """True when each peer has sent everything since this process began, or had its time to."""
        return all(peer.learned or peer.sweep_at is None for peer in self._peers.values())

    def note(self, events: Iterable[Event], now: float) -> list[str]:
        """Apply events in order; the lines that are to be sent to ExaBGP."""
        lines: list[str] = []
        for event in events:
            self._sessions.note(event, now)
            if isinstance(event, Hello):
                lines += self._hello(event, now)
            elif isinstance(event, FeedError):
                log.error("BGP feed: %s; asking the peers for everything again", event.reason)
                for peer in self._peers.values():
                    lines += self._refresh(peer, now) if peer.up else []
            elif event.peer not in self._peers:
                log.warning("BGP feed: %s is no configured peer", event.peer)
            else:
                lines += self._peer_event(self._peers[event.peer], event, now)
        return lines

    def _peer_event(self, peer: _Peer, event: Event, now: float) -> list[str]:
        if peer.limit.closed_until is not None:
            return self._closed(peer, event)
        if isinstance(event, (Update, Received, EndOfRib, RefreshMark)):
            peer.up = True  # after a gap this may be the first that is heard of the session
        if isinstance(event, Update):
            self._update(peer, event)
            if peer.pending:
                peer.quiet_at = now + QUIET_S
            return self._limit(peer, now)
        if isinstance(event, Received):
            return self._received(peer, event, now)
        if isinstance(event, PeerUp):
            return self._up(peer, event, now)
        if isinstance(event, PeerDown):
            self._down(peer, event.reason, now)
        elif isinstance(event, EndOfRib):
            if not peer.refreshing:
                self._ended(peer, event.family)
        elif isinstance(event, RefreshMark):
            self._mark(peer, event, now)
        elif isinstance(event, NotificationEvent):
            log.info("peer %s: %s", peer.settings.address, notification_text(event))
        elif isinstance(event, MalformedUpdate):
            log.warning("peer %s: UPDATE treated as withdrawal: %s", peer.settings.address, event.reason)
        return []

    def _received(self, peer: _Peer, event: Received, now: float) -> list[str]:
        """What the tap brought. Routes first: an End-of-RIB among them changes nothing about those that follow it."""
        decoded = event.decoded
        for routes in decoded.routes:
            self._rib.apply(
                peer.origin,
                routes.family,
                routes.prefixes,
                routes.lengths,
                routes.sets,
                routes.attributes,
                routes.path_ids,
            )
        if decoded.updates and peer.pending:
            peer.quiet_at = now + QUIET_S
        for number in decoded.ends:
            if not peer.refreshing:
                self._ended(peer, f"ipv{number}")
        bad = {fault: count for fault, count in decoded.faults.items() if withdraws(fault)}
        if bad:
            log.warning("peer %s: UPDATE treated as withdrawal: %s", peer.settings.address, fault_text(bad))
        reset = decoded.reset
        if reset is None:
            return self._limit(peer, now, event.epoch)
        why = fault_text({reset.fault: 1})
        log.error(
            "peer %s: %s: ending the session (NOTIFICATION %d/%d)",
            peer.settings.address,
            why,
            reset.code,
            reset.subcode,
        )
        return [commands.notify(event.epoch, reset.code, reset.subcode, reset.data)]

    def _update(self, peer: _Peer, update: Update) -> None:
        family = FAMILY_NUMBERS[update.family]
        if update.withdrawn_lengths:
            self._rib.withdraw(
                peer.origin,
                family,
                update.withdrawn,
                update.withdrawn_lengths,
                _path_ids(update.withdrawn_path_ids),
            )
        if update.announced_lengths and update.attributes is not None:
            self._rib.announce(
                peer.origin,
                family,
                update.announced,
                update.announced_lengths,
                self._rib.attributes(attributes_of(update.attributes)),
                _path_ids(update.announced_path_ids),
            )

    def _limit(self, peer: _Peer, now: float, epoch: int | None = None) -> list[str]:
        """See whether a peer has sent more than it may. epoch: of its session, when the tap is there."""
        exceeded = peer.limit.reached(*self._rib.size_of(peer.origin))
        if not exceeded:
            return []
        limits = peer.limit.limits
        log.error("peer %s: %s: %s", peer.settings.address, exceeded, limits.action)
        if limits.action != "teardown":
            self._sessions.set_error(peer.settings.address, exceeded, now)
            return []
        self._sessions.set_error(
            peer.settings.address, f"{exceeded}: closed until `bgp refresh`, or as configured", now
        )
        peer.limit.close(now)
        peer.up = False
        self._rib.flush(peer.origin)
        peer.complete()
        if epoch is not None:  # a teardown says no NOTIFICATION when graceful restart was negotiated
            return [commands.notify(epoch, CEASE, CEASE_MAX_PREFIXES, b"")]
        return [commands.teardown(peer.settings.address, CEASE_MAX_PREFIXES)]

    def _closed(self, peer: _Peer, event: Event) -> list[str]:
        """Of a peer that has sent too much nothing counts; ExaBGP connects again by itself."""
        if isinstance(event, PeerUp):
            return [commands.teardown(peer.settings.address, CEASE_MAX_PREFIXES)]
        return []

    def _reopen(self, peer: _Peer, now: float) -> None:
        log.info("peer %s: its session may come up again", peer.settings.address)
        peer.limit.open()
        peer.sweep_at = now + _learn_s(peer.settings)

    def refresh(self, address: str, now: float) -> list[str]:
        """Ask a peer for all its routes again, or let its session come up again; RequestError when it can do neither."""
        peer = self._peers[address]
        if peer.limit.closed_until is not None:
            self._reopen(peer, now)
            return []
        if not peer.up:
            raise RequestError(f"peer {address}: its session is not up")
        if not peer.can_refresh():
            raise RequestError(f"peer {address}: no route refresh (RFC 2918) is negotiated with it")
        return self._refresh(peer, now)

    def take_lines(self) -> list[str]:
        """What `tick` has for ExaBGP."""
        lines, self._lines = self._lines, []
        return lines

    def _hello(self, hello: Hello, now: float) -> list[str]:
        """A helper is there: tell ExaBGP what to announce; after a gap, ask the peers for what was missed."""
        lines: list[str] = []
        states = {state.peer: state for state in hello.peers}
        for address, peer in self._peers.items():
            lines += self._exports.hello(address)
            state = states.get(address)
            if peer.limit.closed_until is not None:
                lines += [commands.teardown(address, CEASE_MAX_PREFIXES)] if state is not None and state.up else []
                continue
            if not hello.gap:
                continue  # all that was ever said follows
            if state is None and hello.feed != "tap":
                # a helper that ExaBGP has started anew knows no peer: who answers is up. The tap tells it all sessions
                lines += self._refresh(peer, now)
            elif state is not None and state.up:
                peer.up = True
                self._identify(peer, state.capabilities)
                # Its session may have come up while nobody was there to say it; one End-of-RIB more does no harm.
                lines += self._end_of_rib(peer)
                lines += self._refresh(peer, now)
            else:
                self._was_lost(peer, now)
        return lines

    def _refresh(self, peer: _Peer, now: float) -> list[str]:
        """Something that the peer sent was missed: everything of it is stale, and asked for."""
        if not peer.can_refresh():
            log.warning("peer %s: can't send its routes again: its session is restarted", peer.settings.address)
            peer.up = False  # the end of this session takes no routes with it
            self._keep_stale(peer, now, _learn_s(peer.settings))
            return [commands.teardown(peer.settings.address)]
        ends = peer.capabilities is not None and peer.capabilities.enhanced_refresh
        self._rib.mark_stale(peer.origin)
        peer.expect(peer.families(), now + _learn_s(peer.settings), refreshing=True, ends=ends)
        return [commands.route_refresh(peer.settings.address, family) for family in peer.families()]

    def _was_lost(self, peer: _Peer, now: float) -> None:
        """A session that was not up any more after a gap."""
        if peer.up:
            self._down(peer, "went down while its messages were lost", now)
        elif not peer.restarting and not peer.learned and peer.sweep_at is not None:
            # Lost while no control process was there, or about to come up: what the segment has of it goes soon.
            peer.sweep_at = min(peer.sweep_at, now + QUIET_S)

    def _up(self, peer: _Peer, event: PeerUp, now: float) -> list[str]:
        log.info("peer %s (AS %d): established", peer.settings.address, peer.settings.asn)
        self._identify(peer, event.capabilities)
        peer.up = True
        found = event.capabilities
        for family in peer.settings.families:
            # RFC 4724 section 4.2: what the peer has not kept forwarding over its restart goes at once
            if peer.restarting and (found is None or family not in found.forwarding_kept):
                self._rib.sweep_stale(peer.origin, FAMILY_NUMBERS[family])
        peer.restarting = False
        ends = found is not None and found.restart_time is not None
        peer.expect(peer.families(), now + _learn_s(peer.settings), refreshing=False, ends=ends)
        return self._end_of_rib(peer)

    @staticmethod
    def _end_of_rib(peer: _Peer) -> list[str]:
        """What a restarting router owes its peers when all is announced again (RFC 4724 section 4.1)."""
        return [commands.end_of_rib(peer.settings.address, family) for family in peer.families()]

    def _identify(self, peer: _Peer, capabilities: Capabilities | None) -> None:
        """What the peer's OPEN says. The router id is part of the decision, so another one is another origin."""
        peer.capabilities = capabilities
        if capabilities is None:
            return
        router_id = int(ip_address(capabilities.router_id)) if capabilities.router_id else 0
        if router_id != peer.router_id:
            self._rib.remove_origin(peer.origin)
            peer.origin = self._add_origin(peer.settings, router_id)
            peer.router_id = router_id

    def _down(self, peer: _Peer, reason: str, now: float) -> None:
        if not peer.up:
            return
        peer.up = False
        log.warning("peer %s (AS %d): session lost: %s", peer.settings.address, peer.settings.asn, reason)
        kept = peer.kept_families() if "notification" not in reason else ()
        for family in FAMILY_NUMBERS:
            if kept and family not in kept:
                self._drop_family(peer, family)
        if kept:
            peer.restarting = True
            self._keep_stale(peer, now, peer.kept_s())
        else:
            self._rib.flush(peer.origin)
            peer.complete()

    def _drop_family(self, peer: _Peer, family: str) -> None:
        number = FAMILY_NUMBERS[family]
        self._rib.mark_stale(peer.origin, number)
        self._rib.sweep_stale(peer.origin, number)

    def _keep_stale(self, peer: _Peer, now: float, seconds: float) -> None:
        self._rib.mark_stale(peer.origin)
        peer.expect((), now + seconds, refreshing=False, ends=True)

    def _mark(self, peer: _Peer, mark: RefreshMark, now: float) -> None:
        """RFC 7313 section 4: what a refresh does not name again between its two marks is gone."""
        if not mark.end:
            self._rib.mark_stale(peer.origin, FAMILY_NUMBERS[mark.family])
            peer.begun.add(mark.family)
            peer.ends = True
            if peer.sweep_at is None:
                peer.sweep_at = now + _learn_s(peer.settings)
        elif mark.family in peer.begun:  # else it is of a refresh that began before a gap, and proves nothing
            peer.begun.discard(mark.family)
            self._ended(peer, mark.family)

    def _ended(self, peer: _Peer, family: str) -> None:
        self._log_swept(peer, self._rib.sweep_stale(peer.origin, FAMILY_NUMBERS[family]), family)
        peer.pending.discard(family)
        if not peer.pending and not peer.begun:
            peer.complete()

    @staticmethod
    def _log_swept(peer: _Peer, swept: int, what: str) -> None:
        if swept:
            log.info("peer %s: %d stale%s routes swept", peer.settings.address, swept, what and f" {what}")

    def feed_lost(self, now: float) -> None:
        """ExaBGP or its helper is gone: what its peers sent stays for a while (RFC 4724 section 4.2)."""
        self._sessions.feed_lost(now)
        self._exports.lost()
        for peer in self._peers.values():
            peer.up = False
            self._keep_stale(peer, now, peer.settings.restart_time)

    def tick(self, now: float) -> bool:
        """Sweep what nobody refreshed in time; see `take_lines` afterwards. True when routes went."""
        swept = 0
        for peer in self._peers.values():
            if peer.limit.closed_until is not None and now >= peer.limit.closed_until:
                self._reopen(peer, now)
            for family in peer.limit.room_again(self._rib.size_of(peer.origin)[0]) if peer.up else []:
                if not peer.can_refresh():
                    self._lines += self._refresh(peer, now)
                    break
                self._lines.append(commands.route_refresh(peer.settings.address, family))
            quiet = peer.quiet_at is not None and now >= peer.quiet_at and not peer.ends
            if quiet or (peer.sweep_at is not None and now >= peer.sweep_at):
                gone = self._rib.sweep_stale(peer.origin)
                self._log_swept(peer, gone, "")
                swept += gone
                peer.complete()
        return swept > 0


def _learn_s(peer: BgpPeer) -> float:
    return max(LEARN_S, peer.restart_time)


def _path_ids(packed: bytes) -> memoryview | None:
    """u32 in native order, as the RIB takes them; None when no route has one (RFC 7911)."""
    if not packed:
        return None
    return memoryview(b"".join(packed[i : i + 4][::-1] for i in range(0, len(packed), 4))).cast("I")
