"""What the API answers: one method each, from the control process's own state. Parsing and sockets are server.py's.

A show method is a generator of plain dicts; addresses and prefixes are text.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dpdkrouter.api.bgp import BgpMethods
from dpdkrouter.api.common import SOURCE_NAMES, Params, prefix_text, reason_text, walk
from dpdkrouter.api.protocol import accepts
from dpdkrouter.errors import NotFoundError, RequestError
from dpdkrouter.rib.enums import Source
from dpdkrouter.sources import static

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from dpdkrouter.rib.attributes import NextHop
    from dpdkrouter.rib.views import Path
    from dpdkrouter.timings import Timings

_SOURCES = {name: source for source, name in SOURCE_NAMES.items()}


class Methods(BgpMethods):
    """Reads and, by route.add, route.del and some of bgp's, changes one control process."""

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
            **super().table(),
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
            "repairs": dict(zip(("losses", "groups", "longest_s"), control.repairs.counts(), strict=True)),
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
                            "source": SOURCE_NAMES[counts.source],
                            "family": family,
                            "paths": counts.paths[i],
                            "best": counts.best[i],
                        }
                    )
        return rows

    def refused(self) -> dict[str, int]:
        """Routes that found no room, by reason."""
        return dict(self._control.programmer.refused)

    def timings(self) -> tuple[Timings, tuple[int, int, float]]:
        """How long changes took, and what was repaired."""
        return self._control.timings, self._control.repairs.counts()

    def neighbour_counts(self) -> dict[str, tuple[int, int]]:
        """By port: neighbours with a MAC, and claims of others to our addresses."""
        return self._control.host.neighbour_counts()

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
            "reason": reason_text(mine),
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
        for family, packed, length in walk(self._control.rib, params):
            yield None  # a filter may let nothing through for long: the server goes on routing in between
            for path in self._control.rib.paths(family, packed, length):
                shown = path.best or path.multipath or params.get("all")
                if shown and wanted in (None, SOURCE_NAMES[path.source]):
                    yield self._route(packed, length, path)

    def _route(self, packed: bytes, length: int, path: Path) -> dict[str, Any]:
        return {
            "prefix": prefix_text(packed, length),
            "source": SOURCE_NAMES[path.source],
            "peer": path.peer_address,
            "best": path.best,
            "stale": path.stale,
            "kind": path.attributes.kind.name.lower(),
            "next_hops": [self._hop(hop) for hop in path.attributes.next_hops],
            "reason": reason_text(path),
        }

    def _hop(self, hop: NextHop) -> dict[str, Any]:
        port = None if hop.port is None else self._control.config.ports[hop.port].name
        return {"address": hop.address, "port": port, "weight": hop.weight}
