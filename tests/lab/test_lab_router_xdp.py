"""The whole router on af_xdp ports: the same way of a packet over another driver.

west ── eth0 ──── wan0   dpdkrouter   wan1 ──── eth0 ── east   lo: 203.0.113.9, 2001:db8:f::9
192.0.2.9, 2001:db8:1::9              198.51.100.9, 2001:db8:2::9
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from lab.harness import Namespace, wait_for
from lab.harness.router import Port, Router, port_veth
from lab.harness.traffic import count, send

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("hugepages")

ROUTES = """
[[route]]
prefix = "203.0.113.0/24"
via = ["198.51.100.9"]
[[route]]
prefix = "2001:db8:f::/64"
via = ["2001:db8:2::9"]
"""


def test_af_xdp_forwards_both_families(tmp_path: Path) -> None:
    with ExitStack() as stack:
        metal, west, east = (stack.enter_context(Namespace(f"x-{name}")) for name in ("m", "w", "e"))
        port_veth(metal, "wan0", (west, "eth0"))
        port_veth(metal, "wan1", (east, "eth0"))
        west.address("eth0", "192.0.2.9/24", "2001:db8:1::9/64")
        east.address("eth0", "198.51.100.9/24", "2001:db8:2::9/64")
        east.address("lo", "203.0.113.9/32", "2001:db8:f::9/128")
        for host, gateway4, gateway6 in (
            (west, "192.0.2.1", "2001:db8:1::1"),
            (east, "198.51.100.1", "2001:db8:2::1"),
        ):
            host.route("0.0.0.0/0", "via", gateway4)
            host.route("::/0", "via", gateway6)
        ports = [
            Port("wan0", "192.0.2.1/24", "2001:db8:1::1/64", driver="net_af_xdp"),
            Port("wan1", "198.51.100.1/24", "2001:db8:2::1/64", driver="net_af_xdp"),
        ]
        router = stack.enter_context(Router(metal, tmp_path, ports, ROUTES, "x"))
        for far in ("203.0.113.9", "2001:db8:f::9"):
            wait_for(lambda far=far: "1 received" in west.run("ping", "-nc1", "-W1", far, check=False), 20, far)
            before = router.counts()
            assert count([east], (far, 5000), lambda far=far: send(west, (far, 5000), 200)) == 200
            added = router.counts().since(before)
            assert added.forwarded == 200
            assert added.rx == added.forwarded + added.punted + added.dropped
