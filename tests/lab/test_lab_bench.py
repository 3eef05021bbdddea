"""scripts/bench bgp, small: the whole of it runs, with BIRD and bgpd beside, and prints the object that it says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.usefixtures("hugepages"), pytest.mark.timeout(240)]

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
SMALL = ("--ipv4", "20000", "--ipv6", "5000", "--rounds", "1", "--churn-seconds", "4")
UNITS = {
    "full_feed_to_fib": "s",
    "control_rss_one_feed": "bytes",
    "nexthop_loss_repaired_10k": "s",
    "nexthop_loss_repaired_100k": "s",
    "control_rss_two_feeds": "bytes",
    "exabgp_rss": "bytes",
    "nexthop_loss_repaired_1m": "s",
    "session_loss_converged": "s",
    "churn_50k_lag": "s",
    "churn_50k_lag_end": "s",
    "churn_50k_rate": "updates/s",
    "churn_50k_packets": "packets",
    "churn_50k_packets_lost": "packets",
}


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BENCH), "bgp", *words], capture_output=True, text=True, check=False, timeout=230)


def test_a_small_run_prints_every_figure() -> None:
    done = bench("--json", *SMALL)
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout)
    assert list(report) == ["machine", "commit", "table", "results"]
    assert (report["table"]["ipv4_routes"], report["table"]["ipv6_routes"]) == (20000, 5000)
    results = {one["name"]: one for one in report["results"]}
    assert {name: one["unit"] for name, one in results.items()} == UNITS
    assert set(results["full_feed_to_fib"]["peer"]) == {"bird_rib", "frr_bgpd"}
    for name, one in results.items():
        assert one["min"] <= one["value"] <= one["max"]
        assert one["value"] > 0 or name == "churn_50k_packets_lost"
    assert results["churn_50k_lag"]["runs"] == 4
    assert results["churn_50k_rate"]["value"] <= 55_000
    # machines that run tests are busy ones: here only that nearly all packets went on meanwhile
    assert results["churn_50k_packets_lost"]["value"] < results["churn_50k_packets"]["value"] / 10


def test_wrong_options_are_errors() -> None:
    for words in (("--rounds", "0"), ("--churn-seconds", "1"), ("--ipv4", "0")):
        done = bench(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert words[0] in done.stderr
