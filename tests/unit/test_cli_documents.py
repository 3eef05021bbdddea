"""docs/cli.md names every command and option of the CLI, and no other command."""

import re
from collections.abc import Iterator
from pathlib import Path

import typer

from dpdkrouter.cli import app
from dpdkrouter.errors import DpdkrouterError

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


def test_every_option_stands_in_its_commands_row() -> None:
    rows = re.findall(r"^\| `(?:dpdkrouter )?.*\|$", DOCUMENT.read_text(), re.MULTILINE)
    for words, options in commands():
        (row,) = [row for row in rows if re.match(rf"\| `(dpdkrouter )?{words}[ `]", row)]
        assert set(re.findall(r"--[a-z-]+", row)) | {"--json", "--help"} == {*options, "--json", "--help"}, row


def test_every_command_but_the_programs_has_json() -> None:
    without = {words for words, options in commands() if "--json" not in options}
    assert without == {"run", "fastpath", "control", "bgp run", "check"}


def test_the_exit_codes_are_those_of_the_errors() -> None:
    paragraph = DOCUMENT.read_text().split("Exit codes: ", 1)[1].split(". An error", 1)[0]
    kinds = [DpdkrouterError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    # 0 is success; 4, nothing found, is no error; 5 are warnings
    assert {int(code) for code in re.findall(r"(?:^|; )(\d) ", paragraph)} == {0, 4, 5} | {
        one.exit_code for one in kinds
    }
