"""ACLs and policers in the configuration and in rules files: values, contradictions, and what the fast path is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from clikit import run
from dpdkrouter.config.filterchecks import all_rules, counters_needed
from dpdkrouter.config.load import parse
from dpdkrouter.config.schema import Config
from dpdkrouter.config.size import STATS_FIXED_BYTES, stats_segment_bytes
from dpdkrouter.errors import ConfigErrors
from dpdkrouter.filters.listfile import read
from dpdkrouter.filters.rules import FilterRule, pack
from statskit import layout

BASE = """\
[[port]]
name = "wan0"
device = "net_null0"
acl_in = "edge"
policer_in = "pings"
[[policer]]
name = "pings"
cir = 1000
cbs = 1500
ebs = 100
[[acl]]
name = "edge"
default = "permit"
"""
RULE = '[[acl.rule]]\naction = "{}"\n{}\n'


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        parse(text, "f")
    return [f"{p.key}: {p.found}: {p.allowed}" for p in caught.value.problems]


def rule_of(fields: str, action: str = "deny") -> FilterRule:
    return parse(BASE + RULE.format(action, fields), "f").acls[0].rules[0].rule


@pytest.mark.parametrize(
    ("fields", "shown", "families"),
    [
        ("", "deny", (4, 6)),
        ('source = "192.0.2.0/24"', "deny source=192.0.2.0/24", (4,)),
        ('destination = "2001:db8::9"', "deny destination=2001:db8::9/128", (6,)),
        (
            'source = "127.0.0.0/8"\ndestination = "224.0.0.0/4"',
            "deny source=127.0.0.0/8 destination=224.0.0.0/4",
            (4,),
        ),
        ('protocol = "icmp"\nicmp_type = 8', "deny protocol=icmp icmp_type=8", (4,)),
        ('protocol = 58\nicmp_type = "133-137"', "deny protocol=icmpv6 icmp_type=133-137", (6,)),
        ("protocol = 99", "deny protocol=99", (4, 6)),
        ('protocol = "udp"\nsource_port = 53', "deny protocol=udp source_port=53", (4, 6)),
        ('protocol = "tcp"\ndestination_port = "0-65535"', "deny protocol=tcp destination_port=0-65535", (4, 6)),
        ('protocol = "tcp"\ntcp_flags = "!ack,syn"', "deny protocol=tcp tcp_flags=syn,!ack", (4, 6)),
        ("fragments = true", "deny fragments=true", (4, 6)),
    ],
)
def test_rule(tmp_path: Path, fields: str, shown: str, families: tuple[int, ...]) -> None:
    """What is shown of it is a line of a rules file that says the same."""
    rule = rule_of(fields)
    assert (str(rule), rule.families) == (shown, families)
    file = tmp_path / "one.rules"
    file.write_text(shown)
    assert read(file, "edge", ()) == [rule]


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("source", '"192.0.2.1/24"', "must have no bits set beyond its length (did you mean 192.0.2.0/24?)"),
        ("source", '"192.0.2"', 'must be a prefix or an address such as "198.51.100.0/24" or "2001:db8::9"'),
        ("destination", '"::/129"', 'must be a prefix or an address such as "198.51.100.0/24" or "2001:db8::9"'),
        ("protocol", '"tpc"', "must be a protocol's number, 0 to 255, or one of icmp, igmp"),
        ("protocol", "256", "must be a protocol's number, 0 to 255"),
        ("source_port", '"9-8"', 'must be a port or a range of them such as 53 or "1024-65535"'),
        ("destination_port", "65536", "must be a port or a range"),
        ("destination_port", "true", "must be a port or a range"),
        ("tcp_flags", '"syn,!syn"', 'must be flags such as "syn,!ack"'),
        ("tcp_flags", '"SYN"', 'must be flags such as "syn,!ack"'),
        ("icmp_type", "256", 'must be an ICMP type or a range of them such as 8 or "133-137"'),
        ("fragments", '"true"', "must be true or false"),
        ("policer", "1", "must be the name of a policer, as a string"),
        ("action", '"drop"', 'must be one of "permit", "deny", "count", "police"'),
    ],
)
def test_wrong_value_of_a_rule(key: str, value: str, allowed: str) -> None:
    action = "" if key == "action" else 'action = "deny"\n'
    (found,) = problems(f"{BASE}[[acl.rule]]\n{action}{key} = {value}\n")
    assert found.startswith(f"acl[0].rule[0].{key}: {value}: {allowed}")


@pytest.mark.parametrize(
    ("key", "fields", "allowed"),
    [
        ("destination", 'source = "192.0.2.0/24"\ndestination = "::/0"', "must be of IPv4, as the source 192.0.2.0/24"),
        ("protocol", 'source = "192.0.2.0/24"\nprotocol = "icmpv6"', "must be one of IPv4, as the prefix is"),
        ("protocol", 'destination = "::/0"\nprotocol = "icmp"', "must be one of IPv6, as the prefix is"),
        ("source_port", "source_port = 1", "must be absent unless protocol is tcp, udp, dccp, sctp or udplite"),
        ("tcp_flags", 'protocol = "udp"\ntcp_flags = "syn"', "must be absent unless protocol is tcp"),
        ("icmp_type", 'protocol = "udp"\nicmp_type = 8', "must be absent unless protocol is icmp or icmpv6"),
        (
            "fragments",
            'protocol = "udp"\nsource_port = 1\nfragments = true',
            "must be false or absent: fragments other than the first have no ports, flags or types",
        ),
        ("policer", 'policer = "pings"', 'must be given when action is "police", and else be absent'),
    ],
)
def test_contradiction_in_a_rule(key: str, fields: str, allowed: str) -> None:
    """The list, the rule by its number, and the field."""
    text = BASE + RULE.format("permit", "") + RULE.format("deny", fields)
    (found,) = problems(text)
    assert found.startswith(f"acl[0].rule[1].{key}: ")
    assert found.endswith(f": acl edge, rule 2: {allowed}")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            BASE.replace('acl_in = "edge"', 'acl_in = "core"'),
            'port[0].acl_in: "core": must be the name of an acl: edge',
        ),
        (
            BASE.replace('policer_in = "pings"', 'policer_in = "x"'),
            'port[0].policer_in: "x": must be the name of a policer: pings',
        ),
        (BASE + '[[acl]]\nname = "edge"\n', 'acl[1].name: "edge": must be listed once, but is acl[0].name too'),
        (
            BASE + '[[policer]]\nname = "pings"\ncir = 1\ncbs = 9\n',
            'policer[1].name: "pings": must be listed once, but is policer[0].name too',
        ),
        (
            BASE.replace("cbs = 1500\nebs = 100", "cbs = 0"),
            "policer[0].cbs: 0: must be more than 0, or ebs must be (RFC 2697 2)",
        ),
        (
            BASE + RULE.format("police", 'policer = "y"'),
            'acl[0].rule[0].policer: "y": acl edge, rule 1: must be the name of a policer: pings',
        ),
        (
            "[fastpath]\nfilter_counters = 4\n" + BASE,
            (
                "fastpath.filter_counters: 4: must be at least 5: one a rule, one a list, three a policer, and the largest "
                "list's twice, to replace it"
            ),
        ),
    ],
)
def test_contradiction_between_tables(text: str, found: str) -> None:
    assert problems(text) == [found]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ('default = "permit"', 'default = "drop"', 'acl[0].default: "drop": must be one of "permit", "deny"'),
        ('default = "permit"', 'file = "edge.rules"', 'acl[0].file: "edge.rules": must be an absolute path'),
        ("cir = 1000", "cir = 0", "policer[0].cir: 0: must be between 1 and 125000000000"),
        ("cbs = 1500", "cbs = -1", "policer[0].cbs: -1: must be between 0 and 1099511627776"),
        ("ebs = 100", "ebs = -1", "policer[0].ebs: -1: must be between 0 and 1099511627776"),
        ('name = "pings"', 'name = "-"', 'policer[0].name: "-": must be a string of 1 to 31 of letters, digits'),
        ('acl_in = "edge"', "acl_in = 1", "port[0].acl_in: 1: must be the name of an acl, as a string"),
        ('policer_in = "pings"', "policer_in = 1", "port[0].policer_in: 1: must be the name of a policer, as a string"),
    ],
)
def test_wrong_value(old: str, new: str, found: str) -> None:
    (problem,) = problems(BASE.replace(old, new))
    assert problem.startswith(found)


# ---- rules files

FILE = """\
# who may not
deny    source=192.0.2.0/24          # documentation

