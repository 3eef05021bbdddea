"""The line scanner against tomllib: on generated documents both see the same key paths, each on its line."""

import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpdkrouter.config.locate import MAX_DEPTH, KeyPath, line_of, locate, quoted, render

NASTY = '''\
# comment with [table] and "quotes
title = "a # no comment"        # a comment ] } "
"quoted key" = 1
'literal # key' = 2
"" = 3
a.b."c.d".e = { x = 1, y.z = [1, { deep = "}" }] } # }
"esc\\u0061ped" = "\\"] \\\\"
date = 1979-05-27 07:32:00Z
lines = """
[not.a.table]
key = "none" \\""" still
""""
raw = \'\'\'
[[nor.this]] \'\' \\\'\'\'\'
empty = []
array = [ # comment ]
  1, "]",

  [2, [
    3]],
  """x
y""", # after
]

[ spaced . "header" ]   # [x]
k = {}

[[port]]
name = "a"
[port.sub]
x = 1
[[port.list]]
y = 1
[[port.list]]
y = 2
[[port]]
name = "b"

[deep.er]
z = 0
[deep]
w = \'\'
'''

NASTY_LINES: dict[KeyPath, int] = {
    ("title",): 2,
    ("quoted key",): 3,
    ("literal # key",): 4,
    ("",): 5,
    ("a", "b", "c.d", "e", "y", "z", 1, "deep"): 6,
    ("escaped",): 7,
    ("date",): 8,
    ("lines",): 9,
    ("raw",): 13,
    ("empty",): 15,
    ("array",): 16,
    ("array", 0): 17,
    ("array", 1): 17,
    ("array", 2): 19,
    ("array", 2, 1, 0): 20,
    ("array", 3): 21,
    ("spaced", "header"): 25,
    ("spaced", "header", "k"): 26,
    ("port",): 28,
    ("port", 0): 28,
    ("port", 0, "sub"): 30,
    ("port", 0, "list", 0): 32,
    ("port", 0, "list", 1): 34,
    ("port", 0, "list", 1, "y"): 35,
    ("port", 1): 36,
    ("port", 1, "name"): 37,
    ("deep", "er", "z"): 40,
    ("deep",): 41,
    ("deep", "w"): 42,
}


def paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key path of what tomllib read."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, (*path, index))


NAMES = st.sampled_from(["a", "b", "port", "x-1", "3", "a b", "", "é", 'q"', "#", "a.b", "[x]", "back\\slash", "n\nl"])
SPACES = st.sampled_from(["", " ", "\t "])
BREAKS = st.sampled_from(["", " ", "\n", " # c ]}\"'\n", "\n\n  "])
SCALARS = st.sampled_from(
    [
        "1",
        "-0x1f".replace("-", ""),
        "1_000.5e3",
        "inf",
        "true",
        "1979-05-27 07:32:00",
        "07:32:00",
        '""',
        "''",
        '"a # b ] } = \\" \\\\"',
        "'[x] # \\'",
        '"""one"""',
        '"""\n[table]\nk = 1 \\"""\n"" """',
        '"""two quotes at the end"""""',
        "''''quote'''",
        "'''\n[[x]]\n'' # '''''",
        '"""\\\n   folded"""',
    ]
)


def spell(name: str, style: int) -> str:
    """A key, bare where it can be, else quoted in one of TOML's two ways."""
    if style == 0 and name.isascii() and name.replace("-", "").isalnum():
        return name
    if style == 1 and "'" not in name and "\n" not in name:
        return f"'{name}'"
    return quoted(name)


@st.composite
def keys(draw: st.DrawFn, parts: int = 3) -> str:
    names = draw(st.lists(NAMES, min_size=1, max_size=parts))
    spelled = [spell(name, draw(st.integers(0, 2))) for name in names]
    dot = draw(SPACES) + "." + draw(SPACES)
    return dot.join(spelled)


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(inner, max_size=3))
    body = "".join(f"{draw(BREAKS)}{item}{draw(BREAKS)}," for item in items)
    last_comma = draw(st.booleans())
    if items and not last_comma:
        body = body[:-1]
    return f"[{body}{draw(BREAKS)}]"


