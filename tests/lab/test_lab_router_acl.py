"""ACLs of a whole router, replaced by the CLI while packets pass.

                192.0.2.1/24                198.51.100.1/24
west ── eth0 ──── wan0   dpdkrouter   wan1 ──── eth0 ── east 198.51.100.9
                acl_in = "edge"
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lab.harness import Namespace, wait_for
from lab.harness.router import Port, Router, port_veth
from lab.harness.traffic import Stream, count, send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("hugepages")

EAST = "198.51.100.9"
OPEN, SHUT = 5000, 5001
BODY = """\
acl_in = "edge"
[[acl]]
name = "edge"
[[acl.rule]]
action = "permit"
protocol = "icmp"
[[acl.rule]]
action = "permit"
protocol = "udp"
destination_port = "5000-5001"
"""
FEW = f"permit protocol=icmp\npermit protocol=udp destination_port={OPEN}\n"
MANY = "".join(f"deny source=10.{i >> 8}.{i & 255}.0/24 protocol=tcp\n" for i in range(1000)) + (
    f"count protocol=udp\npermit protocol=udp destination_port={OPEN}-{SHUT}\npermit protocol=icmp\n"
)
REPLACED = 6

Lab = tuple[Router, Namespace, Namespace]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory: Path = tmp_path_factory.mktemp("acl")
    with Namespace("acl-m") as metal, Namespace("acl-w") as west, Namespace("acl-e") as east:
        for port, host, address in (("wan0", west, "192.0.2.9/24"), ("wan1", east, f"{EAST}/24")):
            port_veth(metal, port, (host, "eth0"))
            host.address("eth0", address)
        west.route("0.0.0.0/0", "via", "192.0.2.1")
        east.route("0.0.0.0/0", "via", "198.51.100.1")
        ports = [Port("wan1", "198.51.100.1/24"), Port("wan0", "192.0.2.1/24")]
        with Router(metal, directory, ports, BODY, "acl") as router:
            wait_for(lambda: "1 received" in ping(west, EAST), 20, f"ping {EAST}")
            yield router, west, east


def ping(host: Namespace, address: str) -> str:
    return host.run("ping", "-n", "-c", "1", "-W", "1", address, check=False)


def acl(router: Router, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "dpdkrouter", "--name", router.name, "acl", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def taken(router: Router, *words: str) -> str:
    ended = acl(router, *words)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def rules(router: Router) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(taken(router, "show", "edge", "--json"))[0]["rules"]
    return found


def passed(lab: Lab, port: int) -> int:
    """How many of 40 packets from west come to a port of east's."""
    _, west, east = lab
    return count([east], (EAST, port), lambda: send(west, (EAST, port), 40))


def test_replaced_while_packets_pass(lab: Lab, tmp_path: Path) -> None:
    """What both lists permit is never lost; what one denies is dropped as soon as that is in force."""
    router, west, east = lab
    files = tmp_path / "few.rules", tmp_path / "many.rules"
    for file, text in zip(files, (FEW, MANY), strict=True):
        file.write_text(text)
    assert passed(lab, SHUT) == 40
    with Stream(west, (EAST, OPEN), [east], rate=1000) as stream:
        for _ in range(REPLACED // 2):
            assert "2 rules in force" in taken(router, "replace", "edge", str(files[0]))
            before = router.drops().get("acl_deny", 0)
            assert passed(lab, SHUT) == 0
            assert router.drops()["acl_deny"] - before == 40
            assert "1003 rules in force" in taken(router, "replace", "edge", str(files[1]))
            assert passed(lab, SHUT) == 40
            assert sum(rule["packets"] for rule in rules(router) if rule["text"].startswith("count")) >= 40
    assert stream.lost() == []
    assert len(stream.sent) > 500


def test_a_file_with_mistakes_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    router, _, _ = lab
    taken(router, "reload", "edge")
    bad = tmp_path / "bad.rules"
    bad.write_text("permit protocol=udp\ndeny source=192.0.2.1/24\n")
    ended = acl(router, "replace", "edge", str(bad))
    assert ended.returncode != 0
    assert f"{bad}:2" in ended.stderr, ended.stderr
    assert "did you mean 192.0.2.0/24?" in ended.stderr, ended.stderr
    assert "acl edge stays as it is" in ended.stderr, ended.stderr
    assert [rule["text"] for rule in rules(router)] == [
        "permit protocol=icmp",
        f"permit protocol=udp destination_port={OPEN}-{SHUT}",
    ]
    assert "must be one of edge" in acl(router, "show", "west").stderr


def test_the_router_itself_is_behind_the_list(lab: Lab, tmp_path: Path) -> None:
    router, west, _ = lab
    file = tmp_path / "no-ping.rules"
    file.write_text(f"permit protocol=udp destination_port={OPEN}\n")
    taken(router, "reload")
    wait_for(lambda: "1 received" in ping(west, "192.0.2.1"), 10, "the router answers")
    taken(router, "replace", "edge", str(file))
    assert "0 received" in ping(west, "192.0.2.1")
    taken(router, "reload")
    wait_for(lambda: "1 received" in ping(west, "192.0.2.1"), 10, "the router answers again")
