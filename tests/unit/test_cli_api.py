"""Commands that ask the control process, by a real socket: what is asked, what is shown, what hostile answers do."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from apikit import serving
from clikit import COMMAND, TIMEOUT_S, Router, environment, process, router_files, run
from dpdkrouter.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

PEER = {
    "address": "2001:db8:1:a::2",
    "asn": 65001,
    "description": "transit [/b]",
    "state": "down",
    "since_s": 130.0,
    "prefixes": {"ipv6": 2000},
    "updates": 12,
    "last_error": 'received cease / administrative shutdown: "[/x] \x1b[2J [red]maintenance[/red]"',
    "flaps": 1,
    "pending": [],
    "load_s": None,
    "loading": None,
}
SUMMARY = {"router_id": "192.0.2.1", "asn": 65000, "feed": "json", "peers": [PEER]}
ROUTE = {
    "prefix": "2001:db8:1:a::/64",
    "source": "ebgp",
    "peer": "2001:db8:1:a::2",
    "best": True,
    "stale": False,
    "kind": "unicast",
    "next_hops": [
        {"address": "2001:db8:1:a::2", "port": "wan0", "weight": 1},
        {"address": "2001:db8:1:b::2", "port": None, "weight": 3},
    ],
    "reason": "best",
}
MANY = 30_000


class Control:
    """What the socket answers; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {"bgp.summary": SUMMARY}
        self.items: dict[str, list[dict[str, Any]]] = {}

    def methods(self) -> dict[str, Any]:
        called = ("bgp.summary", "route.add", "route.del", "status")
        streamed = ("bgp.announced", "bgp.routes", "neighbor.show", "route.show")
        return {
            **{name: lambda params, name=name: self._call(name, params) for name in called},
            **{name: lambda params, name=name: self._stream(name, params) for name in streamed},
        }

    def _call(self, name: str, params: dict[str, Any]) -> Any:
        self.asked.append((name, params))
        if name not in self.answers:
            raise RequestError(f"{name}: refused for a reason")
        return self.answers[name]

    def _stream(self, name: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append((name, params))
        yield from self.items.get(name, [])


@pytest.fixture
def router(root: None) -> Iterator[Router]:
    with router_files("a") as router:
        yield router


@pytest.fixture
def control(router: Router) -> Iterator[Control]:
    control = Control()
    with serving(router.paths.api_socket, control.methods()):
        yield control


def test_bgp_summary_shows_a_peers_words_and_obeys_none(router: Router, control: Control) -> None:
    lines = router.run("bgp", "summary").splitlines()
    assert (
        lines[0]
        == "router id 192.0.2.1, AS 65000, ExaBGP feed: json (fallback, slow: the tap does not know this ExaBGP)"
    )
    assert lines[2].split() == ["2001:db8:1:a::2", "65001", "down", "2", "min", "2000", "12", "1", "transit", "[/b]"]
    words = r'received cease / administrative shutdown: "[/x] \x1b[2J [red]maintenance[/red]"'
    assert lines[3] == f"2001:db8:1:a::2: last error: {words}"
    assert router.json("bgp", "summary") == SUMMARY


def test_bgp_summary_shows_how_far_a_table_load_is(router: Router, control: Control) -> None:
    loading = {"routes": 2000, "seconds": 0.5, "rate": 4000}
    control.answers["bgp.summary"] = {**SUMMARY, "peers": [{**PEER, "pending": ["ipv4", "ipv6"], "loading": loading}]}
    assert (
        router.run("bgp", "summary").splitlines()[3]
        == "2001:db8:1:a::2: loading: 2000 routes, 4000 a second, no End-of-RIB yet: ipv4, ipv6"
    )


def test_bgp_summary_is_readable_at_80_columns(router: Router, control: Control) -> None:
    shown = re.sub(r"\x1b\[[0-9;]*m", "", router.terminal("bgp", "summary"))
    assert "\x1b" not in shown
    table = shown[shown.index("peer ") : shown.index("2001:db8:1:a::2: last error")].splitlines()
    assert max(map(len, table)) <= 80
    assert [line.split()[0] for line in table] == ["peer", "2001:db8:1:a::2"]  # neither folded nor an emoji


def test_a_row_that_80_columns_do_not_hold_is_folded_and_whole(router: Router, control: Control) -> None:
    control.items["route.show"] = [ROUTE]
    shown = re.sub(r"\x1b\[[0-9;]*m", "", router.terminal("route", "show"))
    assert max(map(len, shown.splitlines())) <= 80
    words = re.split(r"[ ,\n]+", shown)
    assert {"2001:db8:1:a::/64", "2001:db8:1:a::2", "2001:db8:1:b::2", "wan0", "3"} <= set(words)


def test_bgp_summary_without_bgp(router: Router, control: Control) -> None:
    control.answers["bgp.summary"] = {"router_id": None, "asn": None, "feed": "absent", "peers": []}
    assert router.run("bgp", "summary").startswith("BGP is not configured")


def test_route_show_asks_for_what_is_meant_and_prints_it(router: Router, control: Control) -> None:
    control.items["route.show"] = [ROUTE]
    text = router.run("route", "show", "--family", "ipv6", "--source", "ebgp", "--all", "2001:db8:1:a::/64")
    assert control.asked == [
        ("route.show", {"prefix": "2001:db8:1:a::/64", "family": "ipv6", "source": "ebgp", "all": True})
    ]
    assert re.split(r" {2,}", text.splitlines()[1]) == [
        "*",
        "2001:db8:1:a::/64",
        "ebgp 2001:db8:1:a::2",
        "unicast",
        "2001:db8:1:a::2 on wan0, 2001:db8:1:b::2 weight 3",
        "best",
    ]
    assert router.json("route", "show") == [ROUTE]
    assert control.asked[-1] == ("route.show", {})


def test_what_was_asked_for_and_is_not_there_ends_with_4(router: Router, control: Control) -> None:
    for words in (("route", "show"), ("bgp", "routes")):
        assert router.json(*words, "192.0.2.0/24", code=4) == []
        assert len(router.run(*words, "192.0.2.0/24", code=4).splitlines()) == 1
        assert router.json(*words) == []


def test_a_long_table_streams_and_a_limit_ends_it(router: Router, control: Control) -> None:
    control.items["route.show"] = [{**ROUTE, "prefix": f"10.{i >> 8}.{i & 255}.0/24"} for i in range(MANY)]
    prefixes = [line.split()[1] for line in router.run("route", "show").splitlines()[1:]]
    assert prefixes == [route["prefix"] for route in control.items["route.show"]]
    assert len(router.json("route", "show")) == MANY
    assert len(router.json("route", "show", "--limit", "7")) == 7


def test_a_reader_that_leaves_early_is_no_error(router: Router, control: Control) -> None:
    control.items["route.show"] = [ROUTE] * MANY
    command = [*COMMAND, "-n", router.paths.name, "route", "show"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        reader.stdout.readline()
        reader.stdout.close()
        assert reader.stderr.read() == ""
        assert reader.wait(TIMEOUT_S) == 1


def test_bgp_routes_and_announced_and_neighbors(router: Router, control: Control) -> None:
    path = {"prefix": "192.0.2.0/24", "peer": "192.0.2.9", "best": False, "stale": True, "as_path": "65001 {1 2}",
            "origin": "igp", "next_hop": "192.0.2.9", "local_pref": 100, "med": None, "communities": ["65001:1"],
            "reason": "as path length", "rejected": False, "policy": ""}  # fmt: skip
    control.items["bgp.routes"] = [path]
    control.items["bgp.announced"] = [{"prefix": "203.0.113.0/24", "peer": "192.0.2.9", "attributes": "med 5"}]
    neighbor = {"port": "wan0", "address": "192.0.2.9", "mac": "02:00:00:00:00:09", "state": "resolved",
                "source": "kernel"}  # fmt: skip
    control.items["neighbor.show"] = [neighbor]
    text = router.run("bgp", "routes", "--peer", "192.0.2.9", "--family", "ipv4")
    assert control.asked[-1] == ("bgp.routes", {"peer": "192.0.2.9", "family": "ipv4"})
    assert re.split(r" {2,}", text.splitlines()[1]) == [
        "s", "192.0.2.0/24", "192.0.2.9", "192.0.2.9", "65001 {1 2}", "igp", "100", "as path length"]  # fmt: skip
    assert router.run("bgp", "announced").splitlines()[1].split() == ["203.0.113.0/24", "192.0.2.9", "med", "5"]
    assert router.run("neighbor", "show").splitlines()[1].split() == [*neighbor.values()]
    assert router.json("bgp", "routes") == [path]
    assert router.json("bgp", "announced") == control.items["bgp.announced"]
    assert router.json("neighbor", "show") == [neighbor]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"best": True, "reachable": True, "reason": "best"}, "added"),
        ({"best": False, "reachable": True, "reason": "source"}, "added, not in use: it lost by source"),
        ({"best": False, "reachable": False, "reason": "x"}, "added, not in use: no next hop can be reached"),
    ],
)
def test_route_add_says_whether_the_route_is_used(
    router: Router, control: Control, answer: dict[str, Any], says: str
) -> None:
    control.answers["route.add"] = {"prefix": "192.0.2.0/24", **answer}
    assert (
        router.run("route", "add", "192.0.2.0/24", "--via", "10.0.0.1", "--via", "10.0.0.2,7")
        == f"192.0.2.0/24: {says}\n"
    )
    via = [{"address": "10.0.0.1", "weight": 1}, {"address": "10.0.0.2", "weight": 7}]
    assert control.asked == [("route.add", {"prefix": "192.0.2.0/24", "via": via, "type": "unicast"})]


