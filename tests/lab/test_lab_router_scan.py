"""A scan of a connected /16 or /64 where nobody answers: the kernel has few neighbours, real ones resolve, transit goes on.

                    192.0.2.1/24          172.20.0.1/16
west ── eth0 ────── wan0   dpdkrouter   wan1 ────── eth0 ── east
.9                  2001:db8:1::1/64  2001:db8:2::1/64 .9, .77.77; ::9, ::77:77
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from lab.harness import Namespace, wait_for
from lab.harness.router import Port, Router, port_veth

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("hugepages")

PORTS = (Port("wan0", "192.0.2.1/24", "2001:db8:1::1/64"), Port("wan1", "172.20.0.1/16", "2001:db8:2::1/64"))
MOST = 256  # unresolved entries of the kernel; gc_thresh3 is 1,024 for the whole host
# Every address of the /16, or as many of the /64, once, in an order that jumps, some 15,000 a second.
SCAN = """
import socket, sys, time
out = socket.socket(socket.AF_INET if sys.argv[1] == "4" else socket.AF_INET6, socket.SOCK_DGRAM)
for n in range(65536):
    host = n * 40503 % 65536
    if host in (0, 1, 9, 19789, 65535):
        continue
    try:
        address = f"172.20.{host >> 8}.{host & 255}" if sys.argv[1] == "4" else f"2001:db8:2:0:{host:x}::ffff"
        out.sendto(b"scan", (address, 9))
    except OSError:
        pass
    if n % 100 == 0:
        time.sleep(0.01)
"""


@pytest.fixture
def hosts() -> Iterator[tuple[Namespace, Namespace, Namespace]]:
    with ExitStack() as stack:
        metal, west, east = (stack.enter_context(Namespace(f"scan-{name}")) for name in ("m", "w", "e"))
        port_veth(metal, "wan0", (west, "eth0"))
        port_veth(metal, "wan1", (east, "eth0"))
        west.address("eth0", "192.0.2.9/24", "2001:db8:1::9/64")
        east.address("eth0", "172.20.0.9/16", "172.20.77.77/16", "2001:db8:2::9/64", "2001:db8:2::77:77/64")
        west.route("0.0.0.0/0", "via", "192.0.2.1")
        east.route("0.0.0.0/0", "via", "172.20.0.1")
        west.route("::/0", "via", "2001:db8:1::1")
        east.route("::/0", "via", "2001:db8:2::1")
        yield metal, west, east


def answered(host: Namespace, address: str) -> bool:
    """One ping, answered within a second."""
    done = subprocess.run(
        ["ip", "netns", "exec", host.name, "ping", "-c", "1", "-W", "1", address], capture_output=True, check=False
    )
    return done.returncode == 0


def unresolved(router: Router) -> int:
    """Entries of the kernel's table on the scanned port that have no MAC."""
    shown = router.inside("ip", "neigh", "show", "dev", "wan1")
    return sum("INCOMPLETE" in line or "FAILED" in line for line in shown.splitlines())


@pytest.mark.parametrize("family", [4, 6])
def test_scan_of_connected_silence(hosts: tuple[Namespace, Namespace, Namespace], tmp_path: Path, family: int) -> None:
    known, unknown = ("172.20.0.9", "172.20.77.77") if family == 4 else ("2001:db8:2::9", "2001:db8:2::77:77")
    metal, west, _east = hosts
    with Router(metal, tmp_path, PORTS, "", "scan") as router:
        wait_for(lambda: answered(west, known), 20, "a host before the scan")
        before = router.drops()
        words = ["ip", "netns", "exec", west.name, sys.executable, "-c", SCAN, str(family)]
        scan = subprocess.Popen(words)
        try:
            wait_for(lambda: unresolved(router) > 0, 20, "the scan")
            most, transit = 0, 0
            real = subprocess.Popen(
                ["ip", "netns", "exec", west.name, "ping", "-i", "0.1", "-c", "100", "-W", "1", unknown],
                stdout=subprocess.PIPE,
            )
            while scan.poll() is None:
                most = max(most, unresolved(router))
                transit += answered(west, known)
            said = real.communicate(timeout=60)[0].decode()
        finally:
            scan.kill()
            scan.wait()
        assert scan.returncode == 0
        assert 0 < most <= MOST
        assert transit > 0, "a neighbour that is known was lost"
        assert real.returncode == 0, f"a real neighbour was not found among the silent ones: {said}"
        print(f"unresolved {most} at most, {transit} answers of a known host; of an unknown one: {said}")
        drops = {reason: count - before.get(reason, 0) for reason, count in router.drops().items()}
        assert sum(drops.values()) > 10000, f"too little of the scan came through to say anything: {drops}"
        wait_for(lambda: unresolved(router) == 0, 30, "the end of what the scan left")
        counts = router.counts()
        assert counts.rx == counts.forwarded + counts.punted + counts.dropped
