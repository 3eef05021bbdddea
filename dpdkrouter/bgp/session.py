"""The table of peer sessions that `bgp summary` shows: fed with events, sans-I/O, time as an argument.

One Sessions object belongs to the control process's event loop. Prefix counts come from the RIB: a count of
announcements and withdrawals would be wrong after the first replaced route. `note` takes every event of the
feed in order; `feed_lost` is for the moment when the helper's connection ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dpdkrouter.bgp.decoded import withdraws
from dpdkrouter.bgp.events import (
    Capabilities,
    EndOfRib,
    Event,
    Hello,
    MalformedUpdate,
    NotificationEvent,
    PeerDown,
    PeerUp,
    Received,
    Update,
)
from dpdkrouter.bgp.sessionlog import SessionLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dpdkrouter.bgp.configuration import BgpPeer
    from dpdkrouter.bgp.faults import Fault


@dataclass(frozen=True, slots=True)
class Agreed:
    """What both OPENs of a session come to (RFC 4271 section 4.2, RFC 5492).

    hold_time: seconds, 0: no keepalives. add_path: families in which the peer may send several paths a prefix
    (RFC 7911). route_refresh: "no", "plain" (RFC 2918) or "enhanced" (RFC 7313). restart_time: the peer's, in
    seconds, None: no graceful restart (RFC 4724).
    """

    router_id: str
    families: tuple[str, ...]
    hold_time: int
    add_path: tuple[str, ...]
    route_refresh: str
    restart_time: int | None


@dataclass(frozen=True, slots=True)
class SessionView:
    """One line of `bgp summary`.

    state: "up", "down", or "unknown" while nothing is heard from ExaBGP. since: when the state began, in
    the caller's clock. prefixes: received, by family. updates: UPDATE messages since the session came up.
    pending: families whose End-of-RIB hasn't come (only with a peer that does graceful restart; others need
    not send one). last_error: why it went down last, or the last NOTIFICATION. flaps: how often an
    Established session was lost. load_began: when the session's first UPDATE came; load_s: from then to the
    End-of-RIB of its last family, None before. agreed: None unless the session is up.
    """

    peer: str
    asn: int
    description: str
    state: str
    since: float
    families: tuple[str, ...]
    prefixes: Mapping[str, int]
    updates: int
    malformed: int
    last_error: str
    flaps: int
    pending: tuple[str, ...]
    load_began: float | None
    load_s: float | None
    agreed: Agreed | None


@dataclass(slots=True)
class _Session:
    peer: BgpPeer
    since: float
    state: str = "unknown"
    capabilities: Capabilities | None = None
    updates: int = 0
    malformed: int = 0
    last_error: str = ""
    flaps: int = 0
    ended: set[str] = field(default_factory=set)
    load_began: float | None = None
    load_s: float | None = None

    def note_load(self, now: float) -> None:
        """An UPDATE or an End-of-RIB has come."""
        if self.load_began is None:
            self.load_began = now
        if self.load_s is None and self.ended.issuperset(self.families()):
            self.load_s = now - self.load_began

    def families(self) -> tuple[str, ...]:
        """Those in use: what both sides speak."""
        if self.capabilities is None:
            return self.peer.families
        return tuple(family for family in self.peer.families if family in self.capabilities.families)

    def agreed(self) -> Agreed | None:
        """What the session has; None while it is not up, or the peer's OPEN is not known."""
        found = self.capabilities
        if self.state != "up" or found is None:
            return None
        families = self.families()
        add_path = tuple(family for family in families if family in found.add_path_sent)
        refresh = "enhanced" if found.enhanced_refresh else "plain" if found.route_refresh else "no"
        return Agreed(
            router_id=found.router_id,
            families=families,
            hold_time=min(self.peer.hold_time, found.hold_time),
            add_path=add_path if self.peer.add_path_receive else (),
            route_refresh=refresh if self.peer.route_refresh else "no",
            restart_time=found.restart_time if self.peer.restart_time else None,
        )

    def pending(self) -> tuple[str, ...]:
        """Families that still wait for their End-of-RIB."""
        if self.state != "up" or self.capabilities is None or self.capabilities.restart_time is None:
            return ()
        return tuple(family for family in self.families() if family not in self.ended)


