"""AS path expressions: what FRR's users write, and what is refused."""

from __future__ import annotations

import time

import pytest

from dpdkrouter.rib.aspath import MAX_LENGTH, ExpressionError, compile_expression, path_text
from dpdkrouter.rib.attributes import Segment, SegmentKind


def seq(*asns: int) -> Segment:
    return Segment(SegmentKind.SEQUENCE, asns)


SETS = (seq(65001), Segment(SegmentKind.SET, (1, 2)), Segment(SegmentKind.CONFED_SEQUENCE, (3, 4)))


def test_text() -> None:
    assert path_text(()) == ""
    assert path_text((*SETS, Segment(SegmentKind.CONFED_SET, (5, 6)))) == "65001 {1,2} (3 4) [5,6]"


@pytest.mark.parametrize(
    ("expression", "path", "wanted"),
    [
        ("^$", (), True),
        ("^$", (seq(1),), False),
        ("_65001_", (seq(65001),), True),
        ("_65001_", (seq(7, 65001, 8),), True),
        ("_65001_", (seq(165001, 650012),), False),
        ("^65001_", (seq(65001, 65002),), True),
        ("^65001_", (seq(65002, 65001),), False),
        ("_65002$", (seq(65001, 65002),), True),
        ("^65001$", (seq(65001, 65002),), False),
        ("^65001(_65001)*$", (seq(65001, 65001, 65001),), True),
        ("^65001(_65001)*$", (seq(65001, 65001, 65002),), False),
        ("^[0-9]+_[0-9]+$", (seq(1, 2),), True),
        ("^[0-9]+_[0-9]+$", (seq(1, 2, 3),), False),
        ("^([0-9]+ ?){3}$", (seq(1, 2, 3),), True),
        ("^([0-9]+ ?){3}$", (seq(1, 2),), False),
        ("_(64512|6553[0-4])_", (seq(1, 65533),), True),
        ("_(64512|6553[0-4])_", (seq(1, 65535),), False),
        ("_1_", SETS, True),
        (r"\{1,2\}", SETS, True),
        ("_3_4_", SETS, True),
        ("4294967295", (seq(4294967295),), True),
        ("_0_", (seq(0),), True),
        (".*", (), True),
        ("^_65001_", (seq(65001),), True),
        ("^__65001__$", (seq(65001),), True),
        ("^_65001_$", (seq(65001, 2),), False),
        ("^_$", (), True),
    ],
)
def test_as_frr_matches(expression: str, path: tuple[Segment, ...], wanted: bool) -> None:
    assert compile_expression(expression).matches(path) is wanted


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "between 1 and"),
        ("1" * (MAX_LENGTH + 1), "between 1 and"),
        ("AS65001", "'A', which no AS path has"),
        ("(1", "ends where a ) should be"),
        ("1)", "a ) too many at character 2"),
        ("[1", "ends where a ] should be"),
        ("[5-1]", "the lower first"),
        ("[1-a]", "the lower first"),
        ("*1", "a * that repeats nothing"),
        ("1{65}", "at most 32 times"),
        ("1{3,2}", "the lower number first"),
        ("_{65001,65002}_", "at most 32 times"),
        ("{1,2}", "a { that repeats nothing"),
        ("1{\u0663}", "write \\{ for a set's brace"),
        ("1{x}", "write \\{ for a set's brace"),
        ("1\\", "ends where what"),
        ("(" * 20 + "1" + ")" * 20, "nested at most"),
        ("((1{32}){32}){32}", "too large"),
        ("1.{12}2", "too large"),
    ],
)
def test_refused(expression: str, why: str) -> None:
    with pytest.raises(ExpressionError) as error:
        compile_expression(expression)
    assert why in str(error.value)


def test_what_would_take_a_backtracking_matcher_years_takes_one_walk() -> None:
    expression = compile_expression("^(([0-9]+)+_)+x?$".replace("x?", "\\{"))
    began = time.monotonic()
    assert not expression.matches((seq(*range(64512, 65500)),))
    assert time.monotonic() - began < 10
