"""UPDATE messages from parts, for tests of the decoder: right ones, and wrong ones on purpose."""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING

from dpdkrouter.rib.attributes import Attributes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpdkrouter.bgp.decoded import Decoded

MARKER = b"\xff" * 16
HEADER_BYTES = 19
HOP4 = ipaddress.ip_address("192.0.2.1").packed
HOP6 = ipaddress.ip_address("2001:db8::1").packed


def message(body: bytes, kind: int = 2) -> bytes:
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


def attribute(flags: int, kind: int, value: bytes) -> bytes:
    """One path attribute; the extended length is used when it is needed or asked for in `flags`."""
    if len(value) > 255 or flags & 0x10:
        return struct.pack("!BBH", flags | 0x10, kind, len(value)) + value
    return struct.pack("!BBB", flags, kind, len(value)) + value


def nlri(*prefixes: str, path_ids: Sequence[int] | None = None) -> bytes:
    packed = []
    for i, prefix in enumerate(prefixes):
        network = ipaddress.ip_network(prefix)
        if path_ids is not None:
            packed.append(struct.pack("!I", path_ids[i]))
        held = network.network_address.packed[: (network.prefixlen + 7) // 8]
        packed.append(bytes([network.prefixlen]) + held)
    return b"".join(packed)


def segment(*asns: int, kind: int = 2, width: int = 4) -> bytes:
    return bytes([kind, len(asns)]) + b"".join(asn.to_bytes(width, "big") for asn in asns)


ORIGIN = attribute(0x40, 1, b"\0")
AS_PATH = attribute(0x40, 2, segment(65001, 65002))
NEXT_HOP = attribute(0x40, 3, HOP4)
GOOD = ORIGIN + AS_PATH + NEXT_HOP
GOOD6 = ORIGIN + AS_PATH
PREFIX = nlri("198.51.100.0/24")


def update(attributes: bytes = GOOD, routes: bytes = PREFIX, withdrawn: bytes = b"") -> bytes:
    return message(
        struct.pack("!H", len(withdrawn)) + withdrawn + struct.pack("!H", len(attributes)) + attributes + routes
    )


def reach(routes: bytes, hop: bytes = HOP6, afi: int = 2, safi: int = 1, flags: int = 0x80) -> bytes:
    return attribute(flags, 14, struct.pack("!HBB", afi, safi, len(hop)) + hop + b"\0" + routes)


def unreach(routes: bytes, afi: int = 2, safi: int = 1, flags: int = 0x80) -> bytes:
    return attribute(flags, 15, struct.pack("!HB", afi, safi) + routes)


def shown(decoded: Decoded) -> list[tuple[str, int, Attributes | None]]:
    """(prefix, path id, attributes or None when withdrawn) of every route, in order."""
    found: list[tuple[str, int, Attributes | None]] = []
    for routes in decoded.routes:
        width = 4 if routes.family == 4 else 16
        ids = memoryview(routes.path_ids).cast("I") if routes.path_ids is not None else [0] * len(routes)
        for i, chosen in enumerate(memoryview(routes.sets).cast("I")):
            network = ipaddress.ip_network((routes.prefixes[i * width : (i + 1) * width], routes.lengths[i]))
            packed = routes.attributes[chosen - 1] if chosen else None
            found.append((str(network), ids[i], None if packed is None else Attributes.unpack(packed)))
    return found
