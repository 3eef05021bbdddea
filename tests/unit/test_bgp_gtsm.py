"""Which connections come from near enough, with the kernel's own SYNs over the loopback."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.bgp.gtsm import TCP_SAVE_SYN, least_ttl, near_enough, syn_ttl

if TYPE_CHECKING:
    from collections.abc import Iterator

SENT_TTL = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TTL),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@contextlib.contextmanager
def connection(
    family: socket.AddressFamily, ttl: int, *, keeps_syn: bool = True, says: bytes = b""
) -> Iterator[socket.socket]:
    """The accepted end of a connection whose other end sends this TTL, and has sent this."""
    with socket.socket(family) as listener, socket.socket(family) as client:
        listener.setsockopt(socket.IPPROTO_TCP, TCP_SAVE_SYN, int(keeps_syn))
        listener.bind((LOOPBACK[family], 0))
        listener.listen()
        client.setsockopt(*SENT_TTL[family], ttl)
        client.connect(listener.getsockname())
        client.sendall(says)
        with listener.accept()[0] as accepted:
            if says:
                accepted.recv(1, socket.MSG_PEEK)  # until it is there
            yield accepted


@pytest.mark.parametrize("family", LOOPBACK)
@pytest.mark.parametrize(("ttl", "near"), [(255, True), (254, True), (253, False), (64, False), (1, False)])
def test_distance_of_a_connection(family: socket.AddressFamily, ttl: int, near: bool) -> None:
    with connection(family, ttl, says=b"x") as accepted:
        assert near_enough(accepted, 254) == near


def test_connection_without_its_syn_may_have_said_nothing() -> None:
    """As one is that came by a SYN cookie."""
    with connection(socket.AF_INET, 255, keeps_syn=False) as accepted:
        assert near_enough(accepted, 255)
    with connection(socket.AF_INET, 255, keeps_syn=False, says=b"x") as accepted:
        assert not near_enough(accepted, 255)


def test_ttl_of_what_is_no_syn() -> None:
    assert [syn_ttl(data) for data in (b"\x45", b"\x60" * 7, b"\x00" * 60, b"\xff" * 60)] == [0, 0, 0, 0]


def test_limit_of_a_peer() -> None:
    peers = [{"peer-address": "192.0.2.9", "incoming-ttl": 255}, {"peer-address": "2001:db8::9", "incoming-ttl": None}]
    found = [least_ttl(iter(peers), peer) for peer in ("192.0.2.9", "2001:db8::9", "2001:db8::8", "fe80::1%eth0")]
    assert found == [255, 0, 0, 0]
