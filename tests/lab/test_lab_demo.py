"""The demo, as a user starts it: it holds, each way to break it is found, and nothing of it stays.

scripts/demo_lab/topology.py draws the lab
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("/run/netns", "/run/dpdkrouter", "/run/dpdk", "/dev/hugepages", "/dev/shm", "/tmp", "/sys/class/net")
TIMEOUT_S = 240

pytestmark = [pytest.mark.usefixtures("hugepages"), pytest.mark.timeout(TIMEOUT_S + 60)]


def start(*options: str) -> subprocess.Popen[str]:
    """scripts/demo without its set-up, which has been done: these tests run in what it made."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT / 'tests'}"}
    words = [sys.executable, "-P", "-m", "demo_lab", *options]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def leftovers(pid: int) -> list[str]:
    """What carries a demo's pid: files, namespaces, interfaces, processes."""
    found = [str(path) for place in PLACES for path in Path(place).glob("*demo*") if str(pid) in path.name]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"demo-{pid}" in path.read_text():
                found.append(str(path.parent))
        except (OSError, UnicodeDecodeError):
            continue
    return found


def run(*options: str) -> tuple[int, str]:
    """Exit code and output; fails when something stays."""
    demo = start(*options)
    output, _ = demo.communicate(timeout=TIMEOUT_S)
    assert leftovers(demo.pid) == []
    return demo.returncode, output


def read_until(demo: subprocess.Popen[str], text: str) -> str:
    """Output up to a line with `text`."""
    assert demo.stdout is not None
    seen = ""
    for line in demo.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"ended without {text!r}:\n{seen}")


def test_demo_holds() -> None:
    code, output = run("--once")
    assert code == 0, output
    assert " checks hold" in output
    assert "\x1b" not in output


@pytest.mark.parametrize(
    ("kind", "failed"),
    [
        ("bgp", "demo failed: BGP session of west (AS 65001)"),
        ("route", "demo failed: ping host-west -> 198.51.100.138: 0 of 20"),
        ("fastpath", "demo failed: ping host-west -> 198.51.100.138: 0 of 20"),
    ],
)
def test_demo_break_is_found(kind: str, failed: str) -> None:
    code, output = run("--once", "--break", kind)
    assert code == 1, output
    assert failed in output
    assert "router.log" in output  # the log is shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_ends_by_signal_without_a_trace(number: signal.Signals) -> None:
    demo = start("--once")
    read_until(demo, "BGP sessions come up")
    demo.send_signal(number)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 128 + number, output
    assert leftovers(demo.pid) == []


def test_demo_next_start_sweeps_what_a_killed_one_left() -> None:
    killed = start("--once")
    read_until(killed, "BGP sessions come up")
    killed.kill()
    killed.wait(60)  # what it left has its standard output open still
    assert killed.stdout is not None
    killed.stdout.close()
    assert leftovers(killed.pid) != []
    following = start("--once")
    output = read_until(following, "The router starts")
    following.send_signal(signal.SIGTERM)
    following.communicate(timeout=60)
    assert "left by an earlier demo, removed: namespace demo-" in output
    deadline = time.monotonic() + 10
    while (left := leftovers(killed.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []
