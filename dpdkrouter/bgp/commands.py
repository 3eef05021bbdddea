"""Commands for ExaBGP, as lines: pure. The control process writes them to the helper's socket.

ExaBGP 5.0.15 takes `announce attributes next-hop H nlri P P P` with many prefixes a line; CHUNK prefixes a
line keep a line far below its bound of 1 MiB and its reactor responsive. It keeps announced routes by
itself across a session's loss and a helper's respawn, and sends an End-of-RIB (RFC 4724 section 2) only
when told, because of `manual-eor`.

`next-hop self` is the session's local address, so it works only for the family that the session runs over:
for the other one give `next_hop`.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from dpdkrouter.bgp.configuration import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable

CHUNK = 500
ALIVE = "dpdkrouter alive"  # to the helper, which passes it on to nobody


def announce(peer: str, prefixes: Iterable[str], next_hop: str = "self", attributes: str = "") -> list[str]:
    """Lines that announce prefixes (of one family) to a peer; `attributes` in ExaBGP's words (bgp/exports.py)."""
    return _lines(peer, "announce", prefixes, next_hop, attributes)


def withdraw(peer: str, prefixes: Iterable[str], next_hop: str = "self") -> list[str]:
    """Lines that withdraw prefixes (of one family) from a peer; `next_hop` as it was announced."""
    return _lines(peer, "withdraw", prefixes, next_hop)


def end_of_rib(peer: str, family: str) -> str:
    """The line that says that all of a family's routes were announced (RFC 4724)."""
    return f"neighbor {_address(peer)} announce eor {_family(family)} unicast"


def route_refresh(peer: str, family: str) -> str:
    """The line that asks a peer for all its routes of a family again (RFC 2918)."""
    return f"neighbor {_address(peer)} announce route-refresh {_family(family)} unicast"


def teardown(peer: str, subcode: int = 4) -> str:
    """The line that ends a session (Cease, RFC 4486: 2 shutdown, 4 reset); ExaBGP connects again afterwards.

    4 is a restart: with graceful restart negotiated no NOTIFICATION is sent, and the peer keeps our routes meanwhile.
    """
    if not 0 <= subcode <= 255:
        raise ValueError(f"Cease subcode {subcode} is out of range 0 to 255")
    return f"neighbor {_address(peer)} teardown {subcode}"


def notify(epoch: int, code: int, subcode: int, data: bytes) -> str:
    """The line by which the tap ends a session with a NOTIFICATION (RFC 4271 section 6); see tap.py."""
    return f"dpdkrouter notify {epoch} {code} {subcode} {data.hex()}".rstrip()


def encode(lines: Iterable[str]) -> bytes:
    """Lines as the bytes to send."""
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _lines(peer: str, action: str, prefixes: Iterable[str], next_hop: str, attributes: str = "") -> list[str]:
    hop = next_hop if next_hop == "self" else str(_address(next_hop))
    start = f"neighbor {_address(peer)} {action} attributes next-hop {hop}{attributes and f' {attributes}'} nlri"
    networks = [ipaddress.ip_network(prefix) for prefix in prefixes]
    if len({network.version for network in networks}) > 1:
        raise ValueError("prefixes of both families in one command: give one family at a time")
    return [
        f"{start} {' '.join(str(network) for network in networks[first : first + CHUNK])}"
        for first in range(0, len(networks), CHUNK)
    ]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text)


def _family(family: str) -> str:
    if family not in FAMILIES:
        raise ValueError(f"family {family!r}; allowed: {', '.join(FAMILIES)}")
    return family
