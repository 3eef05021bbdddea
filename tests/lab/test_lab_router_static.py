"""The whole router with static routes: what hosts on both sides see, and what the counters say about it.

                   192.0.2.1/24         198.51.100.1/24    .9 east   lo: 203.0.113.9, 2001:db8:f::9,
west ── eth0 ──── wan0   dpdkrouter   wan1 ──── eth0 ── east              anycast 203.0.113.129, 2001:db8:f:1::9
.9, ::9      2001:db8:1::1/64         2001:db8:2::1/64     ::9
                                      wan2 ──── eth0 ── north  .9 of 192.0.0.0/24 and 2001:db8:3::/64
                         192.0.0.1/24, 2001:db8:3::1/64, MTU 1400       lo: the same anycast addresses

quiet, 198.51.100.20, is a static neighbour: a second MAC on east's cable that answers no ARP.
"""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from lab.harness import Namespace, wait_for
from lab.harness.router import Counts, Port, Router, port_veth
from lab.harness.traffic import Stream, count, send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("hugepages")

FAR4, FAR6 = "203.0.113.9", "2001:db8:f::9"
FARS = [pytest.param(FAR4, id="ipv4"), pytest.param(FAR6, id="ipv6")]
UDP = 5000
QUIET_MAC = "02:00:00:00:00:20"

BODY = f"""
[[route]]
prefix = "203.0.113.0/25"
via = ["198.51.100.9"]
[[route]]
prefix = "2001:db8:f::/64"
via = ["2001:db8:2::9"]
[[route]]
prefix = "203.0.113.128/25"
via = ["198.51.100.9", "192.0.0.9"]
[[route]]
prefix = "203.0.113.64/27"
type = "blackhole"
[[route]]
prefix = "203.0.113.96/27"
type = "unreachable"
[[route]]
prefix = "2001:db8:f:b::/64"
type = "blackhole"
[[route]]
prefix = "2001:db8:f:a::/64"
type = "unreachable"
[[route]]
prefix = "203.0.113.32/32"
via = ["198.51.100.20"]
[[neighbor]]
port = "wan1"
address = "198.51.100.20"
mac = "{QUIET_MAC}"
"""


