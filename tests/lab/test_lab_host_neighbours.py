"""The kernel's neighbours followed and directed, with a real kernel that answers at the other end.

router p0 192.0.2.1, 2001:db8::1 --cable-- peer p0 192.0.2.9, 2001:db8::9
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.errors import HostError
from dpdkrouter.host.neighbour_table import Neighbour
from dpdkrouter.host.neighbours import Neighbours
from dpdkrouter.host.plan import link_local
from lab.hostlab import PEER_MAC, ROUTER_MAC, Lab, cabled, lab, twin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from dpdkrouter.host.neighbour_table import Key

PEER4, PEER6, NOBODY = ip_address("192.0.2.9"), ip_address("2001:db8::9"), ip_address("192.0.2.66")
PORT = twin("p0", ROUTER_MAC, "192.0.2.1/24", "2001:db8::1/64")


@contextlib.asynccontextmanager
async def following(
    router: Lab,
    in_use: Callable[[Key], bool] = lambda _key: True,
    limit: Mapping[int, int] | None = None,
    refresh_s: float = 30.0,
    receive_bytes: int = 1 << 20,
) -> AsyncIterator[Neighbours]:
    """Neighbours of all the lab's ports, started and closed."""
    neighbours = Neighbours(
        router.name,
        router.taps.indexes(),
        in_use=in_use,
        limit=limit,
        refresh_s=refresh_s,
        receive_bytes=receive_bytes,
    )
    await neighbours.start()
    try:
        yield neighbours
    finally:
        neighbours.close()


async def until(what: str, condition: Callable[[], object], timeout: float = 15.0) -> None:
    """Wait for a condition while the loop runs."""
    deadline = asyncio.get_running_loop().time() + timeout
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {timeout} s: {what}"
        await asyncio.sleep(0.02)


async def told(neighbours: Neighbours, *addresses: object, timeout: float = 10.0) -> dict[object, Neighbour]:
    """Read changes until each of the addresses was in one; the latest of each."""
    seen: dict[object, Neighbour] = {}
    async with asyncio.timeout(timeout):
        while not seen.keys() >= set(addresses):
            seen |= {change.address: change for change in await neighbours.changes()}
    return seen


def macs(neighbours: Neighbours) -> dict[object, bytes | None]:
    """Address to MAC of what is usable."""
    return {neighbour.address: neighbour.mac for neighbour in neighbours.usable()}


def test_resolving_tells_the_mac() -> None:
    async def scenario(router: Lab) -> None:
        async with following(router) as neighbours:
            assert macs(neighbours) == {}
            wanted = [PEER4, PEER6, link_local(PEER_MAC).ip]
            for address in wanted:
                assert neighbours.resolve("p0", address)
            changes = await told(neighbours, *wanted)
            assert {changes[address] for address in wanted} == {Neighbour("p0", a, PEER_MAC) for a in wanted}
            assert all(changes[address].usable for address in wanted)
            assert neighbours.resolving == 0
            assert not neighbours.resolve("p9", PEER4)

    with cabled() as (router, _peer, _cable):
        asyncio.run(scenario(router))


def test_what_the_kernel_knows_is_read_at_start_and_followed() -> None:
    async def scenario(router: Lab) -> None:
        router.ip("neigh", "replace", "192.0.2.7", "lladdr", "02:00:00:00:00:07", "dev", "p0", "nud", "stale")
        async with following(router, in_use=lambda _key: False) as neighbours:
            seven = ip_address("192.0.2.7")
            assert macs(neighbours) == {seven: bytes.fromhex("020000000007")}
            await told(neighbours, seven)
            router.ip("neigh", "replace", "192.0.2.7", "lladdr", "02:00:00:00:00:08", "dev", "p0")
            assert (await told(neighbours, seven))[seven].mac == bytes.fromhex("020000000008")
            router.ip("neigh", "del", "192.0.2.7", "dev", "p0")
            assert not (await told(neighbours, seven))[seven].usable
            assert macs(neighbours) == {}

    with lab("follow") as router:
        router.taps.apply([PORT])
        asyncio.run(scenario(router))


