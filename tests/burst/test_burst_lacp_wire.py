"""LACP as it is on the wire: LACPDUs of a running fast path, and another side that a test speaks by hand.

far0 -- port0 | fast path | port1 == bond == net_tap -- member0 -- partner
                                           \\= net_tap -- member1 -- partner
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from scapy.contrib.lacp import LACP, SlowProtocol
from scapy.layers.l2 import Ether

from lab.harness.waiting import wait_for
from planekit.bonded import UP_S, Bonded, bond_of
from planekit.frames import forwarded, frame4, to, udp4
from planekit.lacp import LENGTH, SLOW_PROTOCOLS, WILLING, Partner, State
from planekit.wires import RawSocket, Wires, far_mac, near_mac

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dpdkrouter.segment.states import MemberState

pytestmark = pytest.mark.usefixtures("hugepages")

FLOWS = 64
SYSTEM = bytes.fromhex("0200000005ff")
FAST_LACPDUS = 5
TAPS = tuple(f"net_tap{i},iface=member{i},mac=02:00:00:00:03:0{i}" for i in range(2))


class Lab:
    """A LACP bond over two taps, and its partner."""

    def __init__(self, wires: Wires, bonded: Bonded, far: list[RawSocket]) -> None:
        self.wires, self.bonded, self.far = wires, bonded, far
        self.partner = Partner(SYSTEM, far)

    def until(self, what: str, wanted: Callable[[], bool]) -> None:
        """The partner speaks meanwhile."""

        def there() -> bool:
            self.partner.turn()
            return wanted()

        wait_for(there, UP_S, what, 0.02)

    def until_members(self, what: str, wanted: Callable[[tuple[MemberState, ...]], bool]) -> None:
        def there() -> bool:
            assert wanted(self.bonded.port.members), self.bonded.port.members
            return True

        self.until(what, there)

    def agree(self, *members: int, state: State = WILLING) -> None:
        """These members distribute; default: both."""
        wanted = [not members or member in members for member in (0, 1)]
        self.until("LACPDUs of both members", lambda: all(cable.heard for cable in self.partner.cables))
        self.partner.show(state, *(member for member in (0, 1) if wanted[member]))
        self.until_members("these distribute", lambda found: [m.distributing for m in found] == wanted)
        self.until("the bond's link", lambda: self.bonded.port.link_up)

    def out_of_members(self, frames: list[bytes]) -> list[list[bytes]]:
        """What leaves by each member, of frames that come in by the wire."""
        out: list[list[bytes]] = [[], []]
        self.wires.far[0].send(*frames)

        def arrived() -> bool:
            for some, raw in zip(out, self.far, strict=True):
                some += [frame for frame in raw.received() if frame[12:14] == b"\x08\x00"]
            assert sum(map(len, out)) >= len(frames), [len(some) for some in out]
            return True

        wait_for(arrived, 10, f"{len(frames)} frames out of the bond", 0.01)
        return out

    def close(self) -> None:
        for raw in self.far:
            raw.close()


@contextmanager
def lab(tmp_path: Path, idle: str = "sleep") -> Iterator[Lab]:
    with ExitStack() as stack:
        wires = stack.enter_context(Wires("lacw", 1))
        bond = bond_of(TAPS, "lacp", near_mac(1))
        wire = "net_tap9,iface=tap9" if idle == "interrupt" else "near0"  # net_af_packet has none
        bonded = stack.enter_context(Bonded("lacw", tmp_path, wires.namespace, wire, bond, idle=idle))
        made = Lab(wires, bonded, [RawSocket(wires.namespace, f"member{i}") for i in range(2)])
        stack.callback(made.close)
        yield made
        bonded.accounted()


def flows() -> list[bytes]:
    return [to(4, 1, sport=1000 + i) for i in range(FLOWS)]


def test_what_a_lacpdu_says(tmp_path: Path) -> None:
    """IEEE 802.1AX-2014 6.4.2.3, before anybody answers: the partner is made up, and the bond has no link."""
    with lab(tmp_path) as one:
        one.until("LACPDUs of both members", lambda: all(cable.heard for cable in one.partner.cables))
        first = [cable.heard[0] for cable in one.partner.cables]
        for heard in first:
            frame = Ether(heard.frame)
            assert (frame.dst, frame.type, frame[SlowProtocol].subtype) == (SLOW_PROTOCOLS, 0x8809, 1)
            assert len(heard.frame) == LENGTH
            pdu = frame[LACP]
            kinds = (pdu.version, pdu.actor_type, pdu.partner_type, pdu.collector_type, pdu.terminator_type)
            lengths = (pdu.actor_length, pdu.partner_length, pdu.collector_length, pdu.terminator_length)
            assert (kinds, lengths) == ((1, 1, 2, 3, 0), (20, 20, 16, 0))
            assert pdu.actor_system == near_mac(1).hex(":")
            assert heard.state & (State.ACTIVE | State.AGGREGATION) == State.ACTIVE | State.AGGREGATION
            assert not heard.state & (State.SHORT_TIMEOUT | State.DISTRIBUTING)
        assert first[0].pdu.actor_key == first[1].pdu.actor_key, "one aggregator"
        assert first[0].pdu.actor_port_number != first[1].pdu.actor_port_number
        assert not one.bonded.port.link_up, "nobody is there"


def test_a_partner_that_is_told_the_truth(tmp_path: Path) -> None:
    """Each side says what it hears of the other; flows then use both members, and LACPDUs are no packets received."""
    with lab(tmp_path) as one:
        one.agree()

        def known() -> bool:
            for cable in one.partner.cables:
                last = cable.heard[-1]
                assert last.state & WILLING == WILLING, last.state
                assert last.believed == WILLING, last.believed
                assert (last.pdu.partner_system, last.pdu.partner_port_number) == (SYSTEM.hex(":"), cable.number)
            return True

        one.until("LACPDUs that say so", known)
        assert [m.partner for m in one.bonded.port.members] == [SYSTEM, SYSTEM]
        assert one.bonded.port.rx_packets == 0
        frames = flows()
        out = one.out_of_members(frames)
        assert min(map(len, out)) >= FLOWS // 8, [len(some) for some in out]
        assert sorted(out[0] + out[1]) == sorted(forwarded(frame, 1) for frame in frames)


@pytest.mark.parametrize("idle", ["sleep", "poll", "interrupt"])
def test_a_partner_that_asks_for_the_fast_rate(tmp_path: Path, idle: str) -> None:
    """802.1AX 6.4.16: one LACPDU a second then, from workers without a packet to send, whatever they do meanwhile."""
    with lab(tmp_path, idle) as one:
        one.agree(state=WILLING | State.SHORT_TIMEOUT)
        for cable in one.partner.cables:
            cable.heard = cable.heard[-1:]
            cable.state = None  # an answer to an answer would hurry the other side
        needed = FAST_LACPDUS + 1
        one.until("LACPDUs each second", lambda: all(len(cable.heard) >= needed for cable in one.partner.cables))
        for cable in one.partner.cables:
            gaps = [b.at - a.at for a, b in zip(cable.heard[1:], cable.heard[2:], strict=False)]
            assert sorted(gaps)[len(gaps) // 2] < 10, gaps  # else 30


def test_a_member_that_nobody_answers_on(tmp_path: Path) -> None:
    """It has a link. Nothing leaves by it, and what comes in by it is nobody's (802.1AX 6.2.3)."""
    with lab(tmp_path) as one:
        one.agree(0)
        assert all(member.link_up for member in one.bonded.port.members)
        assert [m.collecting for m in one.bonded.port.members] == [True, False]
        frames = flows()
        assert [sorted(some) for some in one.out_of_members(frames)] == [sorted(forwarded(f, 1) for f in frames), []]
        back = [near_mac(1) + far_mac(1) + frame4(0, udp4("198.18.0.7", sport=1000 + i))[12:] for i in range(8)]
        one.wires.far[0].received()
        one.far[1].send(*back)
        one.far[0].send(*back)
        got: list[bytes] = []

        def arrived() -> bool:
            got.extend(one.wires.far[0].received())
            return len(got) >= len(back)

        wait_for(arrived, 10, "frames by the member that collects", 0.01)
        assert sorted(got) == sorted(forwarded(frame, 0) for frame in back)
        assert one.bonded.port.rx_packets == len(back)


def test_a_member_that_the_partner_takes_out(tmp_path: Path) -> None:
    """Its link stays, and nothing leaves by it until the partner wants it again; the bond has its link while one is in."""
    with lab(tmp_path) as one:
        one.agree()
        one.partner.show(State.ACTIVE | State.AGGREGATION, 1)
        one.until_members("the first alone", lambda members: [m.distributing for m in members] == [True, False])
        assert all(member.link_up for member in one.bonded.port.members)
        frames = flows()
        assert [sorted(some) for some in one.out_of_members(frames)] == [sorted(forwarded(f, 1) for f in frames), []]
        one.partner.show(State.ACTIVE | State.AGGREGATION, 0)
        one.until("no link without a member", lambda: not one.bonded.port.link_up)
        one.partner.show(WILLING, 0, 1)
        one.until_members("both again", lambda members: all(m.distributing for m in members))
        one.until("the bond's link", lambda: one.bonded.port.link_up)
        out = one.out_of_members(frames)
        assert sorted(out[0] + out[1]) == sorted(forwarded(frame, 1) for frame in frames)
