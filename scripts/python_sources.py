"""Prints the Python files of the packages, one a line, relative to the source root, for meson to install.

Called by the root meson.build at configure time: `python_sources.py ROOT PACKAGE...`. meson has no globs, and
a list by hand forgets files.
"""

import sys
from pathlib import Path

SUFFIXES = {".py", ".pyi", ".typed"}


def main(root: Path, packages: list[str]) -> None:
    for package in packages:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in SUFFIXES:
                print(path.relative_to(root))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
