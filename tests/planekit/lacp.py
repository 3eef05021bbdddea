"""LACP spoken by hand over raw sockets: the other side of a bond, one that does as a test says.

IEEE 802.1AX-2014: LACPDU 6.4.2.3, states 6.4.2.3 figure 6-8. Scapy takes LACPDUs apart and puts them together.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import IntFlag
from typing import TYPE_CHECKING

from scapy.contrib.lacp import LACP, SlowProtocol
from scapy.layers.l2 import Ether

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planekit.wires import RawSocket

SLOW_PROTOCOLS = "01:80:c2:00:00:02"
LENGTH = 124  # of a LACPDU's frame, without its check sequence


class State(IntFlag):
    """An actor's state, or what it believes its partner's to be."""

    ACTIVE = 1
    SHORT_TIMEOUT = 2
    AGGREGATION = 4
    SYNCHRONIZATION = 8
    COLLECTING = 16
    DISTRIBUTING = 32
    DEFAULTED = 64
    EXPIRED = 128


WILLING = State.ACTIVE | State.AGGREGATION | State.SYNCHRONIZATION | State.COLLECTING | State.DISTRIBUTING


@dataclass
class Heard:
    """A LACPDU that came out of a member, and when."""

    at: float
    frame: bytes

    @property
    def pdu(self) -> LACP:
        return Ether(self.frame)[LACP]

    @property
    def state(self) -> State:
        return State(self.pdu.actor_state)

    @property
    def believed(self) -> State:
        """What it takes our state for."""
        return State(self.pdu.partner_state)


@dataclass
class Cable:
    """One member's other end: the state it shows, None when it is silent, and all it heard."""

    raw: RawSocket
    number: int
    state: State | None = None
    heard: list[Heard] = field(default_factory=list)


class Partner:
    """One system at the other end of all members. It speaks when `turn` is called."""

    def __init__(self, system: bytes, far: Sequence[RawSocket]) -> None:
        self._system = system
        self.cables = [Cable(raw, number) for number, raw in enumerate(far, 1)]

    def turn(self) -> None:
        """Hear what came, and answer on each cable that is not silent."""
        for cable in self.cables:
            now = time.monotonic()
            new = [Heard(now, frame) for frame in cable.raw.received() if frame[12:14] == b"\x88\x09"]
            cable.heard += new
            if new:
                self.say(cable)

    def show(self, state: State | None, *cables: int) -> None:
        """From now on these cables' ends are in this state, and say so at once."""
        for number in cables:
            self.cables[number].state = state
            self.say(self.cables[number])

    def say(self, cable: Cable) -> None:
        """A LACPDU that knows of the last one heard."""
        if cable.state is None or not cable.heard:
            return
        last = cable.heard[-1].pdu
        pdu = LACP(
            actor_system_priority=0x8000,
            actor_system=self._system.hex(":"),
            actor_key=7,
            actor_port_priority=0x80,
            actor_port_number=cable.number,
            actor_state=int(cable.state),
            partner_system_priority=last.actor_system_priority,
            partner_system=last.actor_system,
            partner_key=last.actor_key,
            partner_port_priority=last.actor_port_priority,
            partner_port_number=last.actor_port_number,
            partner_state=last.actor_state,
            collector_max_delay=0,
        )
        source = (self._system[:5] + bytes([cable.number])).hex(":")
        cable.raw.send(bytes(Ether(dst=SLOW_PROTOCOLS, src=source, type=0x8809) / SlowProtocol() / pdu))