def test_nobody_answers() -> None:
    async def scenario(router: Lab) -> None:
        async with following(router) as neighbours:
            assert neighbours.resolve("p0", NOBODY)
            assert neighbours.resolving == 1
            await until("given up", lambda: neighbours.resolving == 0)
            assert macs(neighbours) == {}
            await until("no failed entry is left", lambda: router.neighbour(str(NOBODY)) == "")

    with cabled() as (router, _peer, _cable):
        asyncio.run(scenario(router))


def test_scan_is_refused_beyond_the_limit() -> None:
    async def scenario(router: Lab) -> None:
        async with following(router, limit={4: 4, 6: 4}) as neighbours:
            accepted = [neighbours.resolve("p0", IPv4Address("192.0.2.100") + i) for i in range(10)]
            assert accepted == [True] * 4 + [False] * 6, "ten at once: none has had its time"
            assert neighbours.resolve("p0", IPv4Address("192.0.2.100"))  # repeating is free
            assert neighbours.counters.refused == 6
            neighbours.manage("p0", PEER4)  # a next hop is resolved all the same
            neighbours.resolve("p0", PEER6)
            await told(neighbours, PEER4, PEER6)
            await until("room again", lambda: neighbours.resolve("p0", NOBODY))

    with cabled() as (router, _peer, _cable):
        asyncio.run(scenario(router))


def test_managed_neighbour_stays_and_comes_back() -> None:
    async def scenario(router: Lab, peer: Lab) -> None:
        async with following(router) as neighbours:
            neighbours.manage("p0", PEER4)
            await told(neighbours, PEER4)
            assert "managed" in router.neighbour("192.0.2.9")
            neighbours.resolve("p0", PEER4)
            neighbours.verify("p0")
            await until("verified", lambda: "REACHABLE" in router.neighbour("192.0.2.9"))
            assert "managed" in router.neighbour("192.0.2.9")
            router.ip("neigh", "flush", "dev", "p0")  # as the collector would; it comes back, and nobody noticed
            await until("managed again", lambda: "REACHABLE" in router.neighbour("192.0.2.9"))
            assert "managed" in router.neighbour("192.0.2.9")
            assert macs(neighbours) == {PEER4: PEER_MAC}

            new_mac = bytes.fromhex("02000000000a")  # the peer's card is replaced; it says so by gratuitous ARP
            await asyncio.to_thread(peer.taps.apply, [twin("p0", new_mac, "192.0.2.9/24", "2001:db8::9/64")])
            assert (await told(neighbours, PEER4))[PEER4].mac == new_mac

            neighbours.unmanage("p0", PEER4)
            assert "managed" not in router.neighbour("192.0.2.9")
            assert macs(neighbours) == {PEER4: new_mac}

    with cabled() as (router, peer, _cable):
        asyncio.run(scenario(router, peer))


def test_peer_that_falls_silent_is_lost_and_found() -> None:
    async def scenario(router: Lab, cut: Callable[[], None], mend: Callable[[], None]) -> None:
        async with following(router) as neighbours:
            neighbours.manage("p0", PEER4)
            neighbours.resolve("p0", PEER6)
            await told(neighbours, PEER4, PEER6)
            cut()
            neighbours.verify("p0")
            lost = await told(neighbours, PEER4, PEER6)
            assert not lost[PEER4].usable
            assert not lost[PEER6].usable
            mend()
            assert (await told(neighbours, PEER4, timeout=20))[PEER4].mac == PEER_MAC  # the kernel asks on

    with cabled() as (router, _peer, cable):
        asyncio.run(scenario(router, cable.cut.set, cable.cut.clear))


