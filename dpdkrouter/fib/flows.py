"""Which member of a next-hop group a flow takes: the workers' compiled hash on a packet of that flow.

Holds no state. True for packets that are neither fragments nor tunnels, unless a device's own hash decides
(`fastpath.hash_by_device`): its key is not known here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastpath.flows import BY_DEVICE, flow_bucket

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from dpdkrouter.fib.reader import FibReader
    from dpdkrouter.fib.records import Adjacency


__all__ = ["BY_DEVICE", "Flow", "Way", "way_of"]


@dataclass(frozen=True, slots=True)
class Flow:
    """A 5-tuple; ports count for TCP and UDP alone. Both addresses are of one family."""

    src: IPv4Address | IPv6Address
    dst: IPv4Address | IPv6Address
    protocol: int
    sport: int = 0
    dport: int = 0
    label: int = 0  # of IPv6; counts with `fastpath.hash_flow_label` alone

    def packet(self) -> bytes:
        """The IP header and the ports, as a packet of the flow has them."""
        addresses = self.src.packed + self.dst.packed
        ports = struct.pack(">HH", self.sport, self.dport)
        if self.dst.version == 4:
            return struct.pack(">BBHHHBBH", 0x45, 0, 24, 0, 0, 64, self.protocol, 0) + addresses + ports
        return struct.pack(">IHBB", 6 << 28 | self.label, 4, self.protocol, 64) + addresses + ports


@dataclass(frozen=True, slots=True)
class Way:
    """What a flow takes: bucket 0 to 255, and the adjacency that it holds in the destination's group."""

    group: int
    bucket: int
    adjacency: Adjacency


def way_of(table: FibReader, flow: Flow, hashing: int = 0) -> Way:
    """The way of a flow; group 0 and its adjacency when the destination has no route. hashing: what the fast path says
    that it does (segment.Header). About 0.1 ms."""
    bucket = flow_bucket(flow.packet(), hashing)

    def read() -> Way:
        group = table.lookup(flow.dst).table_group
        return Way(group, bucket, table.adjacency(table.bucket_adjacencies(group)[bucket]))

    return table.consistent(read)
