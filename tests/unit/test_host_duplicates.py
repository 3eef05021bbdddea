"""Which frames claim an address of ours; the kernel's filter for them is run by the lab."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from dpdkrouter.host.duplicates import Own, conflict, program

OURS, THEIRS = "02:00:00:00:00:01", "02:00:00:00:00:99"
OWN4, OWN6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
OWN = Own("wan0", bytes.fromhex(OURS.replace(":", "")), (OWN4, OWN6))
STRANGER = bytes.fromhex(THEIRS.replace(":", ""))


def arp(sender: str, mac: str = THEIRS, op: int = 2) -> bytes:
    return bytes(Ether(src=mac, dst=OURS) / ARP(op=op, psrc=sender, hwsrc=mac, pdst="192.0.2.1"))


def advertisement(target: str, mac: str = THEIRS, *, named: bool = True) -> bytes:
    packet = Ether(src=mac, dst=OURS) / IPv6(src="fe80::99", dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=target)
    return bytes(packet / ICMPv6NDOptDstLLAddr(lladdr=mac) if named else packet)


@pytest.mark.parametrize(
    ("frame", "address"),
    [
        (arp("192.0.2.1"), OWN4),
        (arp("192.0.2.1", op=1), OWN4),
        (advertisement("2001:db8::1"), OWN6),
        (advertisement("2001:db8::1", named=False), OWN6),
    ],
)
def test_a_claim_names_the_address_and_the_station(frame: bytes, address: object) -> None:
    assert conflict(frame, OWN) == (address, STRANGER)


@pytest.mark.parametrize(
    "frame",
    [
        arp("192.0.2.9"),  # a neighbour that speaks of itself
        arp("0.0.0.0", op=1),  # RFC 5227's probe: it asks
        arp("192.0.2.1", OURS),  # what we sent comes back
        advertisement("2001:db8::9"),
        advertisement("2001:db8::1", OURS),
        arp("192.0.2.1")[:30],
        advertisement("2001:db8::1")[:70],
        b"",
        bytes(12) + b"\x08\x00" + bytes(60),
    ],
)
def test_other_frames_are_no_claims(frame: bytes) -> None:
    assert conflict(frame, OWN) is None


def passes(code: bytes, frame: bytes, kind: int = 0) -> bool:
    """What the kernel's interpreter says of a frame (classic BPF; loads beyond its end refuse it); kind: of packet."""
    held, at = 0, 0
    while True:
        op, yes, no, value = struct.unpack_from("=HBBI", code, 8 * at)
        at += 1
        if op == 0x06:
            return bool(value)
        if op == 0x15:
            at += yes if held == value else no
        elif value == 0xFFFFF004:
            held = kind
        else:
            size = 4 if op == 0x20 else 1
            if value + size > len(frame):
                return False
            held = int.from_bytes(frame[value : value + size], "big")


def test_the_filter_lets_claims_pass_and_nothing_else() -> None:
    many = [OWN4, OWN6, *(ip_address(f"198.51.100.{n}") for n in range(40)), ip_address("2001:db8:1::1")]
    code4, code6 = program(4, many), program(6, many)
    assert passes(code4, arp("192.0.2.1"))
    assert passes(code4, arp("198.51.100.39"))
    assert not passes(code4, arp("192.0.2.9"))
    assert not passes(code4, arp("192.0.2.1"), kind=4), "what we send"
    assert not passes(program(4, []), arp("192.0.2.1"))
    assert passes(code6, advertisement("2001:db8::1"))
    assert passes(code6, advertisement("2001:db8:1::1"))
    assert not passes(code6, advertisement("2001:db8::9"))
    far = bytearray(advertisement("2001:db8::1"))
    far[21] = 254
    assert not passes(code6, bytes(far)), "not from this link"
    assert not passes(code6, bytes(Ether() / IPv6(dst="2001:db8::1", hlim=255)))
