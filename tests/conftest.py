"""Fixtures for all tests. What a test needs of the machine and does not find is a failure, never a skip.

The tests run against the installed package (scripts/setup installs it). `tests/` and `scripts/` are on the
path: helpers are imported as `lab.harness...`, the checks as `checks...`.
"""

import os
from pathlib import Path

import pytest

POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
HUGEPAGES_NEEDED = 256


@pytest.fixture(scope="session")
def root() -> None:
    """The test creates namespaces, devices or hugepage files."""
    if os.geteuid() != 0:
        pytest.fail("this test needs root; run scripts/test as root")


@pytest.fixture(scope="session")
def hugepages(root: None) -> Path:
    """The hugetlbfs mount; at least 512 MiB of 2 MiB pages were free when the session first asked."""
    mounted = any(
        line.split()[1:3] == ["/dev/hugepages", "hugetlbfs"] for line in Path("/proc/mounts").read_text().splitlines()
    )
    if not mounted:
        pytest.fail("hugetlbfs is not mounted on /dev/hugepages; run scripts/setup")
    free = int((POOL / "free_hugepages").read_text()) - int((POOL / "resv_hugepages").read_text())
    if free < HUGEPAGES_NEEDED:
        pytest.fail(f"found {free} free hugepages of 2 MiB, {HUGEPAGES_NEEDED} are needed; run scripts/setup")
    return Path("/dev/hugepages")
