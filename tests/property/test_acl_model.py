"""ACLs against the plain model: packets go by the first rule that matches, and every rule counts what the model says.

One example is a list of rules and a batch of packets through one worker, from capture file to capture file. Rules and
packets draw from the same few addresses, protocols and ports, so that most rules match something.
"""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from dpdkrouter.filters.rules import FilterRule
from dpdkrouter.filters.values import Flags, Range
from planekit import capture
from planekit.frames import checksum, forwarded, frame4, frame6

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpdkrouter.config.rules import Prefix

ICMP, TCP, UDP, ICMPV6, OTHER = 1, 6, 17, 58, 99
PORTS = (0, 1, 22, 53, 1024, 65535)
TYPES = (0, 3, 8, 128, 255)
ADDRESSES = {
    4: ([f"198.18.0.{n}" for n in (1, 2, 130)] + ["9.9.9.9"], [f"198.18.1.{n}" for n in (1, 7, 200)]),
    6: (
        ["2001:db8:18::1", "2001:db8:18::8000:0:0:1", "2a00::5"],
        ["2001:db8:18:1::1", "2001:db8:18:1::7", "2001:db8:18:1:ffff::7"],
    ),
}


@dataclass(frozen=True)
class Sent:
    """A packet as the model sees it. later: a fragment other than the first, of which only the addresses and the
    protocol are known."""

    family: int
    source: str
    destination: str
    protocol: int
    ports: tuple[int, int] = (0, 0)
    flags: int = 0
    kind: int = 0
    later: bool = False

    def frame(self) -> bytes:
        upper = struct.pack(">HHIIBBHHH", *self.ports, 0, 0, 0x50, self.flags, 0, 0, 0)
        if self.protocol == UDP:
            upper = struct.pack(">HHHH", *self.ports, 8, 0)
        elif self.protocol in (ICMP, ICMPV6):
            upper = struct.pack(">BBHI", self.kind, 0, 0, 0)
        src, dst = ip_address(self.source).packed, ip_address(self.destination).packed
        if self.family == 6:
            nh = 44 if self.later else self.protocol
            body = (struct.pack(">BBHI", self.protocol, 0, 100 << 3, 1) if self.later else b"") + upper
            return frame6(0, struct.pack(">IHBB", 6 << 28, len(body), nh, 64) + src + dst + body)
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(upper), 1, 100 * self.later, 64, self.protocol, 0) + src + dst
        return frame4(0, head[:10] + struct.pack(">H", checksum(head)) + head[12:] + upper)


def matches(rule: FilterRule, sent: Sent) -> bool:
    """The model: each field by itself, in the plainest way."""
    source, destination = ip_address(sent.source), ip_address(sent.destination)
    upper = {
        "source_port": sent.ports[0] if sent.protocol in (TCP, UDP) else None,
        "destination_port": sent.ports[1] if sent.protocol in (TCP, UDP) else None,
        "icmp_type": sent.kind if sent.protocol in (ICMP, ICMPV6) else None,
    }
    for name, value in upper.items():
        wanted = getattr(rule, name)
        if wanted is not None and (sent.later or value is None or not wanted.low <= value <= wanted.high):
            return False
    flags = rule.tcp_flags
    return (
        (rule.source is None or source in rule.source)
        and (rule.destination is None or destination in rule.destination)
        and sent.family in rule.families
        and (rule.protocol is None or rule.protocol == sent.protocol)
        and (flags is None or (not sent.later and sent.flags & flags.mask == flags.value))
        and (rule.fragments is None or rule.fragments == sent.later)
    )


def judged(rules: Sequence[FilterRule], sent: Sent) -> tuple[int | None, int]:
    """The rule that counts beside the one that decides, and that one; len(rules): the default."""
    counted = None
    for number, rule in enumerate(rules):
        if matches(rule, sent):
            if rule.action != "count":
                return counted, number
            counted = number if counted is None else counted
    return counted, len(rules)


