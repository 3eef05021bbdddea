"""The API's methods about BGP: sessions, what came and went over them, and why. See methods.py."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from dpdkrouter.api.common import (
    SOURCE_NAMES,
    Params,
    as_path_text,
    communities_text,
    prefix_text,
    reason_text,
    walk,
    why_text,
)
from dpdkrouter.config import rules
from dpdkrouter.errors import NotFoundError, RequestError
from dpdkrouter.sources import static

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dpdkrouter.app import Control
    from dpdkrouter.bgp.session import SessionView
    from dpdkrouter.rib.views import Path
    from dpdkrouter.sources.batch import Network


def loading_of(view: SessionView, now: float) -> dict[str, Any] | None:
    """How far a peer's table load is; None: it has sent everything, or need not say when it has."""
    if not view.pending or view.load_began is None:
        return None
    routes, seconds = sum(view.prefixes.values()), max(now - view.load_began, 0.001)
    return {"routes": routes, "seconds": round(seconds, 1), "rate": round(routes / seconds)}


class BgpMethods:
    """Methods of one control process."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def table(self) -> dict[str, Callable[[Params], Any]]:
        """The methods by name."""
        return {
            "bgp.summary": self.bgp_summary,
            "bgp.neighbor": self.bgp_neighbor,
            "bgp.routes": self.bgp_routes,
            "bgp.best": self.bgp_best,
            "bgp.log": self.bgp_log,
            "bgp.refresh": self.bgp_refresh,
            "bgp.announced": self.bgp_announced,
            "bgp.announce": self.bgp_announce,
            "bgp.withdraw": self.bgp_withdraw,
        }

    def bgp_summary(self, _: Params) -> dict[str, Any]:
        """The sessions."""
        now = time.monotonic()
        received = {
            counts.peer_address: {"ipv4": counts.paths[0], "ipv6": counts.paths[1]}
            for counts in self._control.rib.counts().origins
            if counts.peer_address is not None
        }
        rejected = {
            counts.peer_address: by_family(counts.rejected)
            for counts in self._control.rib.counts().origins
            if counts.peer_address is not None
        }
        announced = Counter(peer for _, peer, _ in self._control.exports.announced())
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
                    "rejected": {family: rejected[v.peer][family] for family in v.prefixes},
                    "announced": announced[v.peer],
                    "updates": v.updates,
                    "treated_as_withdraw": v.malformed,
                    "last_error": v.last_error,
                    "flaps": v.flaps,
                    "pending": list(v.pending),
                    "load_s": v.load_s,
                    "loading": loading_of(v, now),
                }
                for v in views
            ],
        }

    def bgp_routes(self, params: Params) -> Iterator[dict[str, Any] | None]:
        """Paths received from peers, each with what the decision said; `which`: received (all), best, rejected."""
        peer, which = params.get("peer"), params.get("which", "received")
        if which not in ("received", "best", "rejected"):
            raise RequestError(f"which {which!r}: must be received, best or rejected")
        if peer is not None:
            self._peer(peer)
        for family, packed, length in walk(self._control.rib, {**params, "all": True}):
            yield None
            for path in self._control.rib.paths(family, packed, length):
                asked = {"received": True, "best": path.best, "rejected": path.rejected}[which]
                if asked and path.peer_address is not None and peer in (None, path.peer_address):
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
            "next_hop": attributes.next_hops[0].address if attributes.next_hops else attributes.kind.name.lower(),
            "local_pref": attributes.local_pref,
            "med": attributes.med,
            "communities": communities_text(attributes),
            "rejected": path.rejected,
            "policy": path.verdict,
            "reason": reason_text(path),
        }

    def bgp_best(self, params: Params) -> Iterator[dict[str, Any]]:
        """All paths of one prefix, the best first, each with the step at which the decision dropped it."""
        if params.get("prefix") is None:
            raise RequestError("bgp.best: a prefix must be given")
        for family, packed, length in walk(self._control.rib, {"prefix": params["prefix"]}):
            for path in self._control.rib.paths(family, packed, length):
                yield {
                    **self._bgp_route(packed, length, path),
                    "source": SOURCE_NAMES[path.source],
                    "multipath": path.multipath,
                    "metric": path.metric if path.reachable else None,
                    "path_id": path.path_id,
                    "why": why_text(path),
                }

    def bgp_announced(self, _: Params) -> Iterator[dict[str, Any]]:
        """What is announced, and to whom."""
        for prefix, peer, attributes in self._control.exports.announced():
            yield {"prefix": str(prefix), "peer": peer, "attributes": attributes}

    def bgp_announce(self, params: Params) -> dict[str, Any]:
        """Announce a prefix until it is withdrawn; export policies say to whom."""
        prefix = static.parse_prefix(params.get("prefix"))
        try:
            rules.routed(prefix)
        except rules.RefusedError as error:
            raise RequestError(f"prefix {prefix}: {error}") from None
        self._control.announce(prefix, wanted=True)
        return {"prefix": str(prefix), **self._told(prefix)}

    def _told(self, prefix: Network) -> dict[str, list[str]]:
        """The peers that have it, and those that get it when their session is up."""
        wanted = self._control.exports.peers_of(prefix)
        up = self._control.sessions.up_peers()
        return {"peers": [peer for peer in wanted if peer in up], "later": [peer for peer in wanted if peer not in up]}

    def bgp_log(self, params: Params) -> Iterator[dict[str, Any]]:
        """The last events of the sessions, the oldest first."""
        peer = None if params.get("peer") is None else self._peer(params["peer"])
        now = time.monotonic()
        for entry in self._control.sessions.log.entries(peer):
            yield {"age_s": round(now - entry.at, 1), "peer": entry.peer, "event": entry.text}

    def bgp_refresh(self, params: Params) -> dict[str, Any]:
        """Ask a peer for its routes again (RFC 2918); lets a session come up again that was closed for its prefixes."""
        peer = self._peer(params.get("peer"))
        self._control.feed.send(self._control.bgp.refresh(peer, time.monotonic()))
        return {"peer": peer}

    def bgp_withdraw(self, params: Params) -> dict[str, Any]:
        """Withdraw what `bgp.announce` announced; without a prefix all, for good: the router is about to end."""
        if params.get("prefix") is None:
            self._control.feed.send(self._control.exports.stop())
            return {"peers": list(self._control.sessions.up_peers())}
        prefix = static.parse_prefix(params["prefix"])
        if prefix not in self._control.originated.asked:
            raise NotFoundError(f"{prefix}: `bgp announce` did not announce it; `bgp announced` lists what is")
        self._control.announce(prefix, wanted=False)
        return {"prefix": str(prefix), **self._told(prefix)}

    def bgp_neighbor(self, params: Params) -> dict[str, Any]:
        """One session: its line of the summary, and what its policy and the checks before it let through."""
        address = self._peer(params.get("peer"))
        row = next(row for row in self.bgp_summary({})["peers"] if row["address"] == address)
        agreed = next(view.agreed for view in self._control.sessions.view({}) if view.peer == address)
        imports = self._control.bgp.imports_of(address)
        origin = self._control.bgp.origin_of(address)
        counts = next(one for one in self._control.rib.counts().origins if one.origin_id == origin)
        exported = self._control.exports.policy(address)
        checks = imports.checks
        limits = self._control.bgp.limits_of(address)
        return {
            **row,
            "agreed": None if agreed is None else asdict(agreed),
            "import": {
                "policy": imports.policy.name if imports.policy is not None else None,
                "first_as": checks.first_as or None,
                "bogons": bool(checks.bogons),
                "own_prefixes": [str(prefix) for prefix in checks.own],
                "max_length": {"ipv4": checks.longest[0], "ipv6": checks.longest[1]},
                "blackhole": checks.blackhole,
                "blackhole_min_length": {"ipv4": checks.blackhole_least[0], "ipv6": checks.blackhole_least[1]},
                "max_prefixes": by_family(limits.most),
                "max_prefixes_action": limits.action,
            },
            "export": {
                "policy": exported.name if exported is not None else None,
                "prefixes": sum(peer == address for _, peer, _ in self._control.exports.announced()),
            },
            "over_limit": by_family(self._control.rib.size_of(counts.origin_id)[1]),
            "stale": by_family(counts.stale),
            "looped": by_family(counts.looped),
            "verdicts": {text: by_family(pair) for text, pair in imports.counts().items()},
        }

    def _peer(self, peer: object) -> str:
        """The address of a configured peer."""
        if not isinstance(peer, str) or self._control.bgp.origin_of(peer) is None:
            raise NotFoundError(f"peer {peer!r}: no such neighbor in the configuration")
        return peer


T = TypeVar("T")


def by_family(pair: tuple[T, T]) -> dict[str, T]:
    """Counts of the RIB by the families' names."""
    return {"ipv4": pair[0], "ipv6": pair[1]}
