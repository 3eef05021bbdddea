"""`ttl_security` of sessions that the peer opens, in ExaBGP's process beside the tap (tap.py); RFC 5082.

Stock ExaBGP 5.0.15 has the kernel look at the TTL only of connections that it opens itself: all peers' own arrive at one
socket, which can hold no peer's limit. Here the SYN of each is kept by the kernel. A connection whose SYN came from too
far is closed, so nothing that it has sent meanwhile is read; any other one gets the limit for all that follows. Of one
that came by a SYN cookie nothing is kept: it may have sent nothing yet.

Replaced: Listener._new_socket and _connected (tapcheck.py knows them). In ExaBGP's only thread.
"""

from __future__ import annotations

import logging
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from exabgp.reactor.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("tap")

# linux/tcp.h, linux/in.h, linux/in6.h; Python names none of them
TCP_SAVE_SYN, TCP_SAVED_SYN = 27, 28
IP_MINTTL, IPV6_MINHOPCOUNT = 21, 73
SYN_BYTES = 512  # more than an IP header and TCP's
TTL_AT = {4: 8, 6: 7}  # where the header has it, by version


def syn_ttl(syn: bytes) -> int:
    """TTL or hop limit of a SYN, which begins with its IP header; 0, which no limit allows, of anything else."""
    at = TTL_AT.get(syn[0] >> 4, len(syn))
    return syn[at] if at < len(syn) else 0


def unread(io: socket.socket) -> bool:
    """Whether something has arrived."""
    try:
        return bool(io.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


def near_enough(io: socket.socket, least: int) -> bool:
    """Whether a connection's SYN had this TTL at least; what follows has to have it from now on."""
    if io.family == socket.AF_INET6:
        io.setsockopt(socket.IPPROTO_IPV6, IPV6_MINHOPCOUNT, least)
    else:
        io.setsockopt(socket.IPPROTO_IP, IP_MINTTL, least)
    syn = io.getsockopt(socket.IPPROTO_TCP, TCP_SAVED_SYN, SYN_BYTES)
    return syn_ttl(syn) >= least if syn else not unread(io)


def least_ttl(neighbors: Iterator[Any], peer: str) -> int:
    """The TTL that a peer's packets must have; 0: any, or no configured peer."""
    address = ip_address(peer.partition("%")[0])
    found = (one["incoming-ttl"] for one in neighbors if ip_address(str(one["peer-address"])) == address)
    return next(found, None) or 0


def install() -> None:
    """Replace ExaBGP's methods."""
    stock_socket, stock_connected = Listener._new_socket, Listener._connected
    refused: set[str] = set()  # peers of which it was said

    def new_socket(listener: Any, ip: Any) -> socket.socket:
        found: socket.socket = stock_socket(listener, ip)
        found.setsockopt(socket.IPPROTO_TCP, TCP_SAVE_SYN, 1)  # those that it accepts inherit it
        return found

    def connected(listener: Any) -> Iterator[Any]:
        reactor = listener._reactor
        for connection in stock_connected(listener):
            peer = connection.local  # ExaBGP means the other end
            least = least_ttl((reactor.neighbor(key) for key in reactor.peers()), peer)
            try:
                near = not least or near_enough(connection.io, least)
            except OSError as error:
                log.error("peer %s: connection refused: its TTL can't be looked at: %s", peer, error.strerror)
                near = False
            if near:
                refused.discard(peer)
                yield connection
                continue
            if peer not in refused:
                log.warning("peer %s: connection refused: it comes from too far, see ttl_security", peer)
                refused.add(peer)
            connection.close()

    Listener._new_socket, Listener._connected = new_socket, connected
