"""Commands that read the segments: what they say while all runs, and when control or the fast path is dead."""

from __future__ import annotations

import os
import re
import time
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from clikit import Router, router_files
from dpdkrouter.fib import Action, Adjacency, Fib, Interface, Source
from dpdkrouter.segment import DropReason, PuntClass
from statskit import Segment, place_of
from table_model import SMALL, apply

if TYPE_CHECKING:
    from collections.abc import Iterator

WAN0, WAN1 = 0, 1
NO_PID = 2**22 + 1  # beyond the kernel's largest


@pytest.fixture
def router(root: None) -> Iterator[Router]:
    with router_files("s") as router:
        yield router


@pytest.fixture
def fast_path(router: Router) -> Iterator[Segment]:
    segment = Segment(router.paths.stats, lcores=3, ports=2)
    yield segment
    segment.close()


@pytest.fixture
def fib(router: Router) -> Iterator[Fib]:
    """A table with a forwarded, a shared, a blackholed and a waiting prefix; this process is its writer."""
    fib = Fib.create(router.paths.routes, SMALL, router.paths.name)
    for number, name in enumerate(("wan0", "wan1")):
        fib.interface_set(number, Interface(name, 1500))

    def hop(port: int, last: int) -> int:
        mac, own = bytes([2, 0, 0, 0, 0, last]), bytes([2, 0, 0, 0, 1, last])
        return fib.adjacency_create(Adjacency(Action.FORWARD, port, mac, own, 1500, bytes([192, 0, 2, last])))

    one, two = hop(WAN0, 9), hop(WAN1, 10)
    waiting = fib.adjacency_create(Adjacency(Action.RESOLVE, WAN1, mtu=1500, next_hop=b"\x20\x01\x0d\xb8" + bytes(12)))
    black = fib.adjacency_create(Adjacency(Action.BLACKHOLE))
    groups = [fib.group_create(members) for members in ([(one, 1)], [(one, 1), (two, 3)], [(waiting, 1)], [(black, 1)])]

    def route(prefix: str, group: int, source: Source) -> None:
        network = ip_network(prefix)
        apply(fib, network.version, [(int(network.network_address), network.prefixlen, group)], source)

    route("198.51.100.0/24", groups[0], Source.EBGP)
    route("198.51.100.128/25", groups[1], Source.STATIC)
    route("2001:db8:a::/48", groups[2], Source.EBGP)
    route("203.0.113.0/24", groups[3], Source.CLI)
    fib.heartbeat(time.monotonic_ns())
    yield fib
    fib.close()


def test_route_lookup_says_all_about_a_route(router: Router, fib: Fib) -> None:
    found = router.json("route", "lookup", "198.51.100.7")
    assert (found["prefix"], found["source"], found["stale"]) == ("198.51.100.0/24", "ebgp", False)
    assert found["group"] == found["table_group"] > 0
    assert found["members"] == [
        {"weight": 1, "action": "forward", "port": "wan0", "next_hop": "192.0.2.9", "mac": "02:00:00:00:00:09"}
    ]
    assert f"pid {os.getpid()}, heartbeat" in found["control"]
    lines = router.run("route", "lookup", "198.51.100.7").splitlines()
    assert lines[0] == f"198.51.100.7 -> 198.51.100.0/24, source ebgp, group {found['group']}"
    assert lines[2].split() == ["forward", "wan0", "192.0.2.9", "02:00:00:00:00:09", "1"]


def test_route_lookup_takes_the_longest_prefix_and_shows_every_member(router: Router, fib: Fib) -> None:
    found = router.json("route", "lookup", "198.51.100.200")
    assert (found["prefix"], found["source"]) == ("198.51.100.128/25", "static")
    assert [(m["port"], m["weight"]) for m in found["members"]] == [("wan0", 1), ("wan1", 3)]


def test_route_lookup_of_what_is_not_forwarded(router: Router, fib: Fib) -> None:
    (waiting,) = router.json("route", "lookup", "2001:db8:a::1")["members"]
    assert waiting == {"weight": 1, "action": "resolve", "port": "wan1", "next_hop": "2001:db8::", "mac": None}
    (black,) = router.json("route", "lookup", "203.0.113.9")["members"]
    assert black == {"weight": 1, "action": "blackhole", "port": None, "next_hop": None, "mac": None}


def test_route_lookup_without_a_route_ends_with_4(router: Router, fib: Fib) -> None:
    assert router.run("route", "lookup", "10.0.0.1", code=4).startswith("10.0.0.1: no route\n")
    found = router.json("route", "lookup", "2001:db8:b::1", code=4)
    assert (found["prefix"], found["source"], found["group"], found["members"]) == (None, None, 0, [])


