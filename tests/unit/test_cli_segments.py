"""The CLI on real segments, with no process behind them: what works when everything else has died."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from array import array
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from dpdkrouter.config.paths import InstancePaths
from dpdkrouter.fib import Action, Adjacency, Fib, Interface, Member, Source
from statskit import Segment
from table_model import SMALL

NAME = f"cli-{os.getpid() % 100000}"
MAC = bytes.fromhex("020000000009")


def run(*words: str, name: str = NAME, code: int = 0) -> str:
    """Standard output of `dpdkrouter WORDS`; the exit code must be `code`, and nothing may look like a crash."""
    command = [sys.executable, "-P", "-m", "dpdkrouter", "--name", name, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code in (0, 4) else done.stderr


@pytest.fixture(scope="module")
def paths() -> Iterator[InstancePaths]:
    """A route segment with three routes and a stats segment with some counts."""
    paths = InstancePaths.for_name(NAME)
    paths.run.mkdir(parents=True)
    fib = Fib.open(paths.routes, SMALL, NAME, str(paths.stats))
    hop = ip_address("192.0.2.9")
    to_hop = fib.adjacency_create(Adjacency(Action.FORWARD, 1, MAC, bytes(6), 1500, hop.packed))
    hole = fib.adjacency_create(Adjacency(Action.BLACKHOLE))
    groups = array("H", [fib.group_create([Member(to_hop, 3)]), fib.group_create([Member(hole, 1)])])
    fib.interface_set(1, Interface("wan1", 1500))
    prefixes = ip_address("198.51.100.0").packed + ip_address("198.51.100.128").packed
    fib.apply(4, prefixes, bytes([24, 25]), groups, bytes([Source.EBGP, Source.STATIC]))
    fib.apply(6, ip_address("2001:db8::").packed, bytes([32]), groups[:1], bytes([Source.EBGP]))
    fib.mark_stale(Source.STATIC)
    fib.close()
    stats = Segment(paths.stats)
    stats.set("lcore[1].drops[20]", 7)
    stats.set("lcore[1].rx_packets", 10)
    stats.set("lcore[1].cycles_busy", 250)
    stats.set("lcore[1].cycles_idle", 750)
    stats.set("lcore[1].bursts[3]", 2)
    stats.set("lcore[1].sampled_packets", 200)
    stats.set("lcore[1].stage_cycles[0]", 2000)
    stats.set("lcore[1].stage_cycles[7]", 800)
    stats.set("lcore[1].port[1].tx_packets", 3)
    stats.set("port[1].link_up", 1)
    yield paths
    stats.close()
    paths.routes.unlink()
    paths.run.rmdir()


@pytest.mark.usefixtures("paths")
class TestWithoutControl:
    """Commands that read the segments."""

    def test_route_lookup_says_prefix_source_group_and_adjacency(self) -> None:
        found = json.loads(run("route", "lookup", "198.51.100.7", "--json"))
        assert (found["prefix"], found["source"], found["stale"]) == ("198.51.100.0/24", "ebgp", False)
        assert found["members"] == [
            {"weight": 3, "action": "forward", "port": "wan1", "next_hop": "192.0.2.9", "mac": "02:00:00:00:00:09"}
        ]
        assert found["group"] == found["table_group"] > 0
        assert "does not run" in found["control"]

    def test_route_lookup_for_people(self) -> None:
        shown = run("route", "lookup", "198.51.100.200")
        assert "198.51.100.200 -> 198.51.100.128/25, source static, stale, group" in shown
        assert "blackhole" in shown
        assert "2001:db8::/32" in run("route", "lookup", "2001:db8:1::1")

    def test_route_lookup_without_a_route_ends_with_4(self) -> None:
        assert "no route" in run("route", "lookup", "203.0.113.1", code=4)

    def test_route_lookup_of_nonsense(self) -> None:
        assert "'300.1.1.1' does not appear to be" in run("route", "lookup", "300.1.1.1", code=2)

    def test_route_summary_counts_by_source(self) -> None:
        found = json.loads(run("route", "summary", "--json"))["routes"]
        assert {(row["family"], row["source"], row["stale"]): row["routes"] for row in found} == {
            ("ipv4", "static", True): 1,
            ("ipv4", "ebgp", False): 1,
            ("ipv6", "ebgp", False): 1,
        }
        assert "stale" in run("route", "summary")

    def test_status_says_what_lives_and_what_does_not(self) -> None:
        found = json.loads(run("status", "--json"))
        assert found["fast_path"]["state"] == "forwarding"
        assert found["fast_path"]["lcores"][0]["rx_packets"] == 10
        assert found["table"]["ipv4_routes"] == {"used": 2, "max": 2000, "key": "table.max_ipv4_routes"}
        assert found["bgp"] is None
        assert "control" in run("status")

    def test_profile_says_where_the_cycles_go(self) -> None:
        """200 sampled packets: 10 cycles each in the first stage, 4 in the eighth."""
        found = json.loads(run("profile", "--seconds", "0", "--json"))[0]
        assert (found["sampled_packets"], found["cycles_per_packet"]) == (200, 14.0)
        assert found["stages"]["receive"] == 10.0
        assert found["stages"]["dispose"] == 4.0
        assert sum(found["stages"].values()) == 14.0
        assert (found["busy_percent"], found["packets_per_burst"]) == (25.0, 5.0)
        assert found["bursts"]["4-7"] == 2
        shown = run("profile", "--seconds", "0")
        assert "lookup4" in shown
        assert "busy %" in shown
        idle = json.loads(run("profile", "--seconds", "0.01", "--json"))[0]
        assert (idle["rx_packets"], idle["cycles_per_packet"], idle["packets_per_burst"]) == (0, None, None)

    def test_status_says_how_many_more_routes_fit(self) -> None:
        found = json.loads(run("status", "--json"))["room"]
        assert found == {"ipv4": 1998, "ipv4_longer": 15, "ipv6": 1999}
        shown = run("status")
        assert "room for" in shown
        assert "1998 IPv4 routes up to /24, 15 longer ones" in shown

    def test_snapshot_and_diff(self, tmp_path: Path) -> None:
        file = tmp_path / "table.snapshot"
        found = json.loads(run("route", "snapshot", str(file), "--json"))
        assert found == {"file": str(file), "ipv4": 2, "ipv6": 1, "bytes": file.stat().st_size}
        assert "2 IPv4, 1 IPv6 routes" in run("route", "snapshot", str(file))
        assert run("route", "diff", str(file)).splitlines()[-1].startswith(f"0 prefixes differ from {file}: 2 IPv4")
        assert json.loads(run("route", "diff", str(file), "--json"))["changes"] == []

    def test_diff_of_what_is_no_snapshot(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("no snapshot")
        assert "not a snapshot of dpdkrouter" in run("route", "diff", str(tmp_path / "text"), code=1)

    def test_audit_of_the_segment_alone(self) -> None:
        found = json.loads(run("route", "audit", "--json"))
        assert (found["rules"], found["differences"], found["rib"]) == (3, 0, False)
        assert run("route", "audit").startswith("3 in the segment, ")

    def test_drops_by_reason(self) -> None:
        found = json.loads(run("drops", "--json"))
        assert found["drops"]["blackhole"] == 7
        assert {name for name, count in found["drops"].items() if count} == {"blackhole"}
        assert "blackhole" in run("drops")
        assert "ttl_expired" not in run("drops")
        assert "ttl_expired" in run("drops", "--all")

    def test_port_show_and_port_stats(self) -> None:
        wan0, wan1 = json.loads(run("port", "show", "--json"))
        assert (wan0["link_up"], wan1["link_up"], wan1["tx_packets"]) == (0, 1, 3)
        assert json.loads(run("port", "stats", "--json"))[1]["tx_packets"] == 3
        assert "wan1" in run("port", "show")
        assert "tx_packets" in run("port", "stats")

    @pytest.mark.parametrize(
        "words",
        [("bgp", "summary"), ("route", "show"), ("neighbor", "show"), ("bgp", "routes"), ("route", "del", "::/0")],
    )
    def test_what_asks_the_control_process_ends_with_3(self, words: tuple[str, ...]) -> None:
        assert "control process" in run(*words, code=3)

    def test_output_is_not_cut_when_piped(self) -> None:
        assert "…" not in run("status") + run("port", "show")


def test_router_that_is_not_there() -> None:
    assert "no route segment" in run("route", "lookup", "192.0.2.1", name="nowhere", code=3)
    assert "router nowhere: not here" in run("status", name="nowhere", code=3)


def test_usage_errors_end_with_2() -> None:
    assert "No such option" in run("status", "--nonsense", code=2)
    assert "error:" in run("bgp", "run", "/nowhere/router.toml", code=2)
