"""How things look: tables for people, JSON for programs."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType

PIPED_WIDTH = 1000  # a pipe has no width: nothing is cut or wrapped


def show(value: RenderableType) -> None:
    """To standard output; what is piped has neither colours nor blanks at the ends of lines."""
    if sys.stdout.isatty():
        Console(highlight=False).print(value)
        return
    text = io.StringIO()
    Console(file=text, width=PIPED_WIDTH, highlight=False).print(value)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))


def as_json(value: Any) -> None:
    """One JSON document."""
    print(json.dumps(value, indent=2))


def plain(value: Any) -> Text:
    """A value as it is: a peer's words are no markup, and what a terminal would act on is spelt out."""
    text = "" if value is None else str(value)
    return Text("".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text))


def rows(columns: Sequence[str], values: Iterable[Sequence[Any]], *, numbers: Iterable[str] = ()) -> None:
    """A table; the columns named in `numbers` are set to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in set(numbers) else "left", overflow="fold")
    for value in values:
        table.add_row(*map(plain, value))
    show(table)


def facts(values: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    table = Table.grid(padding=(0, 2))
    for name, value in values.items():
        table.add_row(Text(name, style="bold"), plain(value))
    show(table)


def line(text: str) -> None:
    """One line of text."""
    show(plain(text))


def hop(value: Mapping[str, Any]) -> str:
    """A next hop of the API in words."""
    where = " ".join(x for x in (value["address"], f"on {value['port']}" if value["port"] else None) if x)
    return where if value["weight"] == 1 else f"{where} weight {value['weight']}"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    return f"{whole // 3600} h" if whole < 172800 else f"{whole // 86400} d"
