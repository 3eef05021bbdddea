"""Telling a port's link where its addresses are, unasked: gratuitous ARP (RFC 5944 4.6, RFC 5227 3) and unsolicited
neighbour advertisements (RFC 4861 7.2.6).

For an active-backup bond whose other member took over: switches go on sending to the first one's port until a frame from
the bond's MAC comes by the other, and a port that only receives sends none. The kernel cannot see it: the twin keeps its
carrier. Frames leave by the twin, as the kernel's own do.
"""

from __future__ import annotations

import logging
import socket
import struct
from typing import TYPE_CHECKING

from dpdkrouter.host.namespace import run_in
from dpdkrouter.host.plan import link_local

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from dpdkrouter.host.duplicates import Own

_log = logging.getLogger("control.host")

_BROADCAST = b"\xff" * 6
_ALL_NODES = bytes.fromhex("ff02" + "00" * 13 + "01")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ARP_REQUEST = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)  # Ethernet, IPv4
_ADVERTISEMENT, _ICMPV6, _HOPS = 136, 58, 255
_ROUTER_OVERRIDE = 0xA0000000


def frames(own: Own) -> list[bytes]:
    """One frame for each address of a port."""
    return [_arp(own.mac, one) if one.version == 4 else _advertisement(own.mac, one) for one in own.addresses]


def _arp(mac: bytes, address: IPv4Address) -> bytes:
    """A request for the address by itself (RFC 5227 3: a request is understood by more hosts than a reply)."""
    return _BROADCAST + mac + b"\x08\x06" + _ARP_REQUEST + mac + address.packed + bytes(6) + address.packed


def _advertisement(mac: bytes, address: IPv6Address) -> bytes:
    source = link_local(mac).ip.packed
    option = b"\x02\x01" + mac
    body = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _ROUTER_OVERRIDE) + address.packed + option
    pseudo = source + _ALL_NODES + struct.pack("!II", len(body), _ICMPV6)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, _HOPS)
    return _ALL_NODES_MAC + mac + b"\x86\xdd" + header + source + _ALL_NODES + body


def _checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Announcer:
    """open(), then announce(), in the end close()."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Make the socket, once; from any thread, for it enters the namespace. It receives nothing."""
        if self._socket is None:
            self._socket = run_in(self._namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            self._socket.setblocking(False)

    def announce(self, own: Own) -> None:
        """Send them by the port's twin. What the twin does not take is lost, as any frame may be."""
        if self._socket is None:
            return
        try:
            for frame in frames(own):
                self._socket.sendto(frame, (own.port, 0))
        except OSError as error:
            _log.warning("port %s: its addresses were not announced: %s", own.port, error.strerror)

    def close(self) -> None:
        """The last call."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
