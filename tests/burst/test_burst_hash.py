"""Which member of a group packets take that are more than a 5-tuple: what belongs to a flow goes the flow's way."""

from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP, TCP, fragment
from scapy.layers.inet6 import (
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrFragment,
    fragment6,
)
from scapy.layers.l2 import GRE
from scapy.packet import Packet, Raw

from dpdkrouter.fib import FibReader
from dpdkrouter.fib.flows import Flow, way_of
from fastpath.flows import BY_DEVICE, BY_LABEL
from planekit import Plane
from planekit.fabric import Special
from planekit.frames import forwarded, frame4, frame6

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FLOWS = 24
HERE = {4: f"198.19.{Special.ECMP}.{{}}", 6: f"2001:db8:19:{Special.ECMP:x}::{{:x}}"}
THERE = {4: "198.18.0.{}", 6: "2001:db8:18::{:x}"}
ROUTER = {4: "198.18.0.200", 6: "2001:db8:18::200"}
LAYER = {4: IP, 6: IPv6}


@pytest.fixture(scope="module")
def running(hugepages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """Devices that pass fragments as they are."""
    with Plane("hash", tmp_path_factory.mktemp("hash"), whole=True) as plane:
        yield plane


@pytest.fixture(scope="module")
def otherwise(hugepages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """Both keys on; its devices give no hash."""
    with Plane(
        "label", tmp_path_factory.mktemp("label"), lcores=(0,), hashing=("hash_flow_label", "hash_by_device")
    ) as plane:
        yield plane
        assert plane.counters.snapshot().wrong() == []


def there_to_here(family: int, n: int, size: int = 40) -> Packet:
    """A packet of flow n to the group's prefix."""
    return (
        LAYER[family](src=THERE[family].format(n + 1), dst=HERE[family].format(n + 1))
        / TCP(sport=2000 + n, dport=443)
        / Raw(bytes([n]) * size)
    )


def here_to_there(family: int, n: int, size: int = 40) -> Packet:
    """Its answer."""
    return (
        LAYER[family](dst=THERE[family].format(n + 1), src=HERE[family].format(n + 1))
        / TCP(dport=2000 + n, sport=443)
        / Raw(bytes([n]) * size)
    )


def framed(packet: Packet) -> bytes:
    return frame4(0, packet) if packet.version == 4 else frame6(0, packet)


def ports(plane: Plane, frames: Sequence[bytes]) -> list[int]:
    """By which port each left; as it came, but for its hop."""
    mac = plane.counters.reader.ports()[0].mac  # net_pcap's own, whatever its interface has
    result = plane.send(0, [mac + frame[6:] for frame in frames])
    assert (result.moved.forwarded, result.moved.drops) == (len(frames), {})
    out = [set(frames) for frames in result.out]
    found = [[port for port in (0, 1) if forwarded(frame, port) in out[port]] for frame in frames]
    assert [len(one) for one in found] == [1] * len(frames)
    return [one[0] for one in found]


def flow_ports(plane: Plane, family: int) -> list[int]:
    taken = ports(plane, [framed(there_to_here(family, n)) for n in range(FLOWS)])
    assert set(taken) == {0, 1}, "both members take part"
    return taken


@pytest.mark.parametrize("quoted", [8, 60])
@pytest.mark.parametrize("family", [4, 6])
def test_path_mtu_messages_reach_the_server_they_concern(plane: Plane, family: int, quoted: int) -> None:
    """RFC 7690: among servers with one address, only the one that sent the packet can do something about it."""
    head = {4: 20, 6: 40}[family]
    errors = []
    for n in range(FLOWS):
        about = Raw(bytes(here_to_there(family, n))[: head + quoted])
        outer = LAYER[family](src=ROUTER[family], dst=HERE[family].format(n + 1))
        report = ICMP(type=3, code=4, nexthopmtu=1400) if family == 4 else ICMPv6PacketTooBig(mtu=1400)
        errors.append(framed(outer / report / about))
    assert ports(plane, errors) == flow_ports(plane, family)


@pytest.mark.parametrize(("family", "outer"), [(4, 4), (6, 4), (4, 6), (6, 6)])
@pytest.mark.parametrize("gre", [False, True])
def test_tunnels_between_two_addresses_are_spread(plane: Plane, family: int, outer: int, *, gre: bool) -> None:
    """IP in IP, 6in4 and the others, with and without GRE: all with the same outer addresses, by what they carry."""
    ends = {"src": THERE[outer].format(9), "dst": HERE[outer].format(9)}
    between = GRE(key_present=1, key=7) if gre else None
    inner = [
        LAYER[family](src=THERE[family].format(n + 1), dst=HERE[family].format(n + 1))
        / TCP(sport=2000 + n, dport=443)
        / Raw(bytes([n]) * 40)
        for n in range(FLOWS)
    ]
    packets = [LAYER[outer](**ends) / (between / one if between else one) for one in inner]
    assert ports(plane, [framed(packet) for packet in packets]) == flow_ports(plane, family)


@pytest.mark.parametrize("family", [4, 6])
def test_all_fragments_of_a_packet_take_one_way(plane: Plane, family: int) -> None:
    """In one burst with whole packets of other flows; without the other fragments, their order makes no difference."""
    ways: list[int] = []
    for n in range(FLOWS):
        packet = there_to_here(family, n, 2000)
        if family == 4:
            pieces = [frame4(0, bytes(one)) for one in fragment(packet, 600)]
        else:
            head, body = packet.copy(), packet.payload.copy()
            head.remove_payload()
            whole = IPv6(src=head.src, dst=head.dst) / IPv6ExtHdrFragment(id=n, nh=6) / body
            pieces = [frame6(0, bytes(one)) for one in fragment6(whole, 700)]
        assert len(pieces) > 2
        taken = set(ports(plane, [*pieces, framed(there_to_here(family, (n + 1) % FLOWS))])[:-1])
        assert len(taken) == 1
        assert ports(plane, [pieces[1], pieces[0]]) == [*taken, *taken]
        ways += taken
    assert set(ways) == {0, 1}


def labelled(n: int, label: int) -> Packet:
    packet = there_to_here(6, n)
    packet.fl = label
    return packet


def test_labels_decide_when_they_are_asked_to(otherwise: Plane) -> None:
    """The same addresses with 40 labels, and other ports each: as `way_of` says with what the fast path publishes."""
    source, target = THERE[6].format(3), HERE[6].format(3)
    hashing = otherwise.counters.reader.header().hashing
    assert hashing == BY_LABEL | BY_DEVICE
    flows = [Flow(ip_address(source), ip_address(target), 6, n, 80, n * 977 % 0xFFFFF) for n in range(40)]
    packets = [
        IPv6(src=source, dst=target, fl=flow.label) / TCP(sport=flow.sport, dport=80) / Raw(b"labelled")
        for flow in flows
    ]
    with FibReader.open(otherwise.process.paths.routes) as table:
        foretold = [way_of(table, flow, hashing).adjacency.port for flow in flows]
    assert ports(otherwise, [framed(packet) for packet in packets]) == foretold
    assert set(foretold) == {0, 1}
    again = [IPv6(src=source, dst=target, fl=flow.label) / TCP(sport=9, dport=9) / Raw(b"x" * 30) for flow in flows]
    assert ports(otherwise, [framed(packet) for packet in again[1:]]) == foretold[1:], "ports make no difference"


def test_labels_make_no_difference_by_default(plane: Plane) -> None:
    assert plane.counters.reader.header().hashing == 0
    labels = [framed(labelled(n, 0x12345 + n)) for n in range(FLOWS)]
    assert ports(plane, labels) == flow_ports(plane, 6)


def test_a_device_without_a_hash_leaves_it_to_us(plane: Plane, otherwise: Plane) -> None:
    """fastpath.hash_by_device: net_af_packet has none to give."""
    assert flow_ports(otherwise, 4) == flow_ports(plane, 4)


def test_route_hash_with_a_flow_label(otherwise: Plane, plane: Plane) -> None:
    """It asks the fast path how it hashes; a note says that a device may decide."""
    source, target = THERE[6].format(3), HERE[6].format(3)
    for running, counts in ((otherwise, True), (plane, False)):
        name = running.process.settings.name
        command = [sys.executable, "-P", "-m", "dpdkrouter", "--name", name, "route", "hash", source, target, "tcp"]
        command += ["7", "80", "--json", "--flow-label"]
        done = [subprocess.run([*command, str(n)], check=True, capture_output=True, text=True) for n in (1, 2, 3)]
        buckets = {json.loads(one.stdout)["bucket"] for one in done}
        assert (len(buckets) == 3) is counts
        assert all(("fastpath.hash_by_device is on" in one.stderr) is counts for one in done)
