"""Which prefixes we announce now, and where each comes from: configured and CLI ones, and routes of other sources.

A configured prefix may have a condition: a connected, static or CLI route to another prefix that is in use. Routes of
connected ports, static ones and the CLI's are announced while they are best, when `redistribute` names their source.
`prefixes` is asked after every decision and looks at a few hundred prefixes of the Loc-RIB.

What `bgp announce` added, and what ExaBGP was told last, are kept in the run directory for the next control process,
and for the helper, which withdraws it when there is none for long.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING

from dpdkrouter.rib.attributes import Kind
from dpdkrouter.rib.enums import Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dpdkrouter.rib.table import Rib
    from dpdkrouter.sources.batch import Network, Origin

log = logging.getLogger("control.bgp")

ANNOUNCED = "announce"  # the source of what is configured or asked for, beside those of SOURCES
SOURCES = {"connected": Source.CONNECTED, "static": Source.STATIC, "cli": Source.CLI}
_LOCAL_KINDS = (Kind.LOCAL, Kind.BROADCAST)  # the router's own addresses: no prefixes of a network


@dataclass(slots=True)
class Originated:
    """conditions: the prefix that each configured one depends on, or None; redistributed: by source name."""

    rib: Rib
    conditions: Mapping[Network, Network | None]
    redistributed: Sequence[tuple[str, Origin]]
    asked: set[Network] = field(default_factory=set)  # by `bgp announce`

    def prefixes(self) -> dict[Network, str]:
        """What is to be announced now, with its source."""
        found = {}
        for name, origin in self.redistributed:
            for prefix, attributes in origin.routes.items():
                if attributes.kind not in _LOCAL_KINDS and self._source(prefix) == SOURCES[name]:
                    found[prefix] = name
        for prefix, condition in self.conditions.items():
            if condition is None or self._source(condition) in SOURCES.values():
                found[prefix] = ANNOUNCED
        return found | dict.fromkeys(self.asked, ANNOUNCED)

    def _source(self, prefix: Network) -> int:
        return self.rib.best_source(prefix.version, prefix.network_address.packed, prefix.prefixlen)


def load(path: Path) -> tuple[set[Network], dict[str, list[str]]]:
    """(what was asked for, what ExaBGP was told by peer) as `save` left them."""
    try:
        found = json.loads(path.read_text())
        return {ip_network(prefix) for prefix in found["asked"]}, {
            str(peer): [str(ip_network(prefix)) for prefix in prefixes] for peer, prefixes in found["told"].items()
        }
    except FileNotFoundError:
        return set(), {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.error("%s: damaged, what it says is lost: %s", path, error)
        return set(), {}


def save(path: Path, asked: set[Network], told: Mapping[str, list[str]], withdraw: Sequence[str]) -> None:
    """Write both, whole or not at all; withdraw: the lines that take back what was told, for bgp/helper.py."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"asked": sorted(map(str, asked)), "told": told, "withdraw": withdraw}))
    temporary.replace(path)