@st.composite
def inline_tables(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    pairs = [f"{draw(SPACES)}{draw(keys(2))} = {draw(inner)}" for _ in range(draw(st.integers(0, 3)))]
    return "{" + ",".join(pairs) + draw(SPACES) + "}"


VALUES = st.recursive(SCALARS, lambda inner: st.one_of(arrays(inner), inline_tables(inner)), max_leaves=6)


@st.composite
def statements(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 6))
    tail = draw(st.sampled_from(["", ' # comment [x] = "', "\n", "\n\n#\n"]))
    if kind == 0:
        return f"[{draw(SPACES)}{draw(keys())}{draw(SPACES)}]{tail}"
    if kind == 1:
        return f"[[{draw(SPACES)}{draw(keys())}{draw(SPACES)}]]{tail}"
    return f"{draw(SPACES)}{draw(keys())}{draw(SPACES)}={draw(SPACES)}{draw(VALUES)}{tail}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A document that tomllib accepts: statements that it does not take are left out."""
    text = ""
    for statement in draw(st.lists(statements(), min_size=1, max_size=10)):
        try:
            tomllib.loads(text + statement + "\n")
        except ValueError:
            continue
        text += statement + "\n"
    return text


@settings(max_examples=400, deadline=None)
@given(documents(), st.sampled_from(["\n", "\r\n"]))
def test_paths_are_those_of_tomllib(text: str, newline: str) -> None:
    found = locate(text.replace("\n", newline))
    assert found.too_deep is None
    assert set(found.of) == set(paths(tomllib.loads(text)))


@settings(max_examples=200, deadline=None)
@given(documents())
def test_a_line_holds_the_end_of_its_path(text: str) -> None:
    rows = text.split("\n")
    for path, line in locate(text).of.items():
        last = path[-1]
        if isinstance(last, str):
            spellings = {spell(last, style) for style in range(3)}
            assert any(spelling in rows[line - 1] for spelling in spellings), (path, line)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="[]{}=.,\"'\\#\n\r\t ab1\ud800", max_size=60))
def test_any_text_ends_without_error(text: str) -> None:
    last = text.count("\n") + 1
    assert all(1 <= line <= last for line in locate(text).of.values())


@settings(max_examples=200, deadline=None)
@given(documents(), st.data())
def test_a_cut_document_keeps_the_lines_before_the_cut(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text)))
    whole, part = locate(text).of, locate(text[:cut]).of
    before = text[:cut].count("\n") + 1
    tables = {path for path, line in whole.items() if any(p[: len(path)] == path and p != path for p in whole)}
    for path, line in whole.items():
        if line < before and path not in tables:
            assert part[path] == line


def test_a_nasty_document_has_the_paths_of_tomllib() -> None:
    assert set(locate(NASTY).of) == set(paths(tomllib.loads(NASTY)))


@pytest.mark.parametrize(("path", "line"), NASTY_LINES.items(), ids=lambda value: str(value))
def test_a_nasty_document_has_right_lines(path: KeyPath, line: int) -> None:
    assert locate(NASTY).of[path] == line


def test_an_unknown_path_has_its_tables_line() -> None:
    lines = locate(NASTY).of
    assert line_of(lines, ("port", 1, "mtu")) == 36
    assert line_of(lines, ("port", 1, "a", 7, "b")) == 36
    assert line_of(lines, ("nowhere", 3)) is None


@pytest.mark.parametrize(
    "text",
    [
        "\n\n" + ".".join("a" * (MAX_DEPTH + 1)) + " = 1",
        "\n\n[" + ".".join("a" * (MAX_DEPTH + 1)) + "]",
        "\n\na = " + "[" * 100_000,
        "\n\na = " + "{a=" * 100_000,
        "\n\n" + ".".join("a" * 400_000) + " = 1",
    ],
    ids=["key", "header", "arrays", "inline tables", "a key that would fill memory"],
)
def test_nesting_too_deep_is_found_at_once(text: str) -> None:
    assert locate(text).too_deep == 3


def test_nesting_at_the_limit_is_read() -> None:
    text = ".".join("a" * MAX_DEPTH) + " = 1"
    assert locate(text).too_deep is None
    assert set(locate(text).of) == set(paths(tomllib.loads(text)))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("port", 1, "addresses", 0), "port[1].addresses[0]"),
        (("bgp", "neighbor", 2, "asn"), "bgp.neighbor[2].asn"),
        (("a b", ""), '"a b".""'),
        (('q"\n\x7f',), '"q\\"\\n\\U0000007F"'),
    ],
)
def test_a_path_is_written_as_people_do(path: KeyPath, text: str) -> None:
    assert render(path) == text
