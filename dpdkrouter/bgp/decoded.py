"""What goes into the UPDATE decoder and what comes out of it, as values.

`Negotiated` is what both OPENs of a session agreed on. `Decoded` holds the routes of a run of messages as
arrays for Rib.apply, what was wrong with them (RFC 7606) by kind, and, when the session has to end, the
NOTIFICATION to end it with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dpdkrouter.bgp.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_MESSAGE = 4096
MAX_EXTENDED_MESSAGE = 65535  # RFC 8654


@dataclass(frozen=True, slots=True)
class Negotiated:
    """A session's properties that decoding depends on; families are "ipv4" and "ipv6".

    add_path: families in which the peer sends path ids (RFC 7911). local_address: our end of the session,
    packed; a route with it as next hop is not usable (RFC 4271 section 6.3).
    """

    families: frozenset[str] = frozenset({"ipv4"})
    add_path: frozenset[str] = frozenset()
    as4: bool = True
    internal: bool = False
    max_message: int = MAX_MESSAGE
    local_address: bytes = b""


@dataclass(frozen=True, slots=True)
class Routes:
    """Routes of one family in the order of the messages: the arguments of Rib.apply.

    family: 4 or 6. sets: u32, 0 withdraws, i announces with attributes[i - 1]. path_ids None: all 0.
    """

    family: int
    prefixes: bytes
    lengths: bytes
    sets: bytes
    attributes: list[bytes]
    path_ids: bytes | None

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True, slots=True)
class Reset:
    """The session must end with this NOTIFICATION (RFC 4271 section 6)."""

    code: int
    subcode: int
    data: bytes
    fault: Fault


@dataclass(frozen=True, slots=True)
class Decoded:
    """The outcome of some messages; with `reset`, of those before the wrong one.

    ends: families whose End-of-RIB is among them (RFC 4724 section 2). faults: how often each was found.
    """

    routes: tuple[Routes, ...] = ()
    updates: int = 0
    ends: tuple[int, ...] = ()
    faults: Mapping[Fault, int] = field(default_factory=dict)
    reset: Reset | None = None


# NOTIFICATION code and subcode of a fault that ends the session, and whether its data is what was found there.
_NOTIFICATIONS = {
    Fault.MARKER: (1, 1, False),
    Fault.MESSAGE_LENGTH: (1, 2, True),
    Fault.NOT_UPDATE: (1, 3, True),
    Fault.UPDATE_LENGTH: (3, 1, False),
    Fault.MP_TWICE: (3, 1, False),
    Fault.UNKNOWN_WELL_KNOWN: (3, 2, True),
    Fault.NETWORK_FIELD: (3, 10, False),
    Fault.MP_ATTRIBUTE: (3, 9, True),
    # Withdrawal is not possible when no route can be seen (RFC 7606 section 5.2).
    Fault.FLAGS: (3, 4, True),
    Fault.ORIGIN: (3, 6, True),
    Fault.AS_PATH: (3, 11, False),
    Fault.COMMUNITY: (3, 9, True),
    Fault.EXTENDED_COMMUNITY: (3, 9, True),
    Fault.LARGE_COMMUNITY: (3, 9, True),
}
_LENGTH_ERROR = (3, 5, True)
_MAX_DATA = MAX_MESSAGE - 21


def reset_for(fault: Fault, found: bytes) -> Reset:
    """The NOTIFICATION for a fault; found: the attribute or field that it was found in."""
    code, subcode, with_data = _NOTIFICATIONS.get(fault, _LENGTH_ERROR)
    return Reset(code, subcode, found[:_MAX_DATA] if with_data else b"", fault)


_WITHDRAWN_LAST = Fault.UNUSABLE_NEXT_HOP


def withdraws(fault: Fault) -> bool:
    """Whether this fault turns announcements into withdrawals (RFC 7606 section 2, treat-as-withdraw)."""
    return fault <= _WITHDRAWN_LAST
