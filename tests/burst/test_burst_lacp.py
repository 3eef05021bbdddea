"""LACP between two fast paths, each with a bond of two members.

    far0 -- port0 | A | port1 == bond == two cables == bond == port1 | B | port0 -- far1

The cables are pairs of memif, or taps joined by kernel bridges that let LACPDUs pass, where a cable can be cut.
"""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from clikit import run
from dpdkrouter.fib import Action, Adjacency, Member
from dpdkrouter.segment import StatsReader
from lab.harness.waiting import wait_for
from planekit.bonded import UP_S, Bonded, bond_of
from planekit.fabric import Fabric
from planekit.frames import frame4, udp4
from planekit.process import FastPathProcess, Settings, instance
from planekit.wires import Wires, far_mac, near_mac

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from dpdkrouter.segment.states import MemberState
    from planekit.process import Bond

pytestmark = pytest.mark.usefixtures("hugepages")

FLOWS = 64
VLAN = 100  # of port2 of both, on the bond
MAC_A, MAC_B = near_mac(1), far_mac(1)


def memif(role: str, folder: Path) -> tuple[str, ...]:
    """One end of both cables; B's connects to A's sockets when it starts."""
    return tuple(f"net_memif{i},role={role},id={i},socket={folder}/m{i}.sock,socket-abstract=no" for i in range(2))


def all_distribute(members: Sequence[MemberState]) -> bool:
    return all(m.link_up and m.active and m.collecting and m.distributing for m in members)


def distributing(members: Sequence[MemberState]) -> list[bool]:
    return [member.distributing for member in members]


class BondAlone(FastPathProcess):
    """A fast path whose one port is the bond."""

    def await_up(self) -> None:
        def there() -> bool:
            with StatsReader(self.paths.stats) as stats:
                (port,) = stats.ports()
            assert port.link_up, port
            return all_distribute(port.members)

        wait_for(there, UP_S, "both members distribute", 0.05)


class Pair:
    """A and B, with routes: 198.18.1.128/25 by the bond and 198.18.2.128/25 by its VLAN, out of B's wire."""

    def __init__(self, wires: Wires, a: Bonded, b: Bonded) -> None:
        self.wires, self.a, self.b = wires, a, b
        tagged = a.fabric.fib.adjacency_create(Adjacency(Action.FORWARD, 2, MAC_B, MAC_A, 1500, b""))
        a.fabric.route("198.18.2.128/25", a.fabric.fib.group_create([Member(tagged)]))
        for number in (1, 2):
            b.fabric.route(f"198.18.{number}.128/25", b.fabric.group_of_port[0])

    def await_up(self) -> None:
        for one in (self.a, self.b):
            one.await_members("both members distribute", all_distribute)

    def pass_frames(self, number: int) -> None:
        """A frame of each flow to 198.18.NUMBER.200 goes all the way."""
        self.wires.drain()
        sent = [frame4(0, udp4(f"198.18.{number}.200", sport=1000 + i)) for i in range(FLOWS)]
        self.wires.far[0].send(*sent)
        got: list[bytes] = []

        def arrived() -> bool:
            got.extend(self.wires.far[1].received())
            return len(got) >= FLOWS

        wait_for(arrived, 10, f"{FLOWS} frames by way of A and B", 0.01)
        assert sorted(frame[34:] for frame in got) == sorted(frame[34:] for frame in sent)
        assert {frame[22] for frame in got} == {62}, "two hops"


@contextmanager
def pair(
    wires: Wires,
    folder: Path,
    bond_a: Bond,
    bond_b: Bond,
    lcores: tuple[int, ...] = (0,),
    join: Callable[[Wires], None] = lambda _: None,
) -> Iterator[Pair]:
    """join: makes the cables, when both run."""
    subs = ((1, 0, VLAN),)
    with (
        Bonded("lacpa", folder, wires.namespace, "near0", bond_a, lcores=lcores, subs=subs) as a,
        Bonded("lacpb", folder, wires.namespace, "near1", bond_b, lcores=lcores, subs=subs) as b,
    ):
        both = Pair(wires, a, b)
        join(wires)
        both.await_up()
        yield both
        a.accounted()
        b.accounted()


