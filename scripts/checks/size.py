"""No file over 600 lines, no function over 80: in .py, .pyi, .pxd, .pyx and .h.

Python functions are measured by their syntax tree. Cython has none outside its compiler, so there a function
is a signature line and what is indented below it; in a header, a brace at the margin closes it.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from checks.tree import relative, sources

FILE_LINES = 600
FUNCTION_LINES = 80

CYTHON_FUNCTION = re.compile(r"^(\s*)(?:async\s+def|def|cdef|cpdef)\s[^=#]*?(\w+)\s*\(")
NOT_FUNCTION = re.compile(r"^\s*(?:cdef|cpdef)\s+(?:extern|class|struct|enum|union|packed|fused)\b")
HEADER_FUNCTION = re.compile(r"^[a-z].*?\b(\w+)\s*\(")

Function = tuple[int, str, int]
"""Its first line, its name, its number of lines."""


def python_functions(text: str) -> Iterator[Function]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            yield node.lineno, node.name, node.end_lineno - node.lineno + 1


def cython_functions(text: str) -> Iterator[Function]:
    lines = text.splitlines()
    for start, line in enumerate(lines):
        match = CYTHON_FUNCTION.match(line)
        if not match or NOT_FUNCTION.match(line):
            continue
        indent = len(match[1])
        end = start
        depth = 0
        signature = True
        for number, body in enumerate(lines[start:], start):
            if signature:  # a signature may span lines, its closing bracket at the margin
                depth += body.count("(") + body.count("[") - body.count(")") - body.count("]")
                signature = depth > 0
                end = number
            elif body.strip():
                if len(body) - len(body.lstrip()) <= indent:
                    break
                end = number
        yield start + 1, match[2], end - start + 1


def header_functions(text: str) -> Iterator[Function]:
    begin: tuple[int, str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        match = HEADER_FUNCTION.match(line)
        if match and not line.rstrip().endswith((";", "}")):
            begin = number, match[1]
        elif line.startswith("}") and begin:
            yield begin[0], begin[1], number - begin[0] + 1
            begin = None


FUNCTIONS = {
    ".py": python_functions,
    ".pyx": cython_functions,
    ".pxd": cython_functions,
    ".h": header_functions,
}


def complaints_about(name: str, suffix: str, text: str) -> list[str]:
    """What is too long in one file's text."""
    found = []
    lines = len(text.splitlines())
    if lines > FILE_LINES:
        found.append(f"{name}: {lines} lines, at most {FILE_LINES} allowed; split it")
    if suffix in FUNCTIONS:
        found += [
            f"{name}:{line}: {function} has {length} lines, at most {FUNCTION_LINES} allowed; split it"
            for line, function, length in FUNCTIONS[suffix](text)
            if length > FUNCTION_LINES
        ]
    return found


def check() -> list[str]:
    found = []
    for path in sources(".py", ".pyi", ".pyx", ".pxd", ".h"):
        found += complaints_about(relative(path), path.suffix, Path(path).read_text())
    return found
