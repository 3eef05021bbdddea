"""The launcher's parts that need no ExaBGP running; the rest is in tests/lab/test_lab_bgp.py."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from dpdkrouter.bgp import helper, launcher
from dpdkrouter.bgp.configuration import BgpPeer, BgpSettings
from dpdkrouter.config.paths import InstancePaths
from dpdkrouter.errors import AlreadyRunningError, BgpError


def test_the_installed_version_is_the_pinned_one() -> None:
    launcher.check_version()
    assert importlib.metadata.version("exabgp") == launcher.EXABGP_VERSION


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "EXABGP_VERSION", "4.2.21")
    with pytest.raises(BgpError, match=r"exabgp 5\.0\.15 is installed .* 4\.2\.21 is needed: pip install"):
        launcher.check_version()


def test_environment_holds_no_setting_that_we_did_not_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("exabgp.api.ack", "true")
    monkeypatch.setenv("exabgp_tcp_port", "1790")
    monkeypatch.setenv("EXABGP_ETC", "/tmp")
    found = launcher.environment(launcher.LaunchSettings(Path("/run"), None, BgpSettings(()), "INFO"))
    chosen = {name: value for name, value in found.items() if name.lower().startswith("exabgp")}
    assert chosen["exabgp_api_ack"] == "false"
    assert chosen["exabgp_log_level"] == "INFO"
    assert not {"exabgp.api.ack", "exabgp_tcp_port", "EXABGP_ETC"} & set(chosen)
    assert "PATH" in found


def test_exabgp_by_itself_claims_no_forwarding_state_that_was_not_kept() -> None:
    def peer(address: str, *families: str) -> BgpPeer:
        return BgpPeer(address, 65001, "192.0.2.1", 65000, "192.0.2.1", families)

    peers = (peer("192.0.2.9", "ipv4"), peer("192.0.2.10", "ipv4", "ipv6"), peer("2001:db8::9", "ipv6"))
    for kept, times in (([], (0, 0, 0)), (["ipv4"], (120, 0, 0)), (["ipv4", "ipv6"], (120, 120, 120))):
        found = launcher.without_claims(BgpSettings(peers), kept)
        assert tuple(one.restart_time for one in found.peers) == times
        assert [one.address for one in found.peers] == [one.address for one in peers]


def test_a_lock_file_left_by_a_dead_process_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "bgp.lock"
    path.write_text("999999\n")
    with launcher._lock(path):
        assert path.read_text().strip().isdecimal()
        with pytest.raises(AlreadyRunningError, match="runs already"), launcher._lock(path):
            pass
        assert path.exists()
    assert not path.exists()


def test_helper_command_is_absolute(tmp_path: Path) -> None:
    settings = launcher.LaunchSettings(tmp_path, None, BgpSettings(()), buffer_bytes=helper.FRAME_LIMIT + 1)
    command = launcher.helper_command(settings, "json")
    assert command[1:3] == ("-I", "-S")
    assert Path(command[3]).is_file()
    assert command[4:] == (
        str(tmp_path / "bgp.sock"),
        str(tmp_path / "bgp.helper"),
        str(helper.FRAME_LIMIT + 1),
        "json",
        str(InstancePaths("r", tmp_path, tmp_path, tmp_path, tmp_path).announced),
        "60",
    )
    assert launcher.helper_command(settings, "tap")[6:8] == (str(helper.FRAME_LIMIT), "tap")
