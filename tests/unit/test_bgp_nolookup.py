"""ExaBGP starts without asking a resolver, which the router's namespace need not reach."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Python tells of each question to the resolver before it is asked.
WATCHED = """
import runpy, sys
def seen(event, words):
    if event in ("socket.gethostbyaddr", "socket.getaddrinfo", "socket.gethostbyname"):
        print("asked:", event, file=sys.stderr)
sys.addaudithook(seen)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
OURS = "dpdkrouter.bgp.nolookup"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", WATCHED, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("module", ["exabgp", "dpdkrouter.bgp.tap"])
def test_it_asks_no_resolver(module: str) -> None:
    done = run(OURS, module, "version")
    assert done.returncode == 0, done.stderr
    assert "5.0.15" in done.stdout
    assert "asked" not in done.stderr


def test_by_itself_it_does() -> None:
    assert "asked" in run("exabgp", "version").stderr
