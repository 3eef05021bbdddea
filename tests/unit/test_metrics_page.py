"""The metrics page: a real scrape over HTTP of real segments, promtool's opinion of it, and its documentation."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dpdkrouter import __version__, metrics_server
from dpdkrouter.config.rules import Listen
from dpdkrouter.errors import MetricsError
from dpdkrouter.fib.fib import Fib
from dpdkrouter.fib.limits import Limits
from dpdkrouter.metrics import SERIES, Page
from dpdkrouter.metrics_server import MetricsServer
from dpdkrouter.segment import DropReason, PuntClass
from dpdkrouter.timings import Timings
from fastpath import _build
from statskit import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCUMENTATION = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
LIMITS = Limits(2000, 3000, 300, 301, 8, 16, 1)
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Control:
    """What a control process with two peers answers."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.audit: dict[str, Any] | None = {"differences": 3, "age_s": 12.5}

    def route_summary(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        self.threads.add(threading.get_ident())
        return [
            {"source": "connected", "family": "ipv4", "paths": 3, "best": 3},
            {"source": "ebgp", "family": "ipv4", "paths": 20, "best": 12},
            {"source": "ebgp", "family": "ipv4", "paths": 20, "best": 8},
            {"source": "ebgp", "family": "ipv6", "paths": 7, "best": 7},
        ]

    def bgp_summary(self, _: dict[str, Any]) -> dict[str, Any]:
        up = {
            "address": "192.0.2.9",
            "state": "up",
            "prefixes": {"ipv4": 20, "ipv6": 7},
            "rejected": {"ipv4": 5, "ipv6": 0},
            "announced": 4,
            "treated_as_withdraw": 6,
            "updates": 31,
            "flaps": 2,
            "load_s": 1.75,
        }
        down = {
            **up,
            "address": "2001:db8::9",
            "state": "down",
            "prefixes": {"ipv6": 0},
            "updates": 0,
            "flaps": 0,
            "load_s": None,
        }
        return {"feed": "tap", "peers": [up, down]}

    def audit_summary(self, _: dict[str, Any]) -> dict[str, Any] | None:
        return self.audit

    def neighbour_counts(self) -> dict[str, tuple[int, int]]:
        return {"wan0": (5, 2), "wan1": (0, 0)}

    def refused(self) -> dict[str, int]:
        return {"full": 12, "group": 1}

    def timings(self) -> tuple[Timings, tuple[int, int, float]]:
        timings = Timings()
        timings.heard(10.0)
        timings.begun(10.5)
        timings.rested(0.025)
        timings.done(12.0, changed=True)
        return timings, (3, 14, 0.002)


@dataclass
class MetricsTable:
    listen: Listen | None


@dataclass
class Configuration:
    """What MetricsServer takes of a configuration."""

    metrics: MetricsTable


@dataclass
class Paths:
    """One router's segments."""

    stats: Path
    routes: Path


@dataclass
class Router:
    """A free port, the paths, and the control process's answers."""

    directory: Path
    config: Configuration = field(init=False)
    paths: Paths = field(init=False)
    control: Control = field(default_factory=Control)

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.config = Configuration(MetricsTable(Listen(IPv4Address("127.0.0.1"), self.port)))
        self.paths = Paths(self.directory / "r.stats", self.directory / "r.routes")

    def serving(self) -> MetricsServer:
        return MetricsServer(self.config, self.paths, self.control)

    def scrape(self, host: str = "127.0.0.1") -> str:
        with urllib.request.urlopen(f"http://{host}:{self.port}/metrics", timeout=20) as page:
            return str(page.read().decode())


def samples(text: str) -> Samples:
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


@pytest.fixture
def router(tmp_path: Path) -> Router:
    return Router(tmp_path)


@pytest.fixture
def stats(router: Router) -> Iterator[Segment]:
    segment = Segment(router.paths.stats)
    segment.set("lcore[1].cpu", 4)
    segment.set("lcore[2].cpu", 5)
    segment.count_filter(0, "edge", 1, 0, {1: [(1, 60), (2, 120)], 2: [(3, 200), (4, 300)]})
    segment.count_filter(64, "pings", 2, 4, {1: [(5, 500), (6, 600), (7, 700)]})
    yield segment
    segment.close()


@pytest.fixture
def table(router: Router) -> Iterator[Fib]:
    fib = Fib.open(router.paths.routes, LIMITS, "metrics")
    fib.heartbeat(time.monotonic_ns())
    yield fib
    fib.close()


PORT = {
    "dpdkrouter_port_received_packets_total": "rx_packets",
    "dpdkrouter_port_received_bytes_total": "rx_bytes",
    "dpdkrouter_port_transmitted_packets_total": "tx_packets",
    "dpdkrouter_port_transmitted_bytes_total": "tx_bytes",
    "dpdkrouter_port_transmit_drops_total": "tx_drops",
    "dpdkrouter_port_injected_packets_total": "injected",
    "dpdkrouter_port_originated_packets_total": "originated",
    "dpdkrouter_port_extra_fragments_total": "fragments",
}
DEVICE = {
    "dpdkrouter_port_receive_missed_packets_total": "rx_missed",
    "dpdkrouter_port_receive_errors_total": "rx_errors",
    "dpdkrouter_port_receive_no_mbuf_total": "rx_no_mbuf",
    "dpdkrouter_port_transmit_errors_total": "tx_errors",
    "dpdkrouter_port_link_changes_total": "link_changes",
}
LCORE = {
    "dpdkrouter_lcore_received_packets_total": "rx_packets",
    "dpdkrouter_lcore_forwarded_packets_total": "forwarded",
    "dpdkrouter_lcore_punted_packets_total": "punted",
    "dpdkrouter_lcore_dropped_packets_total": "dropped",
}


def test_ports_and_lcores(router: Router, stats: Segment) -> None:
    for number, name in enumerate(PORT.values()):
        stats.set(f"lcore[1].port[1].{name}", 100 + number)
        stats.set(f"lcore[2].port[1].{name}", 1000)
    for number, name in enumerate(DEVICE.values()):
        stats.set(f"port[1].{name}", 50 + number)
    stats.set("port[1].link_up", 1)
    for number, name in enumerate(LCORE.values()):
        stats.set(f"lcore[2].{name}", 70 + number)
    stats.set("lcore[2].cycles_busy", 80)
    stats.set("lcore[2].cycles_idle", 81)
    with router.serving():
        found = samples(router.scrape())
    assert [value(found, name, port="wan1") for name in PORT] == list(range(1100, 1108))
    assert [value(found, name, port="wan1") for name in DEVICE] == list(range(50, 55))
    assert {value(found, name, port="wan0") for name in (*PORT, *DEVICE)} == {0}
    assert value(found, "dpdkrouter_port_link_up", port="wan1") == 1
    assert value(found, "dpdkrouter_port_link_up", port="wan0") == 0
    assert [value(found, name, lcore="5") for name in LCORE] == list(range(70, 74))
    assert value(found, "dpdkrouter_lcore_cycles_total", lcore="5", state="busy") == 80
    assert value(found, "dpdkrouter_lcore_cycles_total", lcore="5", state="idle") == 81
    lcores = {labels for name, labels in found if name == "dpdkrouter_lcore_received_packets_total"}
    assert lcores == {(("lcore", "4"),), (("lcore", "5"),)}, "the workers, by CPU"


def test_members_of_a_bond(router: Router, stats: Segment) -> None:
    stats.set("port[1].members", 2)
    for i, flags in enumerate((0b11, 0b01)):
        stats.set(f"port[1].member[{i}].device", b"net_tap%d" % i)
        stats.set(f"port[1].member[{i}].flags", flags)
    with router.serving():
        found = samples(router.scrape())
    for i, (link, active) in enumerate(((1, 1), (1, 0))):
        member = {"port": "wan1", "member": f"net_tap{i}"}
        assert value(found, "dpdkrouter_bond_member_link_up", **member) == link
        assert value(found, "dpdkrouter_bond_member_active", **member) == active
    assert {dict(labels)["port"] for name, labels in found if "bond" in name} == {"wan1"}


def test_the_last_audit_once_there_is_one(router: Router) -> None:
    with router.serving():
        found = samples(router.scrape())
        assert value(found, "dpdkrouter_table_audit_differences") == 3
        assert value(found, "dpdkrouter_table_audit_age_seconds") == 12.5
        router.control.audit = None
        assert not [name for name, _ in samples(router.scrape()) if "audit" in name]


def test_a_scrape_has_everything_declared(router: Router, stats: Segment, table: Fib) -> None:
    stats.set(f"lcore[2].drops[{int(DropReason.ttl_expired)}]", 11)
    stats.set(f"lcore[1].punts[{int(PuntClass.neighbor)}]", 12)
    stats.set(f"lcore[1].policed[{int(PuntClass.echo)}]", 13)
    stats.set("port[0].members", 1)
    with router.serving():
        found = samples(router.scrape())
    declared = {
        series.name + part
        for series in SERIES
        for part in (("_bucket", "_count", "_sum") if series.kind == "histogram" else ("",))
    }
    assert {name for name, _ in found} == declared
    assert value(found, "dpdkrouter_fastpath_up") == 1
    build = {"build_id": "abc123", "dpdk": "DPDK 22.11.11", "simd": "x86-64-v3"}
    assert value(found, "dpdkrouter_build_info", version=__version__, **build) == 1
    for name in DropReason.__members__:
        assert value(found, "dpdkrouter_dropped_packets_total", reason=name) == (11 if name == "ttl_expired" else 0)
    for name in PuntClass.__members__:
        assert value(found, "dpdkrouter_punted_packets_total", **{"class": name}) == (12 if name == "neighbor" else 0)
        assert value(found, "dpdkrouter_punt_policed_packets_total", **{"class": name}) == (13 if name == "echo" else 0)
    for port, (neighbours, duplicates) in {"wan0": (5, 2), "wan1": (0, 0)}.items():
        assert value(found, "dpdkrouter_neighbors", port=port) == neighbours
        assert value(found, "dpdkrouter_duplicate_addresses_total", port=port) == duplicates
    assert value(found, "dpdkrouter_acl_packets_total", acl="edge") == 10
    assert value(found, "dpdkrouter_acl_bytes_total", acl="edge") == 680
    assert value(found, "dpdkrouter_acl_rule_packets_total", acl="edge", rule="1") == 4
    assert value(found, "dpdkrouter_acl_rule_bytes_total", acl="edge", rule="default") == 420
    assert value(found, "dpdkrouter_policer_packets_total", policer="pings", color="yellow") == 6
    assert value(found, "dpdkrouter_policer_bytes_total", policer="pings", color="red") == 700
    assert value(found, "dpdkrouter_table_max", part="ipv4_routes") == 2000
    assert value(found, "dpdkrouter_table_max", part="ipv6_trie") == 1 << 20
    assert value(found, "dpdkrouter_table_used", part="ipv4_routes") == 0
    assert 0 <= value(found, "dpdkrouter_writer_heartbeat_age_seconds") < 30
    assert value(found, "dpdkrouter_routes", family="ipv4", source="ebgp") == 20
    assert value(found, "dpdkrouter_routes", family="ipv6", source="ibgp") == 0
    assert value(found, "dpdkrouter_bgp_session_up", peer="192.0.2.9") == 1
    assert value(found, "dpdkrouter_bgp_session_up", peer="2001:db8::9") == 0
    assert value(found, "dpdkrouter_bgp_prefixes_received", peer="192.0.2.9", family="ipv6") == 7
    assert value(found, "dpdkrouter_bgp_prefixes_rejected", peer="192.0.2.9", family="ipv4") == 5
    assert value(found, "dpdkrouter_bgp_prefixes_announced", peer="192.0.2.9") == 4
    assert value(found, "dpdkrouter_bgp_treat_as_withdraw_total", peer="192.0.2.9") == 6
    assert value(found, "dpdkrouter_bgp_updates_total", peer="192.0.2.9") == 31
    assert value(found, "dpdkrouter_bgp_flaps_total", peer="192.0.2.9") == 2
    assert value(found, "dpdkrouter_bgp_feed_tap") == 1
    assert value(found, "dpdkrouter_bgp_load_seconds", peer="192.0.2.9") == 1.75
    assert ("dpdkrouter_bgp_load_seconds", (("peer", "2001:db8::9"),)) not in found
    refused = {why: value(found, "dpdkrouter_routes_refused", reason=why) for why in ("full", "grace", "group")}
    assert refused == {"full": 12, "grace": 0, "group": 1}
    assert value(found, "dpdkrouter_control_longest_hold_seconds") == 0.025
    assert value(found, "dpdkrouter_repairs_total") == 3
    assert value(found, "dpdkrouter_repaired_groups_total") == 14
    assert value(found, "dpdkrouter_repair_longest_seconds") == 0.002
    assert value(found, "dpdkrouter_update_to_fib_seconds_sum") == 2.0
    assert value(found, "dpdkrouter_update_to_fib_seconds_bucket", le="1.0") == 0
    assert value(found, "dpdkrouter_update_to_fib_seconds_bucket", le="2.5") == 1
    assert value(found, "dpdkrouter_convergence_seconds_sum") == 1.5
    assert value(found, "dpdkrouter_convergence_seconds_count") == 1


def test_promtool_has_nothing_to_say(router: Router, stats: Segment, table: Fib) -> None:
    with router.serving():
        page = router.scrape()
    verdict = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", "")


def test_each_scrape_reads_anew(router: Router, stats: Segment, table: Fib) -> None:
    with router.serving():
        stats.set("lcore[1].rx_packets", 1)
        assert value(samples(router.scrape()), "dpdkrouter_lcore_received_packets_total", lcore="4") == 1
        stats.set("lcore[1].rx_packets", 2)
        assert value(samples(router.scrape()), "dpdkrouter_lcore_received_packets_total", lcore="4") == 2
        successor = Segment(router.paths.stats, lcores=2)
        try:
            successor.set("lcore[1].cpu", 7)
            found = samples(router.scrape())
        finally:
            successor.close()
        assert value(found, "dpdkrouter_lcore_received_packets_total", lcore="7") == 0
        assert ("dpdkrouter_lcore_received_packets_total", (("lcore", "4"),)) not in found


@pytest.mark.parametrize("fate", ["absent", "killed", "damaged"])
def test_without_a_fast_path_what_is_known_is_served(router: Router, table: Fib, fate: str) -> None:
    segment = Segment(router.paths.stats)
    try:
        if fate == "absent":
            router.paths.stats.unlink()
        elif fate == "killed":
            segment.set("header.pid_start", 1)
        else:
            segment.set("header.magic", 1)
        with router.serving():
            found = samples(router.scrape())
    finally:
        segment.close()
    assert value(found, "dpdkrouter_fastpath_up") == 0
    assert (
        value(
            found,
            "dpdkrouter_build_info",
            version=__version__,
            build_id=_build.BUILD_ID,
            dpdk=_build.DPDK_VERSION,
            simd="",
        )
        == 1
    )
    names = {name for name, _ in found}
    assert not any(name.startswith(("dpdkrouter_port_", "dpdkrouter_lcore_")) for name in names)
    known = {"table_used", "routes", "bgp_session_up", "writer_heartbeat_age_seconds"}
    assert {f"dpdkrouter_{name}" for name in known} <= names


def test_a_fast_path_that_starts_is_not_up(router: Router, stats: Segment) -> None:
    stats.set("header.ready", 0)
    with router.serving():
        found = samples(router.scrape())
    assert value(found, "dpdkrouter_fastpath_up") == 0
    assert value(found, "dpdkrouter_port_link_up", port="wan0") == 0
    assert "dpdkrouter_table_used" not in {name for name, _ in found}, "there is no route segment"


def test_the_control_state_is_read_in_its_loop(router: Router) -> None:
    async def run() -> str:
        with router.serving():
            return await asyncio.to_thread(router.scrape)

    page = asyncio.run(run())
    assert value(samples(page), "dpdkrouter_routes", family="ipv4", source="ebgp") == 20
    assert router.control.threads == {threading.get_ident()}


def test_a_busy_loop_costs_its_series_and_no_scrape(
    router: Router, stats: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "CONTROL_S", 0.1)
    pages: list[str] = []

    async def run() -> None:
        with router.serving():
            scraping = threading.Thread(target=lambda: pages.append(router.scrape()))
            scraping.start()
            scraping.join()  # the loop stands still meanwhile

    asyncio.run(run())
    found = samples(pages[0])
    assert value(found, "dpdkrouter_fastpath_up") == 1
    assert not any(name.startswith(("dpdkrouter_routes", "dpdkrouter_bgp_")) for name, _ in found)
    assert router.control.threads == set(), "nothing is asked for a scrape that has ended"


def test_a_port_in_use_names_the_key(router: Router) -> None:
    with (
        router.serving(),
        pytest.raises(
            MetricsError,
            match=rf"metrics\.listen: found '127\.0\.0\.1:{router.port}': Address already in use",
        ),
        router.serving(),
    ):
        pass
    with router.serving():  # and it is free again
        assert "dpdkrouter_fastpath_up 0" in router.scrape()


def test_off(router: Router) -> None:
    router.config.metrics.listen = None
    before = threading.active_count()
    with router.serving():
        assert threading.active_count() == before


def test_ipv6(router: Router) -> None:
    router.config.metrics.listen = Listen(IPv6Address("::1"), router.port)
    with router.serving():
        assert "dpdkrouter_fastpath_up 0" in router.scrape("[::1]")


def test_the_end_does_not_wait_for_idle_clients(router: Router) -> None:
    with socket.socket() as idle:
        with router.serving():
            idle.connect(("127.0.0.1", router.port))
            assert "dpdkrouter_fastpath_up 0" in router.scrape()
            start = time.monotonic()
        assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("add", "error"),
    [
        (lambda page: page.add("packets_total", 1), KeyError),
        (lambda page: page.add("dpdkrouter_port_link_up", 1), ValueError),
        (lambda page: page.add("dpdkrouter_port_link_up", 1, port="a", lcore="1"), ValueError),
    ],
)
def test_only_declared_series(add: Callable[[Page], None], error: type[Exception]) -> None:
    with pytest.raises(error):
        add(Page())


def test_the_documentation_lists_every_series() -> None:
    row = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| .+ \|$", re.MULTILINE)
    listed = [
        (name, kind, tuple(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in row.findall(DOCUMENTATION.read_text())
    ]
    assert listed == [(series.name, series.kind, series.labels) for series in SERIES]


def test_the_documentation_explains_every_label() -> None:
    text = DOCUMENTATION.read_text()
    assert [name for name in (*DropReason.__members__, *PuntClass.__members__) if f"`{name}`" not in text] == []
