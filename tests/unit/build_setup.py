"""scripts/setup: wrong use is refused with a message; a second run does nothing."""

import os
import subprocess
from pathlib import Path

import pytest

from checks.tree import ROOT

SETUP = ROOT / "scripts" / "setup"
NOBODY = 65534


def test_unknown_option_is_refused() -> None:
    run = subprocess.run([SETUP, "--hugepages=3"], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == "setup: unknown option --hugepages=3; allowed: --no-hugepages\n"


@pytest.mark.usefixtures("root")
def test_without_root_it_says_what_to_do() -> None:
    # By descriptor: the tree may lie below a folder that only root may enter.
    descriptor = os.open(SETUP, os.O_RDONLY)
    try:
        run = subprocess.run(
            ["bash", f"/proc/self/fd/{descriptor}"],
            pass_fds=[descriptor],
            user=NOBODY,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(descriptor)
    assert run.returncode == 1
    assert run.stderr.startswith("setup: needs root")
    assert "sudo" in run.stderr


@pytest.mark.usefixtures("root")
def test_second_run_finds_nothing_to_do() -> None:
    run = subprocess.run([SETUP, "--no-hugepages"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.usefixtures("root")
def test_it_leaves_no_policy_file_of_its_own() -> None:
    policy = Path("/usr/sbin/policy-rc.d")
    assert not policy.with_name("policy-rc.d.before-dpdkrouter").exists()
    assert not policy.exists() or "dpdkrouter" not in policy.read_text()
