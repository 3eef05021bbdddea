"""What the API answers: one method each, from the control process's own state. Parsing and sockets are server.py's.

A show method is a generator of plain dicts; addresses and prefixes are text.
"""

from __future__ import annotations

import ipaddress
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dpdkrouter.api.protocol import accepts
from dpdkrouter.errors import NotFoundError, RequestError
from dpdkrouter.rib.enums import Source, Step
from dpdkrouter.sources import static

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from dpdkrouter.app import Control
    from dpdkrouter.rib.attributes import Attributes, NextHop
    from dpdkrouter.rib.views import Path

Params = dict[str, Any]
CHUNK = 512
_SOURCES = {name.lower(): source for name, source in Source.__members__.items()}
_SOURCE_NAMES = {source: name for name, source in _SOURCES.items()}
_STEP_NAMES = {step: name.lower().replace("_", " ") for name, step in Step.__members__.items()}


def prefix_text(packed: bytes, length: int) -> str:
    """A prefix in network order as text."""
    return str(ipaddress.ip_network((packed, length)))


def as_path_text(attributes: Attributes) -> str:
    """An AS path as operators write it; sets in braces."""
    words = []
    for segment in attributes.as_path:
        text = " ".join(map(str, segment.asns))
        words.append(text if segment.kind.name == "SEQUENCE" else "{" + text + "}")
    return " ".join(words)


