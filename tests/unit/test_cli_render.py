"""How the CLI prints: whole and plain in a pipe, fitted on a terminal, a peer's words never acted on."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from clikit import on_terminal
from dpdkrouter.cli import render

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTILE = ["[/x]", "[red]gone[/red]", "2001:db8:1:a::/64", "2001:abcd::1", ":100:", "\\[b]"]


@pytest.mark.parametrize("words", HOSTILE)
def test_what_looks_like_markup_or_emoji_is_printed_as_it_is(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    render.rows(("column",), [(words,)])
    render.line(words)
    render.facts({"name": words})
    assert capsys.readouterr().out.splitlines() == ["column", words, words, f"name  {words}"]


def test_control_characters_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    words = "a\x1b[2Jb\r\nc\x00\x9b31md\u202ee"
    render.rows(("column",), [(words,)])
    render.line(words)
    render.note(words)
    shown = capsys.readouterr()
    safe = r"a\x1b[2Jb\r\nc\x00\x9b31md\u202ee"
    assert shown.out == f"column\n{safe}\n{safe}\n"
    assert shown.err == f"note: {safe}\n"


def test_a_pipe_gets_whole_cells_and_no_trailing_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    long = " ".join(str(64512 + i) for i in range(1000))
    render.rows(("prefix", "n", "path"), [("192.0.2.0/24", 7, long), ("::/0", 10000, None)], numbers=("n",))
    assert capsys.readouterr().out.splitlines() == [
        "prefix            n  path",
        f"192.0.2.0/24      7  {long}",
        "::/0          10000",
    ]


def test_a_table_without_rows_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    assert render.rows(("a", "b"), []) == 0
    assert capsys.readouterr().out == "a  b\n"


def test_tables_and_lists_are_printed_while_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []

    def values() -> Iterator[tuple[int]]:
        for number in range(3 * render.CHUNK):
            if number == 2 * render.CHUNK:
                seen.append(capsys.readouterr().out)
            yield (number,)

    assert render.rows(("n",), values()) == 3 * render.CHUNK
    assert render.json_list(values()) == 3 * render.CHUNK
    table, listed = seen
    assert len(table.splitlines()) == 2 * render.CHUNK + 1
    assert listed.count("\n") > render.CHUNK


def test_every_row_of_every_chunk_is_there_once(capsys: pytest.CaptureFixture[str]) -> None:
    count = render.CHUNK + 1
    render.rows(("n",), ((number,) for number in range(count)))
    assert capsys.readouterr().out.split() == ["n", *map(str, range(count))]


@pytest.mark.parametrize("values", [[], [1], [{"a": "\x1b"}, {"a": None}]])
def test_a_json_list_is_json(values: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert render.json_list(values) == len(values)
    assert json.loads(capsys.readouterr().out) == values


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119.9, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172799, "47 h"), (172800, "2 d")],
)
def test_durations(seconds: float, words: str) -> None:
    assert render.duration(seconds) == words


def test_help_fits_a_terminal_of_80_columns() -> None:
    shown = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal("route", "--help"))
    assert "lookup" in shown
    assert max(map(len, shown.splitlines())) <= 80
