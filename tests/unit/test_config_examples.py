"""The examples load, and documentation and examples name every key of the schema, with its default."""

import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from dpdkrouter.config.keys import SHORT_FORMS, keys, markdown, tables
from dpdkrouter.config.load import load

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("*.toml"))


def test_the_examples_are_there() -> None:
    assert {path.name for path in EXAMPLES} >= {
        "minimal.toml",
        "bare-metal.toml",
        "lab.toml",
        "all-keys.toml",
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.name))
def test_an_example_loads(path: Path) -> None:
    assert load(path).ports
    assert path.read_text().startswith("# ")


def used(value: object, path: str = "") -> Iterator[str]:
    """Every key of a document, "[]" after arrays of tables."""
    if isinstance(value, dict):
        for key, inner in value.items():
            name = f"{path}.{key}" if path else key
            yield name
            yield from used(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from used(inner, f"{path}[]")


def test_all_keys_names_every_key_with_a_comment() -> None:
    text = (DOCS / "examples/all-keys.toml").read_text()
    in_tables = {".".join(path) for path in tables()}
    named = {key for key in used(tomllib.loads(text)) if key.replace("[]", "") not in in_tables or key in SHORT_FORMS}
    assert named == {key.path for key in keys()}
    rows = text.splitlines()
    for before, row in pairwise(rows):
        if re.match(r"[a-z_0-9]+ = ", row) and row != 'type = "blackhole"':
            assert before.startswith("# ") or 'prefix = "203' in row, row


def test_all_keys_says_each_default() -> None:
    rows = (DOCS / "examples/all-keys.toml").read_text().splitlines()
    comments: dict[str, str] = {}
    table, comment = "", ""
    for row in rows:
        if header := re.match(r"\[+([a-z_.]+)\]+", row):
            table, comment = header[1], ""
        elif row.startswith("# "):
            comment += row
        elif key := re.match(r"([a-z_0-9]+) = ", row):
            comments.setdefault(f"{table}.{key[1]}", comment)
            comment = ""
    for known in keys():
        if known.default.startswith("`") and not known.path.startswith("route[].via"):
            assert f"Default {known.default.strip('`')}" in comments[known.path.replace("[]", "")], known.path


def test_configuration_md_has_the_table_of_the_schema() -> None:
    assert markdown() in (DOCS / "configuration.md").read_text()


def test_every_key_has_an_effect_and_what_is_allowed() -> None:
    assert len({key.path for key in keys()}) == len(keys()) > 35
    for key in keys():
        assert key.effect, key
        assert key.allowed, key
        assert key.default, key