class Methods:
    """Reads and, by route.add and route.del, changes one control process."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def table(self) -> dict[str, Callable[[Params], Any]]:
        """The methods by name."""
        return {
            "status": self.status,
            "route.add": self.route_add,
            "route.del": self.route_del,
            "route.show": self.route_show,
            "route.summary": self.route_summary,
            "route.audit": self.route_audit,
            "neighbor.show": self.neighbor_show,
            "bgp.summary": self.bgp_summary,
            "bgp.routes": self.bgp_routes,
            "bgp.announced": self.bgp_announced,
            "bgp.withdraw": self.bgp_withdraw,
        }

    # ---- state

    def status(self, _: Params) -> dict[str, Any]:
        """The control process itself."""
        control = self._control
        counts = control.rib.counts()
        return {
            "uptime_s": round(time.monotonic() - control.started, 1),
            "prefixes": {"ipv4": counts.prefixes[0], "ipv6": counts.prefixes[1]},
            "attribute_sets": counts.attribute_sets,
            "rib_bytes": counts.memory_bytes,
            "refused": dict(control.programmer.refused),
            "exabgp_connected": control.feed.connected,
            "descriptions": {port.name: port.description for port in control.config.ports},
        }

    def route_summary(self, _: Params) -> list[dict[str, Any]]:
        """Paths and best paths by source and family."""
        rows = []
        for counts in self._control.rib.counts().sources:
            for i, family in enumerate(("ipv4", "ipv6")):
                if counts.paths[i]:
                    rows.append(
                        {
                            "source": _SOURCE_NAMES[counts.source],
                            "family": family,
                            "paths": counts.paths[i],
                            "best": counts.best[i],
                        }
                    )
        return rows

    def audit_summary(self, _: Params) -> dict[str, Any] | None:
        """What the last audit in the background found; None: none has ended yet."""
        audited = self._control.audited
        if audited is None:
            return None
        return {"differences": audited.differences, "age_s": max(0.0, time.monotonic() - audited.ended)}

    @accepts("repair")
    def route_audit(self, params: Params) -> Iterator[str | None]:
        """Compare RIB and segment completely; items: the first differences in words; result: the counts."""
        repair = params.get("repair", False)
        if not isinstance(repair, bool):
            raise RequestError(f"repair: found {repair!r}: must be true or false")
        return self._audit(repair)

    def _audit(self, repair: bool) -> Generator[str | None, None, dict[str, Any]]:
        audit = self._control.audit(repair=repair)
        named = 0
        for _ in audit.steps():
            yield from audit.first[named:]
            named = len(audit.first)
            yield None
        yield from audit.first[named:]
        result = asdict(audit.result())
        return {key: value for key, value in result.items() if key not in ("first", "ended")}

    def neighbor_show(self, _: Params) -> Iterator[dict[str, Any]]:
        """Neighbours with a MAC, as the adjacencies have them."""
        config = self._control.config
        fixed = {(one.port, one.address) for one in config.neighbors}
        for (port, address), mac in sorted(self._control.host.neighbours.items(), key=lambda item: str(item[0])):
            name = config.ports[port].name
            yield {
                "port": name,
                "address": str(address),
                "mac": mac.hex(":"),
                "state": "resolved",
                "source": "static" if (name, address) in fixed else "kernel",
            }

    # ---- routes

    def route_add(self, params: Params) -> dict[str, Any]:
        """Add or replace a route of source CLI."""
        prefix, attributes = static.parse_request(
            params.get("prefix"), params.get("via", []), params.get("type", "unicast")
        )
        control = self._control
        own = {str(address.ip) for port in control.config.ports for address in port.addresses}
        for hop in attributes.next_hops:
            if hop.address in own:
                raise RequestError(f"next hop {hop.address}: must not be the router's own address")
        control.set_cli_routes({**control.cli.routes, prefix: attributes})
        best = control.rib.paths(prefix.version, prefix.network_address.packed, prefix.prefixlen)
        mine = next(path for path in best if path.source == Source.CLI)
        return {
            "prefix": str(prefix),
            "best": mine.best,
            "reachable": mine.reachable,
            "reason": _reason(mine),
        }

    def route_del(self, params: Params) -> dict[str, Any]:
        """Remove a route of source CLI."""
        prefix = static.parse_prefix(params.get("prefix"))
        routes = dict(self._control.cli.routes)
        if routes.pop(prefix, None) is None:
            raise NotFoundError(f"{prefix}: no such route of source cli; `route show --source cli` lists them")
        self._control.set_cli_routes(routes)
        return {"prefix": str(prefix)}

    def route_show(self, params: Params) -> Iterator[dict[str, Any] | None]:
        """Routes of the RIB; best paths only, unless `all`."""
        wanted = params.get("source")
        if wanted is not None and wanted not in _SOURCES:
            raise RequestError(f"source {wanted!r}: must be one of {', '.join(_SOURCES)}")
        for family, packed, length in self._prefixes(params):
            yield None  # a filter may let nothing through for long: the server goes on routing in between
            for path in self._control.rib.paths(family, packed, length):
                shown = path.best or path.multipath or params.get("all")
                if shown and wanted in (None, _SOURCE_NAMES[path.source]):
                    yield self._route(packed, length, path)

    def _route(self, packed: bytes, length: int, path: Path) -> dict[str, Any]:
        return {
            "prefix": prefix_text(packed, length),
            "source": _SOURCE_NAMES[path.source],
            "peer": path.peer_address,
            "best": path.best,
            "stale": path.stale,
            "kind": path.attributes.kind.name.lower(),
            "next_hops": [self._hop(hop) for hop in path.attributes.next_hops],
            "reason": _reason(path),
        }

    def _hop(self, hop: NextHop) -> dict[str, Any]:
        port = None if hop.port is None else self._control.config.ports[hop.port].name
        return {"address": hop.address, "port": port, "weight": hop.weight}

    def _prefixes(self, params: Params) -> Iterator[tuple[int, bytes, int]]:
        """(family, prefix, length) of what `prefix` or `family` selects, each prefix once, in chunks."""
        if params.get("prefix") is not None:
            network = static.parse_prefix(params["prefix"])
            yield network.version, network.network_address.packed, network.prefixlen
            return
        family = params.get("family")
        if family not in (None, "ipv4", "ipv6"):
            raise RequestError(f"family {family!r}: must be ipv4 or ipv6")
        for number, size in ((4, 4), (6, 16)):
            if family in (None, f"ipv{number}"):
                after: int | None = None
                while True:
                    chunk = self._control.rib.walk(number, best_only=not params.get("all"), after=after, limit=CHUNK)
                    last = b""
                    for i in range(len(chunk)):
                        one = chunk.prefixes[i * size : (i + 1) * size] + chunk.lengths[i : i + 1]
                        if one != last:
                            yield number, one[:size], one[size]
                        last = one
                    after = chunk.after
                    if after is None:
                        break

    # ---- BGP

    def bgp_summary(self, _: Params) -> dict[str, Any]:
        """The sessions."""
        now = time.monotonic()
        received = {
            counts.peer_address: {"ipv4": counts.paths[0], "ipv6": counts.paths[1]}
            for counts in self._control.rib.counts().origins
            if counts.peer_address is not None
        }
        views = self._control.sessions.view(received)
        router = self._control.config.router
        return {
            "router_id": str(router.id) if router.id else None,
            "asn": router.asn,
            "feed": self._control.sessions.feed or "absent",
            "peers": [
                {
                    "address": v.peer,
                    "asn": v.asn,
                    "description": v.description,
                    "state": v.state,
                    "since_s": round(now - v.since, 1),
                    "prefixes": dict(v.prefixes),
                    "updates": v.updates,
                    "last_error": v.last_error,
                    "flaps": v.flaps,
                    "pending": list(v.pending),
                }
                for v in views
            ],
        }

    def bgp_routes(self, params: Params) -> Iterator[dict[str, Any]]:
        """Paths received from peers, all of them, each with what the decision said."""
        peer = params.get("peer")
        if peer is not None and self._control.bgp.origin_of(str(peer)) is None:
            raise NotFoundError(f"peer {peer!r}: no such neighbor in the configuration")
        for family, packed, length in self._prefixes({**params, "all": True}):
            for path in self._control.rib.paths(family, packed, length):
                if path.peer_address is not None and peer in (None, path.peer_address):
                    yield self._bgp_route(packed, length, path)

    def _bgp_route(self, packed: bytes, length: int, path: Path) -> dict[str, Any]:
        attributes = path.attributes
        return {
            "prefix": prefix_text(packed, length),
            "peer": path.peer_address,
            "best": path.best,
            "stale": path.stale,
            "as_path": as_path_text(attributes),
            "origin": attributes.origin.name.lower(),
            "next_hop": attributes.next_hops[0].address,
            "local_pref": attributes.local_pref,
            "med": attributes.med,
            "communities": [f"{value >> 16}:{value & 0xFFFF}" for value in attributes.communities],
            "reason": _reason(path),
        }

    def bgp_announced(self, _: Params) -> Iterator[dict[str, Any]]:
        """What is announced, and to whom."""
        for prefix, peer in self._control.bgp.announced_to():
            yield {"prefix": prefix, "peer": peer}

    def bgp_withdraw(self, _: Params) -> dict[str, Any]:
        """Withdraw what is announced, for good: the router is about to end."""
        self._control.feed.send(self._control.bgp.withdraw())
        return {"peers": list(self._control.sessions.up_peers())}


def _reason(path: Path) -> str:
    """The decision step that a path lost at, or `best`."""
    return _STEP_NAMES[path.step]