def test_nothing_is_lost_while_the_fast_path_is_absent() -> None:
    async def scenario(router: Lab, cut: Callable[[], None], mend: Callable[[], None]) -> None:
        async with following(router) as neighbours:
            neighbours.manage("p0", PEER4)
            neighbours.resolve("p0", PEER6)
            await told(neighbours, PEER4, PEER6)
            cut()
            neighbours.hold()
            neighbours.verify("p0")

            def known() -> list[bool]:
                return [PEER_MAC.hex(":") in router.neighbour(str(address)) for address in (PEER4, PEER6)]

            await until("the kernel gave both up", lambda: known() == [False, False])
            assert macs(neighbours) == {PEER4: PEER_MAC, PEER6: PEER_MAC}
            mend()
            neighbours.release()
            await until("both are back", lambda: known() == [True, True])
            await asyncio.sleep(0)
            assert macs(neighbours) == {PEER4: PEER_MAC, PEER6: PEER_MAC}

    with cabled() as (router, _peer, cable):
        asyncio.run(scenario(router, cable.cut.set, cable.cut.clear))


def test_stale_neighbours_are_asked_again() -> None:
    async def scenario(router: Lab) -> None:
        silent = bytes.fromhex("020000000042")  # nobody has it: its owner went without a word
        for address, mac in ((PEER4, PEER_MAC), (NOBODY, silent), (PEER6, PEER_MAC)):
            router.ip("neigh", "replace", str(address), "lladdr", mac.hex(":"), "dev", "p0", "nud", "stale")
        async with following(router, in_use=lambda _key: False, refresh_s=0.5) as neighbours:
            assert macs(neighbours) == {PEER4: PEER_MAC, NOBODY: silent, PEER6: PEER_MAC}
            await until("verified", lambda: "REACHABLE" in router.neighbour(str(PEER4)))
            await until("the silent one is lost", lambda: NOBODY not in macs(neighbours))
            await until("the other family", lambda: "REACHABLE" in router.neighbour(str(PEER6)))
            assert neighbours.counters.refreshed > 0

    with cabled() as (router, _peer, _cable):
        asyncio.run(scenario(router))


def test_neighbour_taken_by_the_collector_is_resolved_again() -> None:
    async def scenario(router: Lab) -> None:
        async with following(router) as neighbours:
            neighbours.resolve("p0", PEER4)
            await told(neighbours, PEER4)
            # Deleting by hand fails an entry first; the collector, and a device that goes down, only take it.
            router.ip("link", "set", "p0", "down")
            router.ip("link", "set", "p0", "up")
            await until("seen", lambda: neighbours.counters.collected == 1)
            await until("back", lambda: PEER_MAC.hex(":") in router.neighbour(str(PEER4)))
            with pytest.raises(TimeoutError):  # and nobody was told that it was gone
                await asyncio.wait_for(neighbours.changes(), 0.3)
            assert macs(neighbours) == {PEER4: PEER_MAC}

    with cabled() as (router, _peer, _cable):
        asyncio.run(scenario(router))


def test_static_neighbours_are_exact() -> None:
    async def scenario(router: Lab) -> None:
        one, two = bytes.fromhex("02000000000b"), bytes.fromhex("02000000000c")
        router.ip("neigh", "replace", "192.0.2.50", "lladdr", "02:00:00:00:00:0d", "dev", "p0", "nud", "permanent")
        neighbours = Neighbours(router.name, router.taps.indexes())
        neighbours.set_static({("p0", NOBODY): one, ("p0", PEER6): one})
        with pytest.raises(HostError, match="p9"):
            neighbours.set_static({("p9", NOBODY): one})
        await neighbours.start()
        try:
            await until("exactly the static ones", lambda: macs(neighbours) == {NOBODY: one, PEER6: one})
            assert "PERMANENT" in router.neighbour(str(NOBODY))
            router.ip("neigh", "flush", "nud", "permanent", "dev", "p0")
            await until("put back", lambda: "PERMANENT" in router.neighbour(str(NOBODY)))
            neighbours.set_static({("p0", NOBODY): two})
            await until("changed", lambda: macs(neighbours) == {NOBODY: two})
            neighbours.set_static({})
            await until("gone", lambda: macs(neighbours) == {})
            assert router.ip("neigh", "show", "nud", "permanent") == ""
        finally:
            neighbours.close()

    with lab("static") as router:
        router.taps.apply([PORT])
        asyncio.run(scenario(router))


