"""What the whole router leaves behind when it ends, in order or not: nothing.

west ── eth0 ──── wan0   dpdkrouter   wan1 ──── eth0 ── east
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.harness import Namespace, wait_for
from lab.harness.router import Port, Router, leftovers, port_veth

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("hugepages")

PORTS = (Port("wan0", "192.0.2.1/24", "2001:db8:1::1/64"), Port("wan1", "198.51.100.1/24", "2001:db8:2::1/64"))


@pytest.fixture(scope="module")
def metal() -> Iterator[Namespace]:
    with ExitStack() as stack:
        metal, west, east = (stack.enter_context(Namespace(f"l-{name}")) for name in ("m", "w", "e"))
        port_veth(metal, "wan0", (west, "eth0"))
        port_veth(metal, "wan1", (east, "eth0"))
        yield metal


def _nothing_left(router: Router) -> None:
    assert leftovers(router.name, router.namespace) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_router_leaves_nothing(metal: Namespace, tmp_path: Path, number: signal.Signals) -> None:
    router = Router(metal, tmp_path, PORTS, "", "s")
    try:
        router.start()
        assert leftovers(router.name, router.namespace), "while it runs there is something"
        assert router.stop(number) == 0
        _nothing_left(router)
    finally:
        router.end()


def test_router_stopped_while_it_starts_leaves_nothing(metal: Namespace, tmp_path: Path) -> None:
    router = Router(metal, tmp_path, PORTS, "", "t")
    try:
        router.launch()
        wait_for(lambda: "control" in router.pids(), 20, "its first program")
        assert router.stop() == 0
        _nothing_left(router)
    finally:
        router.end()


def test_router_that_cannot_start_says_why_and_leaves_nothing(metal: Namespace, tmp_path: Path) -> None:
    router = Router(metal, tmp_path, [Port("nowhere", "192.0.2.1/24")], "", "u")
    try:
        router.launch()
        assert router.process is not None
        assert router.process.wait(30) == 2
        assert "nowhere" in router.log.read_text()
        _nothing_left(router)
    finally:
        router.end()


def test_twin_that_cannot_be_made_is_told_in_one_line(metal: Namespace, tmp_path: Path) -> None:
    """In the router's namespace there is a device of the port's name that is somebody else's."""
    router = Router(metal, tmp_path, PORTS, "", "y")
    subprocess.run(["ip", "netns", "add", router.namespace], check=True)
    try:
        subprocess.run(["ip", "-n", router.namespace, "link", "add", "wan0", "type", "veth", "peer", "x"], check=True)
        router.launch()
        wait_for(lambda: "error: device wan0: is a veth" in router.log.read_text(), 60, "its reason in the log")
        router.stop()
        assert "Traceback" not in router.log.read_text()
    finally:
        router.end()  # with the namespace


def test_killed_run_is_cleaned_up_by_the_next(metal: Namespace, tmp_path: Path) -> None:
    """kill -9 of `run` alone: its programs forward on, a second `run` is told so, and the one after them starts."""
    router = Router(metal, tmp_path, PORTS, "", "v")
    try:
        router.start()
        programs = router.pids()
        assert router.process is not None
        router.process.kill()
        router.process.wait()
        assert all(Path(f"/proc/{pid}").exists() for pid in programs.values())
        files = leftovers(router.name, router.namespace)
        router.launch()
        assert router.process.wait(60) == 1
        assert f"dpdkrouter control runs already (pid {programs['control']}" in router.log.read_text()
        assert leftovers(router.name, router.namespace) == files
        for pid in programs.values():
            os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in programs.values()), 10, "their end")
        router.log.write_text("")
        router.start()
        assert router.stop() == 0
        _nothing_left(router)
    finally:
        router.end()


def test_run_that_ends_leaves_the_files_of_a_control_process_that_is_not_its_own(
    metal: Namespace, tmp_path: Path
) -> None:
    router = Router(metal, tmp_path, PORTS, "", "x")
    command = ["nsenter", f"--net=/run/netns/{metal.name}", sys.executable, "-m", "dpdkrouter", "control"]
    try:
        router.start()
        assert router.process is not None
        router.process.send_signal(signal.SIGSTOP)  # it does not start its own again
        router.kill("control")
        with subprocess.Popen([*command, str(router.file)], cwd=tmp_path) as other:
            try:
                wait_for(lambda: router.call("status"), 60, "the other control process")
                router.process.send_signal(signal.SIGTERM)
                assert router.stop(signal.SIGCONT) == 0
                assert f"dpdkrouter control runs already (pid {other.pid}" in router.log.read_text()
                assert router.call("status")["prefixes"]["ipv4"] > 0
                assert router.table()["ipv4"] > 0
            finally:
                other.terminate()
    finally:
        router.end()


def test_crashed_test_leaves_nothing(metal: Namespace, tmp_path: Path) -> None:
    made = Router(metal, tmp_path, PORTS, "", "w")
    with pytest.raises(ZeroDivisionError), made:
        raise ZeroDivisionError
    _nothing_left(made)
