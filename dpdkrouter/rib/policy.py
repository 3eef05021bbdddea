"""Routing policy as values: what a rule asks of a route and what it changes. Pure and frozen.

A policy is a list of rules; the first rule that matches a route decides, and when none does, the policy's default. A
rule matches when all that it asks for holds; it asks for nothing by default. The compiled filter (imports.pyx) evaluates
policies for what peers send, bgp/exports.py for what we announce; both ask `Match` about attributes.

Communities are written as integers (RFC 1997) and triples (RFC 8092).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dpdkrouter.rib.aspath import PathExpression
from dpdkrouter.rib.attributes import Attributes, Segment, SegmentKind

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

MAX_RULES = 64  # the compiled filter keeps a bit for each
BLACKHOLE = 0xFFFF029A  # 65535:666, RFC 7999 section 5
NO_EXPORT, NO_ADVERTISE = 0xFFFFFF01, 0xFFFFFF02  # RFC 1997

Large = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """Prefixes within `prefix` whose length is from `low` to `high`."""

    prefix: IPv4Network | IPv6Network
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Communities:
    """Standard and large communities."""

    standard: frozenset[int] = frozenset()
    large: frozenset[Large] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.standard or self.large)


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule asks of an attribute set; an empty set asks nothing. Of each set one member is enough.

    path_has: AS numbers anywhere in the AS path; origin_as: its last one; neighbour_as: its first one. longer_than:
    the path's length by RFC 4271 section 9.1.2.2 a) is larger. path: an expression that the path matches.
    """

    communities: Communities = field(default_factory=Communities)
    path_has: frozenset[int] = frozenset()
    origin_as: frozenset[int] = frozenset()
    neighbour_as: frozenset[int] = frozenset()
    longer_than: int | None = None
    path: PathExpression | None = None

    def __bool__(self) -> bool:
        asked = self.communities or self.path_has or self.origin_as or self.neighbour_as
        return bool(asked) or self.longer_than is not None or self.path is not None

    def holds(self, attributes: Attributes) -> bool:
        """Whether an attribute set is what is asked for."""
        if self.communities and not (
            self.communities.standard.intersection(attributes.communities)
            or self.communities.large.intersection(attributes.large_communities)
        ):
            return False
        if self.path_has and not any(self.path_has.intersection(segment.asns) for segment in attributes.as_path):
            return False
        if self.origin_as and _last_as(attributes.as_path) not in self.origin_as:
            return False
        if self.neighbour_as and attributes.neighbour_as not in self.neighbour_as:
            return False
        if self.path is not None and not self.path.matches(attributes.as_path):
            return False
        return self.longer_than is None or attributes.path_length > self.longer_than


def _last_as(path: tuple[Segment, ...]) -> int:
    """The AS that originated a route; 0 when its path is empty or ends with a set, which hides it."""
    if not path or path[-1].kind != SegmentKind.SEQUENCE or not path[-1].asns:
        return 0
    return path[-1].asns[-1]


@dataclass(frozen=True, slots=True)
class Change:
    """What a rule that accepts makes of an attribute set; None leaves a value as it is."""

    local_pref: int | None = None
    med: int | None = None
    remove: Communities = field(default_factory=Communities)
    add: Communities = field(default_factory=Communities)

    def apply(self, attributes: Attributes) -> Attributes:
        """The changed set."""
        standard = [value for value in attributes.communities if value not in self.remove.standard]
        large = [value for value in attributes.large_communities if value not in self.remove.large]
        return replace(
            attributes,
            local_pref=attributes.local_pref if self.local_pref is None else self.local_pref,
            med=attributes.med if self.med is None else self.med,
            communities=(*standard, *sorted(self.add.standard.difference(standard))),
            large_communities=(*large, *sorted(self.add.large.difference(large))),
        )


def kept_here(attributes: Attributes) -> Attributes:
    """The set with NO_EXPORT, unless it says already that it goes no further (RFC 7999 section 3.2)."""
    if {NO_EXPORT, NO_ADVERTISE}.intersection(attributes.communities):
        return attributes
    return replace(attributes, communities=(*attributes.communities, NO_EXPORT))


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. entries None: any prefix. sources: of a route that is to be announced; empty: any."""

    name: str
    accept: bool
    entries: tuple[Entry, ...] | None = None
    match: Match = field(default_factory=Match)
    change: Change = field(default_factory=Change)
    sources: frozenset[str] = frozenset()
    prepend: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in order, and what becomes of a route that none matches."""

    name: str
    rules: tuple[Rule, ...] = ()
    default: bool = False


@dataclass(frozen=True, slots=True)
class Checks:
    """What is refused before any rule is asked, of one peer.

    bogons, own: prefixes whose routes, and everything within them, are refused. longest: the longest prefix lengths,
    by family. first_as: the AS that every path must begin with; 0: any (RFC 4271 section 6.3). blackhole: a route with
    the BLACKHOLE community is taken as one to drop where the rule that accepts it covers it (RFC 7999 section 3.3), from
    the lengths blackhole_least on, by family; blackhole_listed: only a rule with a prefix list can accept it.
    """

    bogons: tuple[IPv4Network | IPv6Network, ...] = ()
    own: tuple[IPv4Network | IPv6Network, ...] = ()
    longest: tuple[int, int] = (32, 128)
    blackhole: bool = False
    first_as: int = 0
    blackhole_least: tuple[int, int] = (0, 0)
    blackhole_listed: bool = False
