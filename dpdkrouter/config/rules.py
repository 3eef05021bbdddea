"""What one value in the configuration may be: each rule checks and converts a value by itself.

A rule is the metadata of a pydantic field: it turns what tomllib gave into the type the program uses, or
says what is allowed. Nothing is coerced: `true` is no number, `1.0` is no whole number, `1` is no string.
Rules that need a second value (duplicates, coverage) are in semantics.py. Called by schema.py, and for names and
next hops by the CLI's side, which must start without pydantic: it is imported where a value is refused.

Standards: AS numbers RFC 7607, 6793 section 9, 7300; BGP identifier RFC 6286; hold time RFC 4271 4.2;
restart time RFC 4724 section 3; subnet-router anycast RFC 4291 2.6.1; /31 and /127 links RFC 3021, 6164;
communities RFC 1997, 8092, well-known ones RFC 8326, 7999.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dpdkrouter.config.devices import Device, parse_device
from dpdkrouter.rib.aspath import ExpressionError, compile_expression

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic_core import CoreSchema, PydanticCustomError

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Prefix = IPv4Network | IPv6Network
Community = int | tuple[int, int, int]
T = TypeVar("T")

PROBLEM = "config"  # pydantic's error type for what a rule refuses; its context holds `allowed`
RESERVED_PORT_NAMES = ("lo", "host0", "all", "default")
AS_RESERVED = (23456, 65535)


class RefusedError(ValueError):
    """A value that its rule does not allow; the text says more than the rule's own where there is more."""


def refusal(allowed: str) -> PydanticCustomError:
    """The error that makes the loader report `allowed` for the value at hand."""
    from pydantic_core import PydanticCustomError

    return PydanticCustomError(PROBLEM, "{allowed}", {"allowed": allowed})


@dataclass(frozen=True, slots=True)
class Rule(Generic[T]):
    """What a value may be (`allowed` completes "must be ...") and how it is converted."""

    allowed: str
    convert: Callable[[Any], T]

    def check(self, value: object) -> T:
        """The converted value; raises what pydantic collects."""
        try:
            return self.convert(value)
        except RefusedError as refused:
            raise refusal(str(refused) or f"must be {self.allowed}") from None
        except ValueError:
            raise refusal(f"must be {self.allowed}") from None

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self.check)


def text(value: object) -> str:
    """The value if it is a string."""
    if not isinstance(value, str):
        raise RefusedError
    return value


def whole(low: int, high: int, *, but: tuple[int, ...] = (), also: tuple[int, ...] = ()) -> Rule[int]:
    """A whole number from low to high, except `but`, or one of `also`."""
    allowed = f"between {low} and {high}"
    if also:
        allowed = f"{', '.join(map(str, also))} or {allowed}"
    if but:
        allowed += f", not {' or '.join(map(str, but))}"

    def convert(value: object) -> int:
        if type(value) is not int:
            raise RefusedError(f"must be a whole number {allowed}")
        if value in also or (low <= value <= high and value not in but):
            return value
        raise RefusedError

    return Rule(allowed, convert)


def pattern(regex: str, allowed: str, *, but: tuple[str, ...] = ()) -> Rule[str]:
    """A string that matches the whole expression and is none of `but`."""
    compiled = re.compile(regex)

    def convert(value: object) -> str:
        if compiled.fullmatch(text(value)) is None or value in but:
            raise RefusedError
        return text(value)

    return Rule(allowed, convert)


def choice(*values: str) -> Rule[str]:
    """One of some words."""

    def convert(value: object) -> str:
        if text(value) not in values:
            raise RefusedError
        return text(value)

    return Rule("one of " + ", ".join(f'"{value}"' for value in values), convert)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise RefusedError
    return value


def _bgp_identifier(value: object) -> IPv4Address:
    address = IPv4Address(text(value))
    if not int(address):
        raise RefusedError
    return address


