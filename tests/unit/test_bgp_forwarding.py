"""When peers are told that the forwarding state was kept (RFC 4724 section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpdkrouter.bgp.forwarding import KEPT, SEGMENT, Forwarding
from dpdkrouter.bgp.launcher import kept_families
from dpdkrouter.fib import Fib, Source
from table_model import SMALL, apply, fill_groups

if TYPE_CHECKING:
    from pathlib import Path

ONE, OTHER = "192.0.2.9", "192.0.2.10"


def forwarding(segment: Path, kept: str) -> Forwarding:
    return Forwarding.of({SEGMENT: str(segment), KEPT: kept})


def replace(segment: Path) -> None:
    """Another segment in its place, as a new layout would be."""
    new = segment.with_suffix(".new")
    new.touch()
    new.replace(segment)


def test_first_open_says_what_was_there_before(tmp_path: Path) -> None:
    segment = tmp_path / "routes"
    segment.touch()
    found = forwarding(segment, "ipv6")
    assert found.is_kept(ONE, "ipv6")
    assert not found.is_kept(ONE, "ipv4")
    assert not forwarding(segment, "").is_kept(ONE, "ipv6")


def test_later_opens_say_that_the_segment_is_the_same(tmp_path: Path) -> None:
    segment = tmp_path / "routes"
    segment.touch()
    found = forwarding(segment, "")
    found.established(ONE)
    assert found.is_kept(ONE, "ipv4")
    assert not found.is_kept(OTHER, "ipv4"), "it had no session yet"


def test_another_segment_has_kept_nothing(tmp_path: Path) -> None:
    segment = tmp_path / "routes"
    segment.touch()
    found = forwarding(segment, "ipv4")
    found.established(ONE)
    replace(segment)
    assert not found.is_kept(ONE, "ipv4")
    assert not found.is_kept(OTHER, "ipv4")
    found.established(ONE)
    assert found.is_kept(ONE, "ipv4")
    segment.unlink()
    assert not found.is_kept(ONE, "ipv4")


def test_without_a_segment_nothing_is_kept() -> None:
    assert not Forwarding.of({}).is_kept(ONE, "ipv4")


def test_families_with_routes_by_bgp(tmp_path: Path) -> None:
    path = tmp_path / "routes"
    assert kept_families(None) == []
    assert kept_families(path) == [], "there is no segment"
    fib = Fib.create(path, SMALL, "pop1")
    (group,) = fill_groups(fib, 1)
    apply(fib, 4, [(10 << 24, 8, group)], Source.STATIC)
    assert kept_families(path) == [], "a static route is no sign of a former ExaBGP"
    apply(fib, 6, [(0x2001 << 112, 32, group)], Source.IBGP)
    assert kept_families(path) == ["ipv6"]
    apply(fib, 4, [(10 << 24, 8, group)], Source.EBGP)
    assert kept_families(path) == ["ipv4", "ipv6"]
    fib.close()
