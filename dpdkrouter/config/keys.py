"""The schema as a list: every key with its default, what is allowed and what it does.

Read from the models, so that documentation and checks cannot differ from what the loader does. Called by
the loader (to name the keys a table has), by tests and by scripts/check.
"""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from dpdkrouter.config.base import Array
from dpdkrouter.config.rules import Rule
from dpdkrouter.config.schema import Config

SHORT_FORMS = ("route[].via", "bgp.prefix_list[].prefixes", "bgp.announce")  # a string stands for a table there


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file; `path` has "[]" after arrays of tables: `bgp.neighbor[].asn`."""

    path: str
    default: str
    allowed: str
    effect: str


def _parts(annotation: Any) -> Iterator[Any]:
    """Every type and every piece of metadata within an annotation, outermost first."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from annotation.__metadata__
        yield from _parts(annotation.__origin__)
    elif origin in (tuple, Union, types.UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def _field_parts(field: FieldInfo) -> list[Any]:
    return [*field.metadata, *_parts(field.annotation)]


def _array(parts: list[Any]) -> Array | None:
    for part in parts:
        owner = getattr(part.func, "__self__", None) if isinstance(part, BeforeValidator) else None
        if isinstance(owner, Array):
            return owner
    return None


def _model(parts: list[Any]) -> type[BaseModel] | None:
    return next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)


def _toml(value: object) -> str:
    """A default as it would stand in the file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value) if isinstance(value, int) else f'"{value}"'


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return '"dr-" and the name'
    return "none" if field.default is None else f"`{_toml(field.default)}`"


def _allowed(parts: list[Any]) -> str:
    array = _array(parts)
    rule = next((part for part in parts if isinstance(part, Rule)), None)
    if array is not None:
        bounded = array.low or array.high is not None
        return f"array of {array.words}" + (f", {array.count} entries" if bounded else "")
    assert rule is not None, "a field without a rule"
    return rule.allowed


def _walk(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        path = prefix + (field.alias or name)
        parts = _field_parts(field)
        inner = _model(parts)
        if inner is None or path in SHORT_FORMS:
            yield Key(path, _default(field), _allowed(parts), field.description or "")
        if inner is not None:
            yield from _walk(inner, path + ("[]." if _array(parts) else "."))


@cache
def keys() -> tuple[Key, ...]:
    """Every key that the schema has, in its order."""
    return tuple(_walk(Config, ""))


@cache
def tables() -> dict[tuple[str, ...], tuple[str, ...]]:
    """The keys of every table, by the table's path without indexes."""
    found: dict[tuple[str, ...], tuple[str, ...]] = {}

    def visit(model: type[BaseModel], path: tuple[str, ...]) -> None:
        found[path] = tuple(field.alias or name for name, field in model.model_fields.items())
        for name, field in model.model_fields.items():
            inner = _model(_field_parts(field))
            if inner is not None:
                visit(inner, (*path, field.alias or name))

    visit(Config, ())
    return found


def markdown() -> str:
    """The reference table of docs/configuration.md."""
    rows = ["| key | default | allowed | effect |", "|---|---|---|---|"]
    for key in keys():
        cells = (f"`{key.path}`", key.default, key.allowed, key.effect)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
