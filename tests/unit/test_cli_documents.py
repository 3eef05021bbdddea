"""docs/cli.md names every command and option of the CLI, and no other command."""

import re
from collections.abc import Iterator
from pathlib import Path

import typer

from dpdkrouter.cli import app

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
_SUBCOMMANDS = "commands"


def commands() -> Iterator[tuple[str, list[str]]]:
    """(`noun verb`, its options) of the whole tree."""

    def walk(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
        below = getattr(command, _SUBCOMMANDS, None)
        if below is None:
            options = [name for parameter in getattr(command, "params", []) for name in parameter.opts]
            yield " ".join(words), [name for name in options if name.startswith("--")]
            return
        for name, one in below.items():
            yield from walk(one, (*words, name))

    return walk(typer.main.get_command(app), ())


def test_every_command_is_documented() -> None:
    text = DOCUMENT.read_text()
    missing = [words for words, _ in commands() if not re.search(rf"`(dpdkrouter )?{words}[ `]", text)]
    assert missing == []


def test_every_option_is_documented() -> None:
    text = DOCUMENT.read_text()
    names = {name for _, options in commands() for name in options if name != "--help"}
    assert sorted(name for name in names if name not in text) == []


def test_no_command_is_invented() -> None:
    known = {words for words, _ in commands()}
    named = re.findall(r"^\| `(?:dpdkrouter )?([a-z ]+?)(?: [\[A-Z-][^`]*)?`", DOCUMENT.read_text(), re.MULTILINE)
    assert named
    assert [words for words in named if words not in known] == []
