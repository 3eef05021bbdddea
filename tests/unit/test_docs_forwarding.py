"""docs/forwarding.md names, for each rule, a drop reason or an action and the tests that show it: all of them exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from dpdkrouter.segment import DropReason

ROOT = Path(__file__).resolve().parents[2]
RULE = re.compile(r"^\| (?P<rule>.+?) \| (?P<action>.+?) \| (?P<tests>.+?) \|$")
ROWS = [
    match
    for line in (ROOT / "docs/forwarding.md").read_text().splitlines()
    if (match := RULE.match(line)) and match["rule"] not in ("rule", "---") and "---" not in match["tests"]
]


def defined() -> set[str]:
    """Names of all test functions."""
    trees = (ast.parse(path.read_text()) for path in (ROOT / "tests").rglob("test_*.py"))
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_rule_names_tests_that_exist() -> None:
    names = {name for row in ROWS for name in re.findall(r"`(test_\w+)`", row["tests"])}
    assert len(ROWS) > 40
    assert all("`test_" in row["tests"] for row in ROWS)
    assert names - defined() == set()


@pytest.mark.parametrize("reason", [r.name for r in DropReason if r < DropReason.port_down and r.name[:2] == "ip"])
def test_every_drop_of_an_ip_packet_has_its_rule(reason: str) -> None:
    assert any(f"`{reason}`" in row["action"] for row in ROWS)


def test_reasons_named_are_reasons() -> None:
    named = {name for row in ROWS for name in re.findall(r"drop `(\w+)`", row["action"])}
    assert named <= {reason.name for reason in DropReason}
