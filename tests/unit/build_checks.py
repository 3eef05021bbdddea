"""The checks find what they are for: each is given a source with one fault, and the same without it."""

import subprocess
import sys
from pathlib import Path

import pytest

from checks import ceilings, completeness, hotpath, size, vectors
from checks.tree import BUILD

CLEAN = """
cdef int add(int a, int b) noexcept nogil:
    return a + b


def call(a: int) -> int:
    return add(a, 1)
"""
FAULTS = {
    "gil": ("    with gil:\n        print(a)\n", "PyGILState_STATE"),
    "object": ("    with gil:\n        [].append(a)\n", "PyObject"),
    "malloc": ("    malloc(a)\n", "malloc"),
    "sleep": ("    usleep(a)\n", "usleep"),
}
EXTERN = """
cdef extern from "stdlib.h" nogil:
    void *malloc(size_t n) noexcept
cdef extern from "unistd.h" nogil:
    int usleep(unsigned n) noexcept
"""


def complaints(folder: Path, source: str, *, worker: bool = True) -> list[str]:
    """What the hot-path check says about this Cython source."""
    path = folder / "sample.pyx"
    path.write_text(source)
    cython = Path(sys.executable).with_name("cython")
    command = [str(cython), "-3", str(path), "-o", str(folder / "sample.c")]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    code = (folder / "sample.c").read_text()
    lines = source.splitlines()
    return [
        complaint
        for function in hotpath.functions(code)
        if hotpath.is_nogil(hotpath.signature(lines, function.line))
        for complaint in hotpath.complaints_about(function, worker=worker)
    ]


def test_hotpath_accepts_plain_arithmetic(tmp_path: Path) -> None:
    assert complaints(tmp_path, EXTERN + CLEAN) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_hotpath_finds(tmp_path: Path, fault: str) -> None:
    lines, call = FAULTS[fault]
    source = EXTERN + CLEAN.replace("    return a + b", lines + "    return a + b")
    found = complaints(tmp_path, source)
    assert any(line.endswith(f"its C has {call}") for line in found), found


def test_hotpath_lets_only_the_idle_back_off_enter_the_kernel(tmp_path: Path) -> None:
    body = EXTERN + "cdef void NAME() noexcept nogil:\n    usleep(1)\n\ndef call() -> None:\n    NAME()\n"
    assert complaints(tmp_path, body.replace("NAME", "back_off")) == []
    assert len(complaints(tmp_path, body.replace("NAME", "other"))) == 1
    assert complaints(tmp_path, body.replace("NAME", "other"), worker=False) == []


def test_hotpath_finds_a_missing_noexcept(tmp_path: Path) -> None:
    source = tmp_path / "sample.pyx"
    entry = {"command": f"cython -3 {source} -o x.c", "file": str(source), "output": "x.c"}
    source.write_text("cdef void add(int a) nogil:\n    pass\n\ndef call() -> None:\n    with nogil:\n        add(1)\n")
    assert any("performance hint" in line for line in hotpath.hints(entry))
    source.write_text(source.read_text().replace("(int a) nogil", "(int a) noexcept nogil"))
    assert hotpath.hints(entry) == []


def test_vectors_finds_a_loop_that_is_not_vectorised() -> None:
    for variant, command in vectors.commands().items():
        assert vectors.missing(variant, command) == []
        scalar = [*command[:-2], "-fno-tree-vectorize", *command[-2:]]
        assert "plain4" in vectors.missing(variant, scalar)


def test_vectors_reads_wider_ones_from_wider_variants() -> None:
    widths = {variant: vectors.vectorised(command)["plain4"] for variant, command in vectors.commands().items()}
    assert widths == {"v2": 16, "v3": 32, "v4": 64, "v4p": 64}


