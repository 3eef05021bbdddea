"""The whole router with an ExaBGP that the tap does not know: the JSON feed, said everywhere, and all works by it.

peer, AS 65001, BIRD ── eth0 ─── wan0  dpdkrouter        the ExaBGP is the pinned one but for a comment in one file
192.0.2.9, 2001:db8:1::9         AS 65000
"""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.harness import Bird, BirdPeer, Namespace, wait_for
from lab.harness.router import Port, Router, port_veth

pytestmark = pytest.mark.usefixtures("hugepages")

THEIRS = ("198.18.0.0/24", "2001:db8:53::/48")
OURS = {"203.0.113.0/24", "2001:db8:100::/48"}
CHANGED = "exabgp/reactor/peer.py"
BODY = """
[bgp]
announce = ["203.0.113.0/24", "2001:db8:100::/48"]
[[bgp.neighbor]]
address = "192.0.2.9"
asn = 65001
families = ["ipv4", "ipv6"]
import_policy = "accept"
export_policy = "accept"
accept_bogons = true
"""


def other_exabgp(directory: Path) -> None:
    """A copy of the installed ExaBGP, with its metadata, of which one file is another."""
    installed = importlib.metadata.distribution("exabgp")
    for name in ("exabgp", f"exabgp-{installed.version}.dist-info"):
        shutil.copytree(Path(str(installed.locate_file(name))), directory / name)
    with (directory / CHANGED).open("a") as file:
        file.write("# another one\n")


def test_unknown_exabgp_is_used_by_its_json_feed(tmp_path: Path) -> None:
    other_exabgp(tmp_path / "packages")
    with ExitStack() as stack:
        metal, far = (stack.enter_context(Namespace(f"fb-{name}")) for name in ("m", "p"))
        port_veth(metal, "wan0", (far, "eth0"))
        far.address("eth0", "192.0.2.9/24", "2001:db8:1::9/64")
        peer = BirdPeer("192.0.2.1", 65000)
        bird = stack.enter_context(Bird(far, tmp_path, "192.0.2.9", 65001, [peer], THEIRS))
        ports = [Port("wan0", "192.0.2.1/24", "2001:db8:1::1/64")]
        environment = {"PYTHONPATH": str(tmp_path / "packages")}
        router = stack.enter_context(Router(metal, tmp_path, ports, BODY, "fb", environment=environment))

        wait_for(lambda: set(THEIRS) <= router.routes(), 60, "BIRD's routes in the table")
        wait_for(lambda: bird.learnt() == OURS, 30, "our prefixes at BIRD")
        assert router.next_hops("198.18.0.1") == ["192.0.2.9"]
        bird.set_routes(THEIRS[1:])
        wait_for(lambda: THEIRS[0] not in router.routes(), 20, "BIRD's withdrawal")
        assert router.call("bgp.refresh", peer="192.0.2.9") == {"peer": "192.0.2.9"}

        log = router.log.read_text()
        assert f"no tap: {CHANGED} is not that of ExaBGP" in log
        assert "UPDATEs come by the JSON feed, which is slow" in log
        assert router.call("bgp.summary")["feed"] == "json"
        status = metal.run(sys.executable, "-P", "-m", "dpdkrouter", "--name", router.name, "status")
        assert "ExaBGP feed json" in status
        page = metal.run("curl", "-s", "http://127.0.0.1:9436/metrics")
        assert "\ndpdkrouter_bgp_feed_tap 0.0\n" in page

        assert router.stop() == 0
        assert bird.learnt() == set(), "a planned stop withdraws, though ExaBGP says nothing when it ends"
