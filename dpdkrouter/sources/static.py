"""Static routes: those of the configuration, and those that the CLI added, which are kept in the run directory so
that they outlive the control process (not the machine).
"""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from dpdkrouter.config import rules
from dpdkrouter.errors import RequestError
from dpdkrouter.rib.attributes import Attributes, Kind, NextHop

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dpdkrouter.config.schema import Config
    from dpdkrouter.sources.batch import Network

MAX_VIA = 64
MAX_WEIGHT = 255
_KINDS = {
    "unicast": Kind.UNICAST,
    "blackhole": Kind.BLACKHOLE,
    "unreachable": Kind.UNREACHABLE,
    "prohibit": Kind.PROHIBIT,
}


def configured(config: Config) -> dict[Network, Attributes]:
    """The routes of [[route]]."""
    return {
        route.prefix: Attributes(
            next_hops=tuple(NextHop(str(hop.address), None, hop.weight) for hop in route.via),
            kind=_KINDS[route.type],
        )
        for route in config.routes
    }


def parse_prefix(text: object) -> Network:
    """A prefix as `route add` takes it; RequestError says what is wrong."""
    try:
        return ip_network(str(text))
    except ValueError as error:
        raise RequestError(f"prefix {text!r}: {error}") from None


def parse_request(prefix: object, via: object, kind: object) -> tuple[Network, Attributes]:
    """A route as `route add` gives it: via is a list of {"address", "weight"}."""
    network = parse_prefix(prefix)
    try:
        rules.routed(network)
    except rules.RefusedError as error:
        raise RequestError(f"prefix {network}: {error}") from None
    if kind not in _KINDS:
        raise RequestError(f"type {kind!r}: must be one of {', '.join(_KINDS)}")
    if not isinstance(via, list) or len(via) > MAX_VIA:
        raise RequestError(f"via: must be a list of at most {MAX_VIA} next hops")
    hops = tuple(_hop(network, one) for one in via)
    if kind == "unicast" and not hops:
        raise RequestError(f"{network}: a unicast route needs a next hop (--via)")
    if kind != "unicast" and hops:
        raise RequestError(f"{network}: a {kind} route takes no next hop (--via)")
    return network, Attributes(next_hops=hops, kind=_KINDS[str(kind)])


def _hop(network: Network, found: Any) -> NextHop:
    address, weight = (found.get("address"), found.get("weight", 1)) if isinstance(found, dict) else (found, 1)
    try:
        parsed = ip_address(str(address))
    except ValueError as error:
        raise RequestError(f"next hop {address!r}: {error}") from None
    try:
        rules.usable(parsed, "a unicast address")
    except rules.RefusedError as error:
        raise RequestError(f"next hop {parsed}: {error}") from None
    if parsed.version != network.version:
        raise RequestError(f"next hop {parsed}: is not of the family of {network}")
    if type(weight) is not int or not 1 <= weight <= MAX_WEIGHT:
        raise RequestError(f"next hop {parsed}: weight {weight!r}: must be between 1 and {MAX_WEIGHT}")
    return NextHop(str(parsed), None, weight)


def load(path: Path) -> dict[Network, Attributes]:
    """The CLI's routes as `save` left them; none when the file is not there. Raises ValueError when it is damaged."""
    try:
        items = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return dict(parse_request(item["prefix"], item["via"], item["type"]) for item in items)


def save(path: Path, routes: Iterable[tuple[Network, Attributes]]) -> None:
    """Write the CLI's routes, whole or not at all."""
    items = [
        {
            "prefix": str(prefix),
            "via": [{"address": hop.address, "weight": hop.weight} for hop in attributes.next_hops],
            "type": attributes.kind.name.lower(),
        }
        for prefix, attributes in routes
    ]
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(items))
    temporary.replace(path)
