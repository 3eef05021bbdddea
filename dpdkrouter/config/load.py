"""Reads a configuration file: TOML, then schema, then semantics; every problem of a pass is reported at once.

Semantics need a whole valid schema, so a file with wrong values hears of its contradictions only after
those are mended. Called by the CLI and by the programs when they start, never while packets are forwarded.
"""

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dpdkrouter.config.keys import tables
from dpdkrouter.config.locate import MAX_DEPTH, KeyPath, Lines, line_of, locate, quoted, render
from dpdkrouter.config.rules import PROBLEM
from dpdkrouter.config.schema import Config, Origin
from dpdkrouter.config.semantics import contradictions
from dpdkrouter.errors import ConfigErrors, Problem

MAX_BYTES = 1 << 20
SHOWN_CHARACTERS = 60

_ERROR_PLACE = re.compile(r" \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)$")


def show(value: object) -> str:
    """A value as it stands in the file, shortened."""
    if isinstance(value, str):
        text = quoted(value)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, dict):
        text = "a table"
    elif isinstance(value, list | tuple):
        text = f"an array of {len(value)}"
    elif isinstance(value, int) and value.bit_length() > 256:
        text = f"a number of {value.bit_length()} bits"
    elif isinstance(value, date | datetime | time):
        text = value.isoformat()
    else:
        text = str(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def _syntax(text: str, filename: str, lines: Lines) -> dict[str, Any]:
    """The document as tomllib reads it."""
    problem = f"must not nest deeper than {MAX_DEPTH}"
    line = lines.too_deep
    if line is None:
        try:
            return tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # beside syntax errors: numbers of thousands of digits
            problem, line = _syntax_error(str(error), text)
    rows = text.split("\n")
    found = show(rows[line - 1].strip()) if line is not None and line <= len(rows) else "no TOML"
    raise ConfigErrors([Problem(filename, line, "TOML", found, problem)])


def _syntax_error(message: str, text: str) -> tuple[str, int | None]:
    place = _ERROR_PLACE.search(message)
    if place is None:
        return message, None
    said = message[: place.start()]
    if place[1] is None:
        return f"{said} at the end of the document", text.rstrip("\n").count("\n") + 1
    return f"{said} at column {place[2]}", int(place[1])


def _unknown(path: KeyPath) -> str:
    """What to say about a key that the schema does not have."""
    table = tuple(part for part in path[:-1] if isinstance(part, str))
    known = tables()[table]
    close = difflib.get_close_matches(str(path[-1]), known, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"unknown key{hint}, must be one of {', '.join(known)}"


def _problem(error: ErrorDetails, filename: str, lines: Mapping[KeyPath, int]) -> Problem | None:
    """What pydantic collected, in our words; None for what only follows from another problem."""
    path, kind, found = error["loc"], error["type"], show(error["input"])
    if kind == "default_factory_not_called":
        return None
    if kind == PROBLEM:
        allowed = str(error["ctx"]["allowed"])
    elif kind == "missing":
        found, allowed = "nothing", "must be given"
    elif kind == "extra_forbidden":
        allowed = _unknown(path)
    elif kind in ("model_type", "dict_type"):
        allowed = "must be a table"
    else:
        allowed = error["msg"]
    return Problem(filename, line_of(lines, path) or 1, render(path), found, allowed)


def _value(data: object, path: KeyPath) -> str:
    """What the document has at a path, ready to print."""
    for part in path:
        if isinstance(data, dict) and part not in data:
            return "nothing"
        data = cast("dict[str | int, object]", data)[part]
    return show(data)


def parse(text: str, filename: str) -> Config:
    """The configuration that a TOML text holds; ConfigErrors lists all problems of a pass."""
    lines = locate(text)
    data = _syntax(text, filename, lines)
    try:
        config = Config.model_validate(data)
    except ValidationError as errors:
        found = (_problem(error, filename, lines.of) for error in errors.errors(include_url=False))
        raise ConfigErrors(problem for problem in found if problem is not None) from None
    config._origin = Origin(filename, lines.of)
    problems = [
        Problem(filename, line_of(lines.of, path) or 1, render(path), _value(data, path), allowed)
        for path, allowed in contradictions(config)
    ]
    if problems:
        raise ConfigErrors(problems)
    return config


def _read(path: str) -> str:
    """The file's text; ConfigErrors when it is no readable, bounded UTF-8 file."""

    def refuse(found: str, allowed: str, line: int | None = None) -> ConfigErrors:
        return ConfigErrors([Problem(path, line, "file", found, allowed)])

    try:
        # not blocking: a FIFO would wait for a writer
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise refuse("something else", "must be a regular file")
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise refuse((reason or str(error)).lower(), "must be a file that can be read") from None
    if len(data) > MAX_BYTES:
        raise refuse(f"more than {MAX_BYTES} bytes", "must be at most 1 MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refuse(f"byte 0x{data[error.start]:02x}", "must be UTF-8 text", line) from None


def load(path: str | os.PathLike[str]) -> Config:
    """Reads and checks a configuration file; ConfigErrors lists the problems, nothing else is raised."""
    name = os.fspath(path)
    return parse(_read(name), name)
