"""Expressions over AS paths, compiled to a table that is walked once a path: no expression and no path makes it slow.

The language is that of FRR's and Cisco's `as-path access-list`: POSIX extended regular expressions over the path as text,
`65001 65002 {65003,65004}` (sets in braces, confederation sequences in parentheses, their sets in brackets), where `_`
stands for a separator, a brace, a parenthesis or either end. A match may be anywhere unless `^` and `$` hold it to an end.
`{n}`, `{n,}` and `{n,m}` repeat; a brace of the text is written `\\{`.

Paths come from peers, so matching must not be able to backtrack: the expression becomes a deterministic automaton of at
most MAX_STATES states, refused beyond that. `table` is what import filters walk (imports.pyx); `matches` is the same
in Python.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from dpdkrouter.rib.attributes import Segment, SegmentKind

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT = "0123456789 ,{}()[]"
START, END = len(TEXT), len(TEXT) + 1  # symbols of the two ends
SYMBOLS = len(TEXT) + 2
MAX_LENGTH = 256  # characters of an expression
MAX_STATES = 512
MATCHED = 1  # the state in which an expression has matched, whatever comes then; 0 is the first one
_MAX_REPEAT = 32
_MAX_DEPTH = 16
_MAX_NODES = 4096
_ANY = (1 << len(TEXT)) - 1
_SEPARATOR = _ANY & ~0x3FF | 1 << START | 1 << END
_ENDS = {
    SegmentKind.SEQUENCE: ("", " ", ""),
    SegmentKind.SET: ("{", ",", "}"),
    SegmentKind.CONFED_SEQUENCE: ("(", " ", ")"),
    SegmentKind.CONFED_SET: ("[", ",", "]"),
}


class ExpressionError(ValueError):
    """An expression that cannot be used; its text says why."""


def path_text(path: Sequence[Segment]) -> str:
    """An AS path as it is matched and shown."""
    parts = []
    for segment in path:
        begin, between, end = _ENDS[segment.kind]
        parts.append(begin + between.join(map(str, segment.asns)) + end)
    return " ".join(parts)


@dataclass(frozen=True, slots=True)
class PathExpression:
    """One expression. table: for each state and symbol the next state, uint16 in machine order."""

    text: str
    table: bytes

    def matches(self, path: Sequence[Segment]) -> bool:
        """Whether an AS path is one of those that are meant."""
        steps = memoryview(self.table).cast("H")
        state = 0
        for symbol in (START, *map(TEXT.index, path_text(path)), END):
            state = steps[state * SYMBOLS + symbol]
        return state == MATCHED


@lru_cache(maxsize=1024)
def compile_expression(text: str) -> PathExpression:
    """Raises ExpressionError."""
    if not 0 < len(text) <= MAX_LENGTH:
        raise ExpressionError(f"must have between 1 and {MAX_LENGTH} characters")
    parser = _Parser(text)
    found = parser.alternatives(0)
    if parser.at < len(text):
        raise ExpressionError(f"has a ) too many at character {parser.at + 1}")
    return PathExpression(text, _table(found))


# ---- parsing


@dataclass(frozen=True, slots=True)
class _One:
    """One symbol of a set."""

    symbols: int  # bit n: symbol n


@dataclass(frozen=True, slots=True)
class _All:
    """One after the other."""

    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Either:
    """One of these."""

    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Many:
    """low to high times; high None: any number."""

    part: _Node
    low: int
    high: int | None


_Node = _One | _All | _Either | _Many


class _Parser:
    """Recursive descent over the text; `at` is where it is."""

    SPECIAL: ClassVar[dict[str, int]] = {".": _ANY, "_": _SEPARATOR, "^": 1 << START, "$": 1 << END}

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, what: str) -> str:
        """The next character; at the end `what` is missing."""
        if not self.peek():
            raise ExpressionError(f"ends where {what} should be")
        self.at += 1
        return self.text[self.at - 1]

    def alternatives(self, depth: int) -> _Node:
        if depth > _MAX_DEPTH:
            raise ExpressionError(f"must be nested at most {_MAX_DEPTH} deep")
        parts = [self.sequence(depth)]
        while self.peek() == "|":
            self.at += 1
            parts.append(self.sequence(depth))
        return parts[0] if len(parts) == 1 else _Either(tuple(parts))

    def sequence(self, depth: int) -> _Node:
        parts: list[_Node] = []
        while self.peek() not in ("", "|", ")"):
            parts.append(self.repeated(self.atom(depth)))
        return _All(tuple(parts))

    def repeated(self, part: _Node) -> _Node:
        limits: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        while self.peek() in ("*", "+", "?", "{"):
            sign = self.take("a sign")
            low, high = self.counts() if sign == "{" else limits[sign]
            part = _Many(part, low, high)
        return part

    def counts(self) -> tuple[int, int | None]:
        end = self.text.find("}", self.at)
        words = self.text[self.at : end].split(",") if end >= 0 else []
        if not 1 <= len(words) <= 2 or not all(
            (word.isascii() and word.isdecimal()) or (i and not word) for i, word in enumerate(words)
        ):
            raise ExpressionError("must have {n}, {n,} or {n,m} where a { repeats; write \\{ for a set's brace")
        low = int(words[0])
        high = low if len(words) == 1 else int(words[1]) if words[1] else None
        if max(low, high or 0) > _MAX_REPEAT or (high is not None and high < low):
            raise ExpressionError(f"must repeat at most {_MAX_REPEAT} times, the lower number first")
        self.at = end + 1
        return low, high

    def atom(self, depth: int) -> _Node:
        sign = self.take("something")
        if sign == "(":
            found = self.alternatives(depth + 1)
            if self.take("a )") != ")":
                raise ExpressionError("has a ( without its )")
            return found
        if sign == "[":
            return _One(self.bracket())
        if sign in self.SPECIAL:
            return _One(self.SPECIAL[sign])
        if sign in "*+?{":
            raise ExpressionError(f"has a {sign} that repeats nothing at character {self.at}")
        return _One(_symbol(self.take("what \\ stands before") if sign == "\\" else sign))

    def bracket(self) -> int:
        start, found = self.at, 0
        negated = self.peek() == "^"
        self.at += negated
        first = True
        while first or self.peek() != "]":
            low = self.take("a ]")
            first = False
            symbols = _symbol(low)
            if self.peek() == "-" and self.text[self.at + 1 : self.at + 2] != "]":
                self.at += 1
                high = self.take("the end of a range")
                if not (low.isdecimal() and high.isdecimal() and low <= high):
                    raise ExpressionError(
                        f"must have ranges of digits, the lower first, in [{self.text[start : self.at]}"
                    )
                symbols = (2 << int(high)) - (1 << int(low))
            found |= symbols
        self.at += 1
        return _ANY & ~found if negated else found


def _symbol(sign: str) -> int:
    if sign not in TEXT:
        raise ExpressionError(f"has {sign!r}, which no AS path has")
    return 1 << TEXT.index(sign)


# ---- the automaton


class _Graph:
    """Nodes joined by symbols and, in `free`, by nothing (Thompson's construction)."""

    def __init__(self) -> None:
        self.free: list[list[int]] = []
        self.steps: list[tuple[int, int] | None] = []  # (symbols, next node)

    def node(self) -> int:
        if len(self.free) == _MAX_NODES:
            raise ExpressionError("is too large: repeat less")
        self.free.append([])
        self.steps.append(None)
        return len(self.free) - 1

    def add(self, what: _Node, start: int) -> int:
        """Join what is meant to `start`; returns its end."""
        if isinstance(what, _One):
            end = self.node()
            middle = self.node()
            self.free[start].append(middle)
            self.steps[middle] = (what.symbols, end)
            return end
        if isinstance(what, _All):
            for part in what.parts:
                start = self.add(part, start)
            return start
        if isinstance(what, _Either):
            end = self.node()
            for part in what.parts:
                self.free[self.add(part, start)].append(end)
            return end
        for _ in range(what.low):
            start = self.add(what.part, start)
        if what.high is None:
            loop = self.node()
            self.free[start].append(loop)
            self.free[self.add(what.part, loop)].append(loop)
            return loop
        end = self.node()
        for _ in range(what.high - what.low):
            self.free[start].append(end)
            start = self.add(what.part, start)
        self.free[start].append(end)
        return end

    def after(self, nodes: frozenset[int], symbol: int) -> frozenset[int]:
        """What a symbol leads to."""
        steps = map(self.steps.__getitem__, nodes)
        return self.closure({step[1] for step in steps if step and step[0] >> symbol & 1})

    def closure(self, nodes: set[int]) -> frozenset[int]:
        """With all that is reached by nothing; of these the nodes that matter."""
        found, left = set(nodes), list(nodes)
        while left:
            for node in self.free[left.pop()]:
                if node not in found:
                    found.add(node)
                    left.append(node)
        return frozenset(found)


def _table(what: _Node) -> bytes:
    graph = _Graph()
    first = graph.node()
    last = graph.add(what, first)
    begin = graph.closure({first})
    # a match may begin after any symbol, so each set of nodes holds the first one's
    numbers: dict[frozenset[int], int] = {begin: 0, frozenset(): MATCHED}
    rows: dict[int, list[int]] = {MATCHED: [MATCHED] * SYMBOLS}
    left = [begin]
    while left:
        nodes = left.pop()
        row = []
        for symbol in range(SYMBOLS):
            reached = graph.after(nodes, symbol) | begin
            if symbol in (START, END):  # an end has no width: what it leads to may ask for it again, as ^_ does
                while (more := reached | graph.after(reached, symbol)) != reached:
                    reached = more
            if last in reached or last in nodes:
                row.append(MATCHED)
                continue
            if reached not in numbers:
                if len(numbers) == MAX_STATES:
                    raise ExpressionError("is too large: its automaton would have too many states")
                numbers[reached] = len(numbers)
                left.append(reached)
            row.append(numbers[reached])
        rows[numbers[nodes]] = row
    return b"".join(struct.pack(f"={SYMBOLS}H", *rows[number]) for number in range(len(numbers)))
