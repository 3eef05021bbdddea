"""The configuration file's [bgp]: peers, prefix lists and policies. See schema.py."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, WrapValidator
from pydantic.functional_validators import ModelWrapValidatorHandler

from dpdkrouter.config import rules
from dpdkrouter.config.base import Table, array, short_form
from dpdkrouter.config.rules import Address, Community, Prefix

MAX_MEMBERS = 64  # DR_MAX_MEMBERS of the shared memory's layout
MAX_RULES = 64  # rib/policy.py
MAX_U32 = 0xFFFFFFFF


class PrefixRange(Table):
    """An entry of a prefix list; a plain string there is that prefix alone."""

    prefix: Annotated[Prefix, rules.PREFIX] = Field(description="prefix within which others match")
    ge: Annotated[int | None, rules.whole(0, 128)] = Field(
        None, description="least length that matches; default: that of the prefix"
    )
    le: Annotated[int | None, rules.whole(0, 128)] = Field(
        None,
        description="largest length that matches; default: the longest there is with `ge`, else that of the prefix",
    )


def _prefix_range(value: Any, handler: ModelWrapValidatorHandler[PrefixRange]) -> PrefixRange:
    """Takes `"192.0.2.0/24"` for `{ prefix = "192.0.2.0/24" }`."""
    allowed = "must be a prefix, or a table { prefix = ..., ge = ..., le = ... }"
    return short_form(value, handler, "prefix", rules.PREFIX, allowed)


class PrefixList(Table):
    """[[bgp.prefix_list]]"""

    name: Annotated[str, rules.LIST_NAME] = Field(description="name by which rules call the list")
    prefixes: Annotated[
        tuple[Annotated[PrefixRange, WrapValidator(_prefix_range)], ...], array("prefixes, or tables of prefix, ge, le")
    ] = Field((), description="the prefixes; none match with an empty list")


class Announced(Table):
    """An entry of `announce`; a plain string there is that prefix without a condition."""

    prefix: Annotated[Prefix, rules.PREFIX] = Field(description="prefix to announce")
    when: Annotated[Prefix | None, rules.PREFIX] = Field(
        None, description="announced only while a connected, static or CLI route to exactly this prefix is in use"
    )


def _announced(value: Any, handler: ModelWrapValidatorHandler[Announced]) -> Announced:
    """Takes `"203.0.113.0/24"` for `{ prefix = "203.0.113.0/24" }`."""
    return short_form(
        value, handler, "prefix", rules.PREFIX, "must be a prefix, or a table { prefix = ..., when = ... }"
    )


AsNumbers = tuple[Annotated[int, rules.AS_NUMBER], ...]
CommunityList = tuple[Annotated[Community, rules.COMMUNITY], ...]


class PolicyRule(Table):
    """[[bgp.policy.rule]]: matches when all that it asks for holds."""

    name: Annotated[str, rules.DESCRIPTION] = Field(
        "", description="shown with the routes it decides; default: its number"
    )
    action: Annotated[str, rules.choice("accept", "reject")] = Field(description="what becomes of a route that matches")
    prefix_list: Annotated[str | None, rules.LIST_NAME] = Field(
        None, description="name of a prefix list; default: any prefix"
    )
    communities: Annotated[CommunityList, array("communities")] = Field(
        (), description="asks for one of these communities; empty: asks nothing"
    )
    as_path: Annotated[str | None, rules.AS_PATH] = Field(
        None, description="asks for an AS path that this expression matches, as in FRR: `_` is an end or a separator"
    )
    as_path_has: Annotated[AsNumbers, array("AS numbers")] = Field(
        (), description="asks for one of these anywhere in the AS path"
    )
    origin_as: Annotated[AsNumbers, array("AS numbers")] = Field(
        (), description="asks for one of these as the last of the AS path"
    )
    neighbor_as: Annotated[AsNumbers, array("AS numbers")] = Field(
        (), description="asks for one of these as the first of the AS path"
    )
    as_path_longer_than: Annotated[int | None, rules.whole(0, 1000)] = Field(
        None, description="asks for an AS path of more than so many ASes"
    )
    sources: Annotated[
        tuple[Annotated[str, rules.choice("announce", "connected", "static", "cli")], ...], array("sources", 0, 4)
    ] = Field(
        (), description="asks for one of these: what `announce` or `bgp announce` says, or a redistributed source"
    )
    set_local_pref: Annotated[int | None, rules.whole(0, MAX_U32)] = Field(
        None, description="local preference of a route that it accepts; higher is better, 100 without one"
    )
    set_med: Annotated[int | None, rules.whole(0, MAX_U32)] = Field(None, description="MED of a route that it accepts")
    add_communities: Annotated[CommunityList, array("communities")] = Field(
        (), description="communities that a route that it accepts gets"
    )
    remove_communities: Annotated[CommunityList, array("communities")] = Field(
        (), description="communities that a route that it accepts loses"
    )
    prepend: Annotated[int, rules.whole(0, 32)] = Field(
        0, description="how often our AS is put before the AS path once more than it is anyway"
    )


class Policy(Table):
    """[[bgp.policy]]: the first rule that matches decides."""

    name: Annotated[str, rules.LIST_NAME] = Field(description="name by which neighbours call the policy")
    default: Annotated[str, rules.choice("accept", "reject")] = Field(
        "reject", description="what becomes of a route that no rule matches"
    )
    rules: Annotated[tuple[PolicyRule, ...], array("tables: write [[bgp.policy.rule]]", 0, MAX_RULES)] = Field(
        (), alias="rule", description="the rules, in order"
    )


Family = Annotated[str, rules.FAMILY]


class BgpNeighbor(Table):
    """[[bgp.neighbor]]"""

    address: Annotated[Address, rules.HOST_ADDRESS] = Field(description="address of the peer")
    asn: Annotated[int, rules.AS_NUMBER] = Field(description="the peer's autonomous system number")
    local_address: Annotated[Address | None, rules.HOST_ADDRESS] = Field(
        None,
        description="own address of the session; default: that of the port whose prefix covers the peer",
    )
    families: Annotated[tuple[Family, ...] | None, array("families", 1, 2)] = Field(
        None, description="address families exchanged; default: the family of `address`"
    )
    passive: Annotated[bool, rules.BOOLEAN] = Field(False, description="true: wait for the peer to connect")
    hold_time: Annotated[int, rules.whole(3, 65535, also=(0,))] = Field(
        90, description="seconds without a message after which the session is lost; 0: never"
    )
    description: Annotated[str, rules.DESCRIPTION] = Field("", description="shown by `bgp summary`")
    password_file: Annotated[Path | None, rules.PATH] = Field(
        None, description="file that holds the session's password (TCP MD5, RFC 2385); read by `dpdkrouter bgp`"
    )
    password_env: Annotated[str | None, rules.VARIABLE] = Field(
        None, description="environment variable of `dpdkrouter bgp` that holds the session's password"
    )
    ttl_security: Annotated[int | None, rules.whole(1, 254)] = Field(
        None,
        description="hops that the peer may be away at most, by its packets' TTL (RFC 5082); default: not looked at",
    )
    add_path: Annotated[bool, rules.BOOLEAN] = Field(
        False, description="true: take several paths of a prefix from it (RFC 7911)"
    )
    graceful_restart: Annotated[bool, rules.BOOLEAN] = Field(
        True, description="false: its routes go as soon as its session is lost, and ours there (RFC 4724)"
    )
    route_refresh: Annotated[bool, rules.BOOLEAN] = Field(
        True,
        description="false: no route refresh (RFC 2918, 7313); where one is needed, its session is restarted instead",
    )
    import_policy: Annotated[str | None, rules.POLICY_NAME] = Field(
        None,
        description='policy for the routes it sends, or "accept" or "reject" for all; '
        "default: all of an iBGP peer, none of an eBGP one (RFC 8212)",
    )
    export_policy: Annotated[str | None, rules.POLICY_NAME] = Field(
        None,
        description='policy for what it is told, or "accept" or "reject" for all; '
        "default: all to an iBGP peer, nothing to an eBGP one (RFC 8212)",
    )
    accept_bogons: Annotated[bool, rules.BOOLEAN] = Field(
        False,
        description="true: take special-purpose prefixes (RFC 6890) from an eBGP peer; of an iBGP one always taken",
    )
    enforce_first_as: Annotated[bool, rules.BOOLEAN] = Field(
        True,
        description="false: take routes of an eBGP peer whose AS path does not begin with its AS, as route servers send",
    )
    max_length_ipv4: Annotated[int, rules.whole(8, 32)] = Field(
        24, description="longest IPv4 prefix taken from an eBGP peer"
    )
    max_length_ipv6: Annotated[int, rules.whole(16, 128)] = Field(
        48, description="longest IPv6 prefix taken from an eBGP peer"
    )
    max_prefixes_ipv4: Annotated[int | None, rules.whole(1, 16777216)] = Field(
        None, description="IPv4 prefixes that it may send, refused ones included; default: any number"
    )
    max_prefixes_ipv6: Annotated[int | None, rules.whole(1, 16777216)] = Field(
        None, description="IPv6 prefixes that it may send, refused ones included; default: any number"
    )
    max_prefixes_action: Annotated[str, rules.choice("teardown", "discard", "warn")] = Field(
        "teardown",
        description="what becomes of more: the session is closed (RFC 4486), they are not taken, or they are logged",
    )
    max_prefixes_warning: Annotated[int, rules.whole(1, 100)] = Field(
        80, description="percent of the limit from which on a warning is logged"
    )
    max_prefixes_restart: Annotated[int, rules.whole(0, 86400)] = Field(
        0, description="seconds after which a session that was closed may come up again; 0: after `bgp refresh`"
    )
    blackhole: Annotated[bool, rules.BOOLEAN] = Field(
        False,
        description="true: its routes with the BLACKHOLE community (RFC 7999) drop packets; of an eBGP peer those that a "
        "prefix list of its import policy covers",
    )
    blackhole_min_length_ipv4: Annotated[int, rules.whole(0, 32)] = Field(
        32, description="shortest IPv4 prefix that it may have dropped"
    )
    blackhole_min_length_ipv6: Annotated[int, rules.whole(0, 128)] = Field(
        128, description="shortest IPv6 prefix that it may have dropped"
    )


class Bgp(Table):
    """[bgp]"""

    announce: Annotated[
        tuple[Annotated[Announced, WrapValidator(_announced)], ...], array("prefixes, or tables of prefix, when")
    ] = Field((), description="prefixes announced to every neighbour whose export policy lets them out")
    redistribute: Annotated[
        tuple[Annotated[str, rules.choice("connected", "static", "cli")], ...], array("sources", 0, 3)
    ] = Field((), description="sources whose best routes are announced, too: connected, static, cli")
    restart_time: Annotated[int, rules.whole(0, 4095)] = Field(
        120, description="seconds a peer's routes are kept after ExaBGP or its session is lost ungracefully"
    )
    hold_announcements: Annotated[int, rules.whole(0, 86400)] = Field(
        60, description="seconds without a control process after which what it announced is withdrawn; 0: never"
    )
    connect_retry: Annotated[int, rules.whole(1, 60)] = Field(
        10, description="seconds between attempts to open a session, at most; the first ones follow each other faster"
    )
    multipath: Annotated[int, rules.whole(1, MAX_MEMBERS)] = Field(
        1, description="how many equally good paths of BGP share a prefix's packets"
    )
    multipath_relaxed: Annotated[bool, rules.BOOLEAN] = Field(
        False, description="true: paths whose AS paths differ but are equally long share, too"
    )
    compare_med: Annotated[str, rules.choice("neighbor-as", "always")] = Field(
        "neighbor-as",
        description="between which paths MED is compared: those of one neighbouring AS, or all; "
        "the order of arrival never counts",
    )
    neighbors: Annotated[tuple[BgpNeighbor, ...], array("tables: write [[bgp.neighbor]]")] = Field(
        (), alias="neighbor", description="the BGP peers"
    )
    prefix_lists: Annotated[tuple[PrefixList, ...], array("tables: write [[bgp.prefix_list]]")] = Field(
        (), alias="prefix_list", description="named sets of prefixes"
    )
    policies: Annotated[tuple[Policy, ...], array("tables: write [[bgp.policy]]")] = Field(
        (), alias="policy", description="named policies"
    )
