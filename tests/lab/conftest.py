"""After all labs: whatever they did and however they failed, nothing of theirs is left on the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.harness.namespace import PREFIX
from lab.harness.router import NAMES, leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    left = leftovers(f"{NAMES}-{os.getpid()}-") + [
        str(path) for path in Path("/run/netns").glob(f"{PREFIX}-{os.getpid()}-*")
    ]
    assert left == []
