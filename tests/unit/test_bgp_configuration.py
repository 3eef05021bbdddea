"""The rendered configuration, read by the real ExaBGP."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dpdkrouter.bgp.configuration import BgpPeer, BgpSettings, render
from dpdkrouter.errors import BgpError

if TYPE_CHECKING:
    from pathlib import Path

HELPER = ("/bin/cat", "-u", "/tmp/a b;c {x}")
PEER = BgpPeer("192.0.2.9", 65001, "192.0.2.1", 65000, "192.0.2.1")
SIX = BgpPeer("2001:db8::9", 4200000000, "2001:DB8:0::1", 65000, "192.0.2.1", families=("ipv4", "ipv6"), passive=True)

_READ = """
import json, sys
from exabgp.environment import getenv
getenv().log.enable = False
from exabgp.logger import log
log.init(getenv())
from exabgp.configuration.configuration import Configuration
found = Configuration([sys.argv[1]])
if not found.reload():
    sys.exit(str(found.error))
print(json.dumps({
    "processes": {name: process["run"] for name, process in found.processes.items()},
    "neighbors": [{
        "peer": str(n["peer-address"]), "local": str(n["local-address"]),
        "asn": n["peer-as"], "local_asn": n["local-as"],
        "router_id": str(n["router-id"]), "description": n["description"],
        "passive": n["passive"], "hold": n["hold-time"],
        "manual_eor": n["manual-eor"], "in": n["adj-rib-in"], "out": n["adj-rib-out"],
        "families": [f"{afi} {safi}" for afi, safi in n.families()],
        "restart": n["capability"]["graceful-restart"], "add_path": n["capability"]["add-path"],
        "refresh": n["capability"]["route-refresh"], "extended": n["capability"]["extended-message"],
        "update_to": n.api["receive-update"], "changes_to": n.api["neighbor-changes"],
    } for n in found.neighbors.values()],
}))
"""


def read_by_exabgp(tmp_path: Path, *peers: BgpPeer) -> Any:
    path = tmp_path / "bgp.conf"
    path.write_text(render(BgpSettings(peers), HELPER), encoding="ascii")
    validated = subprocess.run(
        [sys.executable, "-m", "exabgp", "validate", "-nr", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert validated.returncode == 0, validated.stderr
    done = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_exabgp_reads_what_was_meant(tmp_path: Path) -> None:
    found = read_by_exabgp(tmp_path, replace(PEER, hold_time=9, restart_time=0), replace(SIX, add_path_receive=True))
    assert found["processes"] == {"control": list(HELPER)}
    first, second = found["neighbors"]
    assert first == {
        "peer": "192.0.2.9",
        "local": "192.0.2.1",
        "asn": 65001,
        "local_asn": 65000,
        "router_id": "192.0.2.1",
        "description": "",
        "passive": False,
        "hold": 9,
        "manual_eor": True,
        "in": False,
        "out": True,
        "families": ["ipv4 unicast"],
        "restart": False,
        "add_path": 0,
        "refresh": True,
        "extended": True,
        "update_to": ["control"],
        "changes_to": ["control"],
    }
    assert (second["peer"], second["local"], second["asn"]) == ("2001:db8::9", "2001:db8::1", 4200000000)
    assert second["families"] == ["ipv4 unicast", "ipv6 unicast"]
    assert (second["passive"], second["restart"], second["add_path"]) == (True, 120, 1)


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        ("transit #1; {a} [b], c", "transit #1; {a} [b], c"),
        ('a"; } process evil { run /bin/sh; } neighbor', "a\u201d; } process evil { run /bin/sh; } neighbor"),
        ("it's \\n \\\\ \\", "it\u2019s \u29f5n \u29f5\u29f5 \u29f5"),
        ("line\n}\r\n\t\0end", "line }   end"),
        ("Z\u00fcrich \u65e5\u672c \U0001f600 \udc80", "Z\u00fcrich \u65e5\u672c ?  "),
    ],
)
def test_description_can_hold_anything(tmp_path: Path, description: str, shown: str) -> None:
    found = read_by_exabgp(tmp_path, replace(PEER, description=description), SIX)
    assert list(found["processes"]) == ["control"]
    assert [neighbor["description"] for neighbor in found["neighbors"]][1] == ""
    assert " ".join(str(found["neighbors"][0]["description"]).split()) == " ".join(shown.split())


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        (replace(PEER, address="192.0.2.9; }"), "address '192.0.2.9; }' is not an IP address"),
        (replace(PEER, address="fe80::1%wan0"), "without a zone"),
        (replace(PEER, local_address="2001:db8::1"), "local_address 2001:db8::1 is of the other family"),
        (replace(PEER, router_id="2001:db8::1"), "router id 2001:db8::1"),
        (replace(PEER, asn=0), "asn 0 is out of range"),
        (replace(PEER, local_asn=1 << 32), "local asn 4294967296 is out of range"),
        (replace(PEER, hold_time=2), "hold_time 2; allowed: 0 or 3 to 65535"),
        (replace(PEER, restart_time=4096), "restart_time 4096 is out of range"),
        (replace(PEER, families=("ipv4", "l2vpn")), "allowed: ipv4, ipv6"),
        (replace(PEER, families=()), "allowed: ipv4, ipv6"),
    ],
)
def test_bad_values_are_refused(peer: BgpPeer, said: str) -> None:
    with pytest.raises(BgpError) as caught:
        render(BgpSettings((peer,)), HELPER)
    assert said in str(caught.value)


def test_the_same_neighbour_twice_is_refused() -> None:
    with pytest.raises(BgpError, match="2001:db8::9 is given twice"):
        render(BgpSettings((SIX, replace(SIX, address="2001:DB8:0:0::9"))), HELPER)


@pytest.mark.parametrize("path", ['/tmp/"', "/tmp/'", "/tmp/\\", "/tmp/\n", "/tmp/\u00fc"])
def test_a_helper_path_that_exabgp_cannot_read_is_refused(path: str) -> None:
    with pytest.raises(BgpError, match="plain ASCII"):
        render(BgpSettings((PEER,)), ("/bin/cat", path))


def test_password_and_ttl_security() -> None:
    peer = BgpPeer("192.0.2.9", 65001, "192.0.2.1", 65000, "192.0.2.1", password="s3cret#;{}", ttl_security=2)
    text = render(BgpSettings((peer,)), ("helper",))
    assert '    md5-password "s3cret#;{}";\n' in text
    assert "    incoming-ttl 254;\n    outgoing-ttl 255;\n" in text


@pytest.mark.parametrize("password", ["a b", 'a"b', "a'b", "a\\b", "\x7f", "\u00e4", "x" * 81])
def test_password_that_exabgp_would_read_differently(password: str) -> None:
    peer = BgpPeer("192.0.2.9", 65001, "192.0.2.1", 65000, "192.0.2.1", password=password)
    with pytest.raises(BgpError, match="printable ASCII") as caught:
        render(BgpSettings((peer,)), ("helper",))
    assert password not in str(caught.value)
