"""Processes that work on the segments while packets pass: one that changes routes, one that scrapes."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchlib.rig import Table
from benchlib.routes import Routes
from benchlib.segment import BenchError

SCRAPES = 10
"""A second."""

STEADY = 0.9
"""A process that is asked for a rate must reach this part of it."""


@contextmanager
def churning(table: Table, routes: Routes, changes: int, core: int, seed: int) -> Iterator[None]:
    """`changes` routes a second, drawn at random among the table's, move between two groups."""
    rng = np.random.default_rng([seed, 21])
    some = routes.take(rng.permutation(len(routes))[:changes])
    with tempfile.NamedTemporaryFile(suffix=".npz") as file, table.lent():
        np.savez(file, hi=some.hi, lengths=some.lengths, groups=some.groups)
        file.flush()
        words = (str(table.path), str(table.stats), file.name, str(changes))
        with _running("benchlib.churn", words, core) as said:
            yield
        _reached("route changes", said, "changes", changes)


@contextmanager
def scraping(table: Table, core: int) -> Iterator[None]:
    """SCRAPES times a second all that a metrics page shows is read."""
    with _running("benchlib.scrape", (str(table.stats), str(table.path), str(SCRAPES)), core) as said:
        yield
    _reached("scrapes", said, "pages", SCRAPES)


def _reached(what: str, said: dict[str, float], key: str, rate: float) -> None:
    """BenchError when the process was too slow: then nothing was measured."""
    if said[key] < rate * said["seconds"] * STEADY - rate / 10 - 1:
        raise BenchError(f"{what}: {said[key]:.0f} in {said['seconds']:.1f} s, {rate:.0f} a second were asked for")


@contextmanager
def _running(module: str, words: tuple[str, ...], core: int) -> Iterator[dict[str, float]]:
    """A process on the other cores; what it says at its end is in the dictionary then."""
    others = sorted(set(range(os.cpu_count() or 1)) - {core}) or [core]
    said: dict[str, float] = {}
    command = ["taskset", "-c", ",".join(map(str, others)), sys.executable, "-P", "-m", module, *words]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != "ready":
            raise BenchError(f"{module} did not start; it ended with {process.wait()}")
        yield said
        out, _ = process.communicate(timeout=60)
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode:
        raise BenchError(f"{module} ended with {process.returncode}")
    said.update(json.loads(out))
