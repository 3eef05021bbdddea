"""Reading files: no file, no UTF-8, no TOML, too large: each a problem with its line, never a traceback."""

import os
from pathlib import Path

import pytest

from dpdkrouter.config.load import MAX_BYTES, load, parse
from dpdkrouter.errors import ConfigErrors, Problem

GOOD = '[[port]]\nname = "a"\ndevice = "net_null0"\n'


def only(path: Path) -> Problem:
    """The one problem of a file."""
    with pytest.raises(ConfigErrors) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.file == str(path)
    return problem


def syntax(text: str) -> tuple[int | None, str, str]:
    """Line, found and allowed of a text that is no TOML."""
    with pytest.raises(ConfigErrors) as caught:
        parse(text, "f")
    (problem,) = caught.value.problems
    assert problem.key == "TOML"
    return problem.line, problem.found, problem.allowed


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text(GOOD)
    assert load(path).ports[0].name == "a"
    assert load(str(path)).filename == str(path)
    path.write_bytes(GOOD.replace("\n", "\r\n").encode() + b"mtu = 70\r\n")
    assert (only(path).line, only(path).key) == (4, "port[0].mtu")


def test_no_file(tmp_path: Path) -> None:
    problem = only(tmp_path / "none")
    assert str(problem) == f"{tmp_path}/none: file: found no such file or directory: must be a file that can be read"
    assert only(Path("a\0b")).allowed == "must be a file that can be read"


def test_no_regular_file(tmp_path: Path) -> None:
    assert only(tmp_path).key == "file"
    os.mkfifo(tmp_path / "fifo")
    assert only(tmp_path / "fifo").allowed == "must be a regular file"  # and does not wait for a writer
    assert only(Path("/dev/zero")).allowed == "must be a regular file"


def test_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_text(GOOD + "#" * (MAX_BYTES - len(GOOD)))
    assert load(path).ports[0].name == "a"
    path.write_text(GOOD + "#" * (MAX_BYTES - len(GOOD) + 1))
    assert (only(path).found, only(path).allowed) == ("more than 1048576 bytes", "must be at most 1 MiB")


def test_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin"
    path.write_bytes(b"# one\n# two \xe9\n")
    assert (only(path).line, only(path).found, only(path).allowed) == (2, "byte 0xe9", "must be UTF-8 text")


@pytest.mark.parametrize(
    ("text", "line", "found", "allowed"),
    [
        ("a = 1\nmtu = = 5\n", 2, '"mtu = = 5"', "Invalid value at column 7"),
        ("a = 1\n\na = 2\n", 3, '"a = 2"', "Cannot overwrite a value"),
        ("[a]\n[a]\n", 2, '"[a]"', "Cannot declare ('a',) twice"),
        ("a = [1,\n2", 2, '"2"', "at the end of the document"),
        ('a = "x\n"', 1, '"a = \\"x"', "Illegal character"),
        ("a = 1\nb\n", 2, '"b"', "Expected '='"),
        ("a = 1\0", 1, '"a = 1\\U00000000"', "Expected newline"),
        ("\ufeffa = 1", 1, '"\\U0000FEFFa = 1"', "Invalid statement at column 1"),
        ("\n\n[" + "a." * 40 + "a]", 3, None, "must not nest deeper than 32"),
        ("a = " + "[" * 50_000, 1, None, "must not nest deeper than 32"),
        ("a = " + "9" * 5000, None, "no TOML", "Exceeds the limit"),
    ],
)
def test_syntax_errors_have_their_line(text: str, line: int | None, found: str | None, allowed: str) -> None:
    where = syntax(text)
    assert where[0] == line
    assert found is None or where[1] == found
    assert allowed in where[2]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("nan", "nan"),
        ("-inf", "-inf"),
        ("1979-05-27T07:32:00Z", "1979-05-27T07:32:00+00:00"),
        ("07:32:00", "07:32:00"),
        ("0x" + "f" * 10_000, "a number of 40000 bits"),
        ('"a\\nb"', '"a\\nb"'),
        ('"' + "x" * 500 + '"', '"' + "x" * 56 + "..."),
        ('"\\u001b[31m"', '"\\U0000001B[31m"'),
        ("{}", "a table"),
    ],
)
def test_any_value_can_be_shown(value: str, shown: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse(f"{GOOD}mtu = {value}\n", "f")
    (problem,) = caught.value.problems
    assert (problem.line, problem.key, problem.found) == (4, "port[0].mtu", shown)
