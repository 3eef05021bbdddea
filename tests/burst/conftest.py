"""A fast path with two workers and three ports a module; after every test the counters' invariants hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from planekit import Plane

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def running(
    hugepages: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Plane]:
    name = request.module.__name__.rpartition("_")[2]
    with Plane(name, tmp_path_factory.mktemp(name)) as plane:
        yield plane


@pytest.fixture
def plane(running: Plane) -> Iterator[Plane]:
    """The module's fast path; what a test sends is accounted for when it ends."""
    yield running
    assert running.counters.snapshot().wrong() == []
