"""Policies, prefix lists and what a neighbour may ask of them: values, contradictions, and what becomes of them."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.bgp.bogons import BOGONS
from dpdkrouter.bgp.limits import Limits
from dpdkrouter.bgp.policies import checks, decision_options, export_policies, import_policy, peer_rules
from dpdkrouter.bgp.settings import announced, settings_of, with_passwords
from dpdkrouter.config.load import parse
from dpdkrouter.config.policies import lengths
from dpdkrouter.errors import BgpError, ConfigErrors
from dpdkrouter.rib.aspath import compile_expression
from dpdkrouter.rib.policy import Change, Checks, Communities, Entry, Match, Policy, Rule

if TYPE_CHECKING:
    from pathlib import Path

    from dpdkrouter.config.schema import Config

BASE = """\
[router]
id = "192.0.2.1"
asn = 65000
[[port]]
name = "wan0"
device = "net_null0"
addresses = ["192.0.2.1/24", "2001:db8::1/64"]
[bgp]
hold_announcements = 0
connect_retry = 5
multipath = 8
multipath_relaxed = true
compare_med = "always"
announce = ["203.0.113.0/24", { prefix = "198.51.100.0/24", when = "198.18.0.0/15" }]
redistribute = ["connected", "static", "cli"]
[[bgp.neighbor]]
address = "192.0.2.9"
asn = 65001
import_policy = "in"
export_policy = "out"
accept_bogons = false
max_length_ipv4 = 25
max_length_ipv6 = 49
blackhole = true
blackhole_min_length_ipv4 = 30
blackhole_min_length_ipv6 = 64
password_file = "/nowhere/password"
ttl_security = 1
add_path = true
graceful_restart = false
route_refresh = false
max_prefixes_ipv4 = 1000
max_prefixes_ipv6 = 500
max_prefixes_action = "teardown"
max_prefixes_warning = 90
max_prefixes_restart = 60
[[bgp.neighbor]]
address = "192.0.2.10"
asn = 65000
password_env = "PASSWORD"
[[bgp.prefix_list]]
name = "list"
prefixes = ["198.51.100.0/24", { prefix = "203.0.113.0/24", ge = 25, le = 28 }, { prefix = "2001:db8::/32", ge = 48 }]
[[bgp.policy]]
name = "in"
default = "accept"
[[bgp.policy.rule]]
name = "first"
action = "accept"
prefix_list = "list"
communities = ["65000:1", "65000:1:2", "no-export"]
as_path = "^65001_"
as_path_has = [65001]
origin_as = [65002]
neighbor_as = [65003]
as_path_longer_than = 3
set_local_pref = 200
set_med = 10
add_communities = ["65000:3", "graceful-shutdown"]
remove_communities = ["1:2:3"]
[[bgp.policy.rule]]
action = "reject"
[[bgp.policy]]
name = "out"
[[bgp.policy.rule]]
name = "ours"
action = "accept"
sources = ["announce", "static"]
prepend = 2
"""
ROWS = BASE.splitlines()
PREFIXES = next(row for row in ROWS if row.startswith("prefixes"))


def config(text: str = BASE) -> Config:
    return parse(text, "router.toml")


def change(row: str, *instead: str, text: str = BASE) -> str:
    """The text with a row of it replaced."""
    rows = text.splitlines()
    place = rows.index(row)
    return "\n".join([*rows[:place], *instead, *rows[place + 1 :], ""])


def problems(text: str) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigErrors) as caught:
        config(text)
    return [(problem.key, problem.found, problem.allowed) for problem in caught.value.problems]


def test_policy_is_what_the_file_says() -> None:
    made = config()
    assert made.bgp is not None
    rules = (
        Rule(
            "first",
            True,
            (
                Entry(ip_network("198.51.100.0/24"), 24, 24),
                Entry(ip_network("203.0.113.0/24"), 25, 28),
                Entry(ip_network("2001:db8::/32"), 48, 128),
            ),
            Match(
                Communities(frozenset({65000 << 16 | 1, 0xFFFFFF01}), frozenset({(65000, 1, 2)})),
                path_has=frozenset({65001}),
                origin_as=frozenset({65002}),
                neighbour_as=frozenset({65003}),
                longer_than=3,
                path=compile_expression("^65001_"),
            ),
            Change(
                200,
                10,
                add=Communities(frozenset({65000 << 16 | 3, 0xFFFF0000})),
                remove=Communities(large=frozenset({(1, 2, 3)})),
            ),
        ),
        Rule("2", False),
    )
    assert import_policy(made, made.bgp.neighbors[0]) == Policy("in", rules, default=True)


def test_checks_are_of_ebgp_peers() -> None:
    made = config()
    assert made.bgp is not None
    own = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/64"))
    assert checks(made, made.bgp.neighbors[0]) == Checks(
        BOGONS, own, (25, 49), blackhole=True, first_as=65001, blackhole_least=(30, 64), blackhole_listed=True
    )
    assert checks(made, made.bgp.neighbors[1]) == Checks(blackhole_least=(32, 128))
    servers = config(change("accept_bogons = false", "enforce_first_as = false"))
    assert servers.bgp is not None
    assert checks(servers, servers.bgp.neighbors[0]).first_as == 0
    lenient = config(change("accept_bogons = false", "accept_bogons = true"))
    assert lenient.bgp is not None
    assert checks(lenient, lenient.bgp.neighbors[0]).bogons == ()


def test_how_the_decision_is_made() -> None:
    assert decision_options(config()) == {"multipath": 8, "relaxed": True, "any_as": True, "backups": 16383}
    plain = config("\n".join(row for row in ROWS if not row.startswith(("multipath", "compare_med"))))
    without = plain.model_copy(update={"bgp": None})
    expected = {"multipath": 1, "relaxed": False, "any_as": False, "backups": 16383}
    assert decision_options(plain) == decision_options(without) == expected


@pytest.mark.parametrize(("name", "wanted"), [("accept", True), ("reject", False)])
def test_policies_that_need_no_table(name: str, wanted: bool) -> None:
    made = config(change('import_policy = "in"', f'import_policy = "{name}"', text=WITHOUT_BLACKHOLES))
    assert made.bgp is not None
    assert import_policy(made, made.bgp.neighbors[0]) == Policy(name, (), default=wanted)


def test_without_a_policy() -> None:
    made = config(change('import_policy = "in"', text=WITHOUT_BLACKHOLES))
    assert made.bgp is not None
    assert import_policy(made, made.bgp.neighbors[0]) is None, "RFC 8212"
    assert import_policy(made, made.bgp.neighbors[1]) == Policy("accept", (), default=True)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("", (24, 24)),
        (", ge = 25", (25, 32)),
        (", le = 30", (24, 30)),
        (", ge = 26, le = 26", (26, 26)),
    ],
)
def test_lengths_of_an_entry(written: str, wanted: tuple[int, int]) -> None:
    made = config(change(PREFIXES, f'prefixes = [{{ prefix = "198.51.100.0/24"{written} }}]'))
    assert made.bgp is not None
    assert lengths(made.bgp.prefix_lists[0].prefixes[0]) == wanted


WITHOUT_BLACKHOLES = "\n".join(row for row in ROWS if not row.startswith("blackhole")) + "\n"
NEIGHBOR, RULE = "bgp.neighbor[0]", "bgp.policy[0].rule[0]"


def test_limits_are_what_the_file_says() -> None:
    rules = peer_rules(config())
    assert rules["192.0.2.9"].limits == Limits((1000, 500), "teardown", 90, 60)
    assert rules["192.0.2.10"].limits == Limits()


@pytest.mark.parametrize("key", ["action", "warning", "restart"])
def test_details_of_a_limit_need_one(key: str) -> None:
    text = change("max_prefixes_ipv6 = 500", text=change("max_prefixes_ipv4 = 1000"))
    assert f"bgp.neighbor[0].max_prefixes_{key}" in [found for found, _, _ in problems(text)]


def test_only_a_session_that_is_closed_comes_up_again() -> None:
    ((key, _, _),) = problems(change('max_prefixes_action = "teardown"', 'max_prefixes_action = "discard"'))
    assert key == "bgp.neighbor[0].max_prefixes_restart"


WRONG = [
    ("ttl_security = 1", "ttl_security = 255", f"{NEIGHBOR}.ttl_security", "255", "between 1 and 254"),
    ("add_path = true", "add_path = 1", f"{NEIGHBOR}.add_path", "1", "true or false"),
    ("route_refresh = false", "route_refresh = 0", f"{NEIGHBOR}.route_refresh", "0", "true or false"),
    ("connect_retry = 5", "connect_retry = 61", "bgp.connect_retry", "61", "between 1 and 60"),
    ("hold_announcements = 0", "hold_announcements = -1", "bgp.hold_announcements", "-1", "between 0 and 86400"),
    ("graceful_restart = false", "graceful_restart = 0", f"{NEIGHBOR}.graceful_restart", "0", "true or false"),
    (
        'password_file = "/nowhere/password"',
        'password_file = "password"',
        f"{NEIGHBOR}.password_file",
        '"password"',
        "an absolute path",
    ),
    (
        'password_env = "PASSWORD"',
        'password_env = "A B"',
        "bgp.neighbor[1].password_env",
        '"A B"',
        "environment variable",
    ),
    ("prepend = 2", "prepend = 33", "bgp.policy[1].rule[0].prepend", "33", "between 0 and 32"),
    (
        'export_policy = "out"',
        'export_policy = "no"',
        "bgp.neighbor[0].export_policy",
        '"no"',
        "accept, reject, in, out",
    ),
    (
        'sources = ["announce", "static"]',
        'sources = ["bgp"]',
        "bgp.policy[1].rule[0].sources[0]",
        '"bgp"',
        '"connected"',
    ),
    ('redistribute = ["connected", "static", "cli"]', "redistribute = [1]", "bgp.redistribute[0]", "1", '"connected"'),
    ("max_prefixes_ipv4 = 1000", "max_prefixes_ipv4 = 0", "bgp.neighbor[0].max_prefixes_ipv4", "0", "between 1 and"),
    (
        "max_prefixes_ipv6 = 500",
        "max_prefixes_ipv6 = true",
        "bgp.neighbor[0].max_prefixes_ipv6",
        "true",
        "whole number",
    ),
    (
        'max_prefixes_action = "teardown"',
        'max_prefixes_action = "panic"',
        "bgp.neighbor[0].max_prefixes_action",
        '"panic"',
        '"teardown", "discard", "warn"',
    ),
    (
        "max_prefixes_warning = 90",
        "max_prefixes_warning = 101",
        "bgp.neighbor[0].max_prefixes_warning",
        "101",
        "1 and 100",
    ),
    (
        "max_prefixes_restart = 60",
        "max_prefixes_restart = -1",
        "bgp.neighbor[0].max_prefixes_restart",
        "-1",
        "0 and 86400",
    ),
    ("multipath = 8", "multipath = 65", "bgp.multipath", "65", "between 1 and 64"),
    ("multipath_relaxed = true", "multipath_relaxed = 1", "bgp.multipath_relaxed", "1", "true or false"),
    ('compare_med = "always"', 'compare_med = "never"', "bgp.compare_med", '"never"', '"neighbor-as", "always"'),
    ("max_length_ipv4 = 25", "max_length_ipv4 = 33", f"{NEIGHBOR}.max_length_ipv4", "33", "between 8 and 32"),
    ("max_length_ipv6 = 49", "max_length_ipv6 = 15", f"{NEIGHBOR}.max_length_ipv6", "15", "between 16 and 128"),
    ("blackhole = true", "blackhole = 1", f"{NEIGHBOR}.blackhole", "1", "true or false"),
    (
        "blackhole_min_length_ipv4 = 30",
        "blackhole_min_length_ipv4 = 33",
        f"{NEIGHBOR}.blackhole_min_length_ipv4",
        "33",
        "between 0 and 32",
    ),
    (
        "blackhole_min_length_ipv6 = 64",
        "blackhole_min_length_ipv6 = 129",
        f"{NEIGHBOR}.blackhole_min_length_ipv6",
        "129",
        "between 0 and 128",
    ),
    ("accept_bogons = false", 'accept_bogons = "no"', f"{NEIGHBOR}.accept_bogons", '"no"', "true or false"),
    (
        'import_policy = "in"',
        'import_policy = "lost"',
        f"{NEIGHBOR}.import_policy",
        '"lost"',
        "accept, reject, in, out",
    ),
    ('default = "accept"', 'default = "drop"', "bgp.policy[0].default", '"drop"', 'one of "accept", "reject"'),
    ('name = "in"', 'name = "accept"', "bgp.policy[0].name", '"accept"', "every router has this policy"),
    ('action = "accept"', 'action = "continue"', f"{RULE}.action", '"continue"', 'one of "accept", "reject"'),
    ('prefix_list = "list"', 'prefix_list = "lost"', f"{RULE}.prefix_list", '"lost"', "prefix list: list"),
    ('as_path = "^65001_"', 'as_path = "^AS1"', f"{RULE}.as_path", '"^AS1"', "'A', which no AS path has"),
    ("as_path_has = [65001]", "as_path_has = [0]", f"{RULE}.as_path_has[0]", "0", "between 1 and 4294967294"),
    ("origin_as = [65002]", 'origin_as = ["x"]', f"{RULE}.origin_as[0]", '"x"', "must be a whole number"),
    ("neighbor_as = [65003]", "neighbor_as = 65003", f"{RULE}.neighbor_as", "65003", "an array of AS numbers"),
    ("as_path_longer_than = 3", "as_path_longer_than = -1", f"{RULE}.as_path_longer_than", "-1", "between 0 and 1000"),
    ("set_local_pref = 200", "set_local_pref = 4294967296", f"{RULE}.set_local_pref", "4294967296", "between 0 and"),
    ("set_med = 10", "set_med = -1", f"{RULE}.set_med", "-1", "between 0 and 4294967295"),
]


@pytest.mark.parametrize(("row", "instead", "key", "found", "allowed"), WRONG, ids=[wrong for _, wrong, *_ in WRONG])
def test_wrong_values(row: str, instead: str, key: str, found: str, allowed: str) -> None:
    ((where, value, said),) = [one for one in problems(change(row, instead)) if one[0].startswith(key)]
    assert (where, value) == (key, found)
    assert allowed in said


@pytest.mark.parametrize("written", ["1", "1:2:3:4", "65536:1", "1:65536", "-1:1", "01:1", "4294967296:0:0", "no", ""])
def test_no_communities(written: str) -> None:
    ((key, _, allowed),) = problems(change('remove_communities = ["1:2:3"]', f'remove_communities = ["{written}"]'))
    assert key == f"{RULE}.remove_communities[0]"
    assert "such as" in allowed


@pytest.mark.parametrize("entry", ["ge = 23", "le = 23", "ge = 30, le = 29", "le = 33", "ge = 33"])
def test_ranges_that_are_none(entry: str) -> None:
    ((key, _, allowed),) = problems(change(PREFIXES, f'prefixes = [{{ prefix = "198.51.100.0/24", {entry} }}]'))
    assert key == "bgp.prefix_list[0].prefixes[0]"
    assert allowed == "must have 24 <= ge <= le <= 32"


def test_lengths_of_blackholes_need_them() -> None:
    found = [key for key, _, _ in problems(change("blackhole = true"))]
    assert found == [f"{NEIGHBOR}.blackhole_min_length_ipv4", f"{NEIGHBOR}.blackhole_min_length_ipv6"]


@pytest.mark.parametrize(
    ("row", "instead"),
    [
        ('import_policy = "in"', ('import_policy = "accept"',)),
        ('import_policy = "in"', ('import_policy = "reject"',)),
        ('import_policy = "in"', ()),
        ('prefix_list = "list"', ()),
    ],
)
def test_blackholes_need_a_prefix_list_that_accepts(row: str, instead: tuple[str, ...]) -> None:
    text = change(row, *instead)
    assert [(key, "RFC 7999" in allowed) for key, _, allowed in problems(text)] == [(f"{NEIGHBOR}.blackhole", True)]


def test_rule_that_rejects_changes_nothing() -> None:
    text = change('action = "reject"', 'action = "reject"', "set_med = 1", 'add_communities = ["1:1"]')
    assert {key for key, _, _ in problems(text)} == {
        "bgp.policy[0].rule[1].set_med",
        "bgp.policy[0].rule[1].add_communities",
    }


@pytest.mark.parametrize(
    "row", ["accept_bogons = true", "enforce_first_as = false", "max_length_ipv4 = 24", "max_length_ipv6 = 48"]
)
def test_ibgp_neighbours_are_not_checked(row: str) -> None:
    text = BASE
    text = text.replace('address = "192.0.2.10"\nasn = 65000\n', f'address = "192.0.2.10"\nasn = 65000\n{row}\n')
    ((key, _, _),) = problems(text)
    assert key == f"bgp.neighbor[1].{row.partition(' ')[0]}"


def test_what_is_announced_is_what_the_file_says() -> None:
    made = config()
    assert announced(made) == {
        ip_network("203.0.113.0/24"): None,
        ip_network("198.51.100.0/24"): ip_network("198.18.0.0/15"),
    }
    assert export_policies(made) == {
        "192.0.2.9": Policy(
            "out", (Rule("ours", True, sources=frozenset({"announce", "static"}), prepend=2),), default=False
        ),
        "192.0.2.10": Policy("accept", default=True),
    }
    without = config(change('export_policy = "out"'))
    assert export_policies(without)["192.0.2.9"] is None, "RFC 8212"


def test_session_is_what_the_file_says() -> None:
    first, second = settings_of(config()).peers
    assert (first.ttl_security, first.add_path_receive, first.restart_time) == (1, True, 0)
    assert (first.route_refresh, second.route_refresh) == (False, True)
    assert (second.ttl_security, second.add_path_receive, second.restart_time) == (None, False, 120)


def test_passwords_come_from_file_and_environment(tmp_path: Path) -> None:
    file = tmp_path / "password"
    made = config(change('password_file = "/nowhere/password"', f'password_file = "{file}"'))

    def read(environment: dict[str, str]) -> list[str]:
        return [peer.password for peer in with_passwords(made, settings_of(made), environment).peers]

    with pytest.raises(BgpError, match="can't be read: No such file"):
        read({})
    file.write_text("\n")
    with pytest.raises(BgpError, match="is empty"):
        read({"PASSWORD": "b"})
    file.write_text("a\n")
    with pytest.raises(BgpError, match="variable PASSWORD"):
        read({})
    assert read({"PASSWORD": "b"}) == ["a", "b"]
    assert "password" not in repr(with_passwords(made, settings_of(made), {"PASSWORD": "b"}))


def test_one_place_for_a_password() -> None:
    ((key, _, _),) = problems(change("ttl_security = 1", 'password_env = "B"'))
    assert key == "bgp.neighbor[0].password_env"


EFFECTLESS = [
    ("in", 0, "sources = []", "import policy"),
    ("in", 0, "prepend = 1", "import policy"),
    ("out", 1, "communities = []", "nothing of this"),
    ("out", 1, "as_path_has = []", "nothing of this"),
    ("out", 1, "origin_as = []", "nothing of this"),
    ("out", 1, "neighbor_as = []", "nothing of this"),
    ("out", 1, "as_path_longer_than = 1", "nothing of this"),
    ("out", 1, "remove_communities = []", "nothing of this"),
    ("out", 1, "set_local_pref = 1", "eBGP neighbour is told no local preference"),
]


@pytest.mark.parametrize(("policy", "place", "row", "said"), EFFECTLESS)
def test_keys_without_effect_where_the_policy_is_used(policy: str, place: int, row: str, said: str) -> None:
    header = f'[[bgp.policy]]\nname = "{policy}"\n'
    before, _, after = BASE.partition(header)
    rule = "[[bgp.policy.rule]]\n"
    first, _, rest = after.partition(rule)
    ((key, _, allowed),) = problems(f'{before}{header}{first}{rule}action = "accept"\n{row}\n{rule}{rest}')
    assert key == f"bgp.policy[{place}].rule[0].{row.partition(' ')[0]}"
    assert said in allowed


def test_prepending_to_an_ibgp_neighbour_makes_a_loop() -> None:
    text = BASE.replace('"192.0.2.10"\nasn = 65000\n', '"192.0.2.10"\nasn = 65000\nexport_policy = "out"\n')
    ((key, _, allowed),) = problems(text)
    assert (key, "loop" in allowed) == ("bgp.policy[1].rule[0].prepend", True)


def test_names_are_there_once() -> None:
    twice = BASE + '[[bgp.prefix_list]]\nname = "list"\n[[bgp.policy]]\nname = "in"\n'
    assert [key for key, _, _ in problems(twice)] == ["bgp.prefix_list[1].name", "bgp.policy[2].name"]


def test_sixty_five_rules_are_too_many() -> None:
    ((key, _, allowed),) = problems(BASE + '[[bgp.policy.rule]]\naction = "reject"\n' * 64)
    assert (key, allowed) == ("bgp.policy[1].rule", "must have between 0 and 64 entries")
