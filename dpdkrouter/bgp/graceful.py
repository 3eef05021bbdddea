"""Graceful restart as RFC 4724 means it, in ExaBGP's process beside the tap (tap.py).

Stock ExaBGP claims in each OPEN that the forwarding state was kept, and ends sessions without a word when it is told to
stop, so that peers send packets for the restart time to a router that has no table, or is gone. Here:

* A family's forwarding-state bit (section 3) is set only when the route segment lives on with what it had: in the first
  OPEN to a peer when BGP routes of the family were in it before ExaBGP started (`kept`, found by the launcher), later
  when it is still the file that it was during the last session.
* SIGTERM is a planned stop: what was announced is withdrawn, then the session is closed by a Cease, administrative
  shutdown (RFC 4486), upon which peers keep nothing (section 4). Each peer gets FAREWELL_S for that, all together twice
  as much. A restart, which says nothing, is SIGKILL; which one it is to be, the launcher decides.
* `teardown` sends its Cease, whatever was negotiated, unless it is an administrative reset, after which the session
  comes back, and the peer keeps our routes meanwhile. One that does no graceful restart is told that, too: stock ExaBGP
  looks at its own OPEN only.

Replaced: Capabilities._graceful, Peer.shutdown and teardown (tapcheck.py knows them). In ExaBGP's only thread.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import time
from typing import TYPE_CHECKING, Any

from exabgp.bgp.fsm import FSM
from exabgp.bgp.message import Notify
from exabgp.bgp.message.open.capability import Capabilities, Capability
from exabgp.reactor.network.error import NetworkError
from exabgp.reactor.peer import Peer

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpdkrouter.bgp.forwarding import Forwarding

CEASE, ADMINISTRATIVE_SHUTDOWN, ADMINISTRATIVE_RESET = 6, 2, 4
FAREWELL_S = 1.0
READ_BYTES = 64 << 10


def farewell(peer: Any, deadline: float) -> None:
    """Withdraw from a peer and close its session by a Cease; what it does not take in time it is not told."""
    if peer.fsm != FSM.ESTABLISHED or peer.proto is None:
        return
    peer.neighbor.rib.outgoing.withdraw()
    connection = peer.proto.connection
    words = itertools.chain(
        peer.proto.new_update(True), peer.proto.new_notification(Notify(CEASE, ADMINISTRATIVE_SHUTDOWN))
    )
    with contextlib.suppress(NetworkError, OSError):
        for _ in words:
            select.select([], [connection.io], [], max(0.0, deadline - time.monotonic()))
            if time.monotonic() > deadline:
                return
        # A close with something unread would be a reset, upon which the peer may throw away what it has not read.
        connection.io.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            if select.select([connection.io], [], [], left)[0] and not connection.io.recv(READ_BYTES):
                return


def keeps_ours(peer: Any) -> bool:
    """Whether the peer of an Established session does graceful restart."""
    return bool(peer.proto.negotiated.received_open.capabilities.announced(Capability.CODE.GRACEFUL_RESTART))


def install(forwarding: Forwarding, end: Callable[[Any, Exception], None]) -> None:
    """Replace ExaBGP's methods; end: ends the session of a protocol by a NOTIFICATION."""
    stock_graceful, stock_shutdown, stock_teardown = Capabilities._graceful, Peer.shutdown, Peer.teardown
    ends: list[float] = []

    def graceful(capabilities: Any, neighbor: Any, restarted: bool) -> None:
        stock_graceful(capabilities, neighbor, restarted)
        offered = capabilities.get(Capability.CODE.GRACEFUL_RESTART, {})
        for afi, safi in offered:
            if not forwarding.is_kept(str(neighbor["peer-address"]), str(afi)):
                offered[afi, safi] = 0

    def shutdown(peer: Any) -> None:
        now = time.monotonic()
        if not ends:
            ends.append(now + 2 * FAREWELL_S)
        farewell(peer, min(now + FAREWELL_S, ends[0]))
        stock_shutdown(peer)

    def teardown(peer: Any, code: int, restart: bool = True) -> None:
        established = peer.fsm == FSM.ESTABLISHED and peer.proto is not None
        if established and restart and not (code == ADMINISTRATIVE_RESET and keeps_ours(peer)):
            end(peer.proto, Notify(CEASE, code))
        else:
            stock_teardown(peer, code, restart)

    Capabilities._graceful, Peer.shutdown, Peer.teardown = graceful, shutdown, teardown
