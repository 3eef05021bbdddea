"""What tells a link where a port's addresses are."""

from __future__ import annotations

from ipaddress import ip_address

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from dpdkrouter.host.announce import frames
from dpdkrouter.host.duplicates import Own, conflict

MAC = "02:00:00:00:00:01"
OWN4, OWN6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
OWN = Own("lag0", bytes.fromhex(MAC.replace(":", "")), (OWN4, OWN6))


def test_a_gratuitous_arp_and_an_unsolicited_advertisement() -> None:
    """As scapy builds them, checksum and all."""
    arp = Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op="who-has", hwsrc=MAC, psrc=str(OWN4), hwdst="00:00:00:00:00:00", pdst=str(OWN4)
    )
    advertisement = (
        Ether(src=MAC, dst="33:33:00:00:00:01")
        / IPv6(src="fe80::ff:fe00:1", dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(R=1, S=0, O=1, tgt=str(OWN6))
        / ICMPv6NDOptDstLLAddr(lladdr=MAC)
    )
    assert frames(OWN) == [bytes(arp), bytes(advertisement)]


def test_another_router_with_the_address_would_notice() -> None:
    other = Own("wan0", bytes.fromhex("020000000099"), (OWN4, OWN6))
    assert [conflict(frame, other) for frame in frames(OWN)] == [(OWN4, OWN.mac), (OWN6, OWN.mac)]
    assert [conflict(frame, OWN) for frame in frames(OWN)] == [None, None]
