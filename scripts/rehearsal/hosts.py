"""The hosts at the other ends of the cables: a namespace each, whose one interface is the TAP that QEMU holds.

They are Linux: they answer ARP and ND by themselves, and ask for the router's addresses as any host does.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Self

from dpdkrouter.host.namespace import run_in
from lab.harness.namespace import Namespace
from lab.harness.traffic import udp_socket

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "rehearse"
INTERFACE = "eth0"
MTU = 9000  # of the hosts and of the router's ports
ECHO_PORT = 7007
WINDOW = 16  # packets under way at once; a device's queue holds far more
WINDOW_S = 60

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_MULTI_QUEUE = 0x0002, 0x1000, 0x0100


def _queue(flags: int) -> int:
    """One queue of the TAP, made by the first."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", INTERFACE.encode(), flags))
    return fd


class Host:
    """Host `number`, on the network of port `number`; a context manager. `cable`: descriptors for QEMU."""

    def __init__(self, number: int, queues: int) -> None:
        self.number = number
        self.name = f"h{number}"
        self._queues = queues
        self.namespace = Namespace(self.name, PREFIX)
        self.cable: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        self.namespace.__enter__()
        flags = _IFF_TAP | _IFF_NO_PI | (_IFF_MULTI_QUEUE if self._queues > 1 else 0)
        try:
            self.cable = run_in(self.namespace.name, lambda: tuple(_queue(flags) for _ in range(self._queues)))
            self.namespace.run("ip", "link", "set", INTERFACE, "mtu", str(MTU), "up")
            self.namespace.address(INTERFACE, f"{self.address(4)}/24", f"{self.address(6)}/64")
            self.namespace.route("198.18.0.0/16", "via", self.router(4))
            self.namespace.route("2001:db8::/32", "via", self.router(6))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        self.namespace.__exit__(None, None, None)

    def let_go(self) -> None:
        """Close our descriptors of the cable: QEMU has its own, and the cable ends with it."""
        for fd in self.cable:
            os.close(fd)
        self.cable = ()

    def address(self, family: int) -> str:
        """Its address of family 4 or 6."""
        return self._on_network(family, 2)

    def router(self, family: int) -> str:
        """The router's address on its network."""
        return self._on_network(family, 1)

    def _on_network(self, family: int, last: int) -> str:
        written = f"198.18.{self.number}.{last}" if family == 4 else f"2001:db8:{self.number}::{last}"
        return str(ip_address(written))  # as the kernel writes it

    def forget_neighbours(self) -> None:
        """Have it ask for MACs anew."""
        self.namespace.run("ip", "neighbour", "flush", "dev", INTERFACE)

    def ping(self, address: str, count: int = 3, deadline_s: int = 30) -> int:
        """How many of `count` pings were answered."""
        words = ("ping", "-n", "-q", "-i", "0.2", "-c", str(count), "-w", str(deadline_s), address)
        found = re.search(r"(\d+) received", self.namespace.run(*words, check=False, timeout=deadline_s + 10))
        return int(found[1]) if found else 0


def exchange(
    near: Host, far: Host, family: int, packets: int, flows: int, alive: Callable[[], None]
) -> tuple[int, int]:
    """UDP from near to far, each sent back, WINDOW of them under way at once. Returns how many each received."""
    echo = udp_socket(far.namespace, far.address(family), ECHO_PORT)
    senders = [udp_socket(near.namespace, near.address(family)) for _ in range(flows)]
    went = came = 0
    try:
        for first in range(0, packets, WINDOW):
            window = range(first, min(first + WINDOW, packets))
            for number in window:
                senders[number % flows].sendto(number.to_bytes(4, "big") * 8, (far.address(family), ECHO_PORT))
            deadline = time.monotonic() + WINDOW_S
            while came < window.stop and time.monotonic() < deadline:
                alive()
                ready, _, _ = select.select([echo, *senders], [], [], 0.5)
                for one in ready:
                    data, sender = one.recvfrom(64)
                    if one is echo:
                        went += 1
                        echo.sendto(data, sender)
                    else:
                        came += 1
            if came < window.stop:
                break
    finally:
        for one in (echo, *senders):
            one.close()
    return went, came