def test_route_lookup_answers_the_same_when_control_is_dead_and_says_so(router: Router, fib: Fib) -> None:
    before = router.json("route", "lookup", "198.51.100.7")
    fib.close()
    after = router.json("route", "lookup", "198.51.100.7")
    assert after.pop("control") == "the control process does not run: the table is as it left it"
    before.pop("control")
    assert after == before


def test_a_writer_that_hangs_is_said(router: Router, fib: Fib) -> None:
    fib.heartbeat(time.monotonic_ns() - 60_000_000_000)
    note = router.json("route", "lookup", "198.51.100.7")["control"]
    assert re.fullmatch(rf"pid {os.getpid()}, heartbeat 6\d\.\d s ago: it hangs", note)


def test_route_summary_counts_by_family_source_and_staleness(router: Router, fib: Fib) -> None:
    fib.mark_stale(Source.STATIC)
    fib.close()
    found = router.json("route", "summary")
    assert found["routes"] == [
        {"family": "ipv4", "source": "static", "stale": True, "routes": 1},
        {"family": "ipv4", "source": "cli", "stale": False, "routes": 1},
        {"family": "ipv4", "source": "ebgp", "stale": False, "routes": 1},
        {"family": "ipv6", "source": "ebgp", "stale": False, "routes": 1},
    ]
    text = router.run("route", "summary")
    assert "ipv4    static       1  stale\n" in text
    assert "the table is as it left it" in text


def test_drops_name_every_reason_and_class(router: Router, fast_path: Segment) -> None:
    # By number: the check that each reason has a test of its own must not take this one for it.
    moved, still = (list(DropReason.__members__)[number] for number in (19, 7))
    for lcore, count in {"lcore[1]": 3, "lcore[2]": 4}.items():
        _count(fast_path, f"{lcore}.drops[0]", 19, count)
        _count(fast_path, f"{lcore}.punts[0]", int(PuntClass.bgp), count)
    found = router.json("drops")
    assert found["drops"] == {**dict.fromkeys(DropReason.__members__, 0), moved: 7}
    assert found["punts"] == {**dict.fromkeys(PuntClass.__members__, 0), "bgp": 7}
    short, whole = router.run("drops"), router.run("drops", "--all")
    assert re.search(rf"(?m)^{moved} +7$", short)
    assert still not in short
    assert re.search(rf"(?m)^{still} +0$", whole)
    assert re.search(r"(?m)^bgp +7$", short)


def test_punt_show_has_rate_and_counts_of_every_class(router: Router, fast_path: Segment) -> None:
    number = int(PuntClass.echo)
    _count(fast_path, "header.punt_pps[0]", number, 5000)
    for lcore, count in {"lcore[1]": 3, "lcore[2]": 4}.items():
        _count(fast_path, f"{lcore}.punts[0]", number, count)
        _count(fast_path, f"{lcore}.policed[0]", number, 10 * count)
    still = {"rate": 0, "punted": 0, "policed": 0}
    assert router.json("punt", "show") == [
        {"class": name} | ({"rate": 5000, "punted": 7, "policed": 70} if name == "echo" else still)
        for name in PuntClass.__members__
    ]
    assert re.search(r"(?m)^echo +5000 +7 +70$", router.run("punt", "show"))


def _count(segment: Segment, first: str, index: int, value: int) -> None:
    """Store a counter of an array of 64-bit ones, given its element 0."""
    offset, size = place_of(first)
    segment.view[offset + index * size : offset + (index + 1) * size] = value.to_bytes(size, "little")


def test_drops_when_none_was_dropped(router: Router, fast_path: Segment) -> None:
    assert router.run("drops").startswith("no packet was dropped\n")


def test_port_show_and_stats(router: Router, fast_path: Segment) -> None:
    fast_path.set("port[0].mac", b"\2\0\0\0\0\1")
    fast_path.set("port[0].link_up", 1)
    fast_path.set("port[0].speed_mbps", 10000)
    fast_path.set("port[0].driver", b"net_af_packet")
    fast_path.set("port[1].rx_missed", 2**64 - 1)
    fast_path.set("port[1].rx_queues", 2)
    fast_path.set("port[1].numa", 0xFFFF)
    fast_path.set("port[1].rss", b"ipv4 ipv6 udp")
    fast_path.set("port[1].rx_slot[0]", 2)
    fast_path.set("port[1].rx_slot[1]", 1)
    fast_path.set("lcore[1].cpu", 10)
    fast_path.set("lcore[2].cpu", 20)
    for lcore in (1, 2):
        fast_path.set(f"lcore[{lcore}].port[0].rx_packets", lcore * 100)
    rows = [line.split() for line in router.run("port", "show").splitlines()]
    assert rows[1] == ["wan0", "up", "10000", "02:00:00:00:00:01", "0", "0", "0", "net_af_packet"]
    assert rows[2][:2] == ["wan1", "down"]
    assert rows[5] == ["wan0", "0", "-", "-"]
    assert rows[6] == ["wan1", "-", "20,10", "ipv4", "ipv6", "udp", "-"]
    assert router.json("port", "show")[1]["rx_lcores"] == [20, 10]
    assert router.json("port", "show")[0]["mac"] == "02:00:00:00:00:01"
    stats = router.json("port", "stats")
    assert [(port["name"], port["rx_packets"], port["rx_missed"]) for port in stats] == [
        ("wan0", 300, 0),
        ("wan1", 0, 2**64 - 1),
    ]
    lines = {line.split()[0]: line.split()[1:] for line in router.run("port", "stats").splitlines()}
    assert lines["counter"] == ["wan0", "wan1"]
    assert lines["rx_packets"] == ["300", "0"]


