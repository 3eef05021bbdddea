"""What a transit router does with IPv6 extension headers and fragments: RFC 8200 4, RFC 5095, 5722, 6946, 7112, 7045.

Without a list a port forwards all of them, and only the hop limit changes; each test says what a host would do, where
it would do something else. Port 0 has no filter, port 1 a list that permits what it can judge, but for UDP to port 54.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import (
    HBHOptUnknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Jumbo,
    RouterAlert,
)
from scapy.packet import Packet, Raw

from planekit import Plane
from planekit.frames import forwarded, frame6

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPEN, LISTED = 0, 1
DNS = UDP(sport=1000, dport=53) / Raw(bytes(16))
LIST = """
[[acl]]
name = "list"
default = "permit"
[[acl.rule]]
action = "deny"
protocol = "udp"
destination_port = 54
"""
ROUTING_OF_NO_HOPS_LEFT = {"addresses": ["2001:db8:18:2::9"], "segleft": 0}
ROUTING_OF_A_HOP_LEFT = {"addresses": ["2001:db8:18:2::9"], "segleft": 1}


@pytest.fixture(scope="module")
def running(hugepages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with Plane("exth", tmp_path_factory.mktemp("exth"), filters=("", 'acl_in = "list"'), tables=LIST) as plane:
        yield plane


def packet(*layers: Packet, dst: str = "2001:db8:18:2::7") -> Packet:
    made: Packet = IPv6(src="2001:db8:18::5", dst=dst)
    for layer in layers:
        made = made / layer
    return made


def passes(plane: Plane, *layers: Packet, port: int = OPEN) -> None:
    frame = frame6(port, packet(*layers))
    result = plane.send(port, [frame])
    assert (result.moved.drops, result.out[2]) == ({}, [forwarded(frame, 2)])


def is_denied(plane: Plane, *layers: Packet) -> None:
    result = plane.send(LISTED, [frame6(LISTED, packet(*layers))])
    assert (result.moved.drops, result.out) == ({"acl_deny": 1}, [[], [], []])


@pytest.mark.parametrize(
    "option",
    [
        pytest.param(RouterAlert(value=0), id="router alert"),
        pytest.param(Jumbo(jumboplen=70000), id="jumbo payload"),
        pytest.param(HBHOptUnknown(otype=0x1E, optdata=b"ab"), id="unknown, skip"),
        pytest.param(HBHOptUnknown(otype=0x5E, optdata=b"ab"), id="unknown, discard"),
        pytest.param(HBHOptUnknown(otype=0x9E, optdata=b"ab"), id="unknown, report"),
        pytest.param(HBHOptUnknown(otype=0xDE, optdata=b"ab"), id="unknown, report unless multicast"),
    ],
)
def test_hop_by_hop_options_are_ignored(plane: Plane, option: Packet) -> None:
    """RFC 8200 4: only a node that is configured to processes them; none here is. RFC 9673 5.1 has it as the default."""
    passes(plane, IPv6ExtHdrHopByHop(options=[option]), DNS)
    passes(plane, IPv6ExtHdrHopByHop(options=[option]), DNS, port=LISTED)


def test_destination_options_and_unknown_headers_pass(plane: Plane) -> None:
    """RFC 7045 2.1: a forwarding node passes on what it does not know, experiments' headers (253, 254) too."""
    passes(plane, IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=0x9E, optdata=b"ab")]), DNS)
    for unknown in (135, 139, 140, 253, 254):
        frame = frame6(
            OPEN, IPv6(src="2001:db8:18::5", dst="2001:db8:18:2::7", nh=unknown) / Raw(b"\x11\0" + bytes(30))
        )
        assert plane.send(OPEN, [frame]).out[2] == [forwarded(frame, 2)]


@pytest.mark.parametrize("kind", [0, 2, 3, 4, 253])
@pytest.mark.parametrize("header", [ROUTING_OF_NO_HOPS_LEFT, ROUTING_OF_A_HOP_LEFT])
def test_routing_headers_pass_in_transit(plane: Plane, kind: int, header: dict[str, object]) -> None:
    """RFC 8200 4.4: examined by the addressed node alone; RFC 5095 4.2 has nothing dropped for having one."""
    passes(plane, IPv6ExtHdrRouting(type=kind, **header), DNS)


def test_routing_header_type_0_to_the_router_is_for_its_host_stack(plane: Plane) -> None:
    """RFC 5095 3: it is not processed: the fast path sends it nowhere, and the kernel refuses it."""
    frame = frame6(OPEN, packet(IPv6ExtHdrRouting(type=0, **ROUTING_OF_A_HOP_LEFT), DNS, dst="2001:db8::1"))
    result = plane.send(OPEN, [frame])
    assert (result.moved.forwarded, result.moved.punts, result.out[2]) == (0, {"local": 1}, [])


def test_overlapping_fragments_pass(plane: Plane) -> None:
    """RFC 5722 3: the node that reassembles drops them; a router does not reassemble."""
    whole = bytes(DNS)
    parts = [
        packet(IPv6ExtHdrFragment(nh=17, id=7, offset=0, m=1), Raw(whole[:16])),
        packet(IPv6ExtHdrFragment(nh=17, id=7, offset=1, m=0), Raw(whole[8:])),
    ]
    frames = [frame6(OPEN, part) for part in parts]
    result = plane.send(OPEN, frames)
    assert result.out[2] == [forwarded(frame, 2) for frame in frames]


def test_atomic_fragments_pass(plane: Plane) -> None:
    """RFC 6946: a fragment that is the whole packet; to a list it has its upper header."""
    passes(plane, IPv6ExtHdrFragment(nh=17, id=7, offset=0, m=0), DNS)
    passes(plane, IPv6ExtHdrFragment(nh=17, id=7, offset=0, m=0), DNS, port=LISTED)


def test_first_fragments_without_the_whole_chain(plane: Plane) -> None:
    """RFC 7112 5: hosts discard them, a router may: where a list judges, nothing passes it unseen."""
    chains = [
        (IPv6ExtHdrFragment(nh=60, id=7, offset=0, m=1), Raw(b"\x11\x01" + bytes(6))),  # of options, half
        (IPv6ExtHdrFragment(nh=17, id=8, offset=0, m=1), Raw(b"")),  # no upper header
        (IPv6ExtHdrFragment(nh=6, id=9, offset=0, m=1), Raw(bytes(TCP(dport=53))[:8])),  # without TCP's flags
    ]
    for chain in chains:
        passes(plane, *chain)
        is_denied(plane, *chain)


def test_headers_cut_off_pass_without_a_list(plane: Plane) -> None:
    """A chain that leaves its packet: nothing of it is read, so nothing is read beyond it."""
    cut = IPv6(src="2001:db8:18::5", dst="2001:db8:18:2::7", nh=0) / Raw(struct.pack(">BB", 60, 255) + bytes(6))
    frame = frame6(OPEN, cut)
    assert plane.send(OPEN, [frame]).out[2] == [forwarded(frame, 2)]
    assert plane.send(LISTED, [frame6(LISTED, cut)]).moved.drops == {"acl_deny": 1}
