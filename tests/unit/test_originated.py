"""Which prefixes are announced: conditions and redistribution on a real RIB, and what is kept for a restart."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.rib.attributes import Attributes, Kind, NextHop
from dpdkrouter.rib.enums import Source
from dpdkrouter.rib.table import Rib
from dpdkrouter.sources.batch import Origin
from dpdkrouter.sources.originated import Originated, load, save

if TYPE_CHECKING:
    from pathlib import Path

    from dpdkrouter.sources.batch import Network

OURS, OTHER, LAN = (ip_network(prefix) for prefix in ("203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/24"))
HOP = Attributes.via("192.0.2.9")


class Tables:
    """A RIB with connected, static and CLI routes."""

    def __init__(self) -> None:
        self.rib = Rib()
        self.connected, self.static, self.cli = (
            Origin(self.rib, self.rib.add_origin(source)) for source in (Source.CONNECTED, Source.STATIC, Source.CLI)
        )

    def originated(self, conditions: dict[Network, Network | None], *names: str) -> Originated:
        origins = {"connected": self.connected, "static": self.static, "cli": self.cli}
        return Originated(self.rib, conditions, [(name, origins[name]) for name in names])


def test_without_condition() -> None:
    assert Tables().originated({OURS: None}).prefixes() == {OURS: "announce"}


@pytest.mark.parametrize("source", ["connected", "static", "cli"])
def test_condition_comes_and_goes_with_the_route(source: str) -> None:
    tables = Tables()
    made = tables.originated({OURS: OTHER})
    origin: Origin = getattr(tables, source)
    for there in (False, True, False):
        origin.replace({OTHER: Attributes.glean(0)} if there else {})
        tables.rib.decide()
        assert made.prefixes() == ({OURS: "announce"} if there else {})


def test_condition_needs_a_route_in_use() -> None:
    tables = Tables()
    made = tables.originated({OURS: OTHER})
    tables.static.replace({OTHER: HOP})
    tables.rib.decide()
    assert made.prefixes() == {}, "its next hop is not reachable"
    tables.rib.set_next_hop("192.0.2.9", True)
    tables.rib.decide()
    assert made.prefixes() == {OURS: "announce"}


def test_routes_of_bgp_and_covering_ones_fulfil_no_condition() -> None:
    tables = Tables()
    peer = Origin(tables.rib, tables.rib.add_origin(Source.EBGP, peer_address="192.0.2.9"))
    tables.rib.set_next_hop("192.0.2.9", True)
    peer.replace({OTHER: HOP})
    tables.static.replace({ip_network("198.51.0.0/16"): Attributes(kind=Kind.BLACKHOLE)})
    tables.rib.decide()
    assert tables.originated({OURS: OTHER}).prefixes() == {}


def test_redistributed_are_the_best_routes_of_the_sources_named() -> None:
    tables = Tables()
    tables.connected.replace({LAN: Attributes.glean(0), ip_network("192.0.2.1/32"): Attributes(kind=Kind.LOCAL)})
    tables.static.replace({OTHER: Attributes(kind=Kind.BLACKHOLE), LAN: Attributes(kind=Kind.BLACKHOLE)})
    tables.cli.replace({OURS: Attributes((NextHop("192.0.2.9"),)), OTHER: Attributes(kind=Kind.UNREACHABLE)})
    tables.rib.decide()
    assert tables.originated({}).prefixes() == {}
    assert tables.originated({}, "connected").prefixes() == {LAN: "connected"}
    assert tables.originated({}, "static", "cli").prefixes() == {OTHER: "static"}
    tables.rib.set_next_hop("192.0.2.9", True)
    tables.rib.decide()
    assert tables.originated({}, "connected", "static", "cli").prefixes() == {
        LAN: "connected", OTHER: "static", OURS: "cli",
    }  # fmt: skip


def test_what_is_asked_for_is_announced() -> None:
    made = Tables().originated({OURS: OTHER})
    made.asked.add(OURS)
    assert made.prefixes() == {OURS: "announce"}


def test_kept_for_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    assert load(path) == (set(), {})
    save(path, {OURS}, {"192.0.2.9": [str(OTHER)]}, [])
    assert load(path) == ({OURS}, {"192.0.2.9": [str(OTHER)]})


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"asked": ["x"], "told": {}}', '{"asked": [], "told": {"a": ["x"]}}']
)
def test_damaged_file_is_said_and_forgotten(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "kept.json"
    path.write_text(text)
    assert load(path) == (set(), {})
    assert str(path) in caplog.text
