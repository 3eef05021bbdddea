"""Each punt class has a rate of its own: what is beyond it is dropped and counted, and no class pays for another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import ARP

from dpdkrouter.segment import PuntClass
from planekit import Plane, capture
from planekit.fabric import Special
from planekit.frames import ethernet, frame4, special, udp4
from planekit.process import PEER4

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RATES = {"bgp": 70, "neighbor": 60, "echo": 50, "resolve": 40, "local": 30}
MANY = 100
BROADCAST = b"\xff" * 6


def frame(name: str, port: int = 0) -> bytes:
    """A packet of a class."""
    if name == "neighbor":
        return ethernet(port, bytes(ARP(pdst=f"10.0.{port}.1")), 0x0806, BROADCAST)
    if name == "resolve":
        return special(4, Special.GLEAN)
    own = IP(src=PEER4, dst="10.0.0.1")
    return frame4(port, {"bgp": own / TCP(dport=179), "echo": own / ICMP(), "local": udp4("10.0.0.1")}[name])


@pytest.fixture(scope="module")
def running(hugepages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    punt = "\n".join(f"{name} = {pps}" for name, pps in RATES.items())
    with Plane("policing", tmp_path_factory.mktemp("policing"), tables=f"[punt]\n{punt}\n") as plane:
        yield plane


@pytest.fixture(autouse=True)
def _full_buckets() -> None:
    """Time alone fills them, in a tenth of a second."""
    time.sleep(0.11)


def test_the_rates_are_the_configured_ones(plane: Plane) -> None:
    assert plane.counters.reader.punt_rates() == RATES
    assert {member.name for member in PuntClass} == set(RATES)


@pytest.mark.parametrize("name", list(RATES))
def test_a_flood_of_one_class_leaves_the_others_alone(plane: Plane, name: str) -> None:
    """A tenth of the rate at once, then the rate: a sender that gets no CPU for some time is within it, so the few that
    pass are at least a tenth, and those beyond are counted in this class alone."""
    others = [frame(other) for other in RATES if other != name]
    before = plane.counters.snapshot()
    plane.inject(0, [frame(name)] * MANY + others)
    moved = plane.moved_when(before, lambda m: m.rx == MANY + len(others))
    assert moved.punts.pop(name) + moved.policed[name] == MANY
    assert moved.policed == {name: moved.drops.pop("punt_policed")}
    assert moved.policed[name] > 0
    assert moved.punts == {other: 1 for other in RATES if other != name}


def test_arp_and_nd_are_policed_by_port(plane: Plane) -> None:
    before = plane.counters.snapshot()
    plane.inject(0, [frame("neighbor")] * MANY)
    plane.inject(2, [frame("neighbor", 2)] * 3)
    moved = plane.moved_when(before, lambda m: m.rx == MANY + 3)
    assert moved.policed["neighbor"] > 0
    twin = plane.twin_frames(2, 3)
    assert twin == [frame("neighbor", 2)] * 3


def test_a_later_fragment_has_no_ports_to_look_at(tmp_path: Path) -> None:
    """What lies where a header's would be is nobody's port 179 and no echo."""
    to_bgp = frame4(0, IP(src=PEER4, dst="10.0.0.1", proto=6, frag=100) / bytes([0, 179] * 10))
    to_echo = frame4(0, IP(src=PEER4, dst="10.0.0.1", proto=1, frag=100) / bytes([8] * 20))
    assert capture.run("fragment", tmp_path, [to_bgp, to_echo, frame("bgp"), frame("echo")]).moved.punts == {
        "bgp": 1,
        "echo": 1,
        "local": 2,
    }
