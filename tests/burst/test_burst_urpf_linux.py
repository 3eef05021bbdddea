"""Unicast RPF beside Linux's rp_filter: the same IPv4 sources, routes and ports, strict and loose.

    port 0: urpf = "strict", rp_filter = 1    port 1: urpf = "loose", rp_filter = 2    port 2: where they all go

IPv6 has no rp_filter to compare with.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.fib import Action, Member
from planekit import Plane
from planekit.fabric import Special
from planekit.frames import frame4, udp4
from planekit.linux import LinuxRouter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STRICT, LOOSE = 0, 1
# Names of sources, and the sources.
SOURCES = {
    "behind port 0": "198.18.0.5",
    "behind port 1": "198.18.1.5",
    "behind port 2": "198.18.2.5",
    "on the link of port 0": "10.0.0.77",
    "on the link of port 1": "10.0.1.77",
    "behind ports 0 and 1": f"198.19.{Special.ECMP}.5",
    "blackhole": f"198.19.{Special.BLACKHOLE}.5",
    "unreachable": f"198.19.{Special.UNREACHABLE}.5",
    "prohibit": f"198.19.{Special.PROHIBIT}.5",
    "an address of port 0": "10.0.0.1",
    "an address of port 2": "10.0.2.1",
    "nowhere": "203.0.113.9",
}
DEFAULTS = (None, 0, 1)  # the port by which a default route leaves, where there is one
# (port received on, source, default route's port): to Linux any default route is a route (RFC 3704 2.4), to ours none
# counts when loose (2.5): it would make every source a good one.
DIFFERENT = {(LOOSE, "nowhere", 0), (LOOSE, "nowhere", 1)}


@pytest.fixture(scope="module")
def running(hugepages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with Plane("rpf", tmp_path_factory.mktemp("rpf"), filters=('urpf = "strict"', 'urpf = "loose"')) as plane:
        for port in range(3):
            plane.fabric.route(
                f"10.0.{port}.0/24",
                plane.fabric.fib.group_create([Member(plane.fabric.adjacency(Action.GLEAN, port))]),
            )
        yield plane


@pytest.fixture(scope="module")
def linux(hugepages: Path) -> Iterator[LinuxRouter]:
    with LinuxRouter("rpf", (1500, 1500, 1300)) as router:
        router.set_rp_filter(0, 1)
        router.set_rp_filter(1, 2)
        router.add_route(f"198.19.{Special.ECMP}.0/24", 0, 1)
        yield router


@contextmanager
def default_route(plane: Plane, linux: LinuxRouter, port: int | None) -> Iterator[None]:
    """In both routers, or in neither."""
    if port is None:
        yield
        return
    fib = plane.fabric.fib
    group = fib.group_create([Member(plane.fabric.forward[port])])
    fib.default_group_set(4, group)
    plane.fabric.route("0.0.0.0/0", group)
    linux.add_route("0.0.0.0/0", port)
    try:
        yield
    finally:
        linux.delete_route("0.0.0.0/0")
        plane.fabric.route("0.0.0.0/0", 0)
        fib.default_group_set(4, 0)
        fib.group_release(group)


@pytest.mark.parametrize("leaves_by", DEFAULTS)
@pytest.mark.parametrize("port", [STRICT, LOOSE])
def test_same_as_rp_filter_but_for_default_routes(
    plane: Plane, linux: LinuxRouter, port: int, leaves_by: int | None
) -> None:
    passed = []
    differing = set()
    with default_route(plane, linux, leaves_by):
        for name, source in SOURCES.items():
            frame = frame4(port, udp4("198.18.2.7", src=source))
            result = plane.send(port, [frame])
            ours = [(2, out) for out in result.out[2]]
            theirs = linux.exchange(port, frame)
            if ours != theirs:
                differing.add((port, name, leaves_by))
                assert (ours, len(theirs)) == ([], 1), f"only ours may be the stricter one: {name}"
            if ours:
                passed.append(name)
            else:
                assert result.moved.drops == {"urpf_strict" if port == STRICT else "urpf_loose": 1}
    assert differing == {case for case in DIFFERENT if case[0] == port and case[2] == leaves_by}
    assert "behind port 0" in passed
    assert "blackhole" not in passed
