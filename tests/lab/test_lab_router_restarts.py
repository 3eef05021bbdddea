"""Each program of the whole router killed in turn while packets flow. Topology: harness/bgplab.py.

A stream of numbered packets of each family runs from the client to the service addresses at west across each kill;
what is lost is counted, by number.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from lab.harness import wait_for
from lab.harness.bgplab import ANNOUNCED, SERVICE4, SERVICE6, UDP, BgpLab, distinct, routes
from lab.harness.traffic import Stream
from lab.harness.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("hugepages")

RATE = 500
FAST_PATH_BACK_S = 3.0


@pytest.fixture(scope="module")
def entered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BgpLab]:
    with BgpLab(tmp_path_factory.mktemp("restarts"), "k") as made:
        yield made


@pytest.fixture
def lab(entered: BgpLab) -> BgpLab:
    """The lab, whole again after the test before."""
    for place, bird in enumerate(entered.birds):
        bird.set_routes(routes(place))
    entered.whole()
    for service in (SERVICE4, SERVICE6):
        wait_for(lambda service=service: entered.ping(service), 10, f"ping {service}")
    return entered


@contextmanager
def _streams(lab: BgpLab) -> Iterator[tuple[Stream, Stream]]:
    """Packets of both families to the service at west, which flow when the block begins and a while after its end."""
    with (
        Stream(lab.client, (SERVICE4, UDP), [lab.west], RATE) as v4,
        Stream(lab.client, (SERVICE6, UDP), [lab.west], RATE) as v6,
    ):
        _flowing(v4, v6)
        yield v4, v6
        _flowing(v4, v6)


def _flowing(*streams: Stream) -> None:
    start = time.monotonic()
    wait_for(lambda: all(one.arrived_since(start) > 50 for one in streams), 10, "packets")


def _flaps(lab: BgpLab) -> list[int]:
    return [peer["flaps"] for peer in lab.router.call("bgp.summary")["peers"]]


def test_control_killed_loses_no_packet_and_no_route(lab: BgpLab) -> None:
    fast_path = lab.router.pid("fastpath")
    with Watch(lab.router) as watch, _streams(lab) as (v4, v6):
        old = lab.router.kill("control")
        wait_for(lambda: lab.router.restarted("control", old), 10, "another control process")
        lab.whole()
    assert v4.lost() == v6.lost() == []
    watch.check()
    assert lab.router.pid("fastpath") == fast_path
    assert all(bird.established() for bird in lab.birds)


def test_control_killed_again_and_again_leaves_nothing_in_the_segment(lab: BgpLab) -> None:
    """Groups and adjacencies of a former process are taken over or let go."""
    before = lab.router.used()
    for _ in range(2):
        old = lab.router.kill("control")
        wait_for(lambda old=old: lab.router.restarted("control", old), 10, "another control process")
        lab.whole()
    wait_for(lambda: lab.router.used() == before, 10, f"the segment's use as before, {before}")


def test_what_was_withdrawn_while_control_was_dead_is_swept(lab: BgpLab) -> None:
    gone = {"10.149.0.0/24", f"2001:d00:{149:x}::/48"}
    new = ["10.201.0.0/24"]
    before = lab.router.table()
    old = lab.router.kill("control")
    lab.birds[0].set_routes([*(route for route in routes(0) if route not in gone), *new])
    assert lab.router.lookup("10.149.0.1").prefix is not None, "it is still there, nobody could know"
    wait_for(lambda: lab.router.restarted("control", old), 10, "another control process")
    wait_for(lambda: lab.router.lookup("10.149.0.1").prefix is None, 30, "the withdrawn route gone")
    wait_for(lambda: lab.router.lookup(f"2001:d00:{149:x}::1").prefix is None, 30, "the withdrawn route gone")
    wait_for(lambda: lab.router.next_hops("10.201.0.1"), 10, "the new route")
    assert lab.router.table() == {"ipv4": before["ipv4"], "ipv6": before["ipv6"] - 1}
    assert lab.router.stale() == 0


def test_bgp_killed_loses_no_packet_and_no_route(lab: BgpLab) -> None:
    with Watch(lab.router) as watch, _streams(lab) as (v4, v6):
        old = lab.router.kill("bgp")
        wait_for(lambda: lab.router.call("status")["exabgp_connected"] is False, 10, "no helper")
        assert lab.best() == distinct(0, 1)
        wait_for(lambda: lab.router.restarted("bgp", old), 10, "another bgp")
        wait_for(
            lambda: [peer["state"] for peer in lab.router.call("bgp.summary")["peers"]] == ["up"] * 3, 20, "sessions"
        )
        lab.whole()
        wait_for(lambda: not any(row["stale"] for row in lab.router.rows("bgp.routes")), 40, "no stale paths")
    assert v4.lost() == v6.lost() == []
    watch.check()


def test_fast_path_killed_forwards_again_without_bgp(lab: BgpLab) -> None:
    flaps = _flaps(lab)
    neighbours = lab.router.rows("neighbor.show")
    devices = {link["ifname"]: link["ifindex"] for link in lab.router.links()}
    with Watch(lab.router) as watch, _streams(lab) as (v4, v6):
        killed = time.monotonic()
        old = lab.router.kill("fastpath")
        wait_for(lambda: v4.arrived_since(killed + 0.2) > 10, 10, "IPv4 forwarded again", 0.005)
        back4 = time.monotonic() - killed
        wait_for(lambda: v6.arrived_since(killed + 0.2) > 10, 10, "IPv6 forwarded again", 0.005)
        back6 = time.monotonic() - killed
        again = time.monotonic()
        wait_for(lambda: lab.router.restarted("fastpath", old), 5, "another fast path")
        assert {link["ifname"]: link["ifindex"] for link in lab.router.links()} == devices, "the TAPs live on"
        lab.whole()
    assert max(back4, back6) < FAST_PATH_BACK_S
    for stream in (v4, v6):
        lost = stream.lost()
        print(f"{len(lost)} of {len(stream.sent)} packets lost, outage {stream.outage():.2f} s")
        assert 0 < len(lost) < RATE * FAST_PATH_BACK_S
        assert stream.lost_since(again) == []
        inside = sorted(set(range(lost[0], lost[-1])) - set(lost))
        assert len(inside) <= 5, f"one gap, but for a few packets in flight at its ends; inside it arrived {inside}"
    watch.check()
    assert lab.router.rows("neighbor.show") == neighbours
    assert _flaps(lab) == flaps
    assert all(bird.established() for bird in lab.birds)


def test_stopped_router_is_forgotten_by_its_peers_at_once(tmp_path: Path) -> None:
    """BIRD is told that this is no restart: it keeps nothing stale."""
    with BgpLab(tmp_path, "e") as lab:
        assert lab.router.stop() == 0
        for bird in lab.birds:
            for prefix in ANNOUNCED:
                assert not bird.has_route(prefix)


@pytest.mark.full
def test_each_killed_many_times(lab: BgpLab) -> None:
    before = lab.router.table()
    for program in ("control", "bgp", "fastpath") * 4:
        old = lab.router.kill(program)
        wait_for(lambda program=program, old=old: lab.router.restarted(program, old), 10, f"another {program}")
        lab.whole()
        assert lab.router.table() == before
        time.sleep(2)  # `run` gives up on a program that ends at once again and again
    with _streams(lab) as (v4, v6):
        time.sleep(1)
    assert v4.lost() == v6.lost() == []
