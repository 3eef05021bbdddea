"""Few routes as the RIB wants many: packed arrays. For sources that hold Python objects anyway; BGP comes packed."""

from __future__ import annotations

from collections import defaultdict
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dpdkrouter.rib.attributes import Attributes
    from dpdkrouter.rib.table import Rib

Network = IPv4Network | IPv6Network


def pack(prefixes: Iterable[Network]) -> tuple[bytes, bytes]:
    """(prefixes in network order, lengths) of networks of one family."""
    found = list(prefixes)
    return b"".join(prefix.network_address.packed for prefix in found), bytes(prefix.prefixlen for prefix in found)


def announce(rib: Rib, origin: int, routes: Mapping[Network, Attributes]) -> None:
    """Announce routes of either family, those with equal attributes together."""
    groups: defaultdict[tuple[int, Attributes], list[Network]] = defaultdict(list)
    for prefix, attributes in routes.items():
        groups[prefix.version, attributes].append(prefix)
    for (family, attributes), prefixes in groups.items():
        rib.announce(origin, family, *pack(prefixes), rib.attributes(attributes))


def withdraw(rib: Rib, origin: int, prefixes: Iterable[Network]) -> None:
    """Withdraw prefixes of either family."""
    found = list(prefixes)
    for family in (4, 6):
        of_family = [prefix for prefix in found if prefix.version == family]
        if of_family:
            rib.withdraw(origin, family, *pack(of_family))


class Origin:
    """An Adj-RIB-In that is known as a whole: `replace` announces what is new and withdraws what is gone."""

    def __init__(self, rib: Rib, origin: int) -> None:
        self._rib = rib
        self._origin = origin
        self.routes: dict[Network, Attributes] = {}

    def replace(self, routes: Mapping[Network, Attributes]) -> bool:
        """Make exactly these the origin's routes. True when anything changed."""
        gone = self.routes.keys() - routes.keys()
        come = {prefix: value for prefix, value in routes.items() if self.routes.get(prefix) != value}
        withdraw(self._rib, self._origin, gone)
        announce(self._rib, self._origin, come)
        self.routes = dict(routes)
        return bool(gone or come)
