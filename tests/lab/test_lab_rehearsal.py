"""The rehearsal of bare metal, as a user starts it: it holds, it says what went wrong, and nothing of it stays.

scripts/rehearsal/__init__.py draws it
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.harness import sweep, wait_for

ROOT = Path(__file__).resolve().parents[2]
HOLDS_S = 2400  # twelve minutes were seen on two cores at a load of 14; emulation suffers most when others compute
END_S = 60
RUNS = "QEMU runs as pid "

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(HOLDS_S + 120)]


def start(*options: str) -> subprocess.Popen[str]:
    """scripts/rehearse without its set-up, which has been done: these tests run in what it made."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT / 'tests'}"}
    words = [sys.executable, "-P", "-m", "rehearsal", *options]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def started(*options: str) -> tuple[subprocess.Popen[str], int]:
    """A rehearsal whose machine boots, and QEMU's pid."""
    rehearsal = start(*options)
    assert rehearsal.stdout is not None
    seen = ""
    for line in rehearsal.stdout:
        seen += line
        if RUNS in line:
            return rehearsal, int(line.split(RUNS)[1].split(",")[0])
    raise AssertionError(f"ended without a machine:\n{seen}")


def leftovers(pid: int) -> list[str]:
    """Namespaces of a rehearsal, and its log directory."""
    names = [str(path) for path in Path("/run/netns").glob(f"rehearse-{pid}-*")]
    return names + [str(path) for path in Path("/tmp").glob(f"dpdkrouter-rehearse-{pid}-*")]


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_rehearsal_holds(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    rehearsal = start("--keep-logs", str(logs))
    output, _ = rehearsal.communicate(timeout=HOLDS_S)
    if rehearsal.returncode != 0:
        for path in sorted(logs.iterdir()):
            print(f"---- {path.name}\n{path.read_text(errors='replace')}")
    assert rehearsal.returncode == 0, output
    assert re.search(r"^\d+ checks hold; ", output, re.MULTILINE)
    assert leftovers(rehearsal.pid) == []
    assert "fastpath: ready" in (logs / "router.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_rehearsal_ends_by_signal_without_a_trace(number: signal.Signals) -> None:
    rehearsal, qemu = started()
    rehearsal.send_signal(number)
    output, _ = rehearsal.communicate(timeout=END_S)
    assert rehearsal.returncode == 128 + number, output
    assert leftovers(rehearsal.pid) == []
    assert not runs(qemu)


def test_rehearsal_that_is_killed_takes_its_machine_with_it(tmp_path: Path) -> None:
    rehearsal, qemu = started("--keep-logs", str(tmp_path))
    rehearsal.kill()
    rehearsal.communicate(timeout=END_S)
    wait_for(lambda: not runs(qemu), END_S, "the end of QEMU")
    assert leftovers(rehearsal.pid) != []
    sweep("rehearse")  # as the next rehearsal does
    assert leftovers(rehearsal.pid) == []


def test_rehearsal_whose_machine_dies_says_so_and_keeps_its_logs() -> None:
    rehearsal, qemu = started("--nics", "e1000e,e1000e")
    os.kill(qemu, signal.SIGKILL)
    output, _ = rehearsal.communicate(timeout=END_S)
    assert rehearsal.returncode == 1, output
    assert "rehearsal failed: QEMU ended with -9" in output
    (kept,) = leftovers(rehearsal.pid)
    assert f"all logs are kept in {kept}" in output
    for path in Path(kept).iterdir():
        path.unlink()
    Path(kept).rmdir()


@pytest.mark.parametrize("nics", ["e1000e", "e1000e,ne2000", "e1000e:2,e1000e", "virtio:9,virtio"])
def test_rehearsal_of_wrong_nics_is_refused(nics: str) -> None:
    rehearsal = start("--nics", nics)
    output, _ = rehearsal.communicate(timeout=END_S)
    assert rehearsal.returncode == 2
    assert f"found '{nics}': an even number of e1000e, e1000, vmxnet3, virtio, with commas" in " ".join(output.split())


def test_rehearsal_does_not_mix_its_logs_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    rehearsal = start("--keep-logs", str(tmp_path))
    output, _ = rehearsal.communicate(timeout=END_S)
    assert rehearsal.returncode == 2
    assert "is not empty" in output
