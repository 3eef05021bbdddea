"""Policers, RFC 2697: of a port, of rules, and both; a rate so small that the buckets are all there is.

Every policer here has 1,000 bytes of committed burst and 500 of excess, so of frames of 100 bytes ten are green, five
yellow, and the rest red. Ports have one queue each, so one worker and one bucket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from planekit import Plane
from planekit.frames import forwarded, frame4, frame6, udp4, udp6

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BURST = "cir = 1\ncbs = 1000\nebs = 500\n"
TABLES = (
    "".join(f'[[policer]]\nname = "{name}"\n{BURST}' for name in ("port", "rule", "behind"))
    + """
[[policer]]
name = "refills"
cir = 1000000000
cbs = 2000
[[acl]]
name = "rules"
[[acl.rule]]
action = "police"
policer = "rule"
destination = "198.18.2.7"
[[acl.rule]]
action = "police"
policer = "rule"
destination = "2001:db8:18:2::7"
[[acl.rule]]
action = "police"
policer = "refills"
"""
)
FILTERS = ('policer_in = "port"', 'acl_in = "rules"\npolicer_in = "behind"', "")


@pytest.fixture(scope="module")
def running(hugepages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with Plane("pol", tmp_path_factory.mktemp("pol"), whole=True, filters=FILTERS, tables=TABLES) as plane:
        yield plane


def frame(plane: Plane, port: int, family: int, out: int, size: int = 100) -> bytes:
    """Of this size in all, from the far end of `port` to a host behind `out`."""
    if family == 4:
        whole = frame4(port, udp4(f"198.18.{out}.7", bytes(size - 42)))
    else:
        whole = frame6(port, udp6(f"2001:db8:18:{out:x}::7", bytes(size - 62)))
    assert len(whole) == size
    return plane.counters.reader.ports()[port].mac + whole[6:]


def colors(plane: Plane, name: str) -> list[tuple[int, int]]:
    (state,) = [one for one in plane.counters.reader.filters() if one.policer and one.name == name]
    return list(state.counts)


def test_a_ports_policer(plane: Plane) -> None:
    """Both families share it."""
    four, six = frame(plane, 0, 4, 2), frame(plane, 0, 6, 2)
    result = plane.send(0, [four, six] * 10)
    assert (result.moved.forwarded, result.moved.drops) == (15, {"policed": 5})
    assert colors(plane, "port") == [(10, 1000), (5, 500), (5, 500)]
    assert set(result.out[2]) == {forwarded(four, 2), forwarded(six, 2)}


def test_a_rules_policer_and_the_ports_behind_it(plane: Plane) -> None:
    """Two rules share one policer; what it drops costs the port's no tokens; what no rule takes there is denied."""
    frames = [frame(plane, 1, 4, 2), frame(plane, 1, 6, 2)] * 10
    result = plane.send(1, frames)
    assert (result.moved.forwarded, result.moved.drops) == (15, {"policed": 5})
    assert colors(plane, "rule") == [(10, 1000), (5, 500), (5, 500)]
    assert colors(plane, "behind") == [(10, 1000), (5, 500), (0, 0)]
    result = plane.send(1, [frame(plane, 1, 4, 0)])
    assert (result.moved.forwarded, result.moved.drops) == (0, {"policed": 1})
    assert colors(plane, "refills")[0] == (1, 100)
    assert colors(plane, "behind")[2] == (1, 100)


def test_tokens_come_back_at_the_committed_rate(plane: Plane) -> None:
    """A gigabyte a second fills its 2,000 bytes in two microseconds: nothing that this test can send finds it empty."""
    before = colors(plane, "refills")
    frames = [frame(plane, 1, 4, 0, 1000) for _ in range(40)]
    for one in frames:
        plane.send(1, [one])
    after = colors(plane, "refills")
    assert [b[0] - a[0] for a, b in zip(before, after, strict=True)] == [40, 0, 0]


def test_a_port_without_filters_pays_nothing(plane: Plane) -> None:
    frames = [frame(plane, 2, 4, 0)] * 100
    assert plane.send(2, frames).moved.forwarded == 100
