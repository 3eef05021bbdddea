"""Another station that has one of the router's own addresses: noticed, logged and counted.

RFC 5227 2.4: an ARP packet whose sender is one of our addresses, with a MAC that is not ours, is a conflict. RFC 4862
5.4.4, RFC 4861 7.2.5: so is a neighbour advertisement for one. The router keeps its addresses: they are an operator's
decision.

Two packet sockets in the router's namespace see what the ports' TAPs bring; what was policed before is not seen. The
kernel filters: only conflicts wake this process, and of those at most _AT_ONCE every _PAUSE_S, so that a flood of them
costs little; what is beyond that is not counted. Methods but open() belong to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from dpdkrouter.host.namespace import run_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

_log = logging.getLogger("control.host")

Address = IPv4Address | IPv6Address

_AT_ONCE = 32
_PAUSE_S = 0.1
_AGAIN_S = 60.0  # between two lines about the same station
_REMEMBERED = 256
_SO_ATTACH_FILTER = 26
_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD
_PACKET_OUTGOING = 4
# Offsets from the Ethernet header on.
_SENDER_MAC, _SENDER4 = 22, 28
_NEXT_HEADER, _HOP_LIMIT, _ICMP_TYPE, _TARGET6, _OPTIONS6 = 20, 21, 54, 62, 78
_ICMPV6, _ADVERTISEMENT, _HOPS = 58, 136, 255
# Classic BPF (linux/filter.h).
_LOAD_WORD, _LOAD_BYTE, _JUMP_EQUAL, _RETURN = 0x20, 0x30, 0x15, 0x06
_PACKET_TYPE = 0xFFFFF004  # SKF_AD_OFF + SKF_AD_PKTTYPE


@dataclass(frozen=True, slots=True)
class Own:
    """A port's name, MAC and addresses."""

    port: str
    mac: bytes
    addresses: tuple[Address, ...]


def _op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def program(version: int, addresses: Iterable[Address]) -> bytes:
    """The filter that lets conflicts about these addresses pass, and nothing that we send ourselves."""
    drop = _op(_RETURN, 0)
    made = [_op(_LOAD_WORD, _PACKET_TYPE), _op(_JUMP_EQUAL, _PACKET_OUTGOING, 0, 1), drop]
    if version == 6:
        for offset, value in ((_NEXT_HEADER, _ICMPV6), (_HOP_LIMIT, _HOPS), (_ICMP_TYPE, _ADVERTISEMENT)):
            made += [_op(_LOAD_BYTE, offset), _op(_JUMP_EQUAL, value, 1, 0), drop]
    start = _SENDER4 if version == 4 else _TARGET6
    for address in sorted({one.packed for one in addresses if one.version == version}):
        words = struct.unpack(f"!{len(address) // 4}I", address)
        for n, word in enumerate(words):
            left = len(words) - n - 1  # pairs of instructions behind this one, then the return
            made += [_op(_LOAD_WORD, start + 4 * n), _op(_JUMP_EQUAL, word, 0, 2 * left + 1)]
        made.append(_op(_RETURN, 0xFFFF))
    return b"".join([*made, drop])


def conflict(frame: bytes, own: Own) -> tuple[Address, bytes] | None:
    """(our address, the other station's MAC) of an ARP packet or neighbour advertisement that claims one of ours."""
    kind = int.from_bytes(frame[12:14], "big")
    address: Address
    if kind == _ETH_P_ARP and len(frame) >= _SENDER4 + 4:
        address, mac = IPv4Address(frame[_SENDER4 : _SENDER4 + 4]), frame[_SENDER_MAC : _SENDER_MAC + 6]
    elif kind == _ETH_P_IPV6 and len(frame) >= _TARGET6 + 16:
        # its target link-layer address is the first and only option (RFC 4861 4.4); without it, who sent the frame
        named = frame[_OPTIONS6 : _OPTIONS6 + 2] == b"\x02\x01" and len(frame) >= _OPTIONS6 + 8
        address = IPv6Address(frame[_TARGET6 : _TARGET6 + 16])
        mac = frame[_OPTIONS6 + 2 : _OPTIONS6 + 8] if named else frame[6:12]
    else:
        return None
    return (address, mac) if address in own.addresses and mac != own.mac else None


class Duplicates:
    """open(), then watch() whenever ports change, in the end close(). `counts`: conflicts seen, by port."""

    def __init__(self, namespace: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._namespace = namespace
        self._clock = clock
        self._own: dict[str, Own] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._said: dict[tuple[str, Address, bytes], float] = {}
        self.counts: Counter[str] = Counter()

    def open(self) -> None:
        """Make the sockets, once; from any thread, for it enters the namespace."""
        self._sockets = self._sockets or run_in(self._namespace, self._open)

    def watch(self, own: Collection[Own]) -> None:
        """The ports as of now."""
        self._own = {one.port: one for one in own}
        for version in self._sockets:
            self._listen(version)
        addresses = [address for one in own for address in one.addresses]
        for version, one in self._sockets.items():
            self._filter(one, program(version, addresses))

    def close(self) -> None:
        """Stop."""
        loop = asyncio.get_running_loop()
        for one in self._sockets.values():
            loop.remove_reader(one.fileno())
            one.close()
        self._sockets = {}

    @staticmethod
    def _open() -> dict[int, socket.socket]:
        """Without a filter at first: what comes until watch() is looked at by `conflict` alone."""
        made = {}
        for version, kind in ((4, _ETH_P_ARP), (6, _ETH_P_IPV6)):
            made[version] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
            made[version].setblocking(False)
        return made

    @staticmethod
    def _filter(of: socket.socket, code: bytes) -> None:
        code_at = ctypes.create_string_buffer(code, len(code))
        of.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(code) // 8, ctypes.addressof(code_at))
        )

    def _listen(self, version: int) -> None:
        if version in self._sockets:
            asyncio.get_running_loop().add_reader(self._sockets[version].fileno(), self._readable, version)

    def _readable(self, version: int) -> None:
        one = self._sockets[version]
        with contextlib.suppress(BlockingIOError, OSError):  # nothing more, or a device that went
            for _ in range(_AT_ONCE):
                frame, where = one.recvfrom(256)
                self._take(frame, where[0])
            loop = asyncio.get_running_loop()
            loop.remove_reader(one.fileno())
            loop.call_later(_PAUSE_S, self._listen, version)

    def _take(self, frame: bytes, device: str) -> None:
        own = self._own.get(device)
        found = conflict(frame, own) if own is not None else None
        if own is None or found is None:
            return
        address, mac = found
        self.counts[own.port] += 1
        now, key = self._clock(), (own.port, address, mac)
        if now - self._said.get(key, -_AGAIN_S) >= _AGAIN_S:
            _log.warning("port %s: duplicate address: %s has our %s, too", own.port, mac.hex(":"), address)
            self._said.pop(key, None)  # the oldest comes first
            self._said[key] = now
        while len(self._said) > _REMEMBERED:
            del self._said[next(iter(self._said))]