def test_what_control_refuses_ends_with_1(router: Router, control: Control) -> None:
    assert router.errors("route", "del", "192.0.2.0/24", code=1) == "error: route.del: refused for a reason\n"


@pytest.mark.parametrize(
    "words",
    [
        ("route", "add", "192.0.2.1/24", "--via", "10.0.0.1"),
        ("route", "add", "192.0.2.0/24", "--via", "10.0.0.1,x"),
        ("route", "add", "192.0.2.0/24", "--via", "10.0.0.1,"),
        ("route", "add", "192.0.2.0/24", "--via", "wan0"),
        ("route", "add", "192.0.2.0/24", "--type", "drop"),
        ("route", "del", "nonsense"),
        ("route", "show", "--source", "ospf"),
        ("route", "show", "--limit", "-1"),
        ("route", "lookup", "192.0.2.0/24"),
        ("route", "lookup", "fe80::1%wan0"),
        ("bgp", "routes", "--family", "ipv5"),
        ("route",),
        ("nonsense",),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_asks_nobody(
    router: Router, control: Control, words: tuple[str, ...]
) -> None:
    router.run(*words, code=2)
    assert control.asked == []


@pytest.mark.parametrize(
    "words",
    [
        ("bgp", "summary"), ("bgp", "routes"), ("bgp", "announced"), ("neighbor", "show"), ("route", "show"),
        ("route", "add", "192.0.2.0/24", "--type", "blackhole"), ("route", "del", "192.0.2.0/24"),
    ],
)  # fmt: skip
def test_no_control_process_ends_with_3_and_says_what_to_start(router: Router, words: tuple[str, ...]) -> None:
    error = router.errors(*words, code=3)
    assert error.startswith(f"error: {router.paths.api_socket}: the control process does not run; start it with ")


@pytest.mark.parametrize("answer", [b"\x00\xff garbage\n", b'{"item": ', b"[]\n", b'{"result"', b"", b'{"item": 1}\n'])
def test_a_broken_answer_is_an_error_line(router: Router, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(router.paths.api_socket))
        server.listen(1)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        error = router.errors("bgp", "summary", code=3)
        thread.join()
    assert error.startswith(f"error: {router.paths.api_socket}: ")
    assert len(error.splitlines()) == 1


def test_several_routers_and_none_named_is_an_error_that_names_them(router: Router) -> None:
    with router_files("b") as other:
        error = run("status", code=3)[1]
    assert router.paths.name in error
    assert other.paths.name in error
    assert "DPDKROUTER_NAME" in error


def test_the_environment_names_a_router_and_the_option_wins(router: Router, control: Control) -> None:
    control.answers["status"] = {
        "prefixes": {"ipv4": 1, "ipv6": 2},
        "refused": {"full": 3},
        "repairs": {"losses": 2, "groups": 9, "longest_s": 0.00125},
    }
    named = {"DPDKROUTER_NAME": router.paths.name}
    text = process("status", more=named).stdout
    assert f"router     {router.paths.name}\n" in text
    assert "rib        1 IPv4, 2 IPv6 prefixes\n" in text
    assert "refused    3 routes (full)\n" in text
    assert "2 lost links or neighbours, 9 groups rewritten, the longest in 1.2 ms\n" in text
    assert "bgp        0 of 1 sessions up, ExaBGP feed json\n" in text
    assert "router nobody: not here" in process("-n", "nobody", "status", more=named, code=3).stderr
