"""The lab harness itself: what it makes works, and nothing stays, even of a test process that was killed.

namespace a                  namespace b
eth0 192.0.2.1/24 -- veth -- eth0 192.0.2.2/24
     2001:db8::1/64               2001:db8::2/64
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.harness import ConditionNotMetError, Namespace, sweep, veth_pair, wait_for
from lab.harness.flood import Flood

_KILLED = """
import os, signal, subprocess
from lab.harness import Namespace
with Namespace("killed") as namespace:
    process = namespace.start("sleep", "1000", stdout=subprocess.DEVNULL)
    print(namespace.name, process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_pair_without_offloads_passes_packets() -> None:
    with Namespace("h-a") as left, Namespace("h-b") as right:
        veth_pair((left, "eth0"), (right, "eth0"))
        left.address("eth0", "192.0.2.1/24", "2001:db8::1/64")
        right.address("eth0", "192.0.2.2/24", "2001:db8::2/64")
        for target in ("192.0.2.2", "2001:db8::2"):
            assert " 0% packet loss" in left.run("ping", "-c1", "-W5", target)
        for namespace in (left, right):
            features = namespace.run("ethtool", "-k", "eth0")
            for feature in ("tx-checksumming", "tcp-segmentation-offload", "generic-receive-offload"):
                assert f"{feature}: off" in features
    assert not Path(f"/run/netns/{left.name}").exists()


def test_a_flood_says_what_is_lost() -> None:
    with Namespace("h-f") as left, Namespace("h-g") as right:
        veth_pair((left, "eth0"), (right, "eth0"))
        left.address("eth0", "192.0.2.1/24", "2001:db8::1/64")
        right.address("eth0", "192.0.2.2/24", "2001:db8::2/64")
        with Flood(left, right, ["192.0.2.2", "2001:db8::2"], 5000, 20_000) as flood:
            right.run("ip", "address", "del", "192.0.2.2/24", "dev", "eth0")
            right.run("ip", "address", "add", "192.0.2.2/24", "dev", "eth0")
        assert 0 < flood.lost < flood.sent
        assert flood.repeated == 0
        inside = sum(after - first for first, after in flood.runs)
        assert 0 < inside <= flood.lost, flood.runs
        with Flood(left, right, ["2001:db8::2"], 5000, 20_000) as flood:
            assert right.run("true") == ""
        assert (flood.lost, flood.runs) == (0, [])


def test_leaving_ends_processes_and_errors_pass() -> None:
    def use_and_fail() -> None:
        with Namespace("h-c") as namespace:
            started.append(namespace.start("sleep", "1000"))
            names.append(namespace.name)
            namespace.run("false")

    started: list[subprocess.Popen[bytes]] = []
    names: list[str] = []
    with pytest.raises(AssertionError, match="false: exit code 1"):
        use_and_fail()
    assert started[0].wait(5) == -9
    assert not Path(f"/run/netns/{names[0]}").exists()


def test_sweep_removes_what_a_killed_process_left() -> None:
    # The sleeping child must not hold the pipe that subprocess.run reads to its end.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", _KILLED], stdout=subprocess.PIPE, text=True, env=environment, check=False
    )
    assert done.returncode == -9
    name, pid = done.stdout.split()
    with Namespace("h-alive") as alive:
        # The first Namespace of this process may have swept already; both ways it is gone after this.
        sweep()
        assert not Path(f"/run/netns/{name}").exists()
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), 5, "the end of the killed process's child")
        assert Path(f"/run/netns/{alive.name}").exists()


def test_wait_for_says_what_was_seen_last() -> None:
    seen = iter(range(1000))

    def never() -> bool:
        raise LookupError(f"only {next(seen)} routes")

    with pytest.raises(ConditionNotMetError, match=r"ten routes: not within 0.2 s; last seen: .*only \d routes"):
        wait_for(never, 0.2, "ten routes")
    assert wait_for(lambda: next(seen), 1, "a number") > 0
