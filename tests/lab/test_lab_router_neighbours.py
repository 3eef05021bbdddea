"""Neighbours that move, claim our addresses, or are too many; and addresses that are not ours.

                    192.0.2.1/24            172.20.0.1/24
west ── eth0 ────── wan0     dpdkrouter     wan1 ────── eth0 ── east
.9                  2001:db8:1::1/64        2001:db8:2::1/64        .9 and more
                                            neighbor_limit = 6
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from lab.harness import Namespace, wait_for
from lab.harness.flood import Flood
from lab.harness.router import Port, Router, port_veth

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("hugepages")

LIMIT = 6
PORTS = (
    Port("wan0", "192.0.2.1/24", "2001:db8:1::1/64"),
    Port("wan1", "172.20.0.1/24", "2001:db8:2::1/64", more=f"neighbor_limit = {LIMIT}"),
)
EAST = ("172.20.0.9", "2001:db8:2::9")
RATE = 1000
# Frames as hex, one an argument, out of eth0.
SEND = """
import socket, sys
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("eth0", 0))
for frame in sys.argv[1:]:
    out.send(bytes.fromhex(frame))
"""
STRANGER = bytes.fromhex("0200000000aa")


@dataclass
class Lab:
    metal: Namespace
    west: Namespace
    east: Namespace
    router: Router

    def answered(self, address: str) -> bool:
        """One ping from west, answered within a second."""
        return "1 received" in self.west.run("ping", "-n", "-c", "1", "-W", "1", address, check=False)

    def neighbours(self) -> dict[str, str]:
        """The MACs of wan1's by address, link-local ones left out."""
        rows = self.router.rows("neighbor.show")
        return {
            row["address"]: row["mac"]
            for row in rows
            if row["port"] == "wan1" and not row["address"].startswith("fe80")
        }

    def send(self, *frames: bytes) -> None:
        """Out of east's eth0."""
        self.east.run(sys.executable, "-c", SEND, *(frame.hex() for frame in frames))

    def mac(self, port: str = "wan1") -> bytes:
        """The router's on a port."""
        with self.router.stats() as stats:
            return next(one.mac for one in stats.ports() if one.name == port)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with ExitStack() as stack:
        metal, west, east = (stack.enter_context(Namespace(f"nbr-{name}")) for name in ("m", "w", "e"))
        port_veth(metal, "wan0", (west, "eth0"))
        port_veth(metal, "wan1", (east, "eth0"))
        west.address("eth0", "192.0.2.9/24", "2001:db8:1::9/64")
        east.address("eth0", *(f"172.20.0.{n}/24" for n in range(9, 20)), "2001:db8:2::9/64")
        for host, four, six in ((west, "192.0.2.1", "2001:db8:1::1"), (east, "172.20.0.1", "2001:db8:2::1")):
            host.route("0.0.0.0/0", "via", four)
            host.route("::/0", "via", six)
        east.sysctl("net.ipv4.conf.eth0.arp_notify", 1)
        east.sysctl("net.ipv6.conf.eth0.ndisc_notify", 1)
        router = stack.enter_context(Router(metal, tmp_path_factory.mktemp("nbr"), PORTS, "", "nbr"))
        made = Lab(metal, west, east, router)
        for address in EAST:
            wait_for(lambda address=address: made.answered(address), 20, f"an answer of {address}")
        yield made


def arp(op: int, sender: bytes, address: str, target: str, mac: bytes) -> bytes:
    """An ARP packet from `sender`, who says that it has `address`; to everybody."""
    packed, asked = (bytes(map(int, one.split("."))) for one in (address, target))
    body = bytes.fromhex("0001080006 04".replace(" ", "")) + op.to_bytes(2, "big") + sender + packed + mac + asked
    return b"\xff" * 6 + sender + b"\x08\x06" + body.ljust(46, b"\0")


def advertisement(lab: Lab, sender: bytes, target: str) -> bytes:
    """A neighbour advertisement from `sender` to the router's port: unsolicited, override."""
    from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6

    packet = IPv6(src="fe80::aa", dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=target, R=0, S=0, O=1)
    mac = ":".join(f"{byte:02x}" for byte in sender)
    return bytes.fromhex("333300000001") + sender + b"\x86\xdd" + bytes(packet / ICMPv6NDOptDstLLAddr(lladdr=mac))