def ranges(values: tuple[int, ...]) -> st.SearchStrategy[Range | None]:
    pairs = st.tuples(st.sampled_from(values), st.sampled_from(values))
    return st.none() | pairs.map(lambda pair: Range(min(pair), max(pair)))


FLAGS = st.none() | st.tuples(st.integers(0, 255), st.integers(1, 255)).map(lambda p: Flags(p[0] & p[1], p[1]))


@st.composite
def prefixes(draw: st.DrawFn, family: int, side: int) -> Prefix:
    length = draw(st.sampled_from([0, 8, 24, 25, 31, 32] if family == 4 else [0, 16, 63, 64, 65, 96, 127, 128]))
    return ip_network((draw(st.sampled_from(ADDRESSES[family][side])), length), strict=False)


@st.composite
def rules(draw: st.DrawFn) -> FilterRule:
    family = draw(st.sampled_from([None, 4, 4, 6, 6]))
    upper = [TCP, UDP, OTHER, *([] if family == 6 else [ICMP]), *([] if family == 4 else [ICMPV6])]
    protocol = draw(st.sampled_from([None, *upper]))
    fields: dict[str, Any] = {"action": draw(st.sampled_from(["permit", "deny", "count"])), "protocol": protocol}
    if family is not None:
        fields["source"] = draw(st.none() | prefixes(family, 0))
        fields["destination"] = draw(st.none() | prefixes(family, 1))
    fields["fragments"] = draw(st.sampled_from([None, None, True, False]))
    if not fields["fragments"]:
        if protocol in (TCP, UDP):
            fields["source_port"], fields["destination_port"] = draw(ranges(PORTS)), draw(ranges(PORTS))
        if protocol == TCP:
            fields["tcp_flags"] = draw(FLAGS)
        if protocol in (ICMP, ICMPV6):
            fields["icmp_type"] = draw(ranges(TYPES))
    rule = FilterRule(**fields)
    assert not list(rule.contradictions(()))
    return rule


@st.composite
def packets(draw: st.DrawFn) -> Sent:
    family = draw(st.sampled_from([4, 6]))
    source, destination = (draw(st.sampled_from(side)) for side in ADDRESSES[family])
    return Sent(
        family,
        source,
        destination,
        draw(st.sampled_from([TCP, UDP, OTHER, ICMP if family == 4 else ICMPV6])),
        (draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS))),
        draw(st.integers(0, 255)),
        draw(st.sampled_from(TYPES)),
        draw(st.integers(0, 3)) == 0,
    )


@given(
    st.lists(rules(), max_size=40),
    st.lists(packets(), min_size=100, max_size=300),
    st.sampled_from(["permit", "deny"]),
)
# Not shrunk: an example is a process, and the first that fails says enough.
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
def test_the_first_match_decides(hugepages: Path, listed: list[FilterRule], batch: list[Sent], default: str) -> None:
    counts = [0] * (len(listed) + 1)
    passing = []
    for sent in batch:
        counted, decides = judged(listed, sent)
        counts[decides] += 1
        if counted is not None:
            counts[counted] += 1
        if (default if decides == len(listed) else listed[decides].action) == "permit":
            passing.append(forwarded(sent.frame(), 1))
    event(f"{len(set(counts)) > 2} several rules match")
    with tempfile.TemporaryDirectory(prefix="fracl") as folder:
        file = Path(folder, "list.rules")
        file.write_text("\n".join(map(str, listed)))
        tables = f'[[acl]]\nname = "list"\ndefault = "{default}"\nfile = "{file}"\n'
        result = capture.run(
            "acl", Path(folder), [s.frame() for s in batch], filters=('acl_in = "list"',), tables=tables
        )
    assert sorted(result.out[1]) == sorted(passing)
    assert result.moved.drops.get("acl_deny", 0) == len(batch) - len(passing)
    assert [packets for packets, _ in result.filters["list"]] == counts
