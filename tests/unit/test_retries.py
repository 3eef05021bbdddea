"""Refused routes find room by themselves: a small table that was full, groups that were short, and what is shown."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from controlkit import MAC
from controlkit import Router as Machine
from dpdkrouter import app
from dpdkrouter.api.methods import Methods
from dpdkrouter.app import Control
from dpdkrouter.fib import Fib
from dpdkrouter.fib.programmer import Programmer
from dpdkrouter.retries import LEAST_S, MOST_S, Retries
from dpdkrouter.rib.attributes import Attributes
from dpdkrouter.rib.enums import Source
from dpdkrouter.rib.nexthops import NextHops
from dpdkrouter.rib.table import Rib
from ribkit import announce, via, withdraw
from table_model import SMALL, segment_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOM = SMALL.max_ipv4_routes
TABLE = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(ROOM - 1)]  # with the connected prefix it is full
MORE = [f"11.0.{n}.0/24" for n in range(20)]
HOP = "192.0.2.9"


class Router:
    """RIB, programmer and a small segment, and what tries refused routes again."""

    def __init__(self, path: Path) -> None:
        self.fib = Fib.open(path, SMALL, "retries")
        self.rib = Rib(asn=65000, router_id=1)
        self.hops = NextHops(self.rib)
        self.programmer = Programmer(self.fib, self.hops)
        self.retries = Retries(self.rib, self.programmer, self.fib)
        self.connected = self.rib.add_origin(Source.CONNECTED)
        self.static = self.rib.add_origin(Source.STATIC)
        announce(self.rib, self.connected, Attributes.glean(0), "192.0.2.0/24")
        self.settle()

    def settle(self) -> None:
        for round_ in self.hops.converge():
            self.programmer.apply(round_)

    def learn(self, *prefixes: str, hop: str = HOP) -> None:
        announce(self.rib, self.static, via(hop), *prefixes)
        self.settle()

    def lose(self, *prefixes: str) -> None:
        withdraw(self.rib, self.static, *prefixes)
        self.settle()

    def retry(self, now: float = 1e6) -> dict[str, int]:
        """One try to its end; what is refused then."""
        for _ in self.retries.steps(now):
            pass
        return self.programmer.refused


@pytest.fixture
def router() -> Iterator[Router]:
    path = segment_path("/dev/shm", "retries")
    router = Router(path)
    yield router
    router.fib.close()
    path.unlink(missing_ok=True)


def test_routes_enter_as_others_leave(router: Router) -> None:
    router.learn(*TABLE)
    assert not router.retries.due(0.0), "nothing is refused"
    router.learn(*MORE)
    assert router.programmer.refused == {"full": len(MORE)}
    assert router.retry(0.0) == {"full": len(MORE)}
    assert not router.retries.due(1e9), "nothing has changed since"
    router.lose(*TABLE[:5])
    assert router.retries.due(1e9)
    assert router.retry() == {"full": len(MORE) - 5}
    assert router.fib.counts()[0] == ROOM
    router.lose(*TABLE[5:])
    assert router.retries.due(1e9)
    assert router.retry() == {}
    assert not router.retries.due(1e9)
    assert router.fib.counts()[0] == 1 + len(MORE)


def test_refused_routes_that_are_withdrawn_are_refused_no_more(router: Router) -> None:
    router.learn(*TABLE)
    router.learn(*MORE)
    router.retry(0.0)
    router.lose(*MORE)
    assert router.retries.due(1e9)
    assert router.retry() == {}


def test_routes_without_a_group_find_one(router: Router) -> None:
    hops = [f"192.0.2.{n}" for n in range(2, 254)] + [f"198.51.100.{n}" for n in range(2, 254)]
    announce(router.rib, router.connected, Attributes.glean(1), "198.51.100.0/24")
    for n, hop in enumerate(hops):
        announce(router.rib, router.static, via(hop), f"10.1.{n >> 8}.{n & 255}/32")
    router.settle()
    short = router.programmer.refused["group"]
    assert 0 < short < len(hops)
    assert router.retry(0.0)["group"] == short
    router.lose(*(f"10.1.{n >> 8}.{n & 255}/32" for n in range(short)))
    router.programmer.release_orphans()
    assert router.retry() == {}
    assert router.fib.reader.lookup(ip_address("10.1.1.200")).group


def test_what_is_refused_while_a_try_goes_on_is_not_forgotten(router: Router) -> None:
    router.learn(*TABLE)
    router.learn(*MORE[:10])
    router.lose(*TABLE[:10])
    steps = router.retries.steps(0.0)
    next(steps)
    assert router.fib.counts()[0] == ROOM
    router.learn(*MORE[10:])
    for _ in steps:
        pass
    assert router.programmer.refused["full"] >= 10
    assert router.retries.due(LEAST_S), "whatever the room is: they may have been tried"
    assert router.retry(1.0) == {"full": 10}


def test_tries_in_vain_become_rarer(router: Router) -> None:
    router.learn(*TABLE)
    router.learn(*MORE)
    now, pauses = 0.0, []
    for n in range(10):
        router.retry(now)
        router.lose(MORE[n])  # fewer want room, but there is none
        begun = now
        while not router.retries.due(now):
            now += 0.5
        pauses.append(now - begun)
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, MOST_S, MOST_S, MOST_S, MOST_S, MOST_S]
    router.lose(TABLE[0])
    router.retry(now)
    router.lose(TABLE[1])
    assert router.retries.due(now + LEAST_S), "one that found room begins anew"


@pytest.mark.usefixtures("root")
def test_status_comes_back_to_nothing_refused_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "RETRY_S", 0.01)
    machine = Machine(tmp_path)
    control = Control(machine.config)
    control.programmer.set_port(0, MAC, 1500)
    control._first_routes()
    methods = Methods(control)
    blocks = control.fib.reader.use()["ipv4_extended"]
    free = blocks.maximum - blocks.used

    async def run() -> None:
        task = asyncio.create_task(control._retry_task())
        for i in range(free + 3):
            methods.route_add({"prefix": f"10.0.{i}.128/25", "type": "blackhole"})
        assert methods.refused() == {"full": 3}
        for i in range(3):
            methods.route_del({"prefix": f"10.0.{i}.128/25"})
        async with asyncio.timeout(60):
            while methods.refused():
                await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(run())
    for i in range(free, free + 3):
        assert control.fib.reader.lookup(ip_address(f"10.0.{i}.129")).prefix == ip_network(f"10.0.{i}.128/25")
    control.fib.close()
    machine.remove()