def usable(address: Address, what: str) -> None:
    """Refuses addresses that no host or port of a routed network has."""
    kinds = {
        "unspecified": address.is_unspecified,
        "loopback": address.is_loopback,
        "multicast": address.is_multicast,
        "broadcast": address == IPv4Address("255.255.255.255"),
        "IPv6 link-local": address.version == 6 and address.is_link_local,
        "IPv4-mapped": isinstance(address, IPv6Address) and address.ipv4_mapped is not None,
    }
    for kind, applies in kinds.items():
        if applies:
            raise RefusedError(f"must be {what}, not {'an' if kind[0] in 'uI' else 'a'} {kind} one")


def _plain_address(value: object) -> Address:
    address = ip_address(text(value))
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise RefusedError
    return address


def _host_address(value: object) -> Address:
    address = _plain_address(value)
    usable(address, "a unicast address")
    return address


def _split_length(value: object) -> str:
    """The value if it has a decimal prefix length (ipaddress would take none, a netmask or leading zeros)."""
    if re.fullmatch(r"[0-9a-fA-F.:]+/(0|[1-9][0-9]{0,2})", text(value)) is None:
        raise RefusedError
    return text(value)


def end_of_subnet(address: Address, prefix: Prefix) -> str | None:
    """Says which reserved end of its prefix an address is: network or broadcast address, or None."""
    if prefix.prefixlen >= prefix.max_prefixlen - 1:
        return None
    if address == prefix.network_address:
        return "network" if prefix.version == 4 else "subnet-router anycast"
    if prefix.version == 4 and address == prefix.broadcast_address:
        return "broadcast"
    return None


def _port_address(value: object) -> Interface:
    interface = ip_interface(_split_length(value))
    usable(interface.ip, "a unicast address of the port")
    if interface.network.prefixlen == 0:
        raise RefusedError("must have a prefix length of at least 1")
    end = end_of_subnet(interface.ip, interface.network)
    if end is not None:
        raise RefusedError(f"must be a host's address, not the {end} address of {interface.network}")
    return interface


NOT_ROUTED = tuple(ip_network(p) for p in ("127.0.0.0/8", "224.0.0.0/4", "::/128", "::1/128", "fe80::/10", "ff00::/8"))


def _prefix(value: object) -> Prefix:
    written = _split_length(value)
    network = ip_network(written, strict=False)
    if str(network.network_address) != str(ip_address(written.partition("/")[0])):
        raise RefusedError(f"must have no bits set beyond its length (did you mean {network}?)")
    routed(network)
    return network


def routed(network: Prefix) -> None:
    """Refuses prefixes that are never looked up."""
    for special in NOT_ROUTED:
        if network.prefixlen >= special.prefixlen and network.network_address in special:
            raise RefusedError(f"must be a unicast prefix, not one of {special}")


def _mac(value: object) -> str:
    if re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text(value)) is None:
        raise RefusedError
    mac = text(value).lower()
    if int(mac[:2], 16) & 1:
        raise RefusedError("must be a unicast MAC, not a multicast or broadcast one")
    if mac == "00:00:00:00:00:00":
        raise RefusedError("must be a unicast MAC, not zero")
    return mac


def _device(value: object) -> Device:
    try:
        return parse_device(text(value))
    except RefusedError:
        raise
    except ValueError as error:
        raise RefusedError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Listen:
    """An address and TCP port to listen on."""

    address: Address
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


def _listen(value: object) -> Listen | None:
    if text(value) == "":
        return None
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([1-9][0-9]{0,4})", text(value))
    if match is None or int(match[3]) > 65535:
        raise RefusedError
    return Listen(IPv6Address(match[1]) if match[1] else IPv4Address(match[2]), int(match[3]))


def _as_path(value: object) -> str:
    expression = text(value)
    try:
        return compile_expression(expression).text
    except ExpressionError as error:
        raise RefusedError(f"must be an expression over AS paths; this one {error}") from None


