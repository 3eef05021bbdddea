"""Millions of pings a second to the router's own address: BGP stays up, transit loses nothing, little work is done for them.

                    192.0.2.1/24           198.51.100.1/24
west ── eth0 ────── wan0    dpdkrouter     wan1 ────── eth0 ── east
AS 65001, BIRD      2001:db8:1::1/64       2001:db8:2::1/64
hold time 9                 flood0 10.66.0.1/24, 2001:db8:66::1/64
                              │
                      pings without end (net_pcap, infinite_rx)

One worker polls all three ports. It never finds the flood's port empty, so what bounds the flood is its turn: a burst of it
for a burst of each other port. `test_burst_policing` has the other classes.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6

from lab.harness import Namespace, wait_for
from lab.harness.bird import Bird, BirdPeer
from lab.harness.flood import Flood, first
from lab.harness.router import Port, Router, port_veth
from planekit.capture import own_mac, write_pcap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.usefixtures("hugepages"), pytest.mark.timeout(300)]

HOLD_S = 9
ECHO_PPS = 5000
RATE = 2000  # of transit packets
EAST = ("198.51.100.9", "2001:db8:2::9")
FAST_PATH = -20  # its worker's priority
RINGS = ",framecnt=32768"  # what waits while other processes have the CPU
BODY = f"""
[punt]
echo = {ECHO_PPS}
[bgp]
[[bgp.neighbor]]
address = "192.0.2.9"
asn = 65001
hold_time = {HOLD_S}
import_policy = "accept"
export_policy = "accept"
accept_bogons = true
"""


def pings(folder: Path) -> Path:
    """A capture of pings in both families from many far sources: nobody to be resolved, and no route for the answers."""
    head = own_mac(0) + bytes.fromhex("020000000077")
    frames = []
    for n in range(128):
        echo4 = IP(src=f"10.77.{n}.9", dst="10.66.0.1") / ICMP(id=n) / bytes(18)
        echo6 = IPv6(src=f"2001:db8:77:{n:x}::9", dst="2001:db8:66::1") / ICMPv6EchoRequest(id=n)
        frames += [head + b"\x08\x00" + bytes(echo4), head + b"\x86\xdd" + bytes(echo6)]
    write_pcap(folder / "pings.pcap", frames)
    return folder / "pings.pcap"


@dataclass
class Lab:
    west: Namespace
    east: Namespace
    bird: Bird
    router: Router


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    flood = Port("flood0", "10.66.0.1/24", "2001:db8:66::1/64")
    flood.device = f"net_pcap0,rx_pcap={pings(tmp_path)},infinite_rx=1"
    ports = (
        Port("wan0", "192.0.2.1/24", "2001:db8:1::1/64", options=RINGS),
        Port("wan1", "198.51.100.1/24", "2001:db8:2::1/64", options=RINGS),
        flood,
    )
    with ExitStack() as stack:
        enter = stack.enter_context
        metal, west, east = (enter(Namespace(f"punts-{name}")) for name in ("m", "w", "e"))
        port_veth(metal, "wan0", (west, "eth0"))
        port_veth(metal, "wan1", (east, "eth0"))
        west.address("eth0", "192.0.2.9/24", "2001:db8:1::9/64")
        east.address("eth0", "198.51.100.9/24", "2001:db8:2::9/64")
        west.route("198.51.100.0/24", "via", "192.0.2.1")
        west.route("2001:db8:2::/64", "via", "2001:db8:1::1")
        east.route("192.0.2.0/24", "via", "198.51.100.1")
        east.route("2001:db8:1::/64", "via", "2001:db8:2::1")
        peers = [BirdPeer("192.0.2.1", 65000, ("ipv4",), hold_time=HOLD_S)]
        bird = enter(Bird(west, tmp_path, "192.0.2.9", 65001, peers, ["198.18.0.0/24"], name="punts"))
        router = enter(Router(metal, tmp_path, ports, BODY, "punts", lcores=(0,)))
        first(router.pid("fastpath"), FAST_PATH)
        wait_for(bird.established, 30, "the session")
        wait_for(lambda: "198.18.0.0/24" in router.routes(), 20, "the route")
        yield Lab(west, east, bird, router)


@dataclass(frozen=True)
class Seen:
    """The worker's counters and the echo class's at a moment."""

    at: float
    rx: int
    cycles: int
    dispose: int
    stages: int
    punted: int
    policed: int


def seen(router: Router) -> Seen:
    with router.stats() as stats:
        worker = next(one for one in stats.lcores() if one.slot == 1)
        echo = stats.punts()["echo"], stats.policed()["echo"]
        at = time.monotonic()
    stages = worker.stage_cycles
    return Seen(at, worker.rx_packets, worker.cycles_busy, stages["dispose"], sum(stages.values()), *echo)


def session_held(lab: Lab, seconds: float) -> None:
    """For so long, without a break."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert lab.bird.established()
        time.sleep(0.2)  # between two looks
    (peer,) = lab.router.call("bgp.summary")["peers"]
    assert (peer["state"], peer["flaps"]) == ("up", 0)


@pytest.mark.parametrize(
    ("seconds", "least_pps"),
    [(2 * HOLD_S, 500_000), pytest.param(60, 2_000_000, marks=pytest.mark.full)],
    ids=["short", "long"],
)
def test_a_flood_of_pings_costs_neither_session_nor_transit(lab: Lab, seconds: float, least_pps: int) -> None:
    for address in EAST:
        wait_for(
            lambda address=address: "1 received" in lab.west.run("ping", "-n", "-c1", "-W1", address, check=False),
            20,
            f"transit to {address}",
        )
    before, dropped = seen(lab.router), lab.router.drops()
    with Flood(lab.west, lab.east, EAST, 5000, RATE) as transit:
        session_held(lab, seconds)
    after = seen(lab.router)
    elapsed, packets = after.at - before.at, after.rx - before.rx
    share = (after.dispose - before.dispose) / (after.stages - before.stages)
    print(
        f"{packets / elapsed / 1e6:.2f} Mpps, {(after.cycles - before.cycles) / packets:.0f} cycles a packet, "
        f"{share:.0%} of them to police it; transit: {transit}"
    )
    assert packets / elapsed > least_pps, "too little of a flood to say anything"
    assert transit.lost == 0
    punted = after.punted - before.punted
    assert 0 < punted <= ECHO_PPS * (elapsed + 0.1) * 1.01
    assert after.policed - before.policed > 0.9 * (packets - punted)
    assert share < 0.5, "to police a packet costs more than all that came before"
    grown = {reason for reason, count in lab.router.drops().items() if count != dropped.get(reason, 0)}
    # the answers have no route, and the kernel's MLD reports on host0 end there; nothing else is lost
    assert grown <= {"punt_policed", "no_route", "inject_invalid"}
