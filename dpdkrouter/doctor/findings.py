"""A finding: what was found, why it matters, what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How bad it is: a router runs with warnings, not with failures."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


EXIT_CODES = {State.OK: 0, State.WARNING: 5, State.FAILED: 1}


@dataclass(frozen=True, slots=True)
class Finding:
    """`mend`: the exact commands, kernel arguments or keys, one each; empty when all is well."""

    topic: str
    state: State
    found: str
    why: str
    mend: tuple[str, ...] = ()


def worst(findings: list[Finding]) -> State:
    """The worst state of all."""
    states = {finding.state for finding in findings}
    return next((state for state in reversed(State) if state in states), State.OK)
