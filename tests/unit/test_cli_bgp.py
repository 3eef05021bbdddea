"""What `bgp` says of peers and their routes, against a real control process that hears a recorded session."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from controlkit import CONFIGURATION, Router
from dpdkrouter.api.common import WHY
from dpdkrouter.rib.enums import Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("root")

V4, V6 = "192.0.2.9", "2001:db8::9"
ACCEPT = """\
import_policy = "accept"
export_policy = "accept"
accept_bogons = true
max_length_ipv4 = 25
max_length_ipv6 = 128
"""
POLICY = """
[[bgp.prefix_list]]
name = "long"
prefixes = [{{ prefix = "0.0.0.0/0", ge = 25 }}]
[[bgp.policy]]
name = "short"
default = "accept"
[[bgp.policy.rule]]
name = "too fine"
prefix_list = "long"
action = "reject"
"""


@contextmanager
def hearing(directory: Path, first: str = ACCEPT, second: str = ACCEPT, more: str = "") -> Iterator[Router]:
    """A router whose two peers have sent their routes; these keys are its neighbours'."""
    head, one, two = CONFIGURATION.split(ACCEPT)
    router = Router(directory, head + first + one + second + two + more)
    try:
        with router.control() as api, router.peers(api):
            yield router
    finally:
        router.remove()


def routes(router: Router, *words: str) -> dict[tuple[str, str], Any]:
    """The rows of `bgp routes` by prefix and peer."""
    ended = router.cli("bgp", "routes", *words, "--json")
    assert ended.code == 0, ended.err
    return {(row["prefix"], row["peer"]): row for row in ended.json}


def test_rejected_routes_say_which_rule_refused(tmp_path: Path) -> None:
    with hearing(
        tmp_path, first=ACCEPT.replace('import_policy = "accept"', 'import_policy = "short"'), more=POLICY
    ) as router:
        (((prefix, peer), row),) = routes(router, "--rejected").items()
        assert (prefix, peer, row["policy"], row["reason"]) == (
            "203.0.113.128/25",
            V4,
            "policy short: rule too fine",
            "policy",
        )
        received, best = routes(router, "--received"), routes(router, "--best")
        assert received == routes(router)
        assert (prefix, peer) in received
        assert set(best) == {key for key, one in received.items() if one["best"]}
        assert (prefix, peer) not in best
        assert "policy short: rule too fine" in router.cli("bgp", "routes", "--rejected").out
        shown = router.cli("bgp", "neighbor", V4, "--json").json
        assert shown["import"]["policy"] == "short"
        assert shown["rejected"] == {"ipv4": 1}
        assert shown["verdicts"]["policy short: rule too fine"] == {"ipv4": 1, "ipv6": 0}
        assert router.cli("route", "lookup", "203.0.113.130").code == 4


def test_filters_are_on_by_default_and_visible(tmp_path: Path) -> None:
    with hearing(tmp_path, first='import_policy = "accept"\n') as router:
        refused = {row["policy"] for row in routes(router, "--rejected").values()}
        assert refused == {"bogon (RFC 6890)"}
        text = router.cli("bgp", "neighbor", V4).out
        for words in ("bogons", "refused", "/24 (IPv4), /48 (IPv6)", "192.0.2.0/24", "bogon (RFC 6890)", "ignored"):
            assert words in text
        assert "none: all is refused (RFC 8212)" not in text


def test_ebgp_peer_without_a_policy_brings_nothing(tmp_path: Path) -> None:
    with hearing(tmp_path, first="", second="") as router:
        rows = routes(router)
        assert rows
        assert {row["policy"] for row in rows.values()} == {"no import policy (RFC 8212)"}
        assert routes(router, "--best") == {}
        assert "none: all is refused (RFC 8212)" in router.cli("bgp", "neighbor", V6).out


def test_peer_that_may_blackhole_is_shown_as_such(tmp_path: Path) -> None:
    keys = ACCEPT.replace('import_policy = "accept"', 'import_policy = "short"') + "blackhole = true\n"
    rule = '[[bgp.policy.rule]]\nname = "theirs"\nprefix_list = "long"\naction = "accept"\n'
    with hearing(tmp_path, first=keys, more=POLICY + rule) as router:
        assert "obeyed from /32 (IPv4), /128 (IPv6) on" in router.cli("bgp", "neighbor", V4).out
        imports = router.cli("bgp", "neighbor", V4, "--json").json["import"]
        assert imports["blackhole_min_length"] == {"ipv4": 32, "ipv6": 128}


def test_questions_that_make_no_sense(tmp_path: Path) -> None:
    with hearing(tmp_path) as router:
        assert router.cli("bgp", "neighbor", "192.0.2.77").code == 4
        assert router.cli("bgp", "routes", "--rejected", "--best").code == 2


def test_best_says_why_each_loser_lost(tmp_path: Path) -> None:
    with hearing(tmp_path, first='import_policy = "accept"\n') as router:
        ended = router.cli("bgp", "best", "198.51.100.0/24", "--why", "--json")
        assert [(row["source"], row["best"], row["reason"]) for row in ended.json] == [
            ("static", True, "best"),
            ("ebgp", False, "policy"),
        ]
        assert ended.json[1]["why"] == "refused (RFC 4271 9.1.1): bogon (RFC 6890)"
        assert "another" not in router.cli("bgp", "best", "198.51.100.0/24").out
        assert len(router.cli("bgp", "best", "198.51.100.0/24", "--json").json) == 1
        assert "refused (RFC 4271 9.1.1)" in router.cli("bgp", "best", "198.51.100.0/24", "--why").out
        assert router.cli("bgp", "best", "192.0.3.0/24", "--why").code == 4


