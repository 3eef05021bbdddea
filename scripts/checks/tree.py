"""Where the project's files are: every check takes its list from here."""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "release"
"""The build directory that scripts/setup uses; it holds the generated C."""
SOURCES = ("dpdkrouter", "fastpath", "scripts", "tests")


def sources(*suffixes: str, under: tuple[str, ...] = SOURCES) -> Iterator[Path]:
    """The project's own files with one of these suffixes, sorted."""
    for top in under:
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in suffixes and path.is_file() and "__pycache__" not in path.parts:
                yield path


def relative(path: Path) -> str:
    """The path as complaints show it."""
    return str(path.relative_to(ROOT))
