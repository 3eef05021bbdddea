"""The links and static routes of a configuration, to look addresses up in. Pure; made once a check.

Look-ups take one dictionary access per prefix length in use, so a file of thousands of routes is checked at
once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Self

from dpdkrouter.config.locate import KeyPath
from dpdkrouter.config.rules import Address, Prefix
from dpdkrouter.config.schema import Config, Port, Route


def family(value: Address | Prefix) -> str:
    """The name of an address's or prefix's family as the file writes it."""
    return f"ipv{value.version}"


@dataclass(frozen=True, slots=True)
class Link:
    """A connected prefix: the port's index, the prefix, and the port's own address in it."""

    port: int
    network: Prefix
    address: Address


def _lengths(prefixes: Mapping[Prefix, object]) -> tuple[tuple[int, int], ...]:
    """(version, length) of the prefixes, longest first."""
    return tuple(sorted({(p.version, p.prefixlen) for p in prefixes}, key=lambda pair: -pair[1]))


@dataclass(frozen=True, slots=True)
class Topology:
    """Ports with their links, and static routes, by prefix."""

    ports: tuple[Port, ...]
    own: Mapping[Address, KeyPath]
    links: Mapping[Prefix, Link]
    routes: Mapping[Prefix, Route]
    lengths: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, config: Config) -> Self:
        """Collects a configuration's links and routes; of equal ones the first counts."""
        own: dict[Address, KeyPath] = {}
        links: dict[Prefix, Link] = {}
        for i, port in enumerate(config.ports):
            for j, address in enumerate(port.addresses):
                own.setdefault(address.ip, ("port", i, "addresses", j))
                links.setdefault(address.network, Link(i, address.network, address.ip))
        routes: dict[Prefix, Route] = {}
        for route in config.routes:
            routes.setdefault(route.prefix, route)
        return cls(config.ports, own, links, routes, _lengths({**links, **routes}))

    def covering(self, address: Address) -> list[Prefix]:
        """Links' and routes' prefixes that cover an address, longest first."""
        candidates = (
            ip_network((address, length), strict=False)
            for version, length in self.lengths
            if version == address.version
        )
        return [prefix for prefix in candidates if prefix in self.links or prefix in self.routes]

    def link(self, address: Address) -> Link | None:
        """The link that an address is on."""
        return next((self.links[prefix] for prefix in self.covering(address) if prefix in self.links), None)

    def port_of(self, address: Address | None) -> int:
        """The index of the port that has an own address."""
        return next(i for i, port in enumerate(self.ports) for a in port.addresses if a.ip == address)

    def families(self, port: int) -> list[str]:
        """The families that a port has an address of."""
        return sorted({f"ipv{address.version}" for address in self.ports[port].addresses})

    def leads_to_link(self) -> set[Prefix]:
        """Prefixes that lead to a link: links, and routes with a next hop whose longest match is one."""
        users: dict[Prefix, list[Prefix]] = {}
        for prefix, route in self.routes.items():
            for hop in route.via:
                for match in self.covering(hop.address)[:1]:
                    users.setdefault(match, []).append(prefix)
        good, fresh = set(self.links), list(self.links)
        while fresh:
            for prefix in users.get(fresh.pop(), ()):
                if prefix not in good:
                    good.add(prefix)
                    fresh.append(prefix)
        return good