WELL_KNOWN = {  # RFC 1997, 8326, 7999
    "graceful-shutdown": 0xFFFF0000,
    "blackhole": 0xFFFF029A,
    "no-export": 0xFFFFFF01,
    "no-advertise": 0xFFFFFF02,
    "no-export-subconfed": 0xFFFFFF03,
}


def _community(value: object) -> Community:
    if text(value) in WELL_KNOWN:
        return WELL_KNOWN[text(value)]
    if re.fullmatch(r"(0|[1-9][0-9]{0,9})(:(0|[1-9][0-9]{0,9})){1,2}", text(value)) is None:
        raise RefusedError
    parts = tuple(int(part) for part in text(value).split(":"))
    if max(parts) > (0xFFFF if len(parts) == 2 else 0xFFFFFFFF):
        raise RefusedError
    return parts[0] << 16 | parts[1] if len(parts) == 2 else (parts[0], parts[1], parts[2])


def _path(value: object) -> Path:
    if not text(value).startswith("/") or not text(value).isprintable():
        raise RefusedError
    return Path(text(value))


def _argument(value: object) -> str:
    if not text(value).isprintable() or not value:
        raise RefusedError
    return text(value)


def _line(value: object) -> str:
    if not text(value).isprintable() or len(text(value)) > 128:
        raise RefusedError
    return text(value)


BOOLEAN = Rule("true or false", _boolean)
ROUTER_NAME = pattern(r"[a-z0-9][a-z0-9-]{0,14}", 'a string of 1 to 15 of a-z 0-9 -, not beginning with "-"')
NAMESPACE = pattern(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}",
    "a string of 1 to 64 of letters, digits, _ . -, beginning with a letter, digit or _",
)
PORT_NAME = pattern(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}",
    "a string of 1 to 15 of letters, digits, _ . -, beginning with a letter, digit or _, "
    f"and none of {', '.join(RESERVED_PORT_NAMES)}",
    but=RESERVED_PORT_NAMES,
)
PORT_REFERENCE = Rule("the name of a port, as a string", text)
GROUP = pattern(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", "the name of a group, 1 to 32 characters")
BGP_IDENTIFIER = Rule('an IPv4 address such as "192.0.2.1", not 0.0.0.0', _bgp_identifier)
AS_NUMBER = whole(1, 4294967294, but=AS_RESERVED)
LCORE = whole(0, 1023)
DEVICE = Rule('a PCI address ("0000:03:00.0") or a DPDK vdev string ("net_tap0,iface=x")', _device)
PORT_ADDRESS = Rule('an address with prefix length such as "192.0.2.1/24" or "2001:db8::1/64"', _port_address)
HOST_ADDRESS = Rule('a unicast address such as "192.0.2.9" or "2001:db8::9"', _host_address)
PREFIX = Rule('a prefix such as "198.51.100.0/24" or "2001:db8:100::/48"', _prefix)
MAC = Rule('a unicast MAC such as "02:00:00:00:00:09"', _mac)
LISTEN = Rule('"ADDRESS:PORT" such as "127.0.0.1:9436" or "[::1]:9436", or "" for none', _listen)
ARGUMENT = Rule("a string of printable characters, not empty", _argument)
DESCRIPTION = Rule("a string of at most 128 printable characters", _line)
FAMILY = choice("ipv4", "ipv6")
PATH = Rule("an absolute path", _path)
VARIABLE = pattern(r"[A-Za-z_][A-Za-z0-9_]{0,127}", "the name of an environment variable")
AS_PATH = Rule('an expression over AS paths such as "^65001(_65002)*$"', _as_path)
LIST_NAME = pattern(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", "a string of 1 to 64 of letters, digits, _ . -, not beginning with . or -"
)
POLICY_NAME = Rule('the name of a policy, "accept" or "reject"', LIST_NAME.convert)
COMMUNITY = Rule('a community such as "65000:100" or "65000:1:2", or one of ' + ", ".join(WELL_KNOWN), _community)
