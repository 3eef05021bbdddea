"""The hot path is free of Python: proved on the C that Cython made, and by Cython's own performance hints.

In the generated C each function follows a comment that names its source line. A function whose signature
says `nogil` must hold no call of Python's C-API and no helper of Cython's but plain arithmetic. In the
workers it must not allocate, log or enter the kernel either, but for the idle back-off, one function.
Runs after scripts/setup, which leaves the C in build/release.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from checks.tree import BUILD, ROOT, relative

SOURCE_MARK = re.compile(
    r'/\* "([^"]+)":(\d+)\n(?:[^*]|\*(?!/))*\*/\s*\n(static [^;{}]*?\b__pyx_f_\w+\([^;{}]*\)) \{\n'
)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
CALL = re.compile(r"\b((?:Py|__Pyx_|_Py)\w*)\s*\(|\b(PyGILState_STATE|PyThreadState|PyObject)\b")
# Arithmetic and branch hints that are macros over plain C.
HARMLESS = re.compile(r"__Pyx_(?:mod|div)_\w+|__Pyx_UNREACHABLE|__Pyx_is_nonzero|__Pyx_fits_\w+")
SLOW = re.compile(
    r"\b((?:m|c|re)alloc|free|posix_memalign|mmap|munmap|syscall|ioctl|open|close|read|write|writev|readv|poll|ppoll|"
    r"epoll_wait|select|send|recv|sendto|recvfrom|sendmsg|recvmsg|nanosleep|clock_nanosleep|usleep|sleep|sched_yield|"
    r"pause|printf|fprintf|puts|perror|syslog|abort|exit|rte_(?:zm|m|c|re)alloc\w*|rte_free|rte_log|rte_delay_\w+|"
    r"rte_epoll_wait|pthread_\w+)\s*\("
)
IDLE = "back_off"
"""The one function of a worker that may enter the kernel: it is called on polls that found nothing."""


@dataclass(frozen=True, slots=True)
class Function:
    """One compiled function: where its source is and the C of its body, comments removed."""

    file: str
    line: int
    name: str
    body: str


def functions(code: str) -> Iterator[Function]:
    """The cdef functions of one generated C file."""
    for match in SOURCE_MARK.finditer(code):
        body = code[match.end() : code.index("\n}", match.end())]
        name = re.search(r"__pyx_f_(\w+)\(", match[3])
        assert name is not None
        yield Function(match[1], int(match[2]), name[1], COMMENT.sub("", body))


def signature(lines: list[str], line: int) -> str:
    """The signature that begins at this line (from 1): up to its colon outside brackets."""
    text = ""
    for piece in lines[line - 1 : line + 30]:
        text += piece.split("#")[0] + " "
        if text.count("(") == text.count(")") and text.rstrip().endswith(":"):
            break
    return text


def is_nogil(text: str) -> bool:
    return re.search(r"\)[^)]*\bnogil\s*:\s*$", text) is not None


def complaints_about(function: Function, *, worker: bool) -> list[str]:
    """What a nogil function's C calls that it must not."""
    calls = {match[1] or match[2] for match in CALL.finditer(function.body)}
    bad = {call for call in calls if not HARMLESS.fullmatch(call)}
    if worker and not function.name.endswith("_" + IDLE):
        bad |= {match[1] for match in SLOW.finditer(function.body)}
    where = f"{function.file}:{function.line}"
    return [f"{where}: {function.name} is nogil but its C has {call}" for call in sorted(bad)]


def check_file(code: Path, source: Path, *, worker: bool) -> tuple[list[str], int]:
    """Complaints about one generated file, and how many nogil functions were looked at."""
    found = []
    seen = set()
    for function in functions(code.read_text()):
        # The .pyx is named relative to the build directory, a .pxd relative to the include path.
        path = (BUILD if function.file.startswith("..") else ROOT) / function.file
        path = path.resolve()
        if path.is_file() and is_nogil(signature(path.read_text().splitlines(), function.line)):
            seen.add((path, function.line))
            found += complaints_about(function, worker=worker)
    # Inline functions of a .pxd may be unused and then absent; those of the .pyx must be there.
    lines = source.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if (
            re.match(r"\s*(?:cdef|cpdef)\b[^=]*\(", line)
            and is_nogil(signature(lines, number))
            and (source, number) not in seen
        ):
            found.append(f"{relative(source)}:{number}: not found in {code.name}; unused, or the check misreads it")
    return found, len(seen)


def cython_commands() -> list[dict[str, str]]:
    """How the build calls Cython: one entry a compiled module."""
    ninja = Path(sys.executable).with_name("ninja")
    command = [str(ninja), "-C", str(BUILD), "-t", "compdb"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    entries: list[dict[str, str]] = json.loads(listing[listing.index("[") :])
    return [entry for entry in entries if entry["file"].endswith(".pyx")]


def hints(entry: dict[str, str]) -> list[str]:
    """Cython's performance hints and warnings about one module; -Werror would not fail on a hint."""
    with tempfile.TemporaryDirectory() as folder:
        words = entry["command"].split()
        words[0] = str(Path(sys.executable).with_name("cython"))
        words[words.index("-o") + 1] = str(Path(folder) / "out.c")
        run = subprocess.run(
            [word for word in words if word != "-M"], cwd=BUILD, capture_output=True, text=True, check=False
        )
    lines = (run.stderr + run.stdout).splitlines()
    return [line for line in lines if line.startswith(("performance hint:", "warning:"))]


def cached_hints(entry: dict[str, str], code: Path) -> list[str]:
    """The same, kept beside the generated C for as long as that stays the same: Cython takes seconds."""
    store = code.with_suffix(".hints.json")
    digest = hashlib.sha256(code.read_bytes()).hexdigest()
    if store.is_file():
        kept: dict[str, list[str]] = json.loads(store.read_text())
        if digest in kept:
            return kept[digest]
    found = hints(entry)
    store.write_text(json.dumps({digest: found}))
    return found


def check() -> list[str]:
    if not (BUILD / "build.ninja").is_file():
        return ["build/release is missing; run scripts/setup first"]
    found: list[str] = []
    hinted: set[str] = set()
    for entry in cython_commands():
        source, code = Path(entry["file"]), BUILD / entry["output"]
        if not code.is_file():
            found.append(f"{relative(source)}: not built; run scripts/setup")
            continue
        complaints, _ = check_file(code, source, worker=source.name == "worker.pyx")
        found += complaints
        if str(source) not in hinted:  # a worker's variants say the same
            hinted.add(str(source))
            found += cached_hints(entry, code)
    return list(dict.fromkeys(found))
