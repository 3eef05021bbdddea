"""The kernel side of the whole router: its own addresses, and its way out through host0.

                   192.0.2.1/24         198.51.100.1/24    .9 east   lo: 203.0.113.9, 2001:db8:f::9
west ── eth0 ──── wan0   dpdkrouter   wan1 ──── eth0 ── east
.9, ::9      2001:db8:1::1/64         2001:db8:2::1/64     ::9

The router's namespace: TAPs wan0 and wan1, host0; 203.0.113.0/24 and 2001:db8:f::/64 are known to the fast path
alone.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.host.namespace import run_in
from lab.harness import Namespace, wait_for
from lab.harness.router import Port, Router, port_veth

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("hugepages")

FAR4, FAR6 = "203.0.113.9", "2001:db8:f::9"
ROUTES = """
[[route]]
prefix = "203.0.113.0/24"
via = ["198.51.100.9"]
[[route]]
prefix = "2001:db8:f::/64"
via = ["2001:db8:2::9"]
"""
PORTS = (Port("wan0", "192.0.2.1/24", "2001:db8:1::1/64"), Port("wan1", "198.51.100.1/24", "2001:db8:2::1/64"))


class Cables:
    """metal, west and east, without a router."""

    def __init__(self, stack: ExitStack) -> None:
        self.metal, self.west, self.east = (stack.enter_context(Namespace(f"h-{name}")) for name in ("m", "w", "e"))
        port_veth(self.metal, "wan0", (self.west, "eth0"))
        port_veth(self.metal, "wan1", (self.east, "eth0"))
        self.west.address("eth0", "192.0.2.9/24", "2001:db8:1::9/64")
        self.east.address("eth0", "198.51.100.9/24", "2001:db8:2::9/64")
        self.east.address("lo", f"{FAR4}/32", f"{FAR6}/128")
        for host, gateway4, gateway6 in (
            (self.west, "192.0.2.1", "2001:db8:1::1"),
            (self.east, "198.51.100.1", "2001:db8:2::1"),
        ):
            host.route("0.0.0.0/0", "via", gateway4)
            host.route("::/0", "via", gateway6)


@pytest.fixture(scope="module")
def cables() -> Iterator[Cables]:
    with ExitStack() as stack:
        yield Cables(stack)


@pytest.fixture(scope="module")
def router(cables: Cables, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    with Router(cables.metal, tmp_path_factory.mktemp("host"), PORTS, ROUTES, "h") as router:
        yield router


@pytest.mark.parametrize("far", [FAR4, FAR6])
def test_router_pings_far_hosts_through_host0(router: Router, far: str) -> None:
    wait_for(lambda: "1 received" in router.inside("ping", "-nc1", "-W1", far, check=False), 10, "the first answer")
    before = router.counts()
    assert "10 received" in router.inside("ping", "-n", "-c", "10", "-i", "0.02", "-W", "1", far)
    added = router.counts().since(before)
    assert added.injected >= 10
    assert added.forwarded == 0, "the router's own packets are injected, answers to it are punted"
    assert "inject_loop" not in router.drops()


@pytest.mark.parametrize("address", ["192.0.2.1", "198.51.100.1", "2001:db8:1::1", "2001:db8:2::1"])
def test_hosts_ping_each_address_of_the_router(cables: Cables, router: Router, address: str) -> None:
    wait_for(
        lambda: "1 received" in cables.west.run("ping", "-nc1", "-W1", address, check=False), 10, "the first answer"
    )
    assert "5 received" in cables.west.run("ping", "-n", "-c", "5", "-i", "0.02", "-W", "1", address)


@pytest.mark.parametrize(
    ("address", "source"), [pytest.param("192.0.2.1", FAR4, id="ipv4"), pytest.param("2001:db8:1::1", FAR6, id="ipv6")]
)
def test_tcp_from_a_far_host(cables: Cables, router: Router, address: str, source: str) -> None:
    """A quarter of a megabyte each way to a server of the router's own, as with SSH, in full segments."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def listen() -> socket.socket:
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, 2222))
        made.listen()
        made.settimeout(20)
        return made

    def echo() -> None:
        connection, _ = server.accept()
        connection.settimeout(20)
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    def reply() -> bytes:
        """Sends from a thread, so that neither end waits for the other."""
        with client:
            sender = threading.Thread(target=lambda: (client.sendall(sent), client.shutdown(socket.SHUT_WR)))
            sender.start()
            parts = []
            while data := client.recv(65536):
                parts.append(data)
            sender.join()
        return b"".join(parts)

    server = run_in(router.namespace, listen)
    thread = threading.Thread(target=echo)
    thread.start()
    try:
        client = run_in(cables.east.name, lambda: socket.create_connection((address, 2222), 20, (source, 0)))
        sent = os.urandom(1 << 18)
        assert reply() == sent
    finally:
        thread.join()
        server.close()
    assert "inject_loop" not in router.drops()


def test_packet_of_the_router_to_nowhere_is_a_counted_drop(router: Router) -> None:
    before = router.drops().get("no_route", 0)
    assert "0 received" in router.inside("ping", "-n", "-c", "3", "-i", "0.1", "-W", "1", "198.18.0.1", check=False)
    assert router.drops()["no_route"] == before + 3


def test_second_router_of_the_same_name_is_refused(cables: Cables, router: Router) -> None:
    command = ["nsenter", f"--net=/run/netns/{cables.metal.name}"]
    for program in ("run", "control", "fastpath"):
        words = [*command, sys.executable, "-P", "-m", "dpdkrouter", program, str(router.file)]
        second = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        assert second.returncode not in (0, -9), second.stderr
        assert "error:" in second.stderr, second.stderr
    assert router.pids().keys() == {"control", "fastpath"}
    assert "1 received" in cables.west.run("ping", "-nc1", "-W2", FAR4)
