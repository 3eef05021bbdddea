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
from dpdkrouter.fib.fib import Fib
from prometheus_client.parser import text_string_to_metric_families

from dpdkrouter import __version__, metrics_server
from dpdkrouter.config.rules import Listen
from dpdkrouter.errors import MetricsError
from dpdkrouter.fib.limits import Limits
from dpdkrouter.metrics import PREFIX, SERIES, Page
from dpdkrouter.metrics_server import MetricsServer
from dpdkrouter.segment import DropReason, PuntClass
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
            "updates": 31,
            "flaps": 2,
        }
        down = {"address": "2001:db8::9", "state": "down", "prefixes": {"ipv6": 0}, "updates": 0, "flaps": 0}
        return {"peers": [up, down]}


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
        (one.name.removeprefix(PREFIX), tuple(sorted(one.labels.items()))): one.value
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
    yield segment
    segment.close()


@pytest.fixture
def table(router: Router) -> Iterator[Fib]:
    fib = Fib.open(router.paths.routes, LIMITS, "metrics")
    fib.heartbeat(time.monotonic_ns())
    yield fib
    fib.close()


def test_a_scrape_of_everything(router: Router, stats: Segment, table: Fib) -> None:
    names = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "tx_drops", "injected", "originated")
    device = ("rx_missed", "rx_errors", "rx_no_mbuf", "tx_errors", "link_up", "link_changes")
    for number, name in enumerate(names):
        stats.set(f"lcore[1].port[1].{name}", 100 + number)
        stats.set(f"lcore[2].port[1].{name}", 1000)
    for number, name in enumerate(device):
        stats.set(f"port[1].{name}", 1 if name == "link_up" else 50 + number)
    for number, name in enumerate(
        ("rx_packets", "forwarded", "punted", "dropped", "cycles_busy", "cycles_idle")
    ):
        stats.set(f"lcore[2].{name}", 70 + number)
    stats.set(f"lcore[2].drops[{int(DropReason.ttl_expired)}]", 11)
    stats.set(f"lcore[1].punts[{int(PuntClass.neighbor)}]", 12)
    with router.serving():
        found = samples(router.scrape())
    assert value(found, "fastpath_up") == 1
    assert value(
        found, "build_info", version=__version__, build_id="abc123", dpdk="DPDK 22.11.11", simd="x86-64-v3"
    )
    shown = (
        "received_packets",
        "received_bytes",
        "transmitted_packets",
        "transmitted_bytes",
        "transmit_drops",
        "injected_packets",
        "originated_packets",
    )
    for number, name in enumerate(shown):
        assert value(found, f"port_{name}_total", port="wan1") == 1100 + number
        assert value(found, f"port_{name}_total", port="wan0") == 0
    shown = ("receive_missed_packets", "receive_errors", "receive_no_mbuf", "transmit_errors")
    assert [value(found, f"port_{name}_total", port="wan1") for name in shown] == [50, 51, 52, 53]
    assert value(found, "port_link_up", port="wan1") == 1
    assert value(found, "port_link_up", port="wan0") == 0
    assert value(found, "port_link_changes_total", port="wan1") == 55
    shown = ("received", "forwarded", "punted", "dropped")
    assert [value(found, f"lcore_{name}_packets_total", lcore="5") for name in shown] == [70, 71, 72, 73]
    assert value(found, "lcore_cycles_total", lcore="5", state="busy") == 74
    assert value(found, "lcore_cycles_total", lcore="5", state="idle") == 75
    assert {labels for name, labels in found if name == "lcore_received_packets_total"} == {
        (("lcore", "4"),),
        (("lcore", "5"),),
    }
    assert value(found, "dropped_packets_total", reason="ttl_expired") == 11
    assert value(found, "punted_packets_total", **{"class": "neighbor"}) == 12
    assert sum(name == "dropped_packets_total" for name, _ in found) == len(DropReason.__members__)
    assert value(found, "table_max", part="ipv4_routes") == 2000
    assert value(found, "table_max", part="ipv6_trie") == 1 << 20
    assert value(found, "table_used", part="ipv4_routes") == 0
    assert 0 <= value(found, "writer_heartbeat_age_seconds") < 30
    assert value(found, "routes", family="ipv4", source="ebgp") == 20
    assert value(found, "routes", family="ipv6", source="ibgp") == 0
    assert value(found, "bgp_session_up", peer="192.0.2.9") == 1
    assert value(found, "bgp_session_up", peer="2001:db8::9") == 0
    assert value(found, "bgp_prefixes_received", peer="192.0.2.9", family="ipv6") == 7
    assert value(found, "bgp_updates_total", peer="192.0.2.9") == 31
    assert value(found, "bgp_flaps_total", peer="192.0.2.9") == 2
    assert {name for name, _ in found} == {series.name for series in SERIES}, "every declared series is there"


def test_promtool_has_nothing_to_say(router: Router, stats: Segment, table: Fib) -> None:
    with router.serving():
        page = router.scrape()
    verdict = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", "")


def test_each_scrape_reads_anew(router: Router, stats: Segment, table: Fib) -> None:
    with router.serving():
        stats.set("lcore[1].rx_packets", 1)
        assert value(samples(router.scrape()), "lcore_received_packets_total", lcore="4") == 1
        stats.set("lcore[1].rx_packets", 2)
        assert value(samples(router.scrape()), "lcore_received_packets_total", lcore="4") == 2
        successor = Segment(router.paths.stats, lcores=2)
        try:
            successor.set("lcore[1].cpu", 7)
            found = samples(router.scrape())
        finally:
            successor.close()
        assert value(found, "lcore_received_packets_total", lcore="7") == 0
        assert ("lcore_received_packets_total", (("lcore", "4"),)) not in found


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
    assert value(found, "fastpath_up") == 0
    assert (
        value(
            found,
            "build_info",
            version=__version__,
            build_id=_build.BUILD_ID,
            dpdk=_build.DPDK_VERSION,
            simd="",
        )
        == 1
    )
    names = {name for name, _ in found}
    assert not any(name.startswith(("port_", "lcore_")) for name in names)
    assert {"table_used", "routes", "bgp_session_up", "writer_heartbeat_age_seconds"} <= names


def test_a_fast_path_that_starts_is_not_up(router: Router, stats: Segment) -> None:
    stats.set("header.ready", 0)
    with router.serving():
        found = samples(router.scrape())
    assert value(found, "fastpath_up") == 0
    assert value(found, "port_link_up", port="wan0") == 0
    assert "table_used" not in {name for name, _ in found}, "there is no route segment"


def test_the_control_state_is_read_in_its_loop(router: Router) -> None:
    async def run() -> str:
        with router.serving():
            return await asyncio.to_thread(router.scrape)

    page = asyncio.run(run())
    assert value(samples(page), "routes", family="ipv4", source="ebgp") == 20
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
    assert value(found, "fastpath_up") == 1
    assert not any(name.startswith(("routes", "bgp_")) for name, _ in found)
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
        (lambda page: page.add("port_link_up", 1), ValueError),
        (lambda page: page.add("port_link_up", 1, port="a", lcore="1"), ValueError),
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
    assert listed == [(series.full_name, series.kind, series.labels) for series in SERIES]
