"""AS path expressions: the automaton, Python's re over the same text, and the compiled filter agree on every path."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from dpdkrouter.rib.aspath import ExpressionError, compile_expression, path_text
from dpdkrouter.rib.attributes import Segment, SegmentKind
from dpdkrouter.rib.enums import Source
from dpdkrouter.rib.imports import ImportFilter
from dpdkrouter.rib.policy import Checks, Match, Policy, Rule
from dpdkrouter.rib.table import Rib
from ribkit import announce, pack, reachable, via

HOP, PREFIX = "192.0.2.9", "8.8.0.0/16"
OTHERS = r"[0-9 ,{}()\[\]]"
ATOMS = {
    ".": OTHERS,
    "_": r"(?:^|$|[ ,{}()\[\]])",
    "^": "^",
    "$": "$",
    "[0-9]": "[0-9]",
    "[^1-3 ]": "(?![1-3 ])" + OTHERS,
    "[12,]": "[12,]",
    **{digit: digit for digit in "0126"},
    r"\{": r"\{",
    " ": " ",
}

expressions = st.recursive(
    st.sampled_from(sorted(ATOMS.items())),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(
            lambda parts: ("".join(p[0] for p in parts), "".join(p[1] for p in parts))
        ),
        st.lists(inner, min_size=2, max_size=3).map(
            lambda parts: (f"({'|'.join(p[0] for p in parts)})", f"(?:{'|'.join(p[1] for p in parts)})")
        ),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}"])).map(
            lambda found: (f"({found[0][0]}){found[1]}", f"(?:{found[0][1]}){found[1]}")
        ),
    ),
    max_leaves=8,
)
numbers = st.sampled_from([0, 1, 2, 6, 12, 61, 102, 65001, 4294967295])
segments = st.builds(Segment, st.sampled_from(list(SegmentKind)), st.lists(numbers, min_size=1, max_size=4).map(tuple))
paths = st.lists(segments, max_size=3).map(tuple)


@settings(max_examples=400, deadline=None)
@given(expressions, st.lists(paths, min_size=1, max_size=6))
def test_as_python_would_match(expression: tuple[str, str], found: list[tuple[Segment, ...]]) -> None:
    ours, theirs = expression
    try:
        compiled = compile_expression(ours)
    except ExpressionError:  # too large; what is wrong with one is tested one by one
        return
    for path in found:
        if not path and "^" in ours.replace("[^", "") and "$" in ours:
            continue  # "$^": an end before the beginning, of which nothing is only in an empty path
        wanted = re.search(theirs, path_text(path)) is not None
        assert compiled.matches(path) is wanted, (ours, path_text(path))


@settings(max_examples=100, deadline=None)
@given(expressions, st.lists(paths, min_size=1, max_size=4))
def test_the_compiled_filter_as_the_value(expression: tuple[str, str], found: list[tuple[Segment, ...]]) -> None:
    try:
        match = Match(path=compile_expression(expression[0]))
    except ExpressionError:
        return
    rib = Rib(asn=65000, router_id=1)
    reachable(rib, HOP)
    imports = ImportFilter(Policy("p", (Rule("r", True, match=match),)), Checks())
    origin = rib.add_origin(Source.EBGP, peer_address=HOP, imports=imports)
    for path in found:
        attributes = via(HOP, as_path=path)
        announce(rib, origin, attributes, PREFIX)
        family, packed, lengths = pack(PREFIX)
        (shown,) = rib.paths(family, packed, lengths[0])
        assert shown.rejected is not match.holds(attributes), (expression[0], path_text(path))