def test_a_neighbour_that_moves_is_followed(lab: Lab) -> None:
    """To another MAC, said by a gratuitous ARP and an unsolicited advertisement, as Linux does: under a stream of packets
    in both families less than a second of them is lost."""
    for number in (1, 2):
        mac = f"02:00:00:00:0e:0{number}"
        with Flood(lab.west, lab.east, EAST, 5000, RATE) as flood:
            lab.east.run("ip", "link", "set", "eth0", "address", mac)
            wait_for(lambda mac=mac: all(lab.neighbours().get(one) == mac for one in EAST), 20, f"{EAST} at {mac}")
        print(f"move {number}: {flood}")
        assert flood.lost < RATE
        assert all(lab.answered(address) for address in EAST)


def test_a_stranger_that_speaks_unasked_is_no_neighbour(lab: Lab) -> None:
    """RFC 4861 7.2.5: an advertisement makes no entry; and Linux makes none of a gratuitous ARP."""
    known = lab.neighbours()
    before = lab.router.punts()["neighbor"]
    lab.send(
        arp(1, STRANGER, "172.20.0.200", "172.20.0.200", bytes(6)), advertisement(lab, STRANGER, "2001:db8:2::200")
    )
    wait_for(lambda: lab.router.punts()["neighbor"] >= before + 2, 10, "both are punted")
    assert lab.answered(EAST[0])
    assert lab.neighbours() == known


def test_a_duplicate_address_is_noticed(lab: Lab) -> None:
    """Once in the log, counted each time; and both keep their addresses."""
    said = {f"{STRANGER.hex(':')} has our {one}, too" for one in ("172.20.0.1", "2001:db8:2::1")}
    claims = [
        arp(2, STRANGER, "172.20.0.1", "172.20.0.9", bytes(6)),
        arp(1, STRANGER, "172.20.0.1", "172.20.0.1", bytes(6)),
        advertisement(lab, STRANGER, "2001:db8:2::1"),
    ]
    lab.send(*claims)
    wait_for(lambda: all(one in lab.router.log.read_text() for one in said), 10, "two lines in the log")
    wait_for(lambda: duplicates(lab) == len(claims), 10, "they are counted")
    log = lab.router.log.read_text()
    assert [log.count(one) for one in said] == [1, 1]
    assert lab.answered(EAST[0])


def duplicates(lab: Lab) -> int:
    """What the metric says of wan1."""
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9436/metrics').read().decode())"
    lines = lab.metal.run(sys.executable, "-c", ask).splitlines()
    name = 'dpdkrouter_duplicate_addresses_total{port="wan1"}'
    return int(float(next(line for line in lines if line.startswith(name)).split()[-1]))


def test_the_router_answers_for_its_own_addresses_alone(lab: Lab) -> None:
    """To east, west is on the link; nobody there answers for it, and who asks for the router gets an answer."""
    lab.east.run("ip", "route", "add", "192.0.2.9/32", "dev", "eth0")
    lab.east.run("ip", "route", "add", "2001:db8:1::9/128", "dev", "eth0")
    try:
        for address in ("192.0.2.9", "2001:db8:1::9"):
            lab.east.run("ping", "-n", "-c", "2", "-W", "1", address, check=False)
            assert "lladdr" not in lab.east.run("ip", "neigh", "show", address)
        lab.east.run("ip", "neigh", "flush", "dev", "eth0")
        for address in ("172.20.0.1", "2001:db8:2::1"):
            assert "1 received" in lab.east.run("ping", "-n", "-c", "1", "-W", "3", address)
            assert lab.mac().hex(":") in lab.east.run("ip", "neigh", "show", address)
    finally:
        lab.east.run("ip", "route", "del", "192.0.2.9/32", "dev", "eth0")
        lab.east.run("ip", "route", "del", "2001:db8:1::9/128", "dev", "eth0")


def test_a_port_has_so_many_neighbours_and_no_more(lab: Lab) -> None:
    hosts = [f"172.20.0.{n}" for n in range(9, 20)]
    before = lab.router.drops().get("neighbors_full", 0)
    found = {address for address in hosts if lab.answered(address)}
    everyone = [row for row in lab.router.rows("neighbor.show") if row["port"] == "wan1"]
    assert len(everyone) == LIMIT
    assert found == {row["address"] for row in everyone} & set(hosts)
    assert lab.router.drops()["neighbors_full"] > before
    assert f"port wan1: {LIMIT} neighbours; others are not resolved" in lab.router.log.read_text()
    left = next(address for address in hosts if address not in found)
    lab.router.inside("ip", "neigh", "flush", "dev", "wan1")
    wait_for(lambda: lab.answered(left), 20, f"an answer of {left}, for whom there is room now")
    assert "port wan1: room for neighbours again" in lab.router.log.read_text()