class Sessions:
    """The configured peers and the state of each."""

    def __init__(self, peers: Iterable[BgpPeer], now: float) -> None:
        self._sessions = {peer.address: _Session(peer, since=now) for peer in peers}
        self.feed = ""  # "tap" or "json" while a helper is there
        self.log = SessionLog()

    def note(self, event: Event, now: float) -> None:
        """Take one event; one of a peer that isn't configured is ignored."""
        if isinstance(event, Hello):
            self._hello(event, now)
            return
        session = self._sessions.get(getattr(event, "peer", ""))
        if session is None:
            return
        match event:
            case PeerUp():
                self._set_state(session, "up", now)
                session.capabilities = event.capabilities
                session.updates = session.malformed = 0
                session.load_began = session.load_s = None
                session.ended.clear()
            case PeerDown():
                self._down(session, event.reason, now)
            case Update():
                # after a helper's respawn no `up` is said of a session that has lived on
                self._set_state(session, "up", now)
                session.updates += event.messages
                session.note_load(now)
            case Received():
                self._received(session, event, now)
            case MalformedUpdate():
                session.malformed += 1
                session.last_error = f"malformed UPDATE: {event.reason}"
            case EndOfRib():
                session.ended.add(event.family)
                session.note_load(now)
            case NotificationEvent():
                session.last_error = notification_text(event)
                self.log.add(now, session.peer.address, session.last_error)
            case _:
                pass

    def set_error(self, peer: str, text: str, now: float) -> None:
        """Show this as a peer's last error."""
        self._sessions[peer].last_error = text
        self.log.add(now, peer, text)

    def feed_lost(self, now: float) -> None:
        """ExaBGP or its helper is gone: nothing is known of any session until the next hello."""
        self.feed = ""
        for session in self._sessions.values():
            if session.state == "up":
                session.flaps += 1
                session.last_error = "ExaBGP's feed was lost"
            self._set_state(session, "unknown", now)

    def up_peers(self) -> tuple[str, ...]:
        """The peers whose sessions are Established."""
        return tuple(address for address, session in self._sessions.items() if session.state == "up")

    def all_ended(self, peer: str) -> bool:
        """True when a peer that is up owes no End-of-RIB."""
        session = self._sessions[peer]
        return session.state == "up" and not session.pending()

    def view(self, prefixes: Mapping[str, Mapping[str, int]]) -> list[SessionView]:
        """All sessions in the order of the configuration; `prefixes` maps peer and family to the RIB's
        count.
        """
        return [
            SessionView(
                peer=address,
                asn=session.peer.asn,
                description=session.peer.description,
                state=session.state,
                since=session.since,
                families=session.families(),
                prefixes={family: prefixes.get(address, {}).get(family, 0) for family in session.families()},
                updates=session.updates,
                malformed=session.malformed,
                last_error=session.last_error,
                flaps=session.flaps,
                pending=session.pending(),
                load_began=session.load_began,
                load_s=session.load_s,
                agreed=session.agreed(),
            )
            for address, session in self._sessions.items()
        ]

    def _received(self, session: _Session, event: Received, now: float) -> None:
        decoded = event.decoded
        self._set_state(session, "up", now)
        session.updates += decoded.updates
        session.ended.update(f"ipv{family}" for family in decoded.ends)
        session.note_load(now)
        bad = {fault: count for fault, count in decoded.faults.items() if withdraws(fault)}
        session.malformed += sum(bad.values())
        if bad:
            session.last_error = f"malformed UPDATE: {fault_text(bad)}"

    def _hello(self, hello: Hello, now: float) -> None:
        self.feed = hello.feed
        states = {state.peer: state for state in hello.peers}
        for address, session in self._sessions.items():
            state = states.get(address)
            if state is not None and state.up:
                self._set_state(session, "up", now)
                session.capabilities = state.capabilities
                # What came before the gap is forgotten: a refresh need not end with an End-of-RIB.
                session.ended = set(session.families())
            elif session.state == "up":
                self._down(session, "went down while its messages were lost", now)
            else:
                self._set_state(session, "down", now)

    def _down(self, session: _Session, reason: str, now: float) -> None:
        if session.state == "up":
            session.flaps += 1
            session.ended.clear()
        # ExaBGP repeats an attempt every few seconds; only what ended a session, or the first reason, is
        # news.
        if session.state != "down" and not (reason.startswith("notification") and session.last_error):
            session.last_error = reason
        self._set_state(session, "down", now)

    def _set_state(self, session: _Session, state: str, now: float) -> None:
        if session.state == state:
            return
        if state == "up":
            self.log.add(now, session.peer.address, "established")
        elif session.state == "up":
            self.log.add(now, session.peer.address, f"lost: {session.last_error}")
        session.state = state
        session.since = now


_CODES = {
    1: "message header error",
    2: "OPEN error",
    3: "UPDATE error",
    4: "hold timer expired",
    5: "state machine error",
    6: "cease",
    7: "route refresh error",
}
_CEASE = {  # RFC 4486, 8538, 9384
    1: "maximum number of prefixes",
    2: "administrative shutdown",
    3: "peer de-configured",
    4: "administrative reset",
    5: "connection rejected",
    6: "other configuration change",
    7: "connection collision",
    8: "out of resources",
    9: "hard reset",
    10: "BFD down",
}


def fault_text(faults: Mapping[Fault, int]) -> str:
    """Faults of UPDATEs in words, for example `origin, next hop (3 times)`."""
    return ", ".join(
        str(fault.name).lower().replace("_", " ") + (f" ({count} times)" if count > 1 else "")
        for fault, count in faults.items()
    )


def notification_text(event: NotificationEvent) -> str:
    """A NOTIFICATION in words, for example `received cease / administrative shutdown: "Shutdown
    Communication: ..."`.
    """
    verb = "received" if event.direction == "receive" else "sent"
    code = _CODES.get(event.code, f"code {event.code}")
    if event.code == 6:
        code += f" / {_CEASE.get(event.subcode, f'subcode {event.subcode}')}"
    elif event.subcode:
        code += f" / subcode {event.subcode}"
    shown = "".join(char if char.isprintable() else " " for char in event.text).strip()
    return f"{verb} {code}: {shown}" if shown else f"{verb} {code}"
