"""Connected routes: what the ports' addresses and the neighbours on them make. Pure.

A port's prefix points to its glean group while its link is up; its own addresses are local whatever the link;
a neighbour with a MAC is a host route. RFC 1812 5.3.5.2 and RFC 2644 (directed broadcast), RFC 4291 2.6.1
(subnet-router anycast).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING

from dpdkrouter.rib.attributes import Attributes, Kind, NextHop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ipaddress import IPv4Interface, IPv6Interface

    from dpdkrouter.sources.batch import Network

Address = IPv4Address | IPv6Address

LOCAL = Attributes(kind=Kind.LOCAL)
BROADCAST = Attributes(kind=Kind.BROADCAST)


def host_route(address: Address) -> Network:
    """The /32 or /128 of an address."""
    return ip_network((address.packed, address.max_prefixlen))


def port_routes(
    port: int, addresses: Iterable[IPv4Interface | IPv6Interface], link_up: bool
) -> dict[Network, Attributes]:
    """The routes that one port's addresses make."""
    routes: dict[Network, Attributes] = {}
    for address in addresses:
        network = address.network
        if address.ip.is_link_local and address.version == 6:
            continue  # fe80::/10 is on every port: never in a table, the fast path punts it
        if link_up and network.prefixlen < network.max_prefixlen:
            routes[network] = Attributes.glean(port)
        if network.version == 4 and network.prefixlen < 31:
            routes[host_route(network.network_address)] = BROADCAST
            routes[host_route(network.broadcast_address)] = BROADCAST
        elif network.version == 6 and network.prefixlen < 127:
            routes[host_route(network.network_address)] = LOCAL
        routes[host_route(address.ip)] = LOCAL
    return routes


def neighbour_routes(neighbours: Mapping[tuple[int, Address], bytes]) -> dict[Network, Attributes]:
    """Host routes of neighbours that have a MAC; key: (port, address)."""
    return {
        host_route(address): Attributes(next_hops=(NextHop(str(address), port),))
        for port, address in neighbours
        if not address.is_link_local
    }
