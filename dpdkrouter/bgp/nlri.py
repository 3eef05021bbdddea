"""Prefixes and next hops of an UPDATE in ExaBGP's JSON, as packed arrays (RFC 4271 section 4.3, 4760,
2545, 7911).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Family:
    """One address family: its name, its packed size, and a host mask for every prefix length."""

    name: str
    socket_family: int
    size: int
    host_masks: tuple[int, ...]


def _family(name: str, socket_family: int, size: int) -> Family:
    bits = size * 8
    return Family(name, socket_family, size, tuple((1 << (bits - length)) - 1 for length in range(bits + 1)))


FAMILIES = {
    "ipv4 unicast": _family("ipv4", socket.AF_INET, 4),
    "ipv6 unicast": _family("ipv6", socket.AF_INET6, 16),
}


class Packed(NamedTuple):
    """Routes as arrays; path_ids is empty when no route has one, else 4 bytes for each."""

    prefixes: bytes
    lengths: bytes
    path_ids: bytes


@dataclass(frozen=True, slots=True)
class NextHopGroup:
    """The routes of one next hop; next_hop None when `text` is no address that packets could be sent to."""

    text: str
    next_hop: bytes | None
    link_local: bytes | None
    routes: Any


def pack(family: Family, routes: list[dict[str, str]]) -> Packed:
    """Pack `[{"nlri": "192.0.2.0/24", "path-information": "0.0.0.4"}, ..]`; raises ValueError, KeyError,
    OSError, TypeError.
    """
    prefixes, lengths, path_ids = [], bytearray(), bytearray()
    any_path_id = False
    masks, size = family.host_masks, family.size
    for route in routes:
        address, _, length_text = route["nlri"].partition("/")
        packed = socket.inet_pton(family.socket_family, address)
        length = int(length_text)
        if not 0 <= length < len(masks):
            raise ValueError(f"prefix length {length} is out of range")
        if host := int.from_bytes(packed, "big") & masks[length]:
            packed = (int.from_bytes(packed, "big") ^ host).to_bytes(size, "big")
        prefixes.append(packed)
        lengths.append(length)
        if "path-information" in route:
            any_path_id = True
            path_ids += socket.inet_pton(socket.AF_INET, route["path-information"])
        else:
            path_ids += b"\0\0\0\0"
    return Packed(b"".join(prefixes), bytes(lengths), bytes(path_ids) if any_path_id else b"")


def next_hop_groups(groups: dict[str, Any]) -> list[NextHopGroup]:
    """The next hops of one family's announcements, a link-local one joined to the global one that it came
    with.
    """
    found = [NextHopGroup(text, *_next_hop(text), routes) for text, routes in groups.items()]
    alone = [group for group in found if group.next_hop is not None or group.link_local is None]
    local = [group for group in found if group.next_hop is None and group.link_local is not None]
    joined = []
    for group in alone:
        twin = next((other for other in local if other.routes == group.routes), None)
        if twin is not None:
            local.remove(twin)
            # A speaker without a global address sends :: there (RFC 2545 leaves it no choice): the link-
            # local one counts.
            usable = group.next_hop if group.next_hop is not None else twin.link_local
            group = NextHopGroup(group.text, usable, twin.link_local, group.routes)
        joined.append(group)
    return joined + [NextHopGroup(other.text, other.link_local, other.link_local, other.routes) for other in local]


def _next_hop(text: str) -> tuple[bytes | None, bytes | None]:
    """(usable address, link-local address) of one next hop; (None, None) for one that can't be one."""
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except OSError:
        return None, None
    if len(packed) == 16:
        if packed[0] == 0xFE and packed[1] & 0xC0 == 0x80:
            return None, packed
        usable = packed[0] != 0xFF and packed[:15] != bytes(15)  # multicast, ::, ::1
    else:
        usable = 0 < packed[0] < 224 and packed[0] != 127  # 0/8, multicast and above, loopback
    return (packed if usable else None), None