def test_hotpath_overlooks_no_function_of_the_worker() -> None:
    entries = [entry for entry in hotpath.cython_commands() if entry["file"].endswith("/worker.pyx")]
    assert entries
    for entry in entries:
        found, seen = hotpath.check_file(BUILD / entry["output"], Path(entry["file"]), worker=True)
        assert found == []
        declared = Path(entry["file"]).read_text().count("noexcept nogil:")
        assert seen >= declared


def function(head: str, lines: int, comment: str = "    pass") -> str:
    return "\n".join([head, *[comment] * (lines - 1), ""])


@pytest.mark.parametrize(
    ("suffix", "head"),
    [
        (".py", "def long():"),
        (".pyx", "cdef int long(int a) noexcept nogil:"),
        (".pyx", "    def long(self):"),
        (".pxd", "cdef inline uint16_t long(uint8_t *p) noexcept nogil:"),
    ],
)
def test_size_finds_a_long_function(suffix: str, head: str) -> None:
    inner = "        pass" if head.startswith(" ") else "    pass"
    whole = function(head, size.FUNCTION_LINES, inner)
    assert size.complaints_about("x", suffix, whole) == []
    longer = function(head, size.FUNCTION_LINES + 1, inner)
    assert len(size.complaints_about("x", suffix, longer)) == 1


def test_size_finds_a_long_function_in_a_header() -> None:
    head, body = "static inline int long_one(int a)\n{\n", "    a++;\n"
    assert size.complaints_about("x", ".h", head + body * 77 + "}\n") == []
    assert len(size.complaints_about("x", ".h", head + body * 78 + "}\n")) == 1


def test_size_measures_no_extern_block_or_struct() -> None:
    block = "cdef extern from 'a.h' nogil:\n" + "    int f(int a)\n" * 90
    assert size.complaints_about("x", ".pxd", block) == []


def test_size_finds_a_long_file() -> None:
    assert size.complaints_about("x", ".pyi", "\n" * size.FILE_LINES) == []
    assert len(size.complaints_about("x", ".pyi", "\n" * (size.FILE_LINES + 1))) == 1


def test_ceilings_count_code_and_comments_but_no_text() -> None:
    marks = "import pytest\n@pytest.mark.skipif(True)\n@pytest.mark.xfail\n"
    marks += "def f(): pytest.skip('a'); scanner.skip(2)\n"
    comments = "a = 1  # " + "type: ignore[x]\nb = 2  # " + "noqa: E501\n"
    text = '"""skip, xfail, # ' + "noqa, # " + 'type: ignore"""\n'
    assert ceilings.count_python(marks + comments + text) == {
        "skip": 2,
        "xfail": 1,
        "type_ignore": 1,
        "noqa": 1,
    }
    assert ceilings.count_cython("x = 1  # " + "no-cython-lint\n") == {"noqa": 1}


def test_ceilings_never_rose() -> None:
    assert [line for line in ceilings.check() if "may only go down" in line] == []


@pytest.mark.parametrize(
    ("kind", "item", "text", "expected"),
    [
        ("drop", "ipv4_source", "test_drop_ipv4_source()", False),
        ("drop", "ipv4_source", "count['ipv4_source'] == 1", True),
        ("drop", "ipv4_source", "`ipv4_source_route`", False),
        ("command", "route show", "dpdkrouter route show --all", True),
        ("command", "route show", 'run("route", "show")', True),
        ("command", "route show", "route, then show", False),
        ("metric", "dpdkrouter_port_rx_packets", "dpdkrouter_port_rx_packets_total{", True),
        ("config", "hold_time", "hold_time = 90", True),
        ("config", "time", "hold_time = 90", False),
    ],
)
def test_completeness_knows_a_name_when_it_sees_it(kind: str, item: str, text: str, expected: bool) -> None:
    assert completeness.named(kind, item, text) is expected


def test_completeness_lists_come_from_the_program() -> None:
    assert "version" in completeness.cli_commands()
    assert {"no_route", "ttl_expired"} <= completeness.drop_reasons()
