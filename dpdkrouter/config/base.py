"""What all tables of the configuration file are made of: the model's base, arrays, and values written in two ways.

Used by schema.py and bgp.py, which have the tables; keys.py asks `Array` for its words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from dpdkrouter.config import rules

if TYPE_CHECKING:
    from pydantic.functional_validators import ModelWrapValidatorHandler

M = TypeVar("M", bound="Table")


@dataclass(frozen=True, slots=True)
class Array:
    """Makes a tuple of TOML's array; `words` completes "must be an array of"."""

    words: str
    low: int = 0
    high: int | None = None

    def check(self, value: object) -> tuple[object, ...]:
        """The array's entries; raises what pydantic collects."""
        if not isinstance(value, list):
            raise rules.refusal(f"must be an array of {self.words}")
        if len(value) < self.low or (self.high is not None and len(value) > self.high):
            raise rules.refusal(f"must have {self.count} entries")
        return tuple(value)

    @property
    def count(self) -> str:
        """The allowed number of entries."""
        return f"at least {self.low}" if self.high is None else f"between {self.low} and {self.high}"


def array(words: str, low: int = 0, high: int | None = None) -> BeforeValidator:
    """A validator before a tuple's own: see Array."""
    return BeforeValidator(Array(words, low, high).check)


class Table(BaseModel):
    """Base of all tables of the file."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


def short_form(value: Any, handler: ModelWrapValidatorHandler[M], key: str, rule: rules.Rule[Any], allowed: str) -> M:
    """Takes a string for the table that has only `key`; `allowed` says what else may stand there."""
    if isinstance(value, str):
        rule.check(value)
        return handler({key: value})
    if not isinstance(value, dict):
        raise rules.refusal(allowed)
    return handler(value)
