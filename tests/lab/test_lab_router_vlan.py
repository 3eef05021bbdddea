"""Sub-interfaces of a whole router: its host stack answers on them, and packets go from one VLAN to another.

far ── eth0 ──── wan0 192.0.2.1/24            untagged
                 wan0.100 198.51.100.1/24     VLAN 100
                 wan0.7 203.0.113.1/24        VLAN 7 within 200

This kernel need not have VLAN devices: frames are made and read by hand.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from lab.harness import Namespace, wait_for
from lab.harness.router import Port, Router, port_veth
from planekit.wires import RawSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("hugepages")

BODY = """
[[port]]
name = "wan0.100"
parent = "wan0"
vlan = 100
addresses = ["198.51.100.1/24", "2001:db8:100::1/64"]
[[port]]
name = "wan0.7"
parent = "wan0"
vlan = 7
outer_vlan = 200
addresses = ["203.0.113.1/24"]
"""
MAC = "02:00:00:00:01:09"
ONE, TWO = ((0x8100, 100),), ((0x88A8, 200), (0x8100, 7))
Tags = tuple[tuple[int, int], ...]


class Wire:
    """What the far end sends and gets, as tags and the packet below Ethernet."""

    def __init__(self, namespace: str) -> None:
        self.socket = RawSocket(namespace, "eth0")
        self.got: list[tuple[Tags, Packet]] = []

    def send(self, tags: Tags, payload: Packet, dst: str) -> None:
        frame = bytes(Ether(src=MAC, dst=dst) / payload)
        head = frame[:12] + b"".join(struct.pack(">HH", *tag) for tag in tags)
        self.socket.send(head + frame[12:])

    def seen(self, tags: Tags, wanted: Callable[[Packet], bool]) -> Packet | None:
        """The first that came with these tags and is wanted."""
        for frame in self.socket.received():
            packet, found = Ether(frame), []
            while isinstance(packet.payload, Dot1Q | Dot1AD):
                found.append((packet.type, packet.payload.vlan))
                packet = packet.payload
            self.got.append((tuple(found), packet.payload))
        return next((packet for these, packet in self.got if these == tags and wanted(packet)), None)

    def ask(self, tags: Tags, payload: Packet, dst: str, wanted: Callable[[Packet], bool], what: str) -> Packet:
        """Send until the answer comes."""

        def answered() -> Packet | None:
            self.send(tags, payload, dst)
            return self.seen(tags, wanted)

        found = wait_for(answered, 20, what, 0.2)
        assert found is not None
        return found


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[Router, Wire, str]]:
    with Namespace("vlan-m") as metal, Namespace("vlan-f") as far:
        port_veth(metal, "wan0", (far, "eth0"))
        far.address("eth0", "192.0.2.9/24")
        with Router(metal, tmp_path, [Port("wan0", "192.0.2.1/24")], BODY, "vlan") as router:
            wait_for(lambda: {"198.51.100.0/24", "203.0.113.0/24"} <= router.routes(), 20, "connected routes")
            with router.stats() as stats:
                mac = stats.ports()[0].mac.hex(":")
            assert "1 received" in far.run("ping", "-n", "-c", "1", "-W", "5", "192.0.2.1"), "untagged, as ever"
            wire = Wire(far.name)
            yield router, wire, mac
            wire.socket.close()


def arp(asked: str, own: str) -> ARP:
    return ARP(op=1, hwsrc=MAC, psrc=own, pdst=asked)


def test_the_host_stack_answers_and_vlans_reach_each_other(lab: tuple[Router, Wire, str]) -> None:
    router, wire, mac = lab
    everybody = "ff:ff:ff:ff:ff:ff"
    for tags, asked, own in ((ONE, "198.51.100.1", "198.51.100.9"), (TWO, "203.0.113.1", "203.0.113.9")):
        reply = wire.ask(
            tags, arp(asked, own), everybody, lambda p, asked=asked: ARP in p and p.op == 2 and p.psrc == asked, asked
        )
        assert reply.hwsrc == mac
        ping = IP(src=own, dst=asked) / ICMP(id=7) / Raw(b"x" * 40)
        wire.ask(tags, ping, mac, lambda p, own=own: ICMP in p and p.type == 0 and p.dst == own, f"echo of {asked}")
    solicit = IPv6(src="2001:db8:100::9", dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt="2001:db8:100::1")
    solicit /= ICMPv6NDOptSrcLLAddr(lladdr=MAC)
    wire.ask(ONE, solicit, "33:33:ff:00:00:01", lambda p: ICMPv6ND_NA in p and p.tgt == "2001:db8:100::1", "an NA")
    ping6 = IPv6(src="2001:db8:100::9", dst="2001:db8:100::1") / ICMPv6EchoRequest(id=7)
    wire.ask(ONE, ping6, mac, lambda p: ICMPv6EchoReply in p, "an IPv6 echo")

    def crossed() -> Packet | None:
        wire.send(ONE, IP(src="198.51.100.9", dst="203.0.113.9", ttl=9) / UDP(dport=4711) / Raw(b"y" * 30), mac)
        asked = wire.seen(TWO, lambda p: ARP in p and p.op == 1 and p.pdst == "203.0.113.9")
        if asked is not None:
            wire.send(TWO, ARP(op=2, hwsrc=MAC, psrc="203.0.113.9", hwdst=mac, pdst="203.0.113.1"), mac)
        return wire.seen(TWO, lambda p: UDP in p and p[UDP].dport == 4711)

    packet = wait_for(crossed, 20, "a packet of the other VLAN", 0.2)
    assert packet is not None
    assert packet.ttl == 8
    with router.stats() as stats:
        ports = {port.name: port for port in stats.ports()}
    assert ports["wan0.100"].rx_packets > 0
    assert ports["wan0.7"].tx_packets > 0


def test_a_vlan_that_nobody_has_is_dropped(lab: tuple[Router, Wire, str]) -> None:
    router, wire, mac = lab
    wire.send(((0x8100, 300),), IP(src="198.51.100.9", dst="203.0.113.9"), mac)
    wait_for(lambda: router.drops().get("vlan_unknown") == 1, 10, "a frame of a VLAN that nobody has")


def test_port_show_names_parents_and_vlans(lab: tuple[Router, Wire, str]) -> None:
    router, _, _ = lab
    command = [sys.executable, "-P", "-m", "dpdkrouter", "--name", router.name, "port", "show"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in shown.splitlines()]
    assert ["wan0.100", "wan0", "100", "-"] in rows, shown
    assert ["wan0.7", "wan0", "7", "200"] in rows, shown
