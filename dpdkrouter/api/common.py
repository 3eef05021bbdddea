"""What the API's methods share: values of the RIB as text, and the walk over its prefixes."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from dpdkrouter.errors import RequestError
from dpdkrouter.rib.enums import Source, Step
from dpdkrouter.sources import static

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpdkrouter.rib.attributes import Attributes
    from dpdkrouter.rib.table import Rib
    from dpdkrouter.rib.views import Path

Params = dict[str, Any]
CHUNK = 512
WHY = {
    Step.PENDING: "not decided yet",
    Step.BEST: "best: no other path is preferred",
    Step.POLICY: "refused (RFC 4271 9.1.1)",
    Step.AS_LOOP: "our own AS is in the AS path (RFC 4271 9.1.2)",
    Step.ORIGINATOR_LOOP: "its ORIGINATOR_ID is our router id (RFC 4456 8)",
    Step.CLUSTER_LOOP: "its CLUSTER_LIST holds our cluster id (RFC 4456 8)",
    Step.NEXT_HOP: "its next hop is not reachable (RFC 4271 9.1.2)",
    Step.SOURCE: "another source is preferred",
    Step.LOCAL_PREF: "another path has a higher local preference (RFC 4271 9.1.1)",
    Step.AS_PATH: "another path has a shorter AS path (RFC 4271 9.1.2.2 a)",
    Step.ORIGIN: "another path has a lower ORIGIN (RFC 4271 9.1.2.2 b)",
    Step.MED: "another path has a lower MED (RFC 4271 9.1.2.2 c)",
    Step.EBGP_OVER_IBGP: "another path came by eBGP, this one by iBGP (RFC 4271 9.1.2.2 d)",
    Step.METRIC: "another path has a nearer next hop (RFC 4271 9.1.2.2 e)",
    Step.ROUTER_ID: "another path's router has a lower identifier (RFC 4271 9.1.2.2 f)",
    Step.CLUSTER_LIST: "another path has a shorter CLUSTER_LIST (RFC 4456 9)",
    Step.PEER_ADDRESS: "another path's peer has a lower address (RFC 4271 9.1.2.2 g)",
    Step.PATH_ID: "another path of this peer has a lower path id (RFC 7911)",
}
SOURCE_NAMES = {source: name.lower() for name, source in Source.__members__.items()}
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


def communities_text(attributes: Attributes) -> list[str]:
    """Standard communities (RFC 1997), then large ones (RFC 8092)."""
    standard = [f"{value >> 16}:{value & 0xFFFF}" for value in attributes.communities]
    return standard + [":".join(map(str, value)) for value in attributes.large_communities]


def reason_text(path: Path) -> str:
    """The decision step that a path lost at, or `best`."""
    return _STEP_NAMES[path.step]


def why_text(path: Path) -> str:
    """The step in words: what the decision did, not what could be worked out from the attributes shown."""
    if path.rejected:
        return f"{WHY[path.step]}: {path.verdict}"
    if path.multipath and not path.best:
        return f"shares the prefix with the best path; alone, it lost as {WHY[path.step]}"
    return WHY[path.step]


def walk(rib: Rib, params: Params) -> Iterator[tuple[int, bytes, int]]:
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
                chunk = rib.walk(number, best_only=not params.get("all"), after=after, limit=CHUNK)
                last = b""
                for i in range(len(chunk)):
                    one = chunk.prefixes[i * size : (i + 1) * size] + chunk.lengths[i : i + 1]
                    if one != last:
                        yield number, one[:size], one[size]
                    last = one
                after = chunk.after
                if after is None:
                    break
