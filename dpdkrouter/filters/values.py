"""What one value of an ACL's rule may be, in the configuration and in a rules file alike.

Protocol numbers: IANA's; TCP's flags RFC 9293 3.1 and RFC 3168.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from dpdkrouter.config.rules import BOOLEAN, Prefix, RefusedError, Rule, choice, pattern, text

PROTOCOLS = {
    "icmp": 1,
    "igmp": 2,
    "ipip": 4,
    "tcp": 6,
    "udp": 17,
    "dccp": 33,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmpv6": 58,
    "ospf": 89,
    "vrrp": 112,
    "sctp": 132,
    "udplite": 136,
}
TCP_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128}


@dataclass(frozen=True, slots=True)
class Range:
    """From low to high, both included."""

    low: int
    high: int

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


@dataclass(frozen=True, slots=True)
class Flags:
    """TCP's flags: those of `mask` are set as in `value`."""

    value: int
    mask: int

    def __str__(self) -> str:
        return ",".join(("" if self.value & bit else "!") + name for name, bit in TCP_FLAGS.items() if self.mask & bit)


def _prefix(value: object) -> Prefix:
    """Any prefix: rules may be about addresses that are never routed; an address is a prefix of one."""
    written = text(value)
    if re.fullmatch(r"[0-9a-fA-F.:]+(/(0|[1-9][0-9]{0,2}))?", written) is None:
        raise RefusedError
    network = ip_network(written, strict=False)
    if network.network_address != ip_address(written.partition("/")[0]):
        raise RefusedError(f"must have no bits set beyond its length (did you mean {network}?)")
    return network


def _protocol(value: object) -> int:
    if type(value) is int or (isinstance(value, str) and re.fullmatch(r"0|[1-9][0-9]{0,2}", value)):
        number = int(value)
        if 0 <= number <= 255:
            return number
        raise RefusedError
    if text(value) not in PROTOCOLS:
        raise RefusedError
    return PROTOCOLS[text(value)]


def _range(most: int, allowed: str) -> Rule[Range]:
    def convert(value: object) -> Range:
        written = str(value) if type(value) is int else text(value)
        match = re.fullmatch(r"(0|[1-9][0-9]{0,4})(?:-(0|[1-9][0-9]{0,4}))?", written)
        if match is None:
            raise RefusedError
        low, high = int(match[1]), int(match[2] or match[1])
        if not low <= high <= most:
            raise RefusedError
        return Range(low, high)

    return Rule(allowed, convert)


def _flags(value: object) -> Flags:
    wanted = mask = 0
    for word in text(value).split(","):
        bit = TCP_FLAGS.get(word.removeprefix("!"), 0)
        if not bit or mask & bit:
            raise RefusedError
        mask |= bit
        wanted |= 0 if word.startswith("!") else bit
    return Flags(wanted, mask)


ACTIONS = ("permit", "deny", "count", "police")
"""In the order of fastpath/filters.pxd."""

ACTION = choice(*ACTIONS)
DEFAULT = choice("permit", "deny")
PREFIX = Rule('a prefix or an address such as "198.51.100.0/24" or "2001:db8::9"', _prefix)
PROTOCOL = Rule(f"a protocol's number, 0 to 255, or one of {', '.join(PROTOCOLS)}", _protocol)
PORTS = _range(65535, 'a port or a range of them such as 53 or "1024-65535"')
TCP = Rule(
    'flags such as "syn,!ack": those that are set, and with ! those that are not, of ' + ", ".join(TCP_FLAGS), _flags
)
TYPES = _range(255, 'an ICMP type or a range of them such as 8 or "133-137"')
FRAGMENTS = BOOLEAN
NAME = pattern(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}", "a string of 1 to 31 of letters, digits, _ . -, not beginning with . or -"
)
ACL_REFERENCE = Rule("the name of an acl, as a string", text)
POLICER_REFERENCE = Rule("the name of a policer, as a string", text)
