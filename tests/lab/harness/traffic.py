"""Numbered UDP packets between namespaces, by sockets of the test process: who got which, and when.

    with Stream(west, ("203.0.113.9", 5000), [east], rate=500) as stream:
        router.kill("control")
        ...
    assert stream.lost() == []

A socket stays in the namespace that it was opened in, so no process has to be started there.
"""

from __future__ import annotations

import itertools
import select
import socket
import struct
import threading
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

from dpdkrouter.host.namespace import run_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from lab.harness.namespace import Namespace

_NUMBER = struct.Struct("!I")
_SETTLE_S = 0.5  # what has not come that long after the last packet was sent does not come


def udp_socket(namespace: Namespace, address: str, port: int = 0) -> socket.socket:
    """A UDP socket in a namespace, bound."""
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET

    def make() -> socket.socket:
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        made.bind((address, port))
        return made

    return run_in(namespace.name, make)


class Stream:
    """Packets from one namespace to an address that each of `receivers` has; a context manager that sends meanwhile.

    sources: how many sockets send in turn: as many flows. received: (number, when, index of the receiver).
    """

    def __init__(
        self, sender: Namespace, to: tuple[str, int], receivers: Sequence[Namespace], rate: int = 500, sources: int = 1
    ) -> None:
        self._to = to
        self._interval = 1 / rate
        unspecified = "::" if ip_address(to[0]).version == 6 else "0.0.0.0"
        self._senders = [udp_socket(sender, unspecified) for _ in range(sources)]
        self._receivers = [udp_socket(receiver, to[0], to[1]) for receiver in receivers]
        self.sent: list[float] = []
        self.received: list[tuple[int, float, int]] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, name="send"),
            threading.Thread(target=self._receive, name="receive"),
        ]
        self._done = threading.Event()

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._threads[0].join()
        time.sleep(_SETTLE_S)
        self._done.set()
        self._threads[1].join()
        for one in (*self._senders, *self._receivers):
            one.close()

    def _send(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            number = len(self.sent)
            self.sent.append(time.monotonic())
            self._senders[number % len(self._senders)].sendto(_NUMBER.pack(number), self._to)
            due += self._interval
            time.sleep(max(0.0, due - time.monotonic()))

    def _receive(self) -> None:
        index = {one: i for i, one in enumerate(self._receivers)}
        while not self._done.is_set():
            ready, _, _ = select.select(self._receivers, [], [], 0.05)
            for one in ready:
                (number,) = _NUMBER.unpack(one.recv(64))
                self.received.append((number, time.monotonic(), index[one]))

    def lost(self) -> list[int]:
        """Numbers that nobody got; to be asked for after the end."""
        return sorted(set(range(len(self.sent))) - {number for number, _, _ in self.received})

    def lost_since(self, when: float) -> list[int]:
        """Numbers sent after a moment that nobody got."""
        return [number for number in self.lost() if self.sent[number] >= when]

    def arrived_since(self, when: float, receiver: int | None = None) -> int:
        """How many packets that were sent after a moment have come."""
        return sum(self.sent[number] >= when and receiver in (None, at) for number, _, at in list(self.received))

    def outage(self) -> float:
        """The longest time between two packets that came."""
        times = [when for _, when, _ in self.received]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=float("inf"))


def count(receivers: Sequence[Namespace], to: tuple[str, int], send: Callable[[], None]) -> int:
    """How many UDP packets came to an address in these namespaces because of `send`."""
    sockets = [udp_socket(receiver, *to) for receiver in receivers]
    try:
        send()
        found, until = 0, time.monotonic() + _SETTLE_S
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select(sockets, [], [], left)
            for one in ready:
                one.recv(2048)
                found += 1
        return found
    finally:
        for one in sockets:
            one.close()


def send(namespace: Namespace, to: tuple[str, int], packets: int, ttl: int | None = None, gap_s: float = 0.001) -> None:
    """Send UDP packets from a namespace."""
    unspecified = "::" if ip_address(to[0]).version == 6 else "0.0.0.0"
    with udp_socket(namespace, unspecified) as sender:
        if ttl is not None:
            level, option = (
                (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
                if sender.family == socket.AF_INET6
                else (socket.IPPROTO_IP, socket.IP_TTL)
            )
            sender.setsockopt(level, option, ttl)
        for number in range(packets):
            sender.sendto(_NUMBER.pack(number), to)
            time.sleep(gap_s)
