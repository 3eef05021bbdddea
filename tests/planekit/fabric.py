"""The routes that the tests use: an adjacency for each action, reached by prefixes of both families.

    198.18.P.0/24    2001:db8:18:P::/64    out of port P to its far end (P < ports)
    198.19.N.0/24    2001:db8:19:N::/64    what `Special` N says
    10.0.P.1         2001:db8:P::1         the router's own address on port P
Nothing else has a route.
"""

from __future__ import annotations

from array import array
from enum import IntEnum
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from dpdkrouter.fib import Action, Adjacency, Fib, Interface, Limits, Member, Source
from planekit.wires import far_mac, near_mac

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LIMITS = Limits(2000, 2000, 300, 300, 8, 64, 1)
UNRESOLVED4, UNRESOLVED6 = ip_address("10.0.1.99").packed, ip_address("2001:db8:1::99").packed


class Special(IntEnum):
    """The third number of a 198.19.N.0/24 (2001:db8:19:N::/64)."""

    BLACKHOLE = 1
    UNREACHABLE = 2
    BROADCAST = 3
    GLEAN = 4  # on port 1
    RESOLVE = 5  # UNRESOLVED4 (UNRESOLVED6) on port 1
    ECMP = 6  # ports 0 and 1, weights 3 to 1
    ABSENT_PORT = 7  # a port that no configuration has
    PROHIBIT = 8


def interface(port: int, mtu: int) -> Interface:
    return Interface(
        f"port{port}",
        mtu,
        ip_address(f"10.0.{port}.1").packed,
        ip_address(f"2001:db8:{port}::1").packed,
        ip_address(f"fe80::{port}:1").packed,
    )


def packed_network(prefix: str) -> tuple[int, bytes, int]:
    network = ip_network(prefix)
    return network.version, network.network_address.packed, network.prefixlen


class Fabric:
    """A route segment with those routes, and the writer that changes it."""

    def __init__(self, path: Path, mtus: Sequence[int], *, stats: Path | None = None) -> None:
        self.fib = Fib.create(path, LIMITS, "fr", stats)
        self.forward: list[int] = []  # adjacency of port P
        self.group_of_port: list[int] = []
        self.group: dict[Special, int] = {}
        self._build(mtus)

    def _build(self, mtus: Sequence[int]) -> None:
        for port, mtu in enumerate(mtus):
            self.fib.interface_set(port, interface(port, mtu))
            self.forward.append(self.fib.adjacency_create(self.hop(port, mtu)))
            group = self.fib.group_create([Member(self.forward[port])])
            self.group_of_port.append(group)
            self.route(f"198.18.{port}.0/24", group)
            self.route(f"2001:db8:18:{port:x}::/64", group)
            local = self.fib.group_create([Member(self.adjacency(Action.LOCAL, port))])
            self.route(f"10.0.{port}.1/32", local)
            self.route(f"2001:db8:{port:x}::1/128", local)
        self.unresolved4 = Adjacency(Action.RESOLVE, 1, mtu=1500, next_hop=UNRESOLVED4)
        self.unresolved6 = Adjacency(Action.RESOLVE, 1, mtu=1500, next_hop=UNRESOLVED6)
        self.resolve4 = self.fib.adjacency_create(self.unresolved4)
        self.resolve6 = self.fib.adjacency_create(self.unresolved6)
        members = {
            Special.BLACKHOLE: [Member(self.adjacency(Action.BLACKHOLE))],
            Special.UNREACHABLE: [Member(self.adjacency(Action.UNREACHABLE))],
            Special.PROHIBIT: [Member(self.adjacency(Action.PROHIBIT))],
            Special.BROADCAST: [Member(self.adjacency(Action.BROADCAST))],
            Special.GLEAN: [Member(self.adjacency(Action.GLEAN, 1))],
            Special.RESOLVE: [Member(self.resolve4)],
            Special.ECMP: [Member(self.forward[0], 3), Member(self.forward[1], 1)],
            Special.ABSENT_PORT: [Member(self.fib.adjacency_create(self.hop(31, 1500)))],
        }
        for special, hops in members.items():
            self.group[special] = self.fib.group_create(hops)
            self.route(f"198.19.{special}.0/24", self.group[special])
            self.route(f"2001:db8:19:{special:x}::/64", self.group[special])
        self.route(f"2001:db8:19:{Special.RESOLVE:x}::/64", self.fib.group_create([Member(self.resolve6)]))

    def adjacency(self, action: Action, port: int = 0) -> int:
        return self.fib.adjacency_create(Adjacency(action, port, mtu=1500))

    @staticmethod
    def hop(port: int, mtu: int, next_hop: bytes = b"") -> Adjacency:
        """What forwards to the far end of a port."""
        return Adjacency(Action.FORWARD, port, far_mac(port), near_mac(port), mtu, next_hop)

    def route(self, prefix: str, group: int) -> None:
        family, address, length = packed_network(prefix)
        applied = self.fib.apply(family, address, bytes([length]), array("H", [group]), bytes([Source.STATIC]))
        assert applied.refused_count == 0, applied

    def set_members(self, group: int, *adjacencies: int) -> None:
        self.fib.group_update(group, [Member(adjacency) for adjacency in adjacencies])

    def close(self) -> None:
        self.fib.close()
