"""ExaBGP's JSON feed, decoded: bytes in, events out; sans-I/O.

The control process gives what it reads from the helper's socket to Feed.receive, one Feed a connection.
Nothing that comes in raises: what can't be read is counted, what is malformed by the rules of BGP becomes a
withdrawal (RFC 7606), a line beyond LINE_LIMIT becomes a FeedError. Consecutive updates of the same peer,
family and attributes come out as one.

Two habits of ExaBGP 5.0.15: with a next hop of 32 bytes (RFC 2545 section 3: global and link-local) it
lists every prefix twice, once for each; a missing next hop is the string "no-nexthop".
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from dpdkrouter.bgp import attributes as path_attributes
from dpdkrouter.bgp import nlri
from dpdkrouter.bgp.coalesce import Coalescer
from dpdkrouter.bgp.events import (
    Capabilities,
    EndOfRib,
    Event,
    FeedError,
    Hello,
    MalformedUpdate,
    NotificationEvent,
    PeerDown,
    PeerState,
    PeerUp,
    RefreshMark,
)
from dpdkrouter.bgp.opens import capabilities_of

if TYPE_CHECKING:
    from collections.abc import Callable

LINE_LIMIT = 16 << 20
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, OSError)
_REFRESH_MARKS = {"begin": False, "end": True}  # RFC 7313 section 3; "request" asks us, ExaBGP answers


class Feed:
    """The decoder of one connection.

    `counters`: lines, updates, garbage (lines that are no JSON of ExaBGP's), ignored (known, of no use),
    malformed (updates treated as withdrawn), too_long.
    """

    def __init__(self, line_limit: int = LINE_LIMIT) -> None:
        self.counters: Counter[str] = Counter()
        self._limit = line_limit
        self._partial = bytearray()
        self._skipping_line = False
        self._opens: dict[str, Capabilities] = {}
        self._out = Coalescer()

    def receive(self, data: bytes) -> list[Event]:
        """The events of the lines that `data` completes."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            if self._partial:
                line = bytes(self._partial) + line
                self._partial.clear()
            if self._skipping_line:
                self._skipping_line = False
            elif len(line) > self._limit:
                self._too_long()
            elif line:
                self._line(line)
        if not self._skipping_line:
            self._partial += rest
            if len(self._partial) > self._limit:
                self._partial.clear()
                self._skipping_line = True
                self._too_long()
        return self._out.take()

    def _too_long(self) -> None:
        self.counters["too_long"] += 1
        self._out.event(FeedError(f"a line of more than {self._limit} bytes: its routes are lost"))

    def _line(self, line: bytes) -> None:
        self.counters["lines"] += 1
        try:
            message = json.loads(line)
            if message.get("dpdkrouter") == "hello":
                self._hello(message)
                return
            kind = message["type"]
            handler = self._HANDLERS.get(kind)
            if handler is None or "neighbor" not in message:
                self.counters["ignored"] += 1
                return
            neighbor = message["neighbor"]
            peer = neighbor["address"]["peer"]
            if type(peer) is not str:
                raise TypeError("a peer's address is text")
            handler(self, peer, neighbor)
        except _UNREADABLE:
            self.counters["garbage"] += 1

    def _hello(self, message: dict[str, Any]) -> None:
        peers = []
        for peer in message["peers"]:
            capabilities = capabilities_of(peer["open"]) if "open" in peer else None
            up = peer["state"] == "up"
            peers.append(PeerState(str(peer["address"]), up, capabilities, peer.get("session") if up else None))
        hello = Hello(
            epoch=str(message["epoch"]),
            connection=int(message["connection"]),
            gap=bool(message["gap"]),
            dropped=int(message["dropped"]),
            exabgp_pid=int(message["exabgp"]),
            peers=tuple(peers),
            feed=str(message.get("feed", "json")),
        )
        self._opens = {state.peer: state.capabilities for state in peers if state.capabilities is not None}
        self._out.event(hello)

    def _open(self, peer: str, neighbor: dict[str, Any]) -> None:
        if neighbor["direction"] == "receive":
            self._opens[peer] = capabilities_of(neighbor["open"])

    def _state(self, peer: str, neighbor: dict[str, Any]) -> None:
        state = neighbor["state"]
        if state == "up":
            self._out.event(
                PeerUp(
                    peer=peer,
                    local_address=str(neighbor["address"]["local"]),
                    asn=int(neighbor["asn"]["peer"]),
                    local_asn=int(neighbor["asn"]["local"]),
                    capabilities=self._opens.get(peer),
                )
            )
        elif state == "down":
            self._opens.pop(peer, None)
            self._out.event(PeerDown(peer, str(neighbor.get("reason", ""))))
        else:
            self.counters["ignored"] += 1

    def _notification(self, peer: str, neighbor: dict[str, Any]) -> None:
        found = neighbor["notification"]
        self._out.event(
            NotificationEvent(
                peer=peer,
                direction=str(neighbor["direction"]),
                code=int(found["code"]),
                subcode=int(found["subcode"]),
                text=str(found.get("message", "")),
            )
        )

    def _refresh(self, peer: str, neighbor: dict[str, Any]) -> None:
        found = neighbor["route-refresh"]
        subtype = str(found["subtype"])
        family = nlri.FAMILIES.get(f"{found['afi']} {found['safi']}")
        if family is None or subtype not in _REFRESH_MARKS or neighbor["direction"] != "receive":
            self.counters["ignored"] += 1
            return
        self._out.event(RefreshMark(peer, family.name, _REFRESH_MARKS[subtype]))

    def _update(self, peer: str, neighbor: dict[str, Any]) -> None:
        if neighbor["direction"] != "receive":
            self.counters["ignored"] += 1
            return
        message = neighbor["message"]
        if "eor" in message:
            family = nlri.FAMILIES.get(f"{message['eor']['afi']} {message['eor']['safi']}")
            if family is None:
                self.counters["ignored"] += 1
            else:
                self._out.event(EndOfRib(peer, family.name))
            return
        self.counters["updates"] += 1
        update = message["update"]
        withdrawn = _families(update.get("withdraw", {}))
        announced = _families(update.get("announce", {}))
        internal = neighbor["asn"]["local"] == neighbor["asn"]["peer"]
        # All is decoded before any of it is put out: a line that can't be read changes nothing.
        gone = [(family, nlri.pack(family, routes)) for family, routes in withdrawn]
        come = [
            (family, group, nlri.pack(family, group.routes))
            for family, groups in announced
            for group in nlri.next_hop_groups(groups)
        ]
        if update.get("attribute", {}).get("error") == "treat-as-withdraw":
            self.counters["malformed"] += 1
            self._out.event(MalformedUpdate(peer, "attributes are malformed, says ExaBGP"))
        for family, routes in gone:
            self._out.withdraw(peer, family.name, routes)
        for family, group, routes in come:
            self._announce(peer, family, group, routes, update.get("attribute", {}), internal)

    def _announce(
        self,
        peer: str,
        family: nlri.Family,
        group: nlri.NextHopGroup,
        routes: nlri.Packed,
        found: dict[str, Any],
        internal: bool,
    ) -> None:
        try:
            if group.next_hop is None:
                raise path_attributes.MalformedAttributesError(f"next hop {group.text!r} is not usable")
            parsed = path_attributes.parse(found, group.next_hop, group.link_local, internal)
        except path_attributes.MalformedAttributesError as error:
            self.counters["malformed"] += 1
            self._out.event(MalformedUpdate(peer, str(error)))
            self._out.withdraw(peer, family.name, routes)
            return
        self._out.announce(peer, family.name, parsed, routes)

    _HANDLERS: ClassVar[dict[str, Callable[[Feed, str, dict[str, Any]], None]]] = {
        "open": _open,
        "state": _state,
        "update": _update,
        "notification": _notification,
        "refresh": _refresh,
    }


def _families(found: dict[str, Any]) -> list[tuple[nlri.Family, Any]]:
    return [(nlri.FAMILIES[name], routes) for name, routes in found.items() if name in nlri.FAMILIES]
