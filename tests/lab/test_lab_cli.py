"""The CLI against the real control process, fed with what a real ExaBGP has said.

    this process: a stats segment (as the fast path's)  --.
                  tests/vectors/exabgp/bird.jsonl        --+--> `dpdkrouter control`  <--->  `dpdkrouter ...`
                                                               route segment, TAP twin of wan0 in a namespace

The two sessions of the recording come up and send their routes; then control is killed.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clikit import COMMAND, Router, environment, router_files
from dpdkrouter.api.client import ApiClient
from dpdkrouter.errors import ControlUnreachableError
from dpdkrouter.host import namespace
from lab.harness import wait_for
from statskit import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDING = Path(__file__).resolve().parents[1] / "vectors" / "exabgp" / "bird.jsonl"
CONFIG = """
[router]
name = "{name}"
id = "192.0.2.1"
asn = 65000
[fastpath]
hugepages = false
[[port]]
name = "wan0"
device = "net_null0"
addresses = ["192.0.2.1/24", "2001:db8::1/64"]
description = "to the exchange"
[[route]]
prefix = "198.18.0.0/15"
type = "blackhole"
[[neighbor]]
port = "wan0"
address = "192.0.2.9"
mac = "02:00:00:00:00:09"
[bgp]
announce = ["198.18.0.0/24", "2001:db8:100::/48"]
[[bgp.neighbor]]
address = "192.0.2.9"
asn = 65001
import_policy = "accept"
export_policy = "accept"
accept_bogons = true
max_length_ipv4 = 25
max_length_ipv6 = 128
description = "recorded"
[[bgp.neighbor]]
address = "2001:db8::9"
asn = 65001
import_policy = "accept"
export_policy = "accept"
accept_bogons = true
max_length_ipv4 = 25
max_length_ipv6 = 128
[table]
max_ipv4_routes = 1000
max_ipv6_routes = 1000
ipv6_trie_mib = 1
max_ipv4_extended = 64
[metrics]
listen = ""
"""


def answers(router: Router) -> bool:
    with contextlib.suppress(ControlUnreachableError):
        ApiClient(router.paths.api_socket).call("status")
        return True
    return False


@dataclass(frozen=True)
class Controlled(Router):
    """A router whose control process runs."""

    process: subprocess.Popen[bytes]


@pytest.fixture
def router(root: None, tmp_path: Path) -> Iterator[Controlled]:
    with router_files("l") as router:
        config = tmp_path / "router.toml"
        config.write_text(CONFIG.format(name=router.paths.name))
        stats = Segment(router.paths.stats, lcores=2, ports=1)
        stats.set("port[0].mac", b"\2\0\0\0\0\1")
        stats.set("port[0].link_up", 1)
        log = tmp_path / "log"
        with log.open("wb") as output:
            control = subprocess.Popen([*COMMAND, "control", str(config)], stderr=output, env=environment())
        try:
            wait_for(lambda: answers(router), 30, "the control process answers")
            yield Controlled(router.paths, control)
        finally:
            control.kill()
            control.wait()
            namespace.remove(f"dr-{router.paths.name}")
            stats.close()
            print(log.read_text())


@pytest.fixture
def feed(router: Router) -> Iterator[socket.socket]:
    """ExaBGP's helper: what was recorded until the first route was withdrawn."""
    lines = RECORDING.read_bytes().splitlines(keepends=True)
    withdrawn = next(i for i, line in enumerate(lines) if b'"withdraw"' in line)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as helper:
        helper.connect(str(router.paths.bgp_socket))
        helper.sendall(b"".join(lines[:withdrawn]))
        yield helper


def source_of(router: Router, address: str) -> str | None:
    found = ApiClient(router.paths.api_socket).stream("route.show")
    prefixes = {route["prefix"]: route["source"] for route in found}
    return prefixes.get(address)


