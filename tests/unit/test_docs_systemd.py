"""The units in docs/examples/systemd start programs that there are, and a restart of BGP is a graceful one."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from clikit import run

UNITS = Path(__file__).resolve().parents[2] / "docs" / "examples" / "systemd"
PRIVATE = {"protectsystem", "privatetmp", "protecthome", "readonlypaths", "privatedevices", "privatenetwork"}


def unit(name: str) -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None, strict=True)
    found.read_string((UNITS / name).read_text())
    return found


@pytest.mark.parametrize("program", ["fastpath", "control", "bgp"])
def test_each_program_has_a_unit(program: str) -> None:
    found = unit(f"dpdkrouter-{program}@.service")
    command, *words, file = found["Service"]["ExecStart"].split()
    assert Path(command).name == "dpdkrouter"
    assert file == "/etc/dpdkrouter/%i.toml"
    assert words == ([program, "run"] if program == "bgp" else [program])
    shown, _ = run(*words, "--help")
    assert "[file]" in shown
    assert found["Service"]["Restart"] == "always"
    assert found["Unit"]["PartOf"] == "dpdkrouter@%i.target"
    assert not PRIVATE & set(found["Service"])
    assert unit("dpdkrouter@.target")["Unit"]["Wants"].split().count(f"dpdkrouter-{program}@%i.service") == 1


def test_a_restart_of_bgp_is_no_stop() -> None:
    assert unit("dpdkrouter-bgp@.service")["Service"]["RestartKillSignal"] == "SIGHUP"
