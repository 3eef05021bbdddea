"""How commands end: a line a problem, nothing started, no traceback; quietly when the reader or the user leaves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from controlkit import Router, command

DPDKROUTER = (sys.executable, "-P", "-m", "dpdkrouter")
WRONG = '[router]\nname = "A"\nx = 1\n\n[[port]]\nname = "wan0"\ndevice = "net_null0"\nmtu = 1\n'
PROGRAMS = (("run",), ("fastpath",), ("control",), ("bgp", "run"))
# All modules are there before the rights go: the tree may lie where only root reads.
UNPRIVILEGED = """
import os, sys
import dpdkrouter.app, dpdkrouter.bgp.launcher, dpdkrouter.bgp.settings, dpdkrouter.dataplane.process, dpdkrouter.run
from dpdkrouter.cli import main
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
sys.argv = ["dpdkrouter", *sys.argv[1:]]
main()
"""


def ended(*words: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own; one that goes on is told to end, so that `run` removes what it made."""
    with subprocess.Popen([*DPDKROUTER, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            output, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.terminate()
            raise
    return subprocess.CompletedProcess(words, process.returncode, output, errors)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("words", [("check",), *PROGRAMS], ids=" ".join)
def test_a_wrong_configuration_is_exit_code_2_with_every_problem_on_a_line(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = tmp_path / "router.toml"
    file.write_text(WRONG)
    found = ended(*words, str(file))
    assert (found.returncode, found.stdout) == (2, "")
    lines = found.stderr.splitlines()
    assert [line.split(": ")[1:3] for line in lines] == [
        [f"{file}:2", "router.name"],
        [f"{file}:3", "router.x"],
        [f"{file}:8", "port[0].mtu"],
    ]
    assert all(line.startswith("error: ") for line in lines)


@pytest.mark.usefixtures("root")
def test_run_checks_the_machine_and_starts_nothing(tmp_path: Path) -> None:
    name = f"none-{os.getpid()}"
    file = tmp_path / "router.toml"
    ports = "".join(
        f'[[port]]\nname = "{port}"\ndevice = "net_af_packet{number},iface=none{number}"\n'
        for number, port in enumerate(("wan0", "wan1"))
    )
    file.write_text(f'[router]\nname = "{name}"\n[fastpath]\nhugepages = false\n[metrics]\nlisten = ""\n{ports}')
    assert command("check", str(file)).code == 0
    for words in (("run",), ("check", "--here")):
        found = ended(*words, str(file))
        assert (found.returncode, found.stdout) == (2, "")
        assert [line.split(": ")[2] for line in found.stderr.splitlines()] == ["port[0].device", "port[1].device"]
    places = [Path(place) for place in ("/run/dpdkrouter", "/run/dpdk", "/run/netns", "/dev/shm", "/dev/hugepages")]
    assert [path for place in places if place.is_dir() for path in place.iterdir() if name in path.name] == []


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("words", PROGRAMS, ids=" ".join)
def test_a_program_says_that_it_needs_root(words: tuple[str, ...]) -> None:
    found = subprocess.run(
        [sys.executable, "-P", "-c", UNPRIVILEGED, *words, "/nonexistent"], capture_output=True, text=True, timeout=60
    )
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == ("error: found user id 65534: the router needs root for hugepages, devices and namespaces\n")


def test_bgp_alone_is_the_program() -> None:
    """With the default configuration, which no test machine has: so it is the same error as that of `bgp run`."""
    assert not Path("/etc/dpdkrouter/router.toml").exists()
    alone, verb = command("bgp"), command("bgp", "run")
    assert alone == verb
    assert (alone.code, alone.err.split(": ")[:2]) == (2, ["error", "/etc/dpdkrouter/router.toml"])


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    process = subprocess.Popen([*DPDKROUTER, "version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 1
    process.stderr.close()


@pytest.mark.usefixtures("root")
def test_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    """While it waits for an answer that does not come."""
    router = Router(tmp_path)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
            silent.bind(str(router.paths.api_socket))
            silent.listen()
            silent.settimeout(60)
            process = subprocess.Popen(
                [*DPDKROUTER, "--name", router.name, "bgp", "summary"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                # where tests run in the background of a shell SIGINT is ignored, and ignored it would stay
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            asked, _ = silent.accept()
            with asked:
                assert b"bgp.summary" in asked.recv(1 << 12)
                process.send_signal(signal.SIGINT)
                output, errors = process.communicate(timeout=60)
        assert (process.returncode, output, errors) == (130, "", "")
    finally:
        router.remove()