permit  protocol=tcp destination_port=443 destination=198.51.100.0/24
count   fragments=true
police  policer=pings protocol=icmp
"""


def test_rules_file(tmp_path: Path) -> None:
    file = tmp_path / "edge.rules"
    file.write_text(FILE)
    assert [str(rule) for rule in read(file, "edge", ["pings"])] == [
        "deny source=192.0.2.0/24",
        "permit destination=198.51.100.0/24 protocol=tcp destination_port=443",
        "count fragments=true",
        "police protocol=icmp policer=pings",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("drop", 'action: found "drop": must be one of "permit", "deny", "count", "police"'),
        ("deny sport=9", 'field: found "sport=9": must be NAME=VALUE with one of source, destination'),
        ("deny tcp", 'field: found "tcp": must be NAME=VALUE'),
        ("deny source=1.2.3.4 source=1.2.3.5", 'source: found "1.2.3.5": must be there once'),
        ("deny protocol=udp source_port=70000", 'source_port: found "70000": must be a port or a range'),
        ("deny fragments=yes", 'fragments: found "yes": must be true or false'),
        ("deny source_port=7", 'source_port: found "7": must be absent unless protocol is tcp'),
        ("police protocol=udp", 'policer: found nothing: must be given when action is "police"'),
        ("police policer=x", 'policer: found "x": must be the name of a policer: pings'),
    ],
)
def test_wrong_line(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "edge.rules"
    file.write_text(f"permit\n\n{line}\n")
    with pytest.raises(ConfigErrors) as caught:
        read(file, "edge", ["pings"])
    assert str(caught.value).startswith(f"{file}:3: acl edge: rule 2: {said}")


def test_all_wrong_lines_are_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "edge.rules"
    file.write_text("drop\ndeny\ndeny source_port=x protocol=udp\n")
    with pytest.raises(ConfigErrors) as caught:
        read(file, "edge", ())
    assert [(p.line, p.key) for p in caught.value.problems] == [
        (1, "acl edge: rule 1: action"),
        (3, "acl edge: rule 3: source_port"),
    ]


@pytest.mark.parametrize("content", [None, b"deny \xff\n"])
def test_a_file_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "edge.rules"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigErrors, match=r"acl edge: found .*: must be a file of rules"):
        read(file, "edge", ())


def with_file(file: Path, head: str = "") -> Config:
    text = head + BASE.replace('default = "permit"', f'file = "{file}"') + RULE.format("deny", "protocol = 1")
    return parse(text, "router.toml")


def test_a_files_rules_come_behind_the_others(tmp_path: Path) -> None:
    file = tmp_path / "edge.rules"
    file.write_text(FILE)
    found = all_rules(with_file(file))["edge"]
    assert [str(rule) for rule in found][:2] == ["deny protocol=icmp", "deny source=192.0.2.0/24"]
    assert len(found) == 5


def test_a_files_rules_need_counters_too(tmp_path: Path) -> None:
    file = tmp_path / "edge.rules"
    file.write_text(FILE)
    config = with_file(file, "[fastpath]\nfilter_counters = 14\n")
    assert counters_needed(config, [5]) == 15
    with pytest.raises(ConfigErrors, match=r"router.toml:2: fastpath.filter_counters: found 14: must be at least 15"):
        all_rules(config)


def test_check_reads_the_files(tmp_path: Path) -> None:
    file, config = tmp_path / "edge.rules", tmp_path / "router.toml"
    file.write_text("deny\n")
    config.write_text(BASE.replace('default = "permit"', f'file = "{file}"'))
    assert run("check", str(config))[0].startswith(f"{config}: ok")
    file.write_text("deny\nallow\n")
    assert f'{file}:2: acl edge: rule 2: action: found "allow"' in run("check", str(config), code=2)[1]


# ---- for the fast path


def test_packed() -> None:
    """By family, with the rule's number in the list; the default's action is the last."""
    rules = [
        rule_of('source = "192.0.2.0/24"\nprotocol = "tcp"\ndestination_port = 22\ntcp_flags = "syn,!ack"'),
        rule_of('policer = "pings"\nfragments = true', "police"),
        rule_of('protocol = "icmpv6"\nicmp_type = "133-137"', "count"),
    ]
    packed = pack(rules, "permit", {"other": 0, "pings": 1})
    assert (packed.actions, packed.policers) == (bytes([1, 3, 2, 0]), bytes([255, 1, 255, 255]))
    assert packed.ipv4 == [
        (0, False, 6, 255, 0xC0000200, 24, 0, 0, 0, 65535, 22, 22, 2, 18, 0, 255, 2, 2),
        (1, False, 0, 0, 0, 0, 0, 0, 0, 65535, 0, 65535, 0, 0, 0, 255, 1, 1),
    ]
    assert packed.ipv6 == [
        (1, False, 0, 0, 0, 0, 0, 0, 0, 65535, 0, 65535, 0, 0, 0, 255, 1, 1),
        (2, True, 58, 255, 0, 0, 0, 0, 0, 65535, 0, 65535, 0, 0, 133, 137, 2, 2),
    ]


def test_the_stats_segment_has_room_for_the_counters() -> None:
    """In whole pages, and never less than the layout needs."""
    assert layout()[1]["sizeof(struct dr_stats)"] <= STATS_FIXED_BYTES
    assert stats_segment_bytes(parse(BASE, "f")) == 2 << 20
    many = parse("[fastpath]\nlcores = [0, 1, 2]\nfilter_counters = 100000\n" + BASE, "f")
    assert stats_segment_bytes(many) == 8 << 20 >= STATS_FIXED_BYTES + 4 * 16 * 100000
