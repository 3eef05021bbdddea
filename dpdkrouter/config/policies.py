"""Second pass over prefix lists and policies: names, references and ranges. See semantics.py, which calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpdkrouter.config.bgp import Bgp, BgpNeighbor, PolicyRule, PrefixRange
    from dpdkrouter.config.locate import KeyPath
    from dpdkrouter.config.schema import Config

    Found = Iterator[tuple[KeyPath, str]]

WITHOUT_RULES = ("accept", "reject")  # policies that need no table
_CHANGES = ("set_local_pref", "set_med", "add_communities", "remove_communities", "prepend")
_EXPORT_ONLY = ("sources",)
_IMPORT_ONLY = (
    "communities",
    "as_path_has",
    "origin_as",
    "neighbor_as",
    "as_path_longer_than",
    "remove_communities",
)
_LIMIT_DETAILS = ("max_prefixes_action", "max_prefixes_warning", "max_prefixes_restart")
_BLACKHOLE_DETAILS = ("blackhole_min_length_ipv4", "blackhole_min_length_ipv6")
_CHECKS = ("accept_bogons", "enforce_first_as", "max_length_ipv4", "max_length_ipv6")


def lengths(entry: PrefixRange) -> tuple[int, int]:
    """The least and the largest prefix length of an entry: exact without ge and le."""
    low = entry.prefix.prefixlen if entry.ge is None else entry.ge
    if entry.le is not None:
        return low, entry.le
    return low, entry.prefix.prefixlen if entry.ge is None else entry.prefix.max_prefixlen


def check_policies(config: Config) -> Found:
    """Names are there once, what is named is there, ranges are such, and no key is without effect."""
    bgp = config.bgp
    if bgp is None:
        return
    for i, listed in enumerate(bgp.prefix_lists):
        for j, entry in enumerate(listed.prefixes):
            low, high = lengths(entry)
            if not entry.prefix.prefixlen <= low <= high <= entry.prefix.max_prefixlen:
                yield (
                    ("bgp", "prefix_list", i, "prefixes", j),
                    f"must have {entry.prefix.prefixlen} <= ge <= le <= {entry.prefix.max_prefixlen}",
                )
    for i, policy in enumerate(bgp.policies):
        if policy.name in WITHOUT_RULES:
            yield ("bgp", "policy", i, "name"), "must be another name: every router has this policy"
        for j, rule in enumerate(policy.rules):
            for key, allowed in _rule(bgp, rule):
                yield ("bgp", "policy", i, "rule", j, key), allowed
    yield from _uses(config, bgp)
    for i, neighbor in enumerate(bgp.neighbors):
        for key, allowed in _neighbor(config, bgp, neighbor):
            yield ("bgp", "neighbor", i, key), allowed


def _rule(bgp: Bgp, rule: PolicyRule) -> Iterator[tuple[str, str]]:
    lists = [listed.name for listed in bgp.prefix_lists]
    if rule.prefix_list is not None and rule.prefix_list not in lists:
        yield "prefix_list", f"must be the name of a prefix list: {', '.join(lists) or 'there is none'}"
    if rule.action == "reject":
        for key in _CHANGES:
            if key in rule.model_fields_set:
                yield key, "must be absent in a rule that rejects"


def _uses(config: Config, bgp: Bgp) -> Found:
    """A policy's rules hold nothing that has no effect where the policy is used."""
    imported = {n.import_policy for n in bgp.neighbors}
    exported = {n.export_policy for n in bgp.neighbors if n.asn != config.router.asn}
    internal = {n.export_policy for n in bgp.neighbors if n.asn == config.router.asn}
    for i, policy in enumerate(bgp.policies):
        for j, rule in enumerate(policy.rules):
            for key in sorted(rule.model_fields_set):
                path: KeyPath = ("bgp", "policy", i, "rule", j, key)
                if key in (*_EXPORT_ONLY, "prepend") and policy.name in imported:
                    yield path, "must be absent: an import policy cannot have it"
                elif key in _IMPORT_ONLY and policy.name in {*exported, *internal}:
                    yield path, "must be absent: what we announce has nothing of this"
                elif key == "set_local_pref" and policy.name in exported:
                    yield path, "must be absent: an eBGP neighbour is told no local preference"
                elif key == "prepend" and policy.name in internal:
                    yield path, "must be absent: an iBGP neighbour would take its own AS for a loop"


def _neighbor(config: Config, bgp: Bgp, neighbor: BgpNeighbor) -> Iterator[tuple[str, str]]:
    policies = [*WITHOUT_RULES, *(policy.name for policy in bgp.policies)]
    if neighbor.password_file is not None and neighbor.password_env is not None:
        yield "password_env", "must be absent with password_file"
    for key in ("import_policy", "export_policy"):
        if getattr(neighbor, key) not in (None, *policies):
            yield key, f"must be the name of a policy: {', '.join(policies)}"
    if neighbor.max_prefixes_ipv4 is None and neighbor.max_prefixes_ipv6 is None:
        for key in _LIMIT_DETAILS:
            if key in neighbor.model_fields_set:
                yield key, "must be absent without max_prefixes_ipv4 or max_prefixes_ipv6"
    elif neighbor.max_prefixes_action != "teardown" and "max_prefixes_restart" in neighbor.model_fields_set:
        yield "max_prefixes_restart", f'must be absent when max_prefixes_action is "{neighbor.max_prefixes_action}"'
    for key in _BLACKHOLE_DETAILS:
        if key in neighbor.model_fields_set and not neighbor.blackhole:
            yield key, "must be absent without blackhole = true"
    if neighbor.asn == config.router.asn:
        for key in _CHECKS:
            if key in neighbor.model_fields_set:
                yield key, "must be absent: what an iBGP neighbour sends is not checked"
    elif neighbor.blackhole and not _lists(bgp, neighbor.import_policy):
        yield "blackhole", "must be false when no rule of its import policy accepts by a prefix list (RFC 7999 3.3)"


def _lists(bgp: Bgp, policy: str | None) -> bool:
    """Whether a rule of the policy accepts what a prefix list has; an unknown policy is another problem."""
    found = [one for one in bgp.policies if one.name == policy]
    if not found:
        return policy not in (None, *WITHOUT_RULES)
    return any(rule.action == "accept" and rule.prefix_list is not None for rule in found[0].rules)
