"""Counts what silences a test or a checker, against `ceilings.toml`, whose numbers may only go down.

skip and xfail are counted as names in code (`skip` only when it is pytest's or a mark's), noqa and
type: ignore as comments: text about them is free.
"""

import ast
import io
import re
import subprocess
import tokenize
import tomllib
from collections import Counter

from checks.tree import ROOT, relative, sources

FILE = ROOT / "scripts" / "checks" / "ceilings.toml"
SILENCERS = {
    "skipif": "skip",
    "importorskip": "skip",
    "skipTest": "skip",
    "SkipTest": "skip",
    "skipUnless": "skip",
    "skipIf": "skip",
    "xfail": "xfail",
    "expectedFailure": "xfail",
}
COMMENTS = {
    "noqa": re.compile(r"#\s*(?:ruff:\s*)?(?:noqa|no-cython-lint)\b", re.IGNORECASE),
    "type_ignore": re.compile(r"#\s*(?:type:\s*ignore|mypy:)"),
}


def name_of(node: ast.AST) -> str:
    """The last word of a name or attribute, "" for anything else."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def count_python(text: str) -> Counter[str]:
    """What one Python source silences."""
    counts: Counter[str] = Counter()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Attribute | ast.Name):
            continue
        name = name_of(node)
        if name in SILENCERS:
            counts[SILENCERS[name]] += 1
        elif isinstance(node, ast.Attribute) and name == "skip" and name_of(node.value) in {"pytest", "mark"}:
            counts["skip"] += 1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            counts.update(kind for kind, pattern in COMMENTS.items() if pattern.search(token.string))
    return counts


def count_cython(text: str) -> Counter[str]:
    """The same for Cython, which Python's parser can't read: comments only, tests are Python."""
    return Counter(kind for line in text.splitlines() for kind, p in COMMENTS.items() if p.search(line))


def lowest_committed() -> dict[str, int]:
    """The lowest ceilings that any commit had; empty without git."""

    def git(*arguments: str) -> str:
        command = ["git", f"--git-dir={ROOT / '.git'}", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout

    name = relative(FILE)
    lowest: dict[str, int] = {}
    for commit in git("log", "--format=%H", "--", name).split():
        for kind, number in tomllib.loads(git("show", f"{commit}:{name}")).items():
            lowest[kind] = min(number, lowest.get(kind, number))
    return lowest


def check() -> list[str]:
    ceilings: dict[str, int] = tomllib.loads(FILE.read_text())
    where: dict[str, list[str]] = {kind: [] for kind in ceilings}
    for path in sources(".py", ".pyi", ".pyx", ".pxd"):
        count = count_python if path.suffix in {".py", ".pyi"} else count_cython
        for kind, number in count(path.read_text()).items():
            where[kind] += [relative(path)] * number
    found = [
        f"{relative(FILE)}: {kind} is {ceilings[kind]}, was {lowest} before; it may only go down"
        for kind, lowest in lowest_committed().items()
        if ceilings.get(kind, 0) > lowest
    ]
    for kind, names in where.items():
        if len(names) > ceilings[kind]:
            found.append(f"{kind}: found {len(names)}, at most {ceilings[kind]} allowed: {', '.join(names)}")
    return found
