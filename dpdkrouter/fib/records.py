"""What the writer and the readers of the route segment take and give: plain values."""

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

from dpdkrouter.errors import DpdkrouterError


class Source(IntEnum):
    """Where a route comes from (enum dr_source)."""

    CONNECTED = 1
    STATIC = 2
    CLI = 3
    EBGP = 4
    KERNEL = 5
    IBGP = 6


class Action(IntEnum):
    """What an adjacency does with a packet (enum dr_action)."""

    NO_ROUTE = 0
    FORWARD = 1
    GLEAN = 2
    RESOLVE = 3
    LOCAL = 4
    BLACKHOLE = 5
    UNREACHABLE = 6
    BROADCAST = 7
    PROHIBIT = 8


class TableFullError(DpdkrouterError):
    """A part of the table that is not routes is full; `key` is the configuration key that makes it larger."""

    def __init__(self, what: str, maximum: int, key: str) -> None:
        self.key = key
        super().__init__(f"no {what} is free: {maximum} are in use or wait for a grace period; raise table.{key}")


class Member(NamedTuple):
    """One next hop of a group: the adjacency's index, and its share relative to the other members'."""

    adjacency: int
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Adjacency:
    """One next hop as the fast path uses it. MACs are 6 bytes; next_hop is packed, or empty for none."""

    action: Action
    port: int = 0
    dst: bytes = bytes(6)
    src: bytes = bytes(6)
    mtu: int = 0
    next_hop: bytes = b""


@dataclass(frozen=True, slots=True)
class Interface:
    """One port as control configured it. Addresses are packed, or empty for none."""

    name: str
    mtu: int
    ipv4: bytes = b""
    ipv6: bytes = b""
    ipv6_link_local: bytes = b""
    full: bool = False  # as many neighbours as it may have: no others are resolved


class Refusal(NamedTuple):
    """A route that did not go in: its place in the batch, and why.

    reason: "full" (raise table.<key>) or "grace" (an lcore hangs, so that nothing can be used again).
    """

    route: int
    reason: str
    key: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch did. `refused` lists the first refusals only; `refused_count` and `shortages` count all.

    shortages: (reason, configuration key, number of routes) of each kind of refusal that there was.
    """

    inserted: int
    replaced: int
    withdrawn: int
    unchanged: int
    refused_count: int
    refused: tuple[Refusal, ...]
    shortages: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that an audit found: where, and what. family 0: `length` is the number of a group.

    prefix: packed, network order.
    """

    family: int
    prefix: bytes
    length: int
    what: str

    def __str__(self) -> str:
        if not self.family:
            return f"group {self.length}: {self.what}"
        return f"{ip_network((self.prefix, self.length), strict=False)}: {self.what}"


@dataclass(frozen=True, slots=True)
class RouteChunk:
    """Some rules, packed as Fib.apply takes them, and where to go on; `after` None: that was all.

    sources: one byte each, bit 7 set when stale.
    """

    prefixes: bytes
    lengths: bytes
    groups: bytes
    sources: bytes
    after: int | None

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True, slots=True)
class Lookup:
    """One address looked up both ways: `table_group` by the fast path's code, the rest among the rules.

    They differ only when the segment is damaged. No rule covers the address: `prefix` is None, `group` 0.
    """

    prefix: IPv4Network | IPv6Network | None
    source: int
    stale: bool
    group: int
    table_group: int
    members: tuple[tuple[Member, Adjacency], ...]


@dataclass(frozen=True, slots=True)
class Use:
    """How full a part is; `key` names its maximum in [table]."""

    used: int
    maximum: int
    key: str