def test_routes_of_the_recording_are_shown_alike_by_every_command(router: Router, feed: socket.socket) -> None:
    wait_for(lambda: source_of(router, "203.0.113.128/25") == "ebgp", 10, "the recorded route is in the RIB")
    summary = router.json("bgp", "summary")
    assert (summary["asn"], summary["feed"]) == (65000, "json")
    assert [(peer["address"], peer["state"]) for peer in summary["peers"]] == [
        ("192.0.2.9", "up"),
        ("2001:db8::9", "up"),
    ]
    received = router.json("bgp", "routes")
    for peer in summary["peers"]:
        assert sum(peer["prefixes"].values()) == sum(one["peer"] == peer["address"] for one in received) > 0
    best = {one["prefix"] for one in received if one["best"]}
    assert {one["prefix"] for one in router.json("route", "show", "--source", "ebgp")} == best
    wait_for(lambda: router.json("route", "lookup", "203.0.113.200")["prefix"] == "203.0.113.128/25", 5, "the table")
    live = {(row["family"], row["source"]): row["routes"] for row in router.json("route", "summary")["routes"]}
    assert live["ipv4", "ebgp"] + live["ipv6", "ebgp"] == len(best)
    status = router.json("status")
    assert status["control"]["descriptions"]["wan0"] == "to the exchange"
    assert [peer["state"] for peer in status["bgp"]] == ["up", "up"]
    assert status["control"]["prefixes"]["ipv4"] == status["table"]["ipv4_routes"]["used"]
    shown = router.run("bgp", "summary")
    assert "recorded" in shown
    assert {(one["prefix"], one["peer"]) for one in router.json("bgp", "announced")} >= {
        ("198.18.0.0/24", "192.0.2.9"),
        ("2001:db8:100::/48", "2001:db8::9"),
    }


def test_a_route_is_added_used_and_deleted(router: Router) -> None:
    assert router.json("route", "lookup", "198.18.5.5")["source"] == "static"
    assert router.run("route", "add", "198.18.5.0/24", "--via", "192.0.2.9") == "198.18.5.0/24: added\n"
    found = router.json("route", "lookup", "198.18.5.5")
    assert (found["prefix"], found["source"]) == ("198.18.5.0/24", "cli")
    assert "no next hop can be reached" in router.run("route", "add", "198.19.9.0/24", "--via", "203.0.113.1")
    assert router.json("route", "lookup", "198.19.9.9")["source"] == "static"
    assert {one["prefix"] for one in router.json("route", "show", "--source", "cli", "--all")} == {
        "198.18.5.0/24",
        "198.19.9.0/24",
    }
    assert router.run("route", "del", "198.18.5.0/24") == "198.18.5.0/24: deleted\n"
    assert router.json("route", "lookup", "198.18.5.5")["source"] == "static"
    assert "no such route of source cli" in router.errors("route", "del", "198.18.5.0/24", code=4)
    assert router.json("route", "show", "10.0.0.0/8", code=4) == []


def test_neighbours_and_the_table_when_control_is_killed(router: Controlled) -> None:
    wait_for(lambda: router.json("neighbor", "show"), 10, "the configured neighbour")
    (neighbor,) = router.json("neighbor", "show")
    assert neighbor == {
        "port": "wan0", "address": "192.0.2.9", "mac": "02:00:00:00:00:09", "state": "resolved", "source": "static"
    }  # fmt: skip
    before = router.json("route", "lookup", "192.0.2.9")
    assert (before["prefix"], before["members"][0]["mac"]) == ("192.0.2.9/32", neighbor["mac"])
    assert router.json("status")["control"]["pid"] == router.process.pid
    router.process.kill()
    router.process.wait()
    assert router.json("status")["control"]["pid"] == 0
    after = router.json("route", "lookup", "192.0.2.9")
    assert after.pop("control") == "the control process does not run: the table is as it left it"
    before.pop("control")
    assert after == before
    router.errors("neighbor", "show", code=3)
