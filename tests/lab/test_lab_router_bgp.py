"""The whole router with BGP: what two BIRDs announce is what packets follow. Topology: harness/bgplab.py."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from lab.harness import wait_for
from lab.harness.bgplab import (
    EAST4,
    EAST6,
    FAR_HOP,
    RECURSIVE,
    SERVICE4,
    SERVICE6,
    UDP,
    WEST4,
    WEST6,
    BgpLab,
    distinct,
    routes,
)
from lab.harness.traffic import Stream, count, send

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("hugepages")

SERVICES = [pytest.param(SERVICE4, id="ipv4"), pytest.param(SERVICE6, id="ipv6")]


@pytest.fixture(scope="module")
def entered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BgpLab]:
    with BgpLab(tmp_path_factory.mktemp("bgp"), "g") as made:
        yield made


@pytest.fixture
def lab(entered: BgpLab) -> BgpLab:
    """The lab, whole again after the test before."""
    for place, bird in enumerate(entered.birds):
        bird.start() if not bird.running() else bird.set_routes(routes(place))
    entered.whole()
    return entered


def test_counts_are_those_of_bird(lab: BgpLab) -> None:
    received = lab.received()
    assert received[WEST4]["ipv4"] == lab.exported(0)["ipv4"] == distinct(0)["ipv4"]
    assert received[WEST6]["ipv6"] == lab.exported(0)["ipv6"] == distinct(0)["ipv6"]
    assert received[EAST4] == lab.exported(1) == distinct(1)
    connected = {"ipv4": 0, "ipv6": 0}
    for row in lab.router.call("route.summary"):
        connected[row["family"]] += row["best"] if row["source"] != "ebgp" else 0
    expected = distinct(0, 1)
    assert lab.router.table() == {family: expected[family] + connected[family] for family in expected}
    assert {peer["state"] for peer in lab.router.call("bgp.summary")["peers"]} == {"up"}


def test_best_path_and_next_hops(lab: BgpLab) -> None:
    common, of_east = "10.0.0.0/24", "10.150.0.0/24"
    paths = {row["peer"]: row for row in lab.router.rows("bgp.routes", prefix=common)}
    assert {peer for peer, row in paths.items() if row["best"]} == {WEST4}
    assert set(paths) == {WEST4, EAST4}
    assert paths[EAST4]["as_path"] == "65002"
    assert lab.router.next_hops("10.0.0.1") == [WEST4]
    assert lab.router.next_hops("10.150.0.1") == [EAST4], of_east
    assert lab.router.next_hops("2001:d00::1") == [WEST6]
    assert lab.router.next_hops(f"2001:d00:{150:x}::1") == [EAST6], "IPv6 routes that came over an IPv4 session"


def test_next_hop_is_resolved_through_another_route(lab: BgpLab) -> None:
    (path,) = lab.router.rows("bgp.routes", prefix=RECURSIVE)
    assert path["next_hop"] == FAR_HOP
    assert lab.router.next_hops("10.200.0.1") == [WEST4]
    without = [route for route in routes(0) if route != "10.100.0.0/24"]
    lab.birds[0].set_routes(without)
    wait_for(lambda: not lab.router.next_hops("10.200.0.1"), 10, "no way to the next hop, no route")
    assert not any(row["best"] for row in lab.router.rows("bgp.routes", prefix=RECURSIVE))


@pytest.mark.parametrize("service", SERVICES)
def test_traffic_follows_the_best_route(lab: BgpLab, service: str) -> None:
    wait_for(lambda: lab.ping(service), 10, "ping")
    before = lab.router.counts()
    assert count([lab.west], (service, UDP), lambda: send(lab.client, (service, UDP), 200)) == 200
    assert lab.router.counts().since(before).forwarded == 200
    assert count([lab.east], (service, UDP), lambda: send(lab.client, (service, UDP), 20)) == 0


def test_withdrawn_route_is_gone(lab: BgpLab) -> None:
    gone = {"10.149.0.0/24", f"2001:d00:{149:x}::/48", "198.18.0.0/24"}
    before = lab.router.table()
    lab.birds[0].set_routes([route for route in routes(0) if route not in gone])
    wait_for(lambda: lab.router.next_hops(SERVICE4) == [EAST4], 10, "the service by east")
    wait_for(lambda: lab.router.lookup("10.149.0.1").prefix is None, 10, "no route")
    wait_for(lambda: lab.router.lookup(f"2001:d00:{149:x}::1").prefix is None, 10, "no route")
    assert lab.router.table() == {family: number - 1 for family, number in before.items()}
    answer = lab.client.run("ping", "-nc1", "-W2", "10.149.0.1", check=False)
    assert "Net Unreachable" in answer, answer


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_lost_peer_moves_traffic_to_the_other(lab: BgpLab, how: str) -> None:
    west, _ = lab.birds
    with (
        Stream(lab.client, (SERVICE4, UDP), [lab.west, lab.east], rate=300) as v4,
        Stream(lab.client, (SERVICE6, UDP), [lab.west, lab.east], rate=300) as v6,
    ):
        start = time.monotonic()
        wait_for(lambda: v4.arrived_since(start, 0) > 50 and v6.arrived_since(start, 0) > 50, 10, "traffic at west")
        west.stop() if how == "stop" else west.kill()
        wait_for(lambda: lab.router.next_hops(SERVICE4) == [EAST4], 10, "the service by east")
        wait_for(lambda: lab.router.next_hops(SERVICE6) == [EAST6], 10, "the service by east")
        moved = time.monotonic()
        wait_for(lambda: v4.arrived_since(moved, 1) > 100 and v6.arrived_since(moved, 1) > 100, 10, "traffic at east")
    assert v4.lost() == v6.lost() == [], "west still takes packets: not one is lost on the way to east"
    wait_for(lambda: lab.learnt(1), 10, "east's routes alone")
    states = {peer["address"]: peer["state"] for peer in lab.router.call("bgp.summary")["peers"]}
    assert states == {WEST4: "down", WEST6: "down", EAST4: "up"}


def test_a_lost_link_moves_traffic_before_any_session_is_lost(lab: BgpLab) -> None:
    with (
        Stream(lab.client, (SERVICE4, UDP), [lab.west, lab.east], rate=300) as v4,
        Stream(lab.client, (SERVICE6, UDP), [lab.west, lab.east], rate=300) as v6,
    ):
        start = time.monotonic()
        wait_for(lambda: v4.arrived_since(start, 0) > 50 and v6.arrived_since(start, 0) > 50, 10, "traffic at west")
        before = lab.router.call("status")["repairs"]
        lab.metal.run("ip", "link", "set", "wan0", "down")
        wait_for(lambda: v4.arrived_since(start, 1) > 50 and v6.arrived_since(start, 1) > 50, 10, "traffic at east")
    after = lab.router.call("status")["repairs"]
    assert after["losses"] > before["losses"]
    assert after["groups"] >= before["groups"] + 2, "one group of each family"
    states = {peer["address"]: peer["state"] for peer in lab.router.call("bgp.summary")["peers"]}
    assert states == {WEST4: "up", WEST6: "up", EAST4: "up"}, "hold times are longer"
    lab.metal.run("ip", "link", "set", "wan0", "up")
    wait_for(lambda: lab.router.next_hops(SERVICE4) == [WEST4], 30, "west again")


def test_bgp_packets_are_punted_in_their_class(lab: BgpLab) -> None:
    before = lab.router.punts()["bgp"]
    lab.birds[0].set_routes(routes(0)[:-1])
    wait_for(lambda: lab.router.punts()["bgp"] > before, 10, "BGP punts")
    assert "inject_loop" not in lab.router.drops()
