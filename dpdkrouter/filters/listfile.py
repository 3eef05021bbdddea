"""Rules files: a rule a line, its action first, then the fields as `name=value`; `#` begins a comment.

    deny    source=192.0.2.0/24
    permit  protocol=tcp destination=198.51.100.0/24 destination_port=443
    police  protocol=icmp icmp_type=8 policer=pings
    permit  fragments=true

Fields and values are those of the configuration's [[acl.rule]]. Every problem is reported at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dpdkrouter.config.locate import quoted
from dpdkrouter.config.rules import RefusedError, Rule
from dpdkrouter.errors import ConfigErrors, Problem
from dpdkrouter.filters import values
from dpdkrouter.filters.rules import FilterRule

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

MAX_BYTES = 64 << 20
FIELDS: dict[str, Rule[Any]] = {
    "source": values.PREFIX,
    "destination": values.PREFIX,
    "protocol": values.PROTOCOL,
    "source_port": values.PORTS,
    "destination_port": values.PORTS,
    "tcp_flags": values.TCP,
    "icmp_type": values.TYPES,
    "fragments": values.FRAGMENTS,
    "policer": values.POLICER_REFERENCE,
}
_WORDS: dict[str, object] = {"true": True, "false": False}


class _LineError(Exception):
    """Field, what was found, what is allowed."""


def read(path: Path, acl: str, policers: Collection[str]) -> list[FilterRule]:
    """The rules of a file, for the list of this name; ConfigErrors names file, line, list, rule and field."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise OSError(None, f"more than {MAX_BYTES} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        found = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "other text than UTF-8"
        raise ConfigErrors([Problem(str(path), None, f"acl {acl}", found, "must be a file of rules")]) from None
    rules: list[FilterRule] = []
    problems: list[Problem] = []
    for line, written in enumerate(lines, 1):
        words = written.partition("#")[0].split()
        if not words:
            continue
        where = f"acl {acl}: rule {len(rules) + 1}"
        rule = FilterRule("permit")  # in the place of one that cannot be read, so that those behind keep their numbers
        try:
            rule = _rule(words)
            problems += [
                Problem(str(path), line, f"{where}: {name}", _found(words, name), allowed)
                for name, allowed in rule.contradictions(policers)
            ]
        except _LineError as error:
            problems.append(Problem(str(path), line, f"{where}: {error.args[0]}", *error.args[1:]))
        rules.append(rule)
    if problems:
        raise ConfigErrors(problems)
    return rules


def _rule(words: list[str]) -> FilterRule:
    action = _value("action", values.ACTION, words[0], words[0])
    return FilterRule(action, **dict(_fields(words[1:])))


def _fields(words: list[str]) -> Iterator[tuple[str, Any]]:
    seen = set()
    for word in words:
        name, equals, written = word.partition("=")
        if name not in FIELDS or not equals:
            raise _LineError("field", quoted(word), f"must be NAME=VALUE with one of {', '.join(FIELDS)}")
        if name in seen:
            raise _LineError(name, quoted(written), "must be there once")
        seen.add(name)
        yield name, _value(name, FIELDS[name], written, _WORDS.get(written, written))


def _value(name: str, rule: Rule[Any], written: str, value: object) -> Any:
    try:
        return rule.convert(value)
    except ValueError as refused:
        reason = str(refused) if isinstance(refused, RefusedError) else ""
        raise _LineError(name, quoted(written), reason or f"must be {rule.allowed}") from None


def _found(words: list[str], name: str) -> str:
    """The field's value as it is written."""
    return next((quoted(word.partition("=")[2]) for word in words if word.startswith(f"{name}=")), "nothing")
