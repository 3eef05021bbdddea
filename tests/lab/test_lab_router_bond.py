"""A bond as a port of a whole router: its addresses answer, link by link, and a VLAN on it as well.

far ── eth0 ──── sw ── switch ── m0 ══ net_tap ══╗
                          └───── m1 ══ net_tap ══╩ lag0  192.0.2.1/24, 2001:db8:1::1/64   dpdkrouter

The switch is a thread that floods: a kernel's bridge would take what is for the bond's MAC, which its ports have, itself.
"""

from __future__ import annotations

import errno
import re
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, IPv6
from scapy.layers.l2 import ARP, Ether

from lab.harness import Namespace, wait_for
from lab.harness.namespace import veth_pair
from lab.harness.router import Router
from planekit.wires import RawSocket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dpdkrouter.segment import PortState

pytestmark = pytest.mark.usefixtures("hugepages")

BODY = """
[[port]]
name = "lag0"
bond = ["net_tap0,iface=m0,mac=02:00:00:00:04:01", "net_tap1,iface=m1,mac=02:00:00:00:04:02"]
mac = "02:00:00:00:04:00"
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]
"""
LINK_LOCAL = "fe80::ff:fe00:400"  # of the bond's MAC
PINGS = 400
GAP_S = 0.02
MOST_LOST = 200  # four seconds: a busy machine looks at links late


class Switch:
    """A context manager that floods frames between interfaces of a namespace; those that are down get none."""

    def __init__(self, namespace: Namespace, *ports: str) -> None:
        self._ports = [RawSocket(namespace.name, port) for port in ports]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._flood, name="switch")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        for port in self._ports:
            port.close()

    def _flood(self) -> None:
        while not self._end.wait(0.001):
            for port in self._ports:
                frames = port.received()
                for other in self._ports:
                    if other is not port:
                        _send(other, frames)


def _send(port: RawSocket, frames: list[bytes]) -> None:
    try:
        port.send(*frames)
    except OSError as error:
        if error.errno != errno.ENETDOWN:
            raise


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Router, Namespace, Namespace]]:
    directory: Path = tmp_path_factory.mktemp("bond")
    with ExitStack() as stack:
        metal, far = stack.enter_context(Namespace("bond-m")), stack.enter_context(Namespace("bond-f"))
        veth_pair((metal, "sw"), (far, "eth0"))
        far.address("eth0", "192.0.2.9/24", "2001:db8:1::9/64")
        router = stack.enter_context(Router(metal, directory, [], BODY, "bond"))
        for port in ("sw", "m0", "m1"):
            metal.sysctl(f"net.ipv6.conf.{port}.disable_ipv6", 1)
        stack.enter_context(Switch(metal, "sw", "m0", "m1"))
        wait_for(lambda: state(router).link_up, 20, "lag0's link")
        for address in ("192.0.2.1", "2001:db8:1::1"):
            wait_for(lambda address=address: answered(far, address, 1) == 1, 20, f"ping {address}")
        yield router, metal, far


def state(router: Router) -> PortState:
    with router.stats() as stats:
        (port,) = stats.ports()
    return port


def answered(far: Namespace, address: str, packets: int) -> int:
    said = far.run("ping", "-n", "-c", str(packets), "-i", str(GAP_S), "-W", "5", address, check=False)
    match = re.search(r"(\d+) received", said)
    assert match is not None, said
    return int(match[1])


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8:1::1"])
def test_its_addresses_answer_by_the_other_member(lab: tuple[Router, Namespace, Namespace], address: str) -> None:
    router, metal, far = lab
    in_use = next(i for i, member in enumerate(state(router).members) if member.active)
    wait_for(lambda: answered(far, address, 20) == 20, 60, "20 of 20 pings")  # the switch is a thread, which may starve
    pinging = far.start("ping", "-n", "-c", str(PINGS), "-i", str(GAP_S), "-W", "5", address)
    before = state(router)
    wait_for(lambda: state(router).rx_packets - before.rx_packets > PINGS // 8, 20, "pings on their way")
    metal.run("ip", "link", "set", f"m{in_use}", "down")
    wait_for(lambda: state(router).members[1 - in_use].active, 10, "the other member is in use")
    assert pinging.wait(60) in (0, 1)
    after = state(router)
    assert after.link_up
    assert after.link_changes == before.link_changes, "the bond never lost its link"
    assert after.tx_packets - before.tx_packets >= PINGS - MOST_LOST
    wait_for(lambda: answered(far, address, 20) == 20, 60, "20 of 20 pings")  # the switch is a thread, which may starve
    metal.run("ip", "link", "set", f"m{in_use}", "up")
    wait_for(lambda: state(router).members[in_use].link_up, 10, "the member is back")


def test_who_takes_over_is_announced(lab: tuple[Router, Namespace, Namespace]) -> None:
    """A switch would send to the lost member's port until it sees the bond's MAC by the other (RFC 5944 4.6)."""
    router, metal, far = lab
    in_use = next(i for i, member in enumerate(state(router).members) if member.active)
    listener = RawSocket(far.name, "eth0")
    try:
        metal.run("ip", "link", "set", f"m{in_use}", "down")
        seen: set[str] = set()

        def announced() -> bool:
            for frame in listener.received():
                packet = Ether(frame)
                if ARP in packet and packet[ARP].psrc == packet[ARP].pdst:
                    seen.add(packet[ARP].psrc)
                if ICMPv6ND_NA in packet and not packet[ICMPv6ND_NA].S and packet[IPv6].dst == "ff02::1":
                    seen.add(packet[ICMPv6ND_NA].tgt)
            assert seen == {"192.0.2.1", "2001:db8:1::1", LINK_LOCAL}, seen
            return True

        wait_for(announced, 20, "announcements")
    finally:
        listener.close()
    metal.run("ip", "link", "set", f"m{in_use}", "up")
    wait_for(lambda: state(router).members[in_use].link_up, 10, "the member is back")