def test_two_bonds_agree_and_forward(tmp_path: Path) -> None:
    with ExitStack() as stack:
        wires = stack.enter_context(Wires("lacp", 2))
        bond_a = bond_of(memif("server", tmp_path), "lacp", MAC_A)
        bond_b = bond_of(memif("client", tmp_path), "lacp", MAC_B)
        both = stack.enter_context(pair(wires, tmp_path, bond_a, bond_b, lcores=(0, 1)))
        assert {m.partner for m in both.a.port.members} == {MAC_B}
        assert {m.partner for m in both.b.port.members} == {MAC_A}
        before = both.b.port.rx_packets
        both.pass_frames(1)
        assert both.b.port.rx_packets - before == FLOWS, "LACPDUs are the driver's, and are not counted"
        both.pass_frames(2)
        assert both.b.counters.reader.ports()[2].rx_packets == FLOWS, "tagged frames are the sub-interface's"
        shown, _ = run("-n", both.a.process.settings.name, "port", "show")
        row = ["port1", "net_memif1", "up", "yes", "collecting,distributing", MAC_B.hex(":")]
        rows = [[word for word in line.split() if not word.isdecimal()] for line in shown.splitlines()]
        assert row in rows, shown
        both.b.process.stop()
        both.a.await_link(False)
        assert not any(m.active or m.link_up for m in both.a.port.members)


def test_workers_that_wait_for_interrupts_keep_lacp_up(tmp_path: Path) -> None:
    """A bond has none: a worker that polls one sleeps by the timer, which LACP needs."""
    settings = [
        Settings(instance(f"lac{role[0]}"), (), idle="interrupt", bonds=(bond_of(memif(role, tmp_path), "lacp", mac),))
        for role, mac in (("server", MAC_A), ("client", MAC_B))
    ]
    with ExitStack() as stack:
        running = []
        for one in settings:
            process = BondAlone(one, tmp_path)
            stack.callback(process.paths.stats.unlink, missing_ok=True)
            stack.callback(process.paths.routes.unlink, missing_ok=True)
            stack.enter_context(closing(Fabric(process.paths.routes, (1500, 1500), stats=process.paths.stats)))
            running.append(stack.enter_context(process))
            process.await_ready()
        for process in running:
            process.await_up()


def bridges(wires: Wires) -> None:
    """Two bridges, each with a tap of A and one of B as its ports, which take LACPDUs for frames like any other."""
    for i in range(2):
        wires.ip("link", "add", f"cable{i}", "type", "bridge")
        for end in (f"ta{i}", f"tb{i}"):
            wires.ip("link", "set", end, "master", f"cable{i}")
            wires.ip("link", "set", end, "type", "bridge_slave", "group_fwd_mask", "4")
        wires.ip("link", "set", f"cable{i}", "up")


def cut(wires: Wires, cable: int, *, up: bool) -> None:
    """Both ends lose their link, or get it back."""
    for end in ("ta", "tb"):
        wires.ip("link", "set", f"{end}{cable}", "up" if up else "down")


def test_a_cable_that_is_cut_leaves_the_other(tmp_path: Path) -> None:
    with ExitStack() as stack:
        wires = stack.enter_context(Wires("lact", 2))
        bonds = [
            bond_of(tuple(f"net_tap{i},iface={end}{i},mac=02:00:00:00:0{n}:0{i}" for i in range(2)), "lacp", mac)
            for n, (end, mac) in enumerate((("ta", MAC_A), ("tb", MAC_B)), 3)
        ]
        both = stack.enter_context(pair(wires, tmp_path, bonds[0], bonds[1], join=bridges))
        both.pass_frames(1)
        cut(wires, 0, up=False)
        for one in (both.a, both.b):
            one.await_members("the second alone distributes", lambda members: distributing(members) == [False, True])
        both.pass_frames(1)
        both.pass_frames(2)
        cut(wires, 0, up=True)
        both.await_up()
        both.pass_frames(1)
