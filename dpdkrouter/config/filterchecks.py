"""Second pass over ACLs and policers: names, references, what contradicts itself in a rule, room for the counters; and
the rules files that a configuration names. See semantics.py, which calls `check_filters`, and the programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpdkrouter.config.locate import render
from dpdkrouter.errors import ConfigErrors, Problem
from dpdkrouter.filters.listfile import read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dpdkrouter.config.filters import Acl
    from dpdkrouter.config.locate import KeyPath
    from dpdkrouter.config.schema import Config
    from dpdkrouter.filters.rules import FilterRule

POLICER_COUNTERS = 3  # green, yellow, red


def check_filters(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Each contradiction's key path and what is allowed."""
    acls, policers = [one.name for one in config.acls], [one.name for one in config.policers]
    for table, names in (("acl", acls), ("policer", policers)):
        for i, name in enumerate(names):
            if names.index(name) < i:
                yield (
                    (table, i, "name"),
                    f"must be listed once, but is {render((table, names.index(name), 'name'))} too",
                )
    for i, acl in enumerate(config.acls):
        for j, rule in enumerate(acl.rules):
            for field, allowed in rule.rule.contradictions(policers):
                yield ("acl", i, "rule", j, field), f"acl {acl.name}, rule {j + 1}: {allowed}"
    for i, port in enumerate(config.ports):
        for key, what, names in (("acl_in", "an acl", acls), ("policer_in", "a policer", policers)):
            name = getattr(port, key)
            if name is not None and name not in names:
                yield ("port", i, key), f"must be the name of {what}: {', '.join(names) or 'there is none'}"
    for i, policer in enumerate(config.policers):
        if policer.cbs == policer.ebs == 0:
            yield ("policer", i, "cbs"), "must be more than 0, or ebs must be (RFC 2697 2)"
    need = counters_needed(config, [len(acl.rules) for acl in config.acls])
    if need > config.fastpath.filter_counters:
        yield ("fastpath", "filter_counters"), f"must be at least {need}: {_WHY}"


_WHY = "one a rule, one a list, three a policer, and the largest list's twice, to replace it"


def counters_needed(config: Config, rules: Sequence[int]) -> int:
    """Counters for lists of so many rules: each list's default has one, and the largest may have to be there twice."""
    each = [count + 1 for count in rules]
    return sum(each) + max(each, default=0) + POLICER_COUNTERS * len(config.policers)


def rules_of(config: Config, acl: Acl) -> list[FilterRule]:
    """A list's rules, those of its file behind the others; ConfigErrors says what is wrong with the file."""
    rules = [one.rule for one in acl.rules]
    if acl.file is not None:
        rules += read(acl.file, acl.name, [one.name for one in config.policers])
    return rules


def all_rules(config: Config) -> dict[str, list[FilterRule]]:
    """Every list's rules by its name. ConfigErrors: all that is wrong with all files, or they are too many."""
    found: dict[str, list[FilterRule]] = {}
    problems: list[Problem] = []
    for acl in config.acls:
        try:
            found[acl.name] = rules_of(config, acl)
        except ConfigErrors as errors:
            problems += errors.problems
    need = counters_needed(config, [len(rules) for rules in found.values()])
    if not problems and need > config.fastpath.filter_counters:
        path: KeyPath = ("fastpath", "filter_counters")
        room = str(config.fastpath.filter_counters)
        problems.append(
            Problem(config.filename, config.line(path), render(path), room, f"must be at least {need}: {_WHY}")
        )
    if problems:
        raise ConfigErrors(problems)
    return found
