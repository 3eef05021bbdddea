"""A rule of an ACL: what it matches, what contradicts itself in it, and the form that the fast path takes.

A rule without prefixes is one of both families, unless its protocol is ICMP's of one. What a rule does not name
matches everything. `fragments = true` is about fragments other than the first, which have no ports: so a rule that
permits them lets no first fragment pass by. A rule about ports, flags or types matches none of those.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from dpdkrouter.filters.values import ACTIONS, PROTOCOLS, Flags, Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dpdkrouter.config.rules import Prefix

NO_POLICER = 255  # fastpath/filters.pxd: NONE
WITH_PORTS = tuple(PROTOCOLS[name] for name in ("tcp", "udp", "dccp", "sctp", "udplite"))
STATE_LATER, STATE_UPPER = 1, 2  # fastpath/filters.pxd


@dataclass(frozen=True, slots=True)
class FilterRule:
    """One rule. None: whatever it is."""

    action: str
    source: Prefix | None = None
    destination: Prefix | None = None
    protocol: int | None = None
    source_port: Range | None = None
    destination_port: Range | None = None
    tcp_flags: Flags | None = None
    icmp_type: Range | None = None
    fragments: bool | None = None
    policer: str | None = None

    def __str__(self) -> str:
        """As a line of a rules file."""
        names = {number: name for name, number in PROTOCOLS.items()}
        words = [self.action]
        for one in fields(self)[1:]:
            value = getattr(self, one.name)
            if value is not None:
                shown = names.get(value, value) if one.name == "protocol" else value
                words.append(f"{one.name}={str(shown).lower() if one.name == 'fragments' else shown}")
        return " ".join(words)

    @property
    def families(self) -> tuple[int, ...]:
        """The IP versions of the packets that it can match."""
        found = {prefix.version for prefix in (self.source, self.destination) if prefix is not None}
        if self.protocol == PROTOCOLS["icmp"]:
            found.add(4)
        elif self.protocol == PROTOCOLS["icmpv6"]:
            found.add(6)
        return tuple(sorted(found)) or (4, 6)

    @property
    def reads_upper(self) -> bool:
        """Whether it asks for something of the upper header."""
        return any(
            value is not None for value in (self.source_port, self.destination_port, self.tcp_flags, self.icmp_type)
        )

    def contradictions(self, policers: Iterable[str]) -> Iterator[tuple[str, str]]:
        """What does not go together: the field, and what is allowed."""
        prefix = self.destination if self.source is None else self.source
        if self.source is not None and self.destination is not None and self.source.version != self.destination.version:
            yield "destination", f"must be of IPv{self.source.version}, as the source {self.source}"
        elif prefix is not None and len(self.families) == 2:
            yield "protocol", f"must be one of IPv{prefix.version}, as the prefix is"
        for name in ("source_port", "destination_port"):
            if getattr(self, name) is not None and self.protocol not in WITH_PORTS:
                yield name, "must be absent unless protocol is tcp, udp, dccp, sctp or udplite"
        if self.tcp_flags is not None and self.protocol != PROTOCOLS["tcp"]:
            yield "tcp_flags", "must be absent unless protocol is tcp"
        if self.icmp_type is not None and self.protocol not in (PROTOCOLS["icmp"], PROTOCOLS["icmpv6"]):
            yield "icmp_type", "must be absent unless protocol is icmp or icmpv6"
        if self.fragments and self.reads_upper:
            yield "fragments", "must be false or absent: fragments other than the first have no ports, flags or types"
        if (self.policer is not None) != (self.action == "police"):
            yield "policer", 'must be given when action is "police", and else be absent'
        elif self.policer is not None and self.policer not in policers:
            yield "policer", f"must be the name of a policer: {', '.join(policers) or 'there is none'}"

    def packed(self, number: int, version: int) -> tuple[int, ...]:
        """The rule of one family as fastpath.filters.build() takes it."""
        state = STATE_UPPER if self.reads_upper else 0
        mask = state | (0 if self.fragments is None else STATE_LATER)
        return (
            number,
            self.action == "count",
            *((0, 0) if self.protocol is None else (self.protocol, 255)),
            *_prefix(self.source),
            *_prefix(self.destination),
            *_range(self.source_port, 65535),
            *_range(self.destination_port, 65535),
            *((0, 0) if self.tcp_flags is None else (self.tcp_flags.value, self.tcp_flags.mask)),
            *_range(self.icmp_type, 255),
            state | (STATE_LATER if self.fragments else 0),
            mask,
        )


def _prefix(prefix: Prefix | None) -> tuple[int, int]:
    return (0, 0) if prefix is None else (int(prefix.network_address), prefix.prefixlen)


def _range(wanted: Range | None, most: int) -> tuple[int, int]:
    return (0, most) if wanted is None else (wanted.low, wanted.high)


@dataclass(frozen=True, slots=True)
class PackedList:
    """A list as fastpath.filters.build() takes it."""

    actions: bytes
    policers: bytes
    ipv4: list[tuple[int, ...]] = field(default_factory=list)
    ipv6: list[tuple[int, ...]] = field(default_factory=list)


def pack(rules: Sequence[FilterRule], default: str, policers: Mapping[str, int]) -> PackedList:
    """policers: the number of each."""
    actions = bytes([*(ACTIONS.index(rule.action) for rule in rules), ACTIONS.index(default)])
    numbers = [NO_POLICER if rule.policer is None else policers[rule.policer] for rule in rules]
    packed = PackedList(actions, bytes([*numbers, NO_POLICER]))
    for number, rule in enumerate(rules):
        for version in rule.families:
            (packed.ipv4 if version == 4 else packed.ipv6).append(rule.packed(number, version))
    return packed