def test_every_step_is_explained() -> None:
    assert set(WHY) == set(Step.__members__.values())
    assert len(set(WHY.values())) == len(WHY)


def announced(router: Router) -> set[tuple[str, str]]:
    return {(row["prefix"], row["peer"]) for row in router.cli("bgp", "announced", "--json").json}


def test_announce_and_withdraw(tmp_path: Path) -> None:
    with hearing(tmp_path, second='import_policy = "accept"\n') as router:
        assert announced(router) == {("203.0.113.0/24", V4)}
        ended = router.cli("bgp", "announce", "198.18.1.0/24")
        assert (ended.code, ended.out.strip()) == (0, f"198.18.1.0/24: announced to {V4}")
        assert announced(router) == {("203.0.113.0/24", V4), ("198.18.1.0/24", V4)}
        for group in ("224.0.0.0/4", "ff00::/8", "127.0.0.0/8"):
            refused = router.cli("bgp", "announce", group)
            assert refused.code != 0
            assert "must be a unicast prefix" in refused.err
        assert router.cli("bgp", "withdraw", "198.18.1.0/24", "--json").json["peers"] == []
        assert announced(router) == {("203.0.113.0/24", V4)}
        assert router.cli("bgp", "withdraw", "198.18.1.0/24").code == 4
        assert "none: nothing is announced (RFC 8212)" in router.cli("bgp", "neighbor", V6).out


def test_announced_to_a_peer_that_is_down(tmp_path: Path) -> None:
    router = Router(tmp_path)
    try:
        with router.control():
            ended = router.cli("bgp", "announce", "198.18.1.0/24")
            assert ended.out.strip() == f"198.18.1.0/24: announced to nobody; when their sessions are up also to {V4}"
    finally:
        router.remove()


def test_neighbor_shows_what_both_opens_came_to(tmp_path: Path) -> None:
    with hearing(tmp_path) as router:
        agreed = router.cli("bgp", "neighbor", V4, "--json").json["agreed"]
        assert agreed == {
            "router_id": "192.0.2.9",
            "families": ["ipv4"],
            "hold_time": 90,
            "add_path": [],
            "route_refresh": "enhanced",
            "restart_time": 120,
        }
        shown = [line.split(maxsplit=2) for line in router.cli("bgp", "neighbor", V4).out.splitlines()]
        assert ["hold", "time", "90 s"] in shown
        assert ["graceful", "restart", "for 120 s"] in shown


def test_announced_prefix_outlives_the_control_process(tmp_path: Path) -> None:
    router = Router(tmp_path)
    try:
        for prefixes in ({"203.0.113.0/24"}, {"203.0.113.0/24", "198.18.1.0/24"}):
            with router.control() as api, router.peers(api):
                assert {prefix for prefix, _ in announced(router)} == prefixes
                router.cli("bgp", "announce", "198.18.1.0/24")
    finally:
        router.remove()


def test_redistributed_routes_come_and_go(tmp_path: Path) -> None:
    text = CONFIGURATION.replace("[bgp]\n", '[bgp]\nredistribute = ["cli"]\n')
    router = Router(tmp_path, text)
    try:
        with router.control() as api, router.peers(api):
            router.cli("route", "add", "198.18.1.0/24", "--type", "blackhole")
            assert ("198.18.1.0/24", V4) in announced(router)
            router.cli("route", "del", "198.18.1.0/24")
            assert ("198.18.1.0/24", V4) not in announced(router)
    finally:
        router.remove()


def test_condition_of_an_announced_prefix(tmp_path: Path) -> None:
    text = CONFIGURATION.replace(
        'announce = ["203.0.113.0/24"]', 'announce = [{{ prefix = "203.0.113.0/24", when = "198.18.1.0/24" }}]'
    )
    router = Router(tmp_path, text)
    try:
        with router.control() as api, router.peers(api):
            assert announced(router) == set()
            router.cli("route", "add", "198.18.1.0/24", "--type", "blackhole")
            assert announced(router) == {("203.0.113.0/24", V4)}
            router.cli("route", "del", "198.18.1.0/24")
            assert announced(router) == set()
    finally:
        router.remove()


def test_log_of_sessions(tmp_path: Path) -> None:
    with hearing(tmp_path) as router:
        shown = router.cli("bgp", "log", "--json").json
        assert {(row["peer"], row["event"]) for row in shown} == {(V4, "established"), (V6, "established")}
        assert all(row["age_s"] >= 0 for row in shown)
        assert [row["peer"] for row in router.cli("bgp", "log", "--peer", V6, "--json").json] == [V6]
        assert "established" in router.cli("bgp", "log").out
        assert router.cli("bgp", "log", "--peer", "192.0.2.77").code == 4


def test_refresh_asks_the_peer(tmp_path: Path) -> None:
    with hearing(tmp_path) as router:
        ended = router.cli("bgp", "refresh", V4)
        assert (ended.code, ended.out.strip()) == (0, f"{V4}: asked for its routes")
        assert router.cli("bgp", "refresh", V4, "--json").json == {"peer": V4}
        assert router.cli("bgp", "refresh", "192.0.2.77").code == 4
