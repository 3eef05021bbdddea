"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class ConditionNotMetError(AssertionError):
    """A condition did not become true in time; says what was seen last."""


def wait_for(condition: Callable[[], T], timeout: float, what: str, interval: float = 0.05) -> T:
    """Call `condition` until it returns something true, and return that.

    A condition that raises AssertionError or LookupError hasn't come true yet: its message is what was seen.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            seen: object = (value := condition())
            if value:
                return value
        except (AssertionError, LookupError) as error:
            seen = error
        if time.monotonic() >= deadline:
            raise ConditionNotMetError(f"{what}: not within {timeout} s; last seen: {seen!r}")
        time.sleep(interval)
