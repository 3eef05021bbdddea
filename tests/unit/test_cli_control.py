"""Commands that ask the control process, against its real API, RIB and segment; and what is left when it has gone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from controlkit import NEIGHBOUR_MAC, Router

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("root")

REACHED = {"action": "forward", "port": "wan0", "next_hop": "192.0.2.9", "mac": NEIGHBOUR_MAC.hex(":")}
UNRESOLVED = {"action": "resolve", "port": "wan0", "next_hop": "192.0.2.10", "mac": None}
RECEIVED = {"198.51.100.0/24", "203.0.113.128/25", "2001:db8:a::/48", "2001:db8:b::1/128"}


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    router = Router(tmp_path)
    yield router
    router.remove()


def shown(router: Router, *words: str) -> set[tuple[str, str]]:
    """(prefix, source) of `route show`."""
    ended = router.cli("route", "show", *words, "--json")
    assert ended.code == 0, ended.err
    return {(one["prefix"], one["source"]) for one in ended.json}


def looked_up(router: Router, address: str) -> dict[str, Any]:
    ended = router.cli("route", "lookup", address, "--json")
    assert ended.code == (0 if ended.json["prefix"] else 4)
    found: dict[str, Any] = ended.json
    return found


def test_route_show_and_its_filters(router: Router) -> None:
    with router.control() as api, router.peers(api):
        every = shown(router)
        assert {prefix for prefix, source in every if source == "static"} == {"198.51.100.0/24", "198.51.100.128/25"}
        assert shown(router, "--source", "ebgp") == {(prefix, "ebgp") for prefix in RECEIVED - {"198.51.100.0/24"}}
        assert shown(router, "--family", "ipv6") == {one for one in every if ":" in one[0]}
        assert shown(router, "198.51.100.0/24") == {("198.51.100.0/24", "static")}
        assert len(shown(router, "--limit", "3")) == 3
        lost = router.cli("route", "show", "198.51.100.0/24", "--all", "--json").json
        assert [(one["source"], one["best"], one["reason"]) for one in lost] == [
            ("static", True, "best"),
            ("ebgp", False, "source"),
        ]
        lines = router.cli("route", "show", "198.51.100.0/24").out.splitlines()
        assert re.split(r"\s{2,}", lines[1].rstrip()) == [
            "*",
            "198.51.100.0/24",
            "static",
            "unicast",
            "192.0.2.9, 192.0.2.10 weight 2",
        ]


def test_route_show_of_what_is_not_there(router: Router) -> None:
    with router.control():
        for words in (("10.0.0.0/8",), ("10.0.0.0/8", "--json")):
            assert router.cli("route", "show", *words).code == 4
        assert router.cli("route", "show", "--source", "kernel").code == 0


def test_route_add_then_lookup_then_del(router: Router) -> None:
    with router.control():
        assert looked_up(router, "10.1.2.3")["prefix"] is None
        added = router.cli("route", "add", "10.0.0.0/8", "--via", "192.0.2.9,3", "--via", "192.0.2.10")
        assert (added.code, added.out.rstrip()) == (0, "10.0.0.0/8: added")
        found = looked_up(router, "10.1.2.3")
        assert (found["prefix"], found["source"], found["stale"]) == ("10.0.0.0/8", "cli", False)
        assert found["group"] == found["table_group"] > 0
        assert sorted(found["members"], key=lambda one: str(one["next_hop"]), reverse=True) == [
            {"weight": 3, **REACHED},
            {"weight": 1, **UNRESOLVED},
        ]
        router.cli("route", "add", "10.0.0.0/8", "--type", "blackhole")
        assert [one["action"] for one in looked_up(router, "10.1.2.3")["members"]] == ["blackhole"]
        assert router.cli("route", "del", "10.0.0.0/8", "--json").json == {"prefix": "10.0.0.0/8"}
        assert looked_up(router, "10.1.2.3")["prefix"] is None


def test_route_lookup_names_prefix_source_group_members_and_adjacency(router: Router) -> None:
    with router.control():
        ended = router.cli("route", "lookup", "198.51.100.1")
        first, header, reached, unresolved, control = ended.out.splitlines()
        assert first.startswith("198.51.100.1 -> 198.51.100.0/24, source static, group ")
        assert header.split() == ["action", "port", "next", "hop", "mac", "weight"]
        assert reached.split() == ["forward", "wan0", "192.0.2.9", NEIGHBOUR_MAC.hex(":"), "1"]
        assert unresolved.split() == ["resolve", "wan0", "192.0.2.10", "2"]
        assert control.startswith("control: pid ")
        assert [one["action"] for one in looked_up(router, "192.0.2.77")["members"]] == ["glean"]
        assert [one["action"] for one in looked_up(router, "2001:db8::1")["members"]] == ["local"]


def test_an_added_route_that_is_not_used_says_why(router: Router) -> None:
    with router.control():
        lost = router.cli("route", "add", "198.51.100.0/24", "--via", "192.0.2.9")
        assert lost.out.rstrip() == "198.51.100.0/24: added, not in use: it lost by source"
        far = router.cli("route", "add", "10.0.0.0/8", "--via", "172.16.0.1")
        assert far.out.startswith("10.0.0.0/8: added, not in use: ")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("route", "add", "10.0.0.0/8"), "a unicast route needs a next hop (--via)"),
        (
            ("route", "add", "10.0.0.0/8", "--via", "192.0.2.9", "--type", "blackhole"),
            "a blackhole route takes no next hop (--via)",
        ),
        (("route", "add", "10.0.0.0/8", "--via", "127.0.0.1"), "next hop 127.0.0.1: must be a unicast address"),
        (("route", "add", "10.0.0.0/8", "--via", "192.0.2.1"), "must not be the router's own address"),
        (("route", "add", "224.1.0.0/16", "--via", "192.0.2.9"), "must be a unicast prefix, not one of 224.0.0.0/4"),
        (("route", "add", "fe80::/64", "--via", "2001:db8::9"), "must be a unicast prefix, not one of fe80::/10"),
        (("route", "add", "10.0.0.0/8", "--via", "2001:db8::9"), "is not of the family"),
        (("route", "add", "10.0.0.0/8", "--via", "192.0.2.9,256"), "must be between 1 and 255"),
    ],
)
def test_what_control_refuses(router: Router, words: tuple[str, ...], why: str) -> None:
    _refused(router, words, why, code=1)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("route", "del", "10.0.0.0/8"), "no such route of source cli"),
        (("bgp", "routes", "--peer", "192.0.2.99"), "no such neighbor in the configuration"),
    ],
)
def test_what_control_does_not_find(router: Router, words: tuple[str, ...], why: str) -> None:
    _refused(router, words, why, code=4)


def _refused(router: Router, words: tuple[str, ...], why: str, *, code: int) -> None:
    with router.control():
        ended = router.cli(*words)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith("error: ")
    assert why in ended.err
    assert len(ended.err.splitlines()) == 1


def test_neighbor_show(router: Router) -> None:
    with router.control():
        expected = {"port": "wan0", "address": "192.0.2.9", "mac": NEIGHBOUR_MAC.hex(":"), "state": "resolved"}
        assert router.cli("neighbor", "show", "--json").json == [{**expected, "source": "kernel"}]
        assert NEIGHBOUR_MAC.hex(":") in router.cli("neighbor", "show").out


def test_bgp_summary_routes_announced(router: Router) -> None:
    with router.control() as api, router.peers(api):
        found = router.cli("bgp", "summary", "--json").json
        assert (found["router_id"], found["asn"], found["feed"]) == ("192.0.2.1", 65000, "json")
        assert {p["address"]: (p["state"], p["prefixes"]) for p in found["peers"]} == {
            "192.0.2.9": ("up", {"ipv4": 2}),
            "2001:db8::9": ("up", {"ipv6": 2}),
        }
        lines = router.cli("bgp", "summary").out.splitlines()
        assert (
            lines[0].rstrip()
            == "router id 192.0.2.1, AS 65000, ExaBGP feed: json (fallback, slow: the tap does not know this ExaBGP)"
        )
        assert [line.split()[:3] for line in lines[2:4]] == [
            ["192.0.2.9", "65001", "up"],
            ["2001:db8::9", "65001", "up"],
        ]
        assert {one["prefix"] for one in router.cli("bgp", "routes", "--json").json} == RECEIVED
        of_one = router.cli("bgp", "routes", "--peer", "2001:db8::9", "--json").json
        assert {one["peer"] for one in of_one} == {"2001:db8::9"}
        assert {one["as_path"] for one in of_one} == {"65001 4200000001"}
        assert router.cli("bgp", "announced", "--json").json == [
            {"prefix": "203.0.113.0/24", "peer": "192.0.2.9", "attributes": ""}
        ]
        assert "2 of 2 sessions up, ExaBGP feed json" in router.cli("status").out


def test_a_peers_words_are_no_markup(router: Router) -> None:
    """RFC 9003: the reason for a shutdown is text that the peer chooses, on its way to a terminal."""
    words = "[/x] [red]gone[/red] :smile:"
    with router.control() as api, router.peers(api) as notify:
        notify(words)
        ended = router.cli("bgp", "summary")
    assert (ended.code, ended.err) == (0, "")
    assert f"received cease / administrative shutdown: {words}" in ended.out


def test_routes_of_a_lost_feed_are_stale(router: Router) -> None:
    with router.control() as api:
        with router.peers(api):
            assert not any(one["stale"] for one in router.cli("bgp", "routes", "--json").json)
        marks = [line[:2].strip() for line in router.cli("bgp", "routes").out.splitlines()[1:]]
        assert marks == ["s", "*s", "*s", "*s"]


def test_control_gone_the_table_is_still_read(router: Router) -> None:
    with router.control() as api, router.peers(api):
        before = looked_up(router, "203.0.113.200")
        counted = router.cli("route", "summary", "--json").json["routes"]
    after = looked_up(router, "203.0.113.200")
    assert before["source"] == "ebgp"
    assert "does not run" in after.pop("control")
    assert after == {key: value for key, value in before.items() if key != "control"}
    assert router.cli("route", "summary", "--json").json["routes"] == counted
    status = router.cli("status", "--json")
    assert status.code == 0
    assert status.json["bgp"] is None
    assert status.json["control"]["pid"] == 0
    assert status.json["table"]["ipv4_routes"] == {"used": 8, "max": 2000, "key": "table.max_ipv4_routes"}


def test_what_a_new_control_process_has_not_heard_again_is_stale(router: Router) -> None:
    with router.control() as api, router.peers(api):
        pass
    with router.control():
        assert looked_up(router, "203.0.113.200")["stale"] is True
        assert looked_up(router, "198.51.100.1")["stale"] is False
        assert ", stale, " in router.cli("route", "lookup", "203.0.113.200").out.splitlines()[0]
        stale = [
            (one["family"], one["routes"])
            for one in router.cli("route", "summary", "--json").json["routes"]
            if one["stale"]
        ]
        assert stale == [("ipv4", 1), ("ipv6", 2)]
