"""Commands for ExaBGP: the lines, and that the real ExaBGP reads them is the lab's matter."""

from __future__ import annotations

import pytest

from dpdkrouter.bgp import commands


def test_announce_in_chunks() -> None:
    prefixes = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(1001)]
    lines = commands.announce("192.0.2.9", prefixes)
    assert [line.count("/24") for line in lines] == [500, 500, 1]
    assert lines[2] == "neighbor 192.0.2.9 announce attributes next-hop self nlri 10.3.232.0/24"
    assert " ".join(line.split(" nlri ")[1] for line in lines).split() == prefixes


def test_other_lines() -> None:
    assert commands.withdraw("2001:DB8::9", ["2001:db8:1::/48"], "2001:db8::1") == [
        "neighbor 2001:db8::9 withdraw attributes next-hop 2001:db8::1 nlri 2001:db8:1::/48"
    ]
    assert commands.announce("192.0.2.9", []) == []
    assert commands.end_of_rib("192.0.2.9", "ipv6") == "neighbor 192.0.2.9 announce eor ipv6 unicast"
    assert commands.route_refresh("192.0.2.9", "ipv4") == "neighbor 192.0.2.9 announce route-refresh ipv4 unicast"
    assert commands.teardown("192.0.2.9") == "neighbor 192.0.2.9 teardown 4"
    assert commands.encode(["a", "b"]) == b"a\nb\n"


@pytest.mark.parametrize(
    ("peer", "prefixes", "next_hop"),
    [
        ("192.0.2.9\nshutdown", ["10.0.0.0/8"], "self"),
        ("192.0.2.9", ["10.0.0.0/8 next-hop 1.1.1.1"], "self"),
        ("192.0.2.9", ["10.0.0.1/8"], "self"),
        ("192.0.2.9", ["10.0.0.0/8", "2001:db8::/32"], "self"),
        ("192.0.2.9", ["10.0.0.0/8"], "self\n"),
        ("192.0.2.9", ["10.0.0.0/8"], "wan0"),
    ],
)
def test_nothing_but_addresses_gets_in(peer: str, prefixes: list[str], next_hop: str) -> None:
    for command in (commands.announce, commands.withdraw):
        with pytest.raises(ValueError, match=r"."):
            command(peer, prefixes, next_hop)


def test_bad_family_and_subcode_are_refused() -> None:
    for command in (commands.end_of_rib, commands.route_refresh):
        with pytest.raises(ValueError, match="allowed: ipv4, ipv6"):
            command("192.0.2.9", "ipv4 unicast\nshutdown")
    with pytest.raises(ValueError, match="subcode 256"):
        commands.teardown("192.0.2.9", 256)
