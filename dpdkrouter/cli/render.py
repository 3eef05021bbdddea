"""How things look: tables for people, JSON for programs.

On a terminal a table fits the window, long cells folded. In a pipe nothing is folded or cut, and no line ends with
blanks. What a table shows may have come from a peer (the text of a NOTIFICATION), so no cell is markup and none
reaches the terminal with control characters in it. Tables and JSON lists are printed while they come, CHUNK rows at a
time: a full Internet table is not held in memory.
"""

from __future__ import annotations

import itertools
import json
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

CHUNK = 1000
GAP = "  "


def as_json(value: Any) -> None:
    """One JSON document."""
    print(json.dumps(value, indent=2))


def json_list(values: Iterable[Any]) -> int:
    """A JSON list, a line a value, printed as the values come; how many there were."""
    count = 0
    for count, value in enumerate(values, 1):
        sys.stdout.write(("[\n" if count == 1 else ",\n") + json.dumps(value))
    print("\n]" if count else "[]")
    return count


def rows(columns: Sequence[str], values: Iterable[Sequence[Any]], *, numbers: Iterable[str] = ()) -> int:
    """A table; the columns named in `numbers` are set to the right. How many rows it has."""
    right = [column in set(numbers) for column in columns]
    widths = [len(column) for column in columns]
    left, count = iter(values), 0
    header: list[list[str]] = [list(columns)]
    while (chunk := [[text(one) for one in value] for value in itertools.islice(left, CHUNK)]) or header:
        widths = [max(map(len, cells)) for cells in zip([" " * width for width in widths], *chunk, strict=True)]
        _print_rows(header, chunk, widths, right)
        header, count = [], count + len(chunk)
    return count


def _print_rows(header: list[list[str]], chunk: list[list[str]], widths: list[int], right: list[bool]) -> None:
    if not sys.stdout.isatty():
        for cells in (*header, *chunk):
            aligned = (
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(cells, widths, right, strict=True)
            )
            print(GAP.join(aligned).rstrip())
        return
    console = _console()
    fits = sum(widths) + len(GAP) * len(widths) <= console.width
    table = Table(box=None, pad_edge=False, padding=(0, len(GAP), 0, 0), header_style="bold", show_header=bool(header))
    names = header[0] if header else [""] * len(widths)
    for name, width, to_right in zip(names, widths, right, strict=True):
        table.add_column(
            Text(name), justify="right" if to_right else "left", overflow="fold", min_width=width if fits else None
        )
    for cells in chunk:
        table.add_row(*map(Text, cells))
    console.print(table)


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def text(value: Any) -> str:
    """A value as text that is safe to print: what a terminal would act on is spelt out."""
    shown = "" if value is None else str(value)
    if shown.isprintable():
        return shown
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in shown)


def facts(values: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    width = max(map(len, values))
    for name, value in values.items():
        line(f"{name.ljust(width)}{GAP}{text(value)}")


def line(words: str) -> None:
    """One line of text; a terminal wraps it as it likes."""
    print(text(words))


def note(words: str) -> None:
    """Something to know about what is printed; on standard error, so that it is seen beside JSON too."""
    sys.stdout.flush()
    print(f"note: {text(words)}", file=sys.stderr)


def batches(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """So many columns at a time as a terminal has room for; all of them in a pipe."""
    step = size if sys.stdout.isatty() else max(len(values), 1)
    return (values[i : i + step] for i in range(0, max(len(values), 1), step))


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
