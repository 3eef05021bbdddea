"""Finds the line of every key of a TOML document: tomllib gives values without lines.

A scanner, not a parser: on a document that tomllib accepts it visits the same key paths (the tests compare
them); on any other text it stops somewhere, without an error. A path is a tuple of keys and array indexes:
("port", 0, "addresses", 1). It also finds keys and values nested beyond MAX_DEPTH, before tomllib meets
them with recursion and memory that grows with the square of the depth. Called by load.py. TOML 1.0.0.
"""

import contextlib
import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

KeyPath = tuple[str | int, ...]

MAX_DEPTH = 32

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\n]+")
_REST_OF_LINE = re.compile(r"[^\n]*")
_STRINGS = (  # the first that matches at a quote is the string there
    re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL),
    re.compile(r"'''(?:[^']|'(?!''))*'{3,5}"),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)


class _StopError(Exception):
    """The text is not TOML from here on, or nested too deep."""


@dataclass(frozen=True, slots=True)
class Lines:
    """The line of each path, and the first line nested beyond MAX_DEPTH, if any."""

    of: Mapping[KeyPath, int]
    too_deep: int | None


@dataclass(slots=True)
class _Scanner:
    text: str
    at: int = 0
    lines: dict[KeyPath, int] = field(default_factory=dict)
    counts: dict[KeyPath, int] = field(default_factory=dict)  # entries of arrays of tables so far
    too_deep: int | None = None
    newlines: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.newlines = [match.start() for match in re.finditer("\n", self.text)]

    def line(self) -> int:
        return bisect_left(self.newlines, self.at) + 1

    def record(self, path: KeyPath) -> None:
        if len(path) > MAX_DEPTH:
            self.too_deep = self.line()
            raise _StopError
        self.lines.setdefault(path, self.line())

    def take(self, pattern: re.Pattern[str]) -> str:
        """Passes what the pattern matches here; at least one character where the pattern demands one."""
        match = pattern.match(self.text, self.at)
        if match is None:
            raise _StopError
        self.at = match.end()
        return match[0]

    def accept(self, token: str) -> bool:
        """Passes the token if it is next."""
        found = self.text.startswith(token, self.at)
        self.at += len(token) * found
        return found

    def expect(self, token: str) -> None:
        if not self.accept(token):
            raise _StopError

    def string(self) -> str:
        """Passes a string of any of the four kinds and returns it with its quotes."""
        for pattern in _STRINGS:
            if pattern.match(self.text, self.at):
                return self.take(pattern)
        raise _StopError

    def key(self) -> list[str]:
        """Passes a dotted key."""
        parts: list[str] = []
        while True:
            self.take(_SPACE)
            if self.text.startswith(('"', "'"), self.at):
                parts.append(_unquote(self.string()))
            else:
                parts.append(self.take(_BARE_KEY))
            self.take(_SPACE)
            if not self.accept("."):
                return parts

    def document(self) -> None:
        table: KeyPath = ()
        while self.take(_BLANK) is not None and self.at < len(self.text):
            if self.accept("[["):
                table = self.header("]]")
            elif self.accept("["):
                table = self.header("]")
            else:
                self.pair(table)

    def header(self, end: str) -> KeyPath:
        """Passes the rest of a table's header and returns the table's path."""
        *outer, last = self.key()
        path: KeyPath = ()
        for part in outer:
            path = self.newest((*path, part))
        path = (*path, last)
        if end == "]":
            self.lines.pop(path, None)  # its own header counts, not that of a table within it
            self.record(path)
        else:
            self.record(path)
            self.counts[path] = self.counts.get(path, 0) + 1
            path = self.newest(path)
        self.expect(end)
        return path

    def newest(self, path: KeyPath) -> KeyPath:
        """The table that a header's part names: the newest entry if it is an array of tables."""
        self.record(path)
        if path in self.counts:
            path = (*path, self.counts[path] - 1)
            self.record(path)
        return path

    def pair(self, table: KeyPath) -> None:
        path = table
        for part in self.key():
            path = (*path, part)
            self.record(path)
        self.expect("=")
        self.take(_SPACE)
        self.value(path)

    def value(self, path: KeyPath) -> None:
        if self.accept("["):
            self.array(path)
        elif self.accept("{"):
            self.inline_table(path)
        elif self.text.startswith(('"', "'"), self.at):
            self.string()
        else:
            self.take(_BARE_VALUE)

    def array(self, path: KeyPath) -> None:
        index = 0
        while True:
            self.take(_BLANK)
            if self.accept("]"):
                return
            self.record((*path, index))
            self.value((*path, index))
            index += 1
            self.take(_BLANK)
            if not self.accept(","):
                self.expect("]")
                return

    def inline_table(self, path: KeyPath) -> None:
        while True:
            self.take(_BLANK)
            if self.accept("}"):
                return
            self.pair(path)
            self.take(_BLANK)
            if not self.accept(","):
                self.expect("}")
                return


def _unquote(key: str) -> str:
    if key.startswith("'") or "\\" not in key:
        return key[1:-1]
    try:
        return str(tomllib.loads(f"key = {key}")["key"])
    except ValueError:
        raise _StopError from None


def locate(text: str) -> Lines:
    """The line of every key path of a document; of those before the first error when it is no TOML."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    with contextlib.suppress(_StopError):
        scanner.document()
    return Lines(scanner.lines, scanner.too_deep)


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """The line of a path, or of the nearest enclosing one that has a line; None when there is none."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path)


def render(path: KeyPath) -> str:
    """A path as people write it: `port[1].addresses[0]`."""
    parts = []
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        else:
            key = part if _BARE_KEY.fullmatch(part) else quoted(part)
            parts.append(f".{key}" if parts else key)
    return "".join(parts)


def quoted(text: str) -> str:
    """A string in double quotes as TOML writes it, everything not printable escaped."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(c, c if c.isprintable() else f"\\U{ord(c):08X}") for c in text) + '"'
