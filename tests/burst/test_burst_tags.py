"""Sub-interfaces: raw tagged frames through the whole fast path, by devices that take tags off and by ones that don't.

port 0 is the parent of port 3 (VLAN 100), 4 (VLAN 200) and 5 (VLAN 7 within 200), port 1 of port 6 (VLAN 100 again).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from scapy.layers.l2 import ARP

from planekit import Plane
from planekit.frames import ethernet, forwarded, frame4, to, udp4

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUBS = ((0, 0, 100), (0, 0, 200), (0, 200, 7), (1, 0, 100))
C, S = 0x8100, 0x88A8


def tagged(frame: bytes, *tags: tuple[int, int]) -> bytes:
    """tags: EtherType and contents of each, outermost first."""
    return frame[:12] + b"".join(struct.pack(">HH", *tag) for tag in tags) + frame[12:]


@pytest.fixture(scope="module", params=["by_device", "in_frame"])
def running(
    hugepages: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("tags")
    with Plane(f"tag{request.param[3]}", folder, whole=request.param == "in_frame", subs=SUBS) as plane:
        yield plane


def into(plane: Plane, frames: list[bytes]) -> list[bytes]:
    """The frames for the MAC that port 0 has: net_pcap makes one up."""
    return [plane.counters.reader.ports()[0].mac + frame[6:] for frame in frames]


def counts(plane: Plane, name: str) -> list[int]:
    return [getattr(port, name) for port in plane.counters.snapshot().ports]


@pytest.mark.parametrize(
    ("tags", "port"),
    [
        ((), 0),
        (((C, 0),), 0),  # 802.1Q-2018 6.9.3: a priority, and no VLAN
        (((C, 0xE000),), 0),
        (((C, 100),), 3),
        (((C, 0xF064),), 3),  # with a priority and DEI
        (((S, 100),), 3),
        (((C, 0), (C, 100)), 3),
        (((C, 200),), 4),
        (((C, 200), (C, 0)), 4),
        (((S, 200), (C, 7)), 5),
        (((C, 200), (C, 7)), 5),
    ],
)
@pytest.mark.parametrize("family", [4, 6])
def test_tags_say_which_port_received(plane: Plane, tags: tuple[tuple[int, int], ...], port: int, family: int) -> None:
    before = counts(plane, "rx")
    frame = to(family, 2, bytes(60))
    result = plane.send(0, into(plane, [tagged(frame, *tags)]))
    assert result.out == [[], [], [forwarded(frame, 2)]]
    assert result.moved.forwarded == 1
    assert [b - a for a, b in zip(before, counts(plane, "rx"), strict=True)] == [int(n == port) for n in range(7)]


@pytest.mark.parametrize(
    ("port", "wire", "tags"),
    [(3, 0, ((C, 100),)), (4, 0, ((C, 200),)), (5, 0, ((S, 200), (C, 7))), (6, 1, ((C, 100),))],
)
@pytest.mark.parametrize("family", [4, 6])
def test_what_a_sub_interface_sends_is_tagged(
    plane: Plane, port: int, wire: int, tags: tuple[tuple[int, int], ...], family: int
) -> None:
    frame = to(family, port, bytes(60))
    for size in (1, 70):
        result = plane.send(0, into(plane, [frame] * size))
        assert result.out[wire] == [tagged(forwarded(frame, port), *tags)] * size


def test_a_burst_of_all_kinds(plane: Plane) -> None:
    """Each frame by itself decides; unknown VLANs are dropped, and everything is accounted for."""
    frame = to(4, 2, bytes(60))
    kinds = [(), ((C, 100),), ((C, 200),), ((S, 200), (C, 7)), ((C, 99),), ((S, 200), (C, 8)), ((C, 100), (C, 100))]
    result = plane.send(0, into(plane, [tagged(frame, *tags) for tags in kinds] * 20))
    assert result.moved.forwarded == 80
    assert result.moved.drops == {"vlan_unknown": 60}
    assert result.out[2] == [forwarded(frame, 2)] * 80


def test_from_vlan_to_vlan_on_one_wire(plane: Plane) -> None:
    frame = to(4, 5, bytes(60))
    result = plane.send(0, into(plane, [tagged(frame, (C, 100))]))
    assert result.out[0] == [tagged(forwarded(frame, 5), (S, 200), (C, 7))]


def test_arp_goes_to_the_sub_interfaces_twin(plane: Plane) -> None:
    arp = ethernet(0, bytes(ARP(pdst="10.0.3.1")), 0x0806, b"\xff" * 6)
    plane.send(0, [tagged(arp, (C, 100))])
    assert plane.twin_frames(3, 1)[0][: len(arp)] == arp


def test_what_the_kernel_says_on_a_twin_is_tagged(plane: Plane) -> None:
    frame = frame4(0, udp4("10.0.3.9", bytes(60)))
    result = plane.observe(lambda: plane.wires.twin[3].send(frame), lambda m: m.injected == 1)
    assert result.out[0] == [tagged(frame, (C, 100))]


def test_icmp_errors_go_back_tagged_from_the_sub_interfaces_address(plane: Plane) -> None:
    frame = frame4(0, udp4("203.0.113.9", bytes(60), src="198.18.3.5"))
    result = plane.send(0, into(plane, [tagged(frame, (C, 100))]), until=lambda m: m.originated == 1)
    (error,) = result.out[0]
    assert error[12:16] == struct.pack(">HH", C, 100)
    assert error[30:34] == bytes([10, 0, 3, 1])


def test_the_links_are_the_parents(plane: Plane) -> None:
    plane.set_link(1, False)
    try:
        assert [port.link_up for port in plane.counters.reader.ports()] == [True, False, True, True, True, True, False]
    finally:
        plane.set_link(1, True)
    assert plane.send(0, into(plane, [to(4, 6)])).moved.forwarded == 1


def test_what_the_segment_says_of_them(plane: Plane) -> None:
    found = [(port.parent, port.outer_vlan, port.vlan) for port in plane.counters.reader.ports()]
    assert found == [("", 0, 0)] * 3 + [(f"port{parent}", outer, vlan) for parent, outer, vlan in SUBS]
    macs = [port.mac for port in plane.counters.reader.ports()]
    assert macs[3:] == [macs[parent] for parent, _, _ in SUBS]
