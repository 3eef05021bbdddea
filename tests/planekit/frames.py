"""Frames that a test sends, built by scapy, and what should come out of them."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from planekit.wires import far_mac, near_mac

TYPE_IPV4, TYPE_IPV6 = 0x0800, 0x86DD


def ethernet(port: int, payload: bytes | Packet, kind: int, dst: bytes | None = None) -> bytes:
    """A frame from the far end of a port to the port."""
    return (dst or near_mac(port)) + far_mac(port) + struct.pack(">H", kind) + bytes(payload)


def frame4(port: int, packet: bytes | Packet, dst: bytes | None = None) -> bytes:
    return ethernet(port, packet, TYPE_IPV4, dst)


def frame6(port: int, packet: bytes | Packet, dst: bytes | None = None) -> bytes:
    return ethernet(port, packet, TYPE_IPV6, dst)


def udp4(dst: str, payload: bytes = b"payload", src: str = "198.18.0.5", **fields: Any) -> Packet:
    sport, dport = fields.pop("sport", 1000), fields.pop("dport", 2000)
    return IP(src=src, dst=dst, **fields) / UDP(sport=sport, dport=dport) / Raw(payload)


def udp6(dst: str, payload: bytes = b"payload", src: str = "2001:db8:18::5", **fields: Any) -> Packet:
    sport, dport = fields.pop("sport", 1000), fields.pop("dport", 2000)
    return IPv6(src=src, dst=dst, **fields) / UDP(sport=sport, dport=dport) / Raw(payload)


def to(family: int, port: int, payload: bytes = b"payload", **fields: Any) -> bytes:
    """A frame from port 0's far end to a host behind `port`."""
    if family == 4:
        return frame4(0, udp4(f"198.18.{port}.7", payload, **fields))
    return frame6(0, udp6(f"2001:db8:18:{port:x}::7", payload, **fields))


def special(family: int, number: int, host: int = 7, **fields: Any) -> bytes:
    """The same to a prefix of Fabric's `Special`."""
    if family == 4:
        return frame4(0, udp4(f"198.19.{number}.{host}", **fields))
    return frame6(0, udp6(f"2001:db8:19:{number:x}::{host:x}", **fields))


def checksum(header: bytes) -> int:
    """RFC 1071 over a header, the slow and plain way."""
    total = sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def forwarded(frame: bytes, port: int) -> bytes:
    """What a frame must be when it leaves by `port`: MACs, a hop less, its checksum anew; all else as it was."""
    packet = bytearray(frame[14:])
    if packet[0] >> 4 == 6:
        packet[7] -= 1
    else:
        packet[8] -= 1
        length = (packet[0] & 15) * 4
        packet[10:12] = b"\0\0"
        packet[10:12] = struct.pack(">H", checksum(bytes(packet[:length])))
    return far_mac(port) + near_mac(port) + frame[12:14] + bytes(packet)


def decoded(frame: bytes) -> Packet:
    return Ether(frame)


def packed(address: str) -> bytes:
    return ip_address(address).packed
