"""What peers are told: export policies, ExaBGP's words, and what a returning control process says."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.bgp.configuration import BgpPeer
from dpdkrouter.bgp.exports import Exports
from dpdkrouter.rib.aspath import compile_expression
from dpdkrouter.rib.policy import Change, Communities, Entry, Match, Policy, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

OUT, IN = "192.0.2.9", "192.0.2.10"
PEERS = (
    BgpPeer(OUT, 65001, "192.0.2.1", 65000, "192.0.2.1", ("ipv4", "ipv6")),
    BgpPeer(IN, 65000, "192.0.2.1", 65000, "192.0.2.1"),
)
HOPS = {OUT: {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1"}, IN: {"ipv4": "192.0.2.1"}}
ACCEPT = Policy("accept", default=True)
V4, OTHER, V6 = "203.0.113.0/24", "198.51.100.0/24", "2001:db8:100::/48"
TO_OUT = f"neighbor {OUT} announce attributes next-hop 192.0.2.1"


def exports(out: Policy | None = ACCEPT, inside: Policy | None = None, told: Iterable[str] = ()) -> Exports:
    """Two peers, one of each kind, of which the second is told nothing; ExaBGP is not there yet."""
    return Exports(PEERS, {OUT: out, IN: inside}, HOPS, {OUT: told})


def online(made: Exports) -> Exports:
    for address in (OUT, IN):
        made.hello(address)
    return made


def networks(*prefixes: str, source: str = "announce") -> dict[IPv4Network | IPv6Network, str]:
    return {ip_network(prefix): source for prefix in prefixes}


def test_announced_replaced_and_withdrawn() -> None:
    made = online(exports())
    assert made.update(networks(V4, V6)) == [
        f"{TO_OUT} nlri {V4}",
        f"neighbor {OUT} announce attributes next-hop 2001:db8::1 nlri {V6}",
    ]
    assert made.update(networks(V4, V6)) == []
    assert made.update(networks(V4, OTHER)) == [
        f"neighbor {OUT} withdraw attributes next-hop 2001:db8::1 nlri {V6}",
        f"{TO_OUT} nlri {OTHER}",
    ]
    assert {(str(prefix), peer) for prefix, peer, _ in made.announced()} == {(V4, OUT), (OTHER, OUT)}


def test_family_that_a_peer_has_not_is_not_announced_to_it() -> None:
    made = online(exports(None, ACCEPT))
    assert made.update(networks(V4, V6)) == [f"neighbor {IN} announce attributes next-hop 192.0.2.1 nlri {V4}"]


def test_without_policy_nothing_is_announced() -> None:
    made = online(exports(None))
    assert made.update(networks(V4, V6)) == []
    assert list(made.announced()) == []


@pytest.mark.parametrize(("expression", "wanted"), [("^$", True), (".*", True), ("^65001_", False)])
def test_path_of_what_we_announce_is_empty(expression: str, wanted: bool) -> None:
    rule = Rule("r", True, match=Match(path=compile_expression(expression)))
    made = online(exports(Policy("p", (rule,))))
    assert made.update(networks(V4)) == ([f"{TO_OUT} nlri {V4}"] if wanted else [])


CHANGES = [
    (Rule("r", True, prepend=2), "as-path [ 65000 65000 65000 ]"),
    (Rule("r", True, change=Change(med=7)), "med 7"),
    (Rule("r", True, change=Change(med=0)), "med 0"),
    (
        Rule("r", True, change=Change(add=Communities(frozenset({0xFFFFFF01, 65000 << 16 | 5})))),
        "community [ 65000:5 65535:65281 ]",
    ),
    (Rule("r", True, change=Change(add=Communities(large=frozenset({(1, 2, 3)})))), "large-community [ 1:2:3 ]"),
]


@pytest.mark.parametrize(("rule", "words"), CHANGES)
def test_what_a_rule_adds(rule: Rule, words: str) -> None:
    made = online(exports(Policy("p", (rule,))))
    assert made.update(networks(V4)) == [f"{TO_OUT} {words} nlri {V4}"]
    assert [attributes for _, _, attributes in made.announced()] == [words]


def test_local_preference_goes_to_ibgp_peers_alone() -> None:
    policy = Policy("p", (Rule("r", True, change=Change(local_pref=50)),))
    assert online(exports(policy)).update(networks(V4)) == [f"{TO_OUT} nlri {V4}"]
    (line,) = online(exports(None, policy)).update(networks(V4))
    assert "local-preference 50" in line


def test_first_rule_that_matches_decides() -> None:
    policy = Policy(
        "p",
        (
            Rule("no", False, (Entry(ip_network(OTHER), 24, 24),)),
            Rule("static", True, sources=frozenset({"static", "cli"}), change=Change(med=1)),
            Rule("v4", True, (Entry(ip_network("0.0.0.0/0"), 0, 24),)),
        ),
    )
    made = online(exports(policy))
    lines = made.update(networks(V4, OTHER, V6) | networks("198.18.0.0/24", source="static"))
    assert lines == [f"{TO_OUT} nlri {V4}", f"{TO_OUT} med 1 nlri 198.18.0.0/24"]
    assert made.update(networks(V4, source="cli")) == [
        f"neighbor {OUT} withdraw attributes next-hop 192.0.2.1 nlri 198.18.0.0/24",
        f"{TO_OUT} med 1 nlri {V4}",
    ]


def test_everything_again_at_each_hello() -> None:
    made = online(exports())
    made.update(networks(V4))
    assert made.hello(OUT) == [f"{TO_OUT} nlri {V4}"]


def test_what_changes_while_exabgp_is_away_is_said_at_the_hello() -> None:
    made = online(exports())
    made.update(networks(V4, OTHER))
    made.lost()
    assert made.update(networks(V4)) == []
    assert made.hello(OUT) == [
        f"neighbor {OUT} withdraw attributes next-hop 192.0.2.1 nlri {OTHER}",
        f"{TO_OUT} nlri {V4}",
    ]


def test_returning_process_withdraws_what_it_no_longer_wants() -> None:
    first = exports()
    first.update(networks(V4, V6))
    assert first.state() == {OUT: [V6, V4], IN: []}, "written before ExaBGP hears of it"
    second = exports(told=first.state()[OUT])
    assert second.update(networks(V4)) == []
    assert set(second.state()[OUT]) == {V4, V6}, "as long as it was not withdrawn"
    assert second.hello(OUT) == [
        f"neighbor {OUT} withdraw attributes next-hop 2001:db8::1 nlri {V6}",
        f"{TO_OUT} nlri {V4}",
    ]
    assert second.state()[OUT] == [V4]


def test_nothing_after_the_stop() -> None:
    made = online(exports())
    made.update(networks(V4))
    assert made.stop() == [f"neighbor {OUT} withdraw attributes next-hop 192.0.2.1 nlri {V4}"]
    assert made.update(networks(V4, V6)) == []
    assert made.hello(OUT) == []


def test_what_takes_back_what_was_told() -> None:
    made = exports()
    assert made.withdrawals({OUT: [V4, OTHER, V6], IN: [], "192.0.2.77": [V4]}) == [
        f"neighbor {OUT} withdraw attributes next-hop 192.0.2.1 nlri {OTHER} {V4}",
        f"neighbor {OUT} withdraw attributes next-hop 2001:db8::1 nlri {V6}",
    ]
