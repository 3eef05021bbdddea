"""scripts/mutate: its faults can be planted; with --full, every one is caught."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mutation.faults import FAULTS
from mutation.scratch import misplaced

ROOT = Path(__file__).resolve().parents[2]


def test_every_fault_has_its_line_and_its_test() -> None:
    assert misplaced(FAULTS) == []
    assert misplaced([FAULTS[0], type(FAULTS[0])("none", FAULTS[0].file, "no such line", "", "")]) == [
        f"none: its line stands 0 times in {FAULTS[0].file}"
    ]
    tests = sorted({fault.test for fault in FAULTS})
    words = [sys.executable, "-P", "-m", "pytest", "--collect-only", "-q", *tests]
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_every_fault_is_caught(hugepages: Path) -> None:
    done = subprocess.run([ROOT / "scripts" / "mutate"], capture_output=True, text=True, timeout=1700, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(FAULTS)} of {len(FAULTS)} faults caught" in done.stdout