def test_many_ports_fit_80_columns(router: Router) -> None:
    segment = Segment(router.paths.stats, lcores=2, ports=8)
    try:
        for port in range(8):
            segment.set(f"lcore[1].port[{port}].rx_bytes", 2**64 - 1 - port)
        shown = re.sub(r"\x1b\[[0-9;]*m", "", router.terminal("port", "stats"))
        piped = router.run("port", "stats")
    finally:
        segment.close()
    for port in range(8):
        assert f" {2**64 - 1 - port}" in shown
        assert f" {2**64 - 1 - port}" in piped
    assert max(map(len, shown.splitlines())) <= 80
    assert len(piped.splitlines()) == 13


@pytest.mark.parametrize("words", [("port", "show"), ("port", "stats"), ("drops",)])
def test_a_dead_fast_paths_counts_are_said_to_be_old(
    router: Router, fast_path: Segment, words: tuple[str, ...]
) -> None:
    assert router.errors(*words) == ""
    fast_path.set("header.pid", NO_PID)
    assert router.errors(*words) == f"note: the fast path (pid {NO_PID}) is gone: this is what it left\n"
    assert router.json(*words)  # and JSON stays JSON


def test_a_fast_path_that_starts_or_hangs_is_said(router: Router, fast_path: Segment) -> None:
    fast_path.set("header.ready", 0)
    assert "is starting: no packet passes yet" in router.errors("drops")
    fast_path.set("header.ready", 1)
    fast_path.set("header.heartbeat_ns", time.monotonic_ns() - 60_000_000_000)
    assert re.search(r"no life for 6\d s", router.errors("drops"))
    assert re.search(r"host thread silent for 6\d s", router.run("status"))


def test_status_of_a_router_whose_control_is_dead(router: Router, fast_path: Segment, fib: Fib) -> None:
    fib.close()
    fast_path.set("lcore[1].cpu", 5)
    fast_path.set("lcore[1].rx_packets", 1000)
    fast_path.set("lcore[1].cycles_busy", 1)
    fast_path.set("lcore[1].cycles_idle", 3)
    found = router.json("status")
    assert found["fast_path"]["state"] == "forwarding"
    assert (found["fast_path"]["pid"], found["fast_path"]["simd"]) == (os.getpid(), "x86-64-v3")
    assert found["fast_path"]["lcores"][0]["busy_percent"] == 25.0
    assert found["control"]["pid"] == 0
    assert "start it with `dpdkrouter control FILE`" in found["control"]["error"]
    assert found["table"]["ipv4_routes"] == {"used": 3, "max": 2000, "key": "table.max_ipv4_routes"}
    assert found["bgp"] is None
    text = router.run("status")
    assert "control    the control process does not run: the table is as it left it\n" in text
    assert re.search(r"(?m)^ *5 +1000 ", text)


def test_status_of_a_router_of_which_nothing_runs(router: Router) -> None:
    found = router.json("status")
    assert found["fast_path"] == {"state": "not running"}
    assert "no route segment" in found["control"]["state"]


def test_status_of_a_dead_fast_path(router: Router, fast_path: Segment) -> None:
    fast_path.set("header.pid", NO_PID)
    assert f"fast path  dead (was pid {NO_PID})" in router.run("status")


def test_a_segment_of_another_version_is_refused_and_both_versions_are_named(
    router: Router, fast_path: Segment, fib: Fib
) -> None:
    fast_path.set("header.version", 77)
    for words in (("drops",), ("port", "show")):
        assert re.search(r"version 77, this program has version \d+", router.errors(*words, code=1))
    assert "version 77" in router.json("status")["fast_path"]["error"]
    with router.paths.routes.open("r+b") as file:
        file.seek(8)
        file.write((78).to_bytes(4, "little"))
    assert re.search(r"version 78, this program has version \d+", router.errors("route", "summary", code=1))
    assert "version 78" in router.json("status")["control"]["state"]


def test_a_fast_path_that_never_ran_is_an_error_that_says_who_makes_the_segment(router: Router) -> None:
    error = router.errors("drops", code=3)
    assert error.startswith("error: ")
    assert "no stats segment; the fast path makes it when it starts" in error