def test_lost_events_are_made_good_by_a_dump() -> None:
    async def scenario(router: Lab) -> None:
        async with following(router, receive_bytes=4096, in_use=lambda _key: False) as neighbours:
            first = IPv4Address("192.0.2.100")
            add, delete = router_batch("replace", first, 60), router_batch("del", first, 30)
            run_batch(router, add)  # the loop stands still meanwhile, so the socket's buffer overflows
            run_batch(router, delete)
            await until("all the others", lambda: set(macs(neighbours)) == {first + i for i in range(30, 60)})
            assert neighbours.counters.overruns > 0
            run_batch(router, router_batch("del", first + 30, 30))
            await until("none", lambda: macs(neighbours) == {})

    with lab("lost") as router:
        router.taps.apply([PORT])
        asyncio.run(scenario(router))


def router_batch(verb: str, first: IPv4Address, count: int) -> str:
    """Lines for `ip -batch`."""
    rest = "lladdr 02:00:00:00:00:07 dev p0 nud stale" if verb == "replace" else "dev p0"
    return "".join(f"neigh {verb} {first + i} {rest}\n" for i in range(count))


def run_batch(router: Lab, lines: str) -> None:
    """All at once, in one process."""
    subprocess.run(["ip", "-n", router.name, "-batch", "-"], input=lines, text=True, check=True, timeout=30)


def test_ports_that_go_lose_their_neighbours() -> None:
    async def scenario(router: Lab) -> None:
        async with following(router) as neighbours:
            router.ip("neigh", "replace", "192.0.2.7", "lladdr", "02:00:00:00:00:07", "dev", "p0", "nud", "stale")
            await told(neighbours, ip_address("192.0.2.7"))
            neighbours.set_ports({})
            assert not (await told(neighbours, ip_address("192.0.2.7")))[ip_address("192.0.2.7")].usable
            neighbours.set_ports(router.taps.indexes())
            assert (await told(neighbours, ip_address("192.0.2.7")))[ip_address("192.0.2.7")].usable

    with lab("ports") as router:
        router.taps.apply([PORT])
        asyncio.run(scenario(router))


def test_port_whose_tap_was_replaced_keeps_its_wishes() -> None:
    async def scenario(router: Lab) -> None:
        async with following(router) as neighbours:
            neighbours.set_static({("p0", NOBODY): PEER_MAC})
            neighbours.manage("p0", PEER4)
            await told(neighbours, NOBODY)
            router.ip("link", "del", "p0")
            await asyncio.to_thread(router.taps.apply, [PORT])
            neighbours.set_ports(router.taps.indexes())
            await until("static again", lambda: "PERMANENT" in router.neighbour(str(NOBODY)))
            await until("managed again", lambda: "managed" in router.neighbour(str(PEER4)))
            await until("told", lambda: macs(neighbours) == {NOBODY: PEER_MAC})

    with lab("again") as router:
        router.taps.apply([PORT])
        asyncio.run(scenario(router))


def test_dump_wanted_while_one_runs() -> None:
    async def scenario(router: Lab) -> None:
        first = IPv4Address("192.0.2.10")
        # Learned from outside, so that they do not count toward the host's limit.
        rest = "lladdr 02:00:00:00:00:07 dev p0 nud stale extern_learn"
        run_batch(router, "".join(f"neigh replace {first + i} {rest}\n" for i in range(240)))
        async with following(router, in_use=lambda _key: False) as neighbours:
            for _ in range(3):
                neighbours.set_ports({})
                neighbours.set_ports(router.taps.indexes())
            await until("all of them", lambda: set(macs(neighbours)) == {first + i for i in range(240)})
            await neighbours.changes()
            assert neighbours.counters.errors == 0

    with lab("dump") as router:
        router.taps.apply([PORT])
        asyncio.run(scenario(router))


def test_close_ends_whoever_waits() -> None:
    async def scenario(router: Lab) -> None:
        async with following(router) as neighbours:
            waiting = asyncio.create_task(neighbours.changes())
            await asyncio.sleep(0)
            neighbours.close()
            assert await asyncio.wait_for(waiting, 5) == []

    with lab("close") as router:
        router.taps.apply([PORT])
        asyncio.run(scenario(router))
