"""Bonds in a running fast path, over DPDK's own virtual devices.

far0 -- port0 | fast path | port1 == bond == net_tap -- member0
                                           \\= net_tap -- member1     (the kernel's ends, read by raw sockets)
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from clikit import run
from lab.harness.waiting import wait_for
from planekit.bonded import Bonded, bond_of
from planekit.frames import forwarded, to
from planekit.wires import RawSocket, Wires, far_mac, near_mac

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dpdkrouter.segment.states import MemberState

pytestmark = pytest.mark.usefixtures("hugepages")

FLOWS = 64
TAPS = tuple(f"net_tap{i},iface=member{i},mac=02:00:00:00:03:0{i}" for i in range(2))


class Lab:
    """A bond over two taps."""

    def __init__(self, wires: Wires, bonded: Bonded) -> None:
        self.wires = wires
        self.bonded = bonded
        self.far = [RawSocket(wires.namespace, f"member{i}") for i in range(2)]

    def set_link(self, member: int, up: bool) -> None:
        """The cable of a member; returns when the bond knows."""
        self.wires.ip("link", "set", f"member{member}", "up" if up else "down")
        wait_for(lambda: self.bonded.port.members[member].link_up == up, 20, f"link of member {member}", 0.01)

    def send(self, frames: list[bytes]) -> list[list[bytes]]:
        """Send them in by the wire; what came out of each member, once all have."""
        for raw in self.far:
            raw.received()
        self.wires.far[0].send(*frames)
        out: list[list[bytes]] = [[], []]

        def arrived() -> bool:
            for member, raw in enumerate(self.far):
                out[member] += raw.received()
            assert len(out[0]) + len(out[1]) >= len(frames), [len(some) for some in out]
            return True

        wait_for(arrived, 10, f"{len(frames)} frames out of the bond", 0.01)
        return out

    def close(self) -> None:
        for raw in self.far:
            raw.close()


@contextmanager
def lab(tmp_path: Path, mode: str, *more: str, lcores: tuple[int, ...] = (0,)) -> Iterator[Lab]:
    with ExitStack() as stack:
        wires = stack.enter_context(Wires(f"b{mode[:2]}", 1))
        bond = bond_of(TAPS, mode, near_mac(1), *more)
        bonded = stack.enter_context(Bonded(f"b{mode[:2]}", tmp_path, wires.namespace, "near0", bond, lcores=lcores))
        made = Lab(wires, bonded)
        stack.callback(made.close)
        bonded.await_members("both members have a link", lambda members: all(m.link_up for m in members))
        yield made
        bonded.accounted()


def flows(count: int = FLOWS) -> list[bytes]:
    """One frame of each of so many flows."""
    return [to(4, 1, sport=1000 + i) for i in range(count)]


def expected(frames: list[bytes]) -> list[bytes]:
    return sorted(forwarded(frame, 1) for frame in frames)


def active(members: Sequence[MemberState]) -> list[bool]:
    return [member.active for member in members]


# ---- active-backup


def test_active_backup_goes_on_by_the_other_member(tmp_path: Path) -> None:
    with lab(tmp_path, "active-backup") as one:
        frames = flows()
        one.bonded.await_members("the first is in use", lambda members: active(members) == [True, False])
        assert [sorted(some) for some in one.send(frames)] == [expected(frames), []]
        one.set_link(0, False)
        one.bonded.await_members("the second is in use", lambda members: active(members) == [False, True])
        assert [sorted(some) for some in one.send(frames)] == [[], expected(frames)]
        one.set_link(0, True)
        assert active(one.bonded.port.members) == [False, True], "no primary: the one that took over stays in use"
        assert one.bonded.port.members[0].link_changes == 3
        assert one.bonded.port.link_changes == 1, "the bond's own link was never lost"


def test_without_any_member_the_bond_has_no_link(tmp_path: Path) -> None:
    with lab(tmp_path, "active-backup") as one:
        for member in (0, 1):
            one.set_link(member, False)
        one.bonded.await_link(False)
        assert active(one.bonded.port.members) == [False, False]
        one.set_link(1, True)
        one.bonded.await_link(True)
        frames = flows()
        assert [sorted(some) for some in one.send(frames)] == [[], expected(frames)]


def test_the_primary_is_in_use_whenever_it_has_a_link(tmp_path: Path) -> None:
    with lab(tmp_path, "active-backup", 'bond_primary = "net_tap1"') as one:
        one.bonded.await_members("the primary is in use", lambda members: active(members) == [False, True])
        one.set_link(1, False)
        one.bonded.await_members("the other is in use", lambda members: active(members) == [True, False])
        one.set_link(1, True)
        one.bonded.await_members("the primary is in use again", lambda members: active(members) == [False, True])
        frames = flows()
        assert [sorted(some) for some in one.send(frames)] == [[], expected(frames)]


def test_a_backup_member_receives_nothing(tmp_path: Path) -> None:
    """What comes in by it is not read; by the other it is forwarded."""
    with lab(tmp_path, "active-backup") as one:
        back = [near_mac(1) + far_mac(1) + frame[12:] for frame in (to(4, 0, sport=1000 + i) for i in range(8))]
        one.far[1].send(*back)
        one.far[0].send(*back)
        got: list[bytes] = []

        def arrived() -> bool:
            got.extend(one.wires.far[0].received())
            return len(got) >= len(back)

        wait_for(arrived, 10, "frames by the active member", 0.01)
        assert sorted(got) == sorted(forwarded(frame, 0) for frame in back)
        assert one.bonded.port.rx_packets == len(back)


# ---- balance


def test_balance_spreads_flows_over_the_members(tmp_path: Path) -> None:
    """Each flow by one member; all by the other when one is lost."""
    with lab(tmp_path, "balance", lcores=(0, 1)) as one:
        frames = flows()
        out = one.send(frames)
        assert min(map(len, out)) >= FLOWS // 8, [len(some) for some in out]
        assert sorted(out[0] + out[1]) == expected(frames)
        again = one.send(frames * 4)
        assert [set(some) for some in again] == [set(some) for some in out], "a flow keeps its member"
        assert active(one.bonded.port.members) == [True, True]
        one.set_link(1, False)
        one.bonded.await_members("one is left", lambda members: active(members) == [True, False])
        assert [sorted(some) for some in one.send(frames)] == [expected(frames), []]


def test_by_macs_alone_one_next_hop_has_one_member(tmp_path: Path) -> None:
    with lab(tmp_path, "balance", 'bond_policy = "l2"') as one:
        frames = flows()
        assert sorted(len(some) for some in one.send(frames)) == [0, FLOWS]


# ---- what is shown


def test_port_show_names_members_and_their_states(tmp_path: Path) -> None:
    with lab(tmp_path, "active-backup") as one:
        one.bonded.await_members("the first is in use", lambda members: active(members) == [True, False])
        shown, _ = run("-n", one.bonded.process.settings.name, "port", "show")
    rows = [line.split() for line in shown.splitlines()]
    assert ["port1", "net_tap0", "up", "10000", "yes", "-", "-"] in rows, shown
    assert ["port1", "net_tap1", "up", "10000", "no", "-", "-"] in rows, shown
