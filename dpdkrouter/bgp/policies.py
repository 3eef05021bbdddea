"""From the configuration to policies as the RIB evaluates them. Pure; the configuration was checked.

"accept" and "reject" are policies without rules. Without a policy an iBGP peer's routes are all taken, an eBGP peer's
none: None stands for that (RFC 8212).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from dpdkrouter.bgp.bogons import BOGONS
from dpdkrouter.bgp.limits import Limits
from dpdkrouter.config.policies import lengths
from dpdkrouter.rib.aspath import compile_expression
from dpdkrouter.rib.policy import Change, Checks, Communities, Entry, Match, Policy, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dpdkrouter.config.bgp import Bgp, BgpNeighbor, PolicyRule
    from dpdkrouter.config.rules import Community
    from dpdkrouter.config.schema import Config


class DecisionOptions(TypedDict):
    """Arguments of Rib."""

    multipath: int
    relaxed: bool
    any_as: bool
    backups: int


ALL = {"accept": Policy("accept", default=True), "reject": Policy("reject")}


@dataclass(frozen=True, slots=True)
class PeerRules:
    """What may come of one peer."""

    policy: Policy | None
    checks: Checks
    limits: Limits


def peer_rules(config: Config) -> dict[str, PeerRules]:
    """By the peer's address."""
    neighbors = config.bgp.neighbors if config.bgp else ()
    return {str(n.address): PeerRules(import_policy(config, n), checks(config, n), limits(n)) for n in neighbors}


def limits(neighbor: BgpNeighbor) -> Limits:
    """How many prefixes a neighbour may send."""
    return Limits(
        most=(neighbor.max_prefixes_ipv4, neighbor.max_prefixes_ipv6),
        action=neighbor.max_prefixes_action,
        warning=neighbor.max_prefixes_warning,
        restart=neighbor.max_prefixes_restart,
    )


def import_policy(config: Config, neighbor: BgpNeighbor) -> Policy | None:
    """The policy for what a neighbour sends; None: there is none, and all is refused."""
    return _chosen(config, neighbor.import_policy, neighbor)


def export_policies(config: Config) -> dict[str, Policy | None]:
    """The policies for what neighbours are told, by address."""
    neighbors = config.bgp.neighbors if config.bgp else ()
    return {str(n.address): _chosen(config, n.export_policy, n) for n in neighbors}


def checks(config: Config, neighbor: BgpNeighbor) -> Checks:
    """What is refused before the policy is asked; of an iBGP peer blackholes only that are too short."""
    least = (neighbor.blackhole_min_length_ipv4, neighbor.blackhole_min_length_ipv6)
    if neighbor.asn == config.router.asn:
        return Checks(blackhole=neighbor.blackhole, blackhole_least=least)
    return Checks(
        bogons=() if neighbor.accept_bogons else BOGONS,
        own=tuple(address.network for port in config.ports for address in port.addresses),
        longest=(neighbor.max_length_ipv4, neighbor.max_length_ipv6),
        blackhole=neighbor.blackhole,
        first_as=neighbor.asn if neighbor.enforce_first_as else 0,
        blackhole_least=least,
        blackhole_listed=True,
    )


def decision_options(config: Config) -> DecisionOptions:
    """How the RIB decides. Groups with a backup may take half of those that there are."""
    bgp, backups = config.bgp, config.table.max_groups // 2
    if bgp is None:
        return {"multipath": 1, "relaxed": False, "any_as": False, "backups": backups}
    return {
        "multipath": bgp.multipath,
        "relaxed": bgp.multipath_relaxed,
        "any_as": bgp.compare_med == "always",
        "backups": backups,
    }


def _chosen(config: Config, name: str | None, neighbor: BgpNeighbor) -> Policy | None:
    if name is None:
        return ALL["accept"] if neighbor.asn == config.router.asn else None
    if name in ALL:
        return ALL[name]
    assert config.bgp is not None
    found = next(policy for policy in config.bgp.policies if policy.name == name)
    rules = tuple(_rule(config.bgp, rule, number) for number, rule in enumerate(found.rules, 1))
    return Policy(name, rules, found.default == "accept")


def _rule(bgp: Bgp, rule: PolicyRule, number: int) -> Rule:
    entries = None
    if rule.prefix_list is not None:
        listed = next(one for one in bgp.prefix_lists if one.name == rule.prefix_list)
        entries = tuple(Entry(entry.prefix, *lengths(entry)) for entry in listed.prefixes)
    return Rule(
        name=rule.name or str(number),
        accept=rule.action == "accept",
        entries=entries,
        match=Match(
            communities=_communities(rule.communities),
            path_has=frozenset(rule.as_path_has),
            origin_as=frozenset(rule.origin_as),
            neighbour_as=frozenset(rule.neighbor_as),
            longer_than=rule.as_path_longer_than,
            path=None if rule.as_path is None else compile_expression(rule.as_path),
        ),
        change=Change(
            local_pref=rule.set_local_pref,
            med=rule.set_med,
            add=_communities(rule.add_communities),
            remove=_communities(rule.remove_communities),
        ),
        sources=frozenset(rule.sources),
        prepend=rule.prepend,
    )


def _communities(found: Iterable[Community]) -> Communities:
    values = list(found)
    return Communities(
        frozenset(value for value in values if isinstance(value, int)),
        frozenset(value for value in values if not isinstance(value, int)),
    )
