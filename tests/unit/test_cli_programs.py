"""`check`, `version`, completion, and the programs' refusals."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from clikit import COMMAND, process, run
from fastpath import _build

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
WRONG = """
[router]
name = "No Name"

[[port]]
name = "wan0"
device = "net_null0"
mtu = 9
"""


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "router.toml"
    path.write_text(WRONG)
    return path


def test_check_says_what_a_good_file_holds() -> None:
    shown = run("check", str(EXAMPLES / "minimal.toml"))[0]
    assert shown.endswith("minimal.toml: ok: router router, 2 ports, 1 static routes, 0 BGP neighbors\n")


@pytest.mark.parametrize("program", [("check", "--here"), ("run",)])
def test_a_device_that_dpdk_cannot_take_is_a_problem_of_its_line(
    root: None, tmp_path: Path, program: tuple[str, ...]
) -> None:
    """A device of this machine that is no NIC: every PC has a host bridge."""
    devices = Path("/sys/bus/pci/devices")
    address = next(d.name for d in sorted(devices.iterdir()) if (d / "class").read_text().startswith("0x06"))
    file = tmp_path / "router.toml"
    file.write_text(f'[[port]]\nname = "wan0"\ndevice = "{address}"\n[fastpath]\nhugepages = false\n')
    lines = [line for line in run(*program, str(file), code=2)[1].splitlines() if "port[0]" in line]
    assert len(lines) == 1
    assert f'{file}:3: port[0].device: found "{address}": must be ready for DPDK: none of the installed' in lines[0]


@pytest.mark.parametrize("program", [("check",), ("run",), ("control",), ("fastpath",), ("bgp", "run")])
def test_every_problem_of_a_file_is_a_line_and_nothing_starts(
    root: None, wrong: Path, program: tuple[str, ...]
) -> None:
    lines = run(*program, str(wrong), code=2)[1].splitlines()
    assert len(lines) == 2
    assert f"{wrong}:3: router.name: found " in lines[0]
    assert f"{wrong}:8: port[0].mtu: found " in lines[1]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert str(tmp_path / "none.toml") in run("check", str(tmp_path / "none.toml"), code=2)[1]


def test_a_simd_level_that_does_not_exist_is_a_usage_error(root: None) -> None:
    error = run("fastpath", str(EXAMPLES / "minimal.toml"), "--simd", "x86-64-v9", code=2)[1]
    assert "x86-64-v9" in error
    assert all(name in error.replace("\n", "") for name in ("auto", "x86-64-v2"))


def test_the_programs_need_root(root: None) -> None:
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    unprivileged = [setpriv, "--reuid=65534", "--clear-groups", *COMMAND]
    done = process("run", str(EXAMPLES / "minimal.toml"), code=1, command=unprivileged)
    assert "error: found user id 65534: the router needs root" in done.stderr


def test_a_command_starts_without_what_only_the_programs_need() -> None:
    """Each of these takes longer to load than a show command takes to run."""
    heavy = ("pydantic", "pydantic_core", "asyncio", "prometheus_client", "pyroute2", "exabgp")
    code = f"import sys, dpdkrouter.cli; print([name for name in {heavy} if name in sys.modules])"
    done = process("-P", "-c", code, command=[sys.executable])
    assert done.stdout == "[]\n"


def test_version() -> None:
    found = json.loads(process("version", "--json").stdout)
    assert found["version"] == _build.VERSION
    assert found["simd_compiled"] == list(_build.VARIANTS)
    assert found["simd_best"] in _build.VARIANTS
    assert f"version        {_build.VERSION}\n" in run("version")[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("dpdkrouter ro", {"route"}),
        ("dpdkrouter route l", {"lookup"}),
        ("dpdkrouter route show --source e", {"ebgp"}),
        ("dpdkrouter bgp routes --family ", {"ipv4", "ipv6"}),
    ],
)
def test_the_shell_completes(words: str, expected: set[str]) -> None:
    script = Path(sys.executable).with_name("dpdkrouter")
    asked = {"_DPDKROUTER_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = process(command=[script], more=asked)
    assert expected <= set(done.stdout.split()), done.stderr