class Lab:
    """The namespaces and the router."""

    def __init__(self, metal: Namespace, west: Namespace, east: Namespace, north: Namespace, router: Router) -> None:
        self.metal, self.west, self.east, self.north, self.router = metal, west, east, north, router

    def ping(self, address: str, *options: str, packets: int = 1) -> bool:
        """Whether all of so many pings from west are answered."""
        words = ("ping", "-n", "-c", str(packets), "-i", "0.02", "-W", "1", *options, address)
        return f" {packets} received" in self.west.run(*words, check=False)

    def settled(self) -> Counts:
        """Counters once nothing moves any more."""

        def quiet() -> Counts:
            first = self.router.counts()
            time.sleep(0.15)
            second = self.router.counts()
            assert first == second
            return second

        return wait_for(quiet, 20, "counters at rest")

    def far(self) -> None:
        """Everything on the way is resolved."""
        for address in (FAR4, FAR6):
            wait_for(lambda address=address: self.ping(address), 20, f"ping {address}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory: Path = tmp_path_factory.mktemp("static")
    with ExitStack() as stack:
        metal, west, east, north = (stack.enter_context(Namespace(name)) for name in ("metal", "west", "east", "north"))
        for port, host in (("wan0", west), ("wan1", east), ("wan2", north)):
            port_veth(metal, port, (host, "eth0"))
            host.sysctl("net.ipv4.conf.eth0.arp_notify", 1)
            host.sysctl("net.ipv6.conf.eth0.ndisc_notify", 1)
            host.sysctl("net.ipv6.conf.eth0.keep_addr_on_down", 1)
        west.address("eth0", "192.0.2.9/24", "2001:db8:1::9/64")
        east.address("eth0", "198.51.100.9/24", "2001:db8:2::9/64")
        north.address("eth0", "192.0.0.9/24", "2001:db8:3::9/64")
        east.address("lo", f"{FAR4}/32", f"{FAR6}/128", "203.0.113.32/32")
        for host in (east, north):
            host.address("lo", "203.0.113.129/32")
        for host, gateway4, gateway6 in (
            (west, "192.0.2.1", "2001:db8:1::1"),
            (east, "198.51.100.1", "2001:db8:2::1"),
            (north, "192.0.0.1", "2001:db8:3::1"),
        ):
            host.route("0.0.0.0/0", "via", gateway4)
            host.route("::/0", "via", gateway6)
        ports = [
            Port("wan0", "192.0.2.1/24", "2001:db8:1::1/64"),
            Port("wan1", "198.51.100.1/24", "2001:db8:2::1/64"),
            Port("wan2", "192.0.0.1/24", "2001:db8:3::1/64", mtu=1400),
        ]
        router = stack.enter_context(Router(metal, directory, ports, BODY))
        lab = Lab(metal, west, east, north, router)
        lab.far()
        yield lab


@pytest.mark.parametrize("far", FARS)
def test_packets_are_forwarded_by_the_workers_alone(lab: Lab, far: str) -> None:
    lab.far()
    before, kernel_punts = lab.settled(), lab.router.punts()
    received = count([lab.east], (far, UDP), lambda: send(lab.west, (far, UDP), 300))
    added = lab.settled().since(before)
    assert received == 300
    assert added.forwarded == received
    assert added.rx == added.forwarded + added.punted + added.dropped
    punts = {name: value - kernel_punts[name] for name, value in lab.router.punts().items()}
    assert punts["resolve"] == punts["local"] == punts["bgp"] == 0, punts
    assert punts["neighbor"] == added.punted <= 8, punts  # the hosts' own ARP and ND
    assert added.kernel <= added.punted + 8, "transit packets are not the kernel's business"
    assert added.dropped == 0


@pytest.mark.parametrize("far", FARS)
def test_ping_is_forwarded_both_ways(lab: Lab, far: str) -> None:
    lab.far()
    before = lab.settled()
    assert lab.ping(far, packets=20)
    assert lab.settled().since(before).forwarded == 40


@pytest.mark.parametrize(
    ("far", "hop"), [pytest.param(FAR4, "192.0.2.1", id="ipv4"), pytest.param(FAR6, "2001:db8:1::1", id="ipv6")]
)
def test_traceroute_names_the_router_then_the_host(lab: Lab, far: str, hop: str) -> None:
    lab.far()
    lines = lab.west.run("traceroute", "-n", "-q", "1", "-w", "2", far).splitlines()[1:]
    assert [line.split()[1] for line in lines] == [hop, far], lines


@pytest.mark.parametrize(
    ("far", "hop"),
    [pytest.param("192.0.0.9", "192.0.2.1", id="ipv4"), pytest.param("2001:db8:3::9", "2001:db8:1::1", id="ipv6")],
)
def test_tracepath_finds_the_smaller_mtu(lab: Lab, far: str, hop: str) -> None:
    """The router sends at most 1,400 bytes to north, and says so to west, whose cable takes 1,500."""
    wait_for(lambda: lab.ping(far), 20, f"ping {far}")
    said = lab.west.run("tracepath", "-n", "-m", "5", far, timeout=60)
    assert "pmtu 1500" in said, said
    assert re.search(rf"1:  {hop} .*\n(.*\n)* 2:  {hop} .*pmtu 1400", said), said
    assert f"{far} " in said, said
    assert "Resume: pmtu 1400 hops 2" in said, said


def _drops(lab: Lab, reason: str, address: str, packets: int = 10, ttl: int | None = None) -> tuple[int, Counts]:
    """What packets to an address add to a drop reason, and to all counters."""
    before, counts = lab.router.drops(), lab.settled()
    send(lab.west, (address, UDP), packets, ttl=ttl)
    wait_for(
        lambda: lab.router.drops().get(reason, 0) - before.get(reason, 0) >= packets, 10, f"{packets} drops {reason}"
    )
    added = lab.settled().since(counts)
    others = {name: value - before.get(name, 0) for name, value in lab.router.drops().items() if name != reason}
    assert not any(others.values()), others
    return lab.router.drops()[reason] - before.get(reason, 0), added


@pytest.mark.parametrize("far", FARS)
def test_ttl_1_is_answered_with_time_exceeded(lab: Lab, far: str) -> None:
    lab.far()
    answer = lab.west.run("ping", "-n", "-c", "1", "-t", "1", "-W", "2", far, check=False)
    assert re.search("Time (to live )?exceeded", answer), answer
    drops, added = _drops(lab, "ttl_expired", far, ttl=1)
    assert drops == 10
    assert added.forwarded == 0
    assert added.rx == added.forwarded + added.punted + added.dropped


UNREACHABLES = [
    pytest.param("198.18.0.1", "no_route", "Net Unreachable", id="no-route-ipv4"),
    pytest.param("2001:db8:dead::1", "no_route", "No route", id="no-route-ipv6"),
    pytest.param("203.0.113.97", "unreachable", "Host Unreachable", id="unreachable-ipv4"),
    pytest.param("2001:db8:f:a::1", "unreachable", "Unreachable|unreachable", id="unreachable-ipv6"),
]


@pytest.mark.parametrize(("address", "reason", "says"), UNREACHABLES)
def test_no_way_is_answered_with_unreachable(lab: Lab, address: str, reason: str, says: str) -> None:
    lab.far()
    answer = lab.west.run("ping", "-n", "-c", "1", "-W", "2", address, check=False)
    assert re.search(says, answer), answer
    drops, added = _drops(lab, reason, address)
    assert drops == added.dropped == 10
    assert added.forwarded == 0


@pytest.mark.parametrize("address", ["203.0.113.65", "2001:db8:f:b::1"])
def test_blackhole_is_silent(lab: Lab, address: str) -> None:
    lab.far()
    drops, added = _drops(lab, "blackhole", address)
    assert drops == added.dropped == 10
    assert added.originated == 0
    answer = lab.west.run("ping", "-n", "-c", "1", "-W", "1", address, check=False)
    assert "nreachable" not in answer, answer
    assert "0 received" in answer, answer


@pytest.mark.parametrize(
    ("absent", "says"),
    [
        pytest.param("198.51.100.77", "Host Unreachable", id="ipv4"),
        pytest.param("2001:db8:2::77", "Address unreachable", id="ipv6"),
    ],
)
def test_a_host_that_never_answers_is_unreachable(lab: Lab, absent: str, says: str) -> None:
    before = lab.router.drops().get("next_hop_unresolved", 0)
    answer = lab.west.run("ping", "-n", "-c", "1", "-W", "8", absent, check=False)
    assert says in answer, answer
    assert lab.router.drops()["next_hop_unresolved"] > before
    assert lab.ping(FAR4), "others go on"


def test_static_neighbour_needs_no_answer(lab: Lab) -> None:
    """East gets frames for a MAC that it never told; as its own they would be taken, so look at what arrives."""
    lab.far()
    before = lab.settled()
    capture = lab.east.start(
        "timeout", "10", "tcpdump", "-i", "eth0", "-nn", "-e", "-c", "1", "-p", "dst host 203.0.113.32",
        stdout=-1, stderr=-1,
    )  # fmt: skip
    time.sleep(1)
    wait_for(lambda: send(lab.west, ("203.0.113.32", UDP), 1) or capture.poll() is not None, 8, "the packet", 0.2)
    seen = capture.communicate()[0].decode()
    assert f"> {QUIET_MAC}" in seen, seen
    assert lab.settled().since(before).dropped == 0


def test_new_mac_of_a_next_hop_is_followed(lab: Lab) -> None:
    lab.far()
    with Stream(lab.west, (FAR4, UDP), [lab.east], rate=200) as stream:
        lab.east.run("ip", "link", "set", "eth0", "address", "02:00:00:00:09:99")
        moved = time.monotonic()
        wait_for(lambda: stream.arrived_since(moved + 0.1) > 20, 10, "packets at the new MAC")
    macs = {row["address"]: row["mac"] for row in lab.router.rows("neighbor.show")}
    assert macs["198.51.100.9"] == "02:00:00:00:09:99"
    assert stream.outage() < 2
    # the address family that had no traffic is followed as well
    wait_for(lambda: lab.ping(FAR6), 10, "ping over the new MAC")


def test_dead_link_moves_its_share_and_the_link_takes_it_back(lab: Lab) -> None:
    """Both east and north have the anycast address; which flow goes where is the hash's business."""
    lab.far()
    lab.metal.run("ip", "link", "set", "wan2", "up")
    wait_for(lambda: lab.router.next_hops("203.0.113.129") == ["192.0.0.9", "198.51.100.9"], 10, "both next hops")
    with Stream(lab.west, ("203.0.113.129", UDP), [lab.east, lab.north], rate=200, sources=16) as stream:
        start = time.monotonic()
        wait_for(lambda: all(stream.arrived_since(start, to) > 10 for to in (0, 1)), 10, "flows to both")
        lab.east.run("ip", "link", "set", "eth0", "down")
        down = time.monotonic()
        wait_for(lambda: lab.router.next_hops("203.0.113.129") == ["192.0.0.9"], 10, "east's share at north")
        moved = time.monotonic()
        wait_for(lambda: stream.arrived_since(moved, 1) > 100, 10, "all flows at north")
        lab.east.run("ip", "link", "set", "eth0", "up")
        lab.east.route("0.0.0.0/0", "via", "198.51.100.1")
        lab.east.route("::/0", "via", "2001:db8:2::1")
        back = time.monotonic()
        wait_for(lambda: stream.arrived_since(back, 0) > 10, 20, "flows at east again")
        again = time.monotonic()
        time.sleep(0.5)
    assert moved - down < 3
    lost = [number for number in stream.lost() if moved < stream.sent[number] < back or stream.sent[number] > again]
    assert lost == []
