"""A frame as named fields, so that two routers' answers can be compared field by field.

Lengths and checksums are said to be right or wrong rather than shown, except where the value itself is of interest.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from planekit.frames import TYPE_IPV4, TYPE_IPV6, checksum

Fields = dict[str, object]
ICMP, ICMP6 = 1, 58
ERRORS4 = (3, 4, 5, 11, 12)


def fields(port: int, frame: bytes) -> Fields:
    """What a frame that leaves by `port` says."""
    kind = int.from_bytes(frame[12:14], "big")
    found: Fields = {"port": port, "to": frame[:6].hex(":"), "from": frame[6:12].hex(":"), "ethertype": kind}
    if kind == TYPE_IPV4:
        found.update(_ipv4(frame[14:]))
    elif kind == TYPE_IPV6:
        found.update(_ipv6(frame[14:]))
    else:
        found["rest"] = frame[14:].hex()
    return found


def _ipv4(ip: bytes) -> Fields:
    header = (ip[0] & 15) * 4
    total = int.from_bytes(ip[2:4], "big")
    body = ip[header:total]
    found: Fields = {
        "version": ip[0] >> 4,
        "tos": ip[1],
        "length": total,
        "id": int.from_bytes(ip[4:6], "big"),
        "fragment": int.from_bytes(ip[6:8], "big"),
        "ttl": ip[8],
        "protocol": ip[9],
        "checksum": "right" if checksum(ip[:header]) == 0 else "wrong",
        "src": str(IPv4Address(ip[12:16])),
        "dst": str(IPv4Address(ip[16:20])),
        "options": ip[20:header].hex(),
        "trailer": len(ip) - total,
    }
    if ip[9] == ICMP and len(body) >= 8 and body[0] in ERRORS4:
        return found | _icmp(body, 0)
    return found | {"body": body.hex()}


def _ipv6(ip: bytes) -> Fields:
    payload = int.from_bytes(ip[4:6], "big")
    body = ip[40 : 40 + payload]
    found: Fields = {
        "version": ip[0] >> 4,
        "traffic_class": int.from_bytes(ip[:2], "big") >> 4 & 0xFF,
        "flow_label": int.from_bytes(ip[:4], "big") & 0xFFFFF,
        "length": payload,
        "next_header": ip[6],
        "hop_limit": ip[7],
        "src": str(IPv6Address(ip[8:24])),
        "dst": str(IPv6Address(ip[24:40])),
        "trailer": len(ip) - 40 - payload,
    }
    if ip[6] == ICMP6 and len(body) >= 8 and body[0] < 128:
        pseudo = ip[8:40] + payload.to_bytes(4, "big") + ICMP6.to_bytes(4, "big")
        return found | _icmp(body, int.from_bytes(_sum16(pseudo), "big"))
    return found | {"body": body.hex()}


def _sum16(data: bytes) -> bytes:
    return (~checksum(data) & 0xFFFF).to_bytes(2, "big")


def _icmp(body: bytes, pseudo: int) -> Fields:
    padded = body + b"\0" * (len(body) % 2) + pseudo.to_bytes(2, "big")
    return {
        "icmp_type": body[0],
        "icmp_code": body[1],
        "icmp_checksum": "right" if checksum(padded) == 0 else "wrong",
        "icmp_word": int.from_bytes(body[4:8], "big"),  # MTU, pointer, gateway or unused
        "quote": body[8:].hex(),
    }


def is_error(of: Fields) -> bool:
    return "icmp_type" in of


def differing(ours: Fields, linux: Fields) -> set[str]:
    """Names of fields that differ; the IPv4 identification of two routers' own packets is each router's business."""
    if is_error(ours) != is_error(linux):
        return {"kind"}
    own = {"id"} if is_error(ours) and is_error(linux) else set()
    return {name for name in {*ours, *linux} - own if ours.get(name) != linux.get(name)}
