"""What the host stack should look like, and the pure functions that say how to get there.

A `Twin` is one port as the kernel shall see it. Nothing here touches the kernel; taps.py does what these say.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import TYPE_CHECKING

from dpdkrouter.errors import HostError
from dpdkrouter.host.tun import HOST_DEVICE, check_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Interface = IPv4Interface | IPv6Interface
Address = IPv4Address | IPv6Address

_MIN_MTU = 1280  # RFC 8200 5: below it the kernel switches IPv6 off on the device
_MAX_MTU = 65521  # of a TAP: 65535 without the Ethernet header
_DEFAULT_MTU = 1500


@dataclass(frozen=True, slots=True)
class Twin:
    """A port's TAP twin: the port's name, MAC (6 bytes), MTU (of IP, in bytes), addresses with prefix."""

    name: str
    mac: bytes
    mtu: int
    addresses: tuple[Interface, ...]


def check(twins: Sequence[Twin]) -> None:
    """Raise HostError for a twin that cannot be."""
    seen: set[str] = set()
    for twin in twins:
        check_name(twin.name)
        if twin.name == HOST_DEVICE or twin.name in seen:
            taken = "the host stack's own TUN" if twin.name == HOST_DEVICE else "another port"
            raise HostError(f"port {twin.name}: {taken} has this name; choose another")
        seen.add(twin.name)
        if len(twin.mac) != 6 or twin.mac[0] & 1 or not any(twin.mac):
            raise HostError(f"port {twin.name}: {twin.mac.hex(':') or 'nothing'} is no unicast MAC of 6 bytes")
        if not _MIN_MTU <= twin.mtu <= _MAX_MTU:
            raise HostError(f"port {twin.name}: MTU {twin.mtu} is outside {_MIN_MTU} to {_MAX_MTU}")


def link_local(mac: bytes) -> IPv6Interface:
    """The link-local address that a MAC gives (RFC 4291 2.5.6 and appendix A: modified EUI-64)."""
    identifier = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return IPv6Interface((b"\xfe\x80" + bytes(6) + identifier, 64))


def wanted_addresses(twin: Twin) -> tuple[Interface, ...]:
    """The configured addresses in order, and a link-local one from the MAC unless one is configured.

    Every IPv6 interface must have one (RFC 4291 2.8); set by us and not by the kernel it is known
    beforehand and changes with the MAC.
    """
    addresses = tuple(dict.fromkeys(twin.addresses))
    if any(address.version == 6 and address.is_link_local for address in addresses):
        return addresses
    return (*addresses, link_local(twin.mac))


def address_changes(have: Iterable[Interface], want: Sequence[Interface]) -> tuple[list[Interface], list[Interface]]:
    """(to remove, to add, in the order wanted) that turn `have` into exactly `want`; remove before adding.

    An address with another prefix length is another one: IPv6 refuses both at once, IPv4 would keep both
    prefixes.
    """
    present = set(have)
    return [a for a in present if a not in set(want)], [a for a in want if a not in present]


def preferred_source(twins: Iterable[Twin], version: int) -> Address | None:
    """The router's first address of a family in the configuration's order, not link-local, or None.

    It is the default route's source. Left alone, IPv4 takes the first address of the device that happens to
    be first, which depends on the order of creation: after a restart of one port it would be another.
    """
    for twin in twins:
        for address in twin.addresses:
            if address.version == version and not address.is_link_local:
                return address.ip
    return None


def host_mtu(twins: Iterable[Twin]) -> int:
    """The MTU of host0: the smallest port's, since what it sends may leave by any port."""
    return min((twin.mtu for twin in twins), default=_DEFAULT_MTU)
