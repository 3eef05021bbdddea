"""A scratch copy: the tree, and the installed packages to run it from.

    /tmp/dpdkrouter-mutate-PID/tree    the sources, in which a fault is planted
                              /build   meson's directory: only the modules that a fault concerns are compiled
                              /site    dpdkrouter and fastpath as installed, with the planted file put in

Tests run from the copy with `site` first on PYTHONPATH, so the tree and its .venv are never touched.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from mutation.faults import WORKER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mutation.faults import Fault

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PACKAGES = ("dpdkrouter", "fastpath")
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
COPIED = (*PACKAGES, "tests", "scripts", "docs", "meson.build", "meson_options.txt", "pyproject.toml", "README.md")
TEST_S = 300


class PlantError(Exception):
    """A fault does not compile."""


def misplaced(faults: Iterable[Fault]) -> list[str]:
    """Faults whose line does not stand in its file exactly once."""
    counts = {fault: (ROOT / fault.file).read_text().splitlines().count(fault.old) for fault in faults}
    return [f"{fault.name}: its line stands {n} times in {fault.file}" for fault, n in counts.items() if n != 1]


class Scratch:
    """The copy, below `place`."""

    def __init__(self, place: Path) -> None:
        self._tree, self._build, self._site = place / "tree", place / "build", place / "site"
        self._tree.mkdir(parents=True)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self._tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy2(source, self._tree / name)
        installed = Path(str(importlib.metadata.distribution("dpdkrouter").locate_file("")))
        for package in PACKAGES:
            shutil.copytree(installed / package, self._site / package)
        self._installed = installed

    def plant(self, fault: Fault) -> None:
        """Change the one line and build what it concerns. Raises PlantError."""
        path = self._tree / fault.file
        path.write_text(path.read_text().replace(f"{fault.old}\n", f"{fault.new}\n"))
        if path.suffix == ".py":
            shutil.copy2(path, self._site / fault.file)
        self._compile(self._modules(fault))

    def restore(self, fault: Fault) -> None:
        """Take the fault out again."""
        shutil.copy2(ROOT / fault.file, self._tree / fault.file)
        os.utime(self._tree / fault.file)  # newer than what was built from the planted one
        if fault.file.endswith(".py"):
            shutil.copy2(self._installed / fault.file, self._site / fault.file)
        for module in self._modules(fault):
            shutil.copy2(self._installed / f"{module}{SUFFIX}", self._site / f"{module}{SUFFIX}")

    def test(self, test: str) -> tuple[int, str]:
        """Run a test. Returns pytest's exit code and its output."""
        environment = {**os.environ, "PYTHONPATH": f"{self._site}:{self._tree / 'scripts'}"}
        done = subprocess.run(
            [str(BIN / "pytest"), "-q", "-x", "-p", "no:cacheprovider", "-p", "mutation.quick", test],
            cwd=self._tree, env=environment, capture_output=True, text=True, timeout=TEST_S, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    @staticmethod
    def _modules(fault: Fault) -> list[str]:
        if WORKER not in fault.modules:
            return list(fault.modules)
        from fastpath import probe
        from fastpath._build import VARIANTS

        return [VARIANTS[probe.best_variant()].replace(".", "/")]

    def _compile(self, modules: list[str]) -> None:
        if not modules:
            return
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
        if not self._build.exists():
            self._run("meson", "setup", str(self._build), str(self._tree), environment=environment)
        targets = [f"{module}{SUFFIX}" for module in modules]
        self._run("ninja", "-C", str(self._build), *targets, environment=environment)
        for target in targets:
            shutil.copy2(self._build / target, self._site / target)

    @staticmethod
    def _run(*words: str, environment: dict[str, str]) -> None:
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
        if done.returncode != 0:
            raise PlantError(f"{' '.join(words)}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
