"""Linux's own router with the fabric's addresses and routes: the other side of the differential test.

    raw socket == far P --- veth --- near P == ip_forward, routes, blackholes == the namespace's other ports

Ports have the fabric's MACs and MTUs, far ends are permanent neighbours, so no ARP or ND is needed for transit. The
namespaces share one CPU with the sender while a frame is on its way: the kernel's per-CPU backlog keeps the order, and
a marker behind each frame tells that everything before it has been dealt with.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

from lab.harness.namespace import Namespace, veth_pair
from lab.harness.waiting import wait_for
from planekit.fabric import Special
from planekit.frames import frame4, udp4
from planekit.wires import RawSocket, far_mac, near_mac

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

_MLD = bytes.fromhex("333300000016")  # reports of the kernel's own, at times of its choice
_MARK = b"differential-marker-"
# As a router's operator would have them; each differs from the kernel's default.
_SYSCTLS = {
    "net.ipv4.ip_forward": 1,
    "net.ipv6.conf.all.forwarding": 1,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.icmp_errors_use_inbound_ifaddr": 1,  # as RFC 1812 4.3.2.4 reads, and as ours does
    "net.ipv4.icmp_ratemask": 0,  # one frame at a time: rates are not what is compared
    "net.ipv6.icmp.ratelimit": 0,
    "net.ipv6.auto_flowlabels": 0,  # a random number cannot be compared
}


class LinuxRouter:
    """A context manager. `exchange(port, frame)` says what the kernel sends, by port, because of one frame."""

    def __init__(self, name: str, mtus: Sequence[int]) -> None:
        self._router = Namespace(f"{name}lx")
        self._wires = Namespace(f"{name}lw")
        self._mtus = mtus
        self._far: list[RawSocket] = []
        self._marks = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._router)
            stack.enter_context(self._wires)
            for family in ("all", "default"):
                self._wires.sysctl(f"net.ipv6.conf.{family}.disable_ipv6", 1)
            for key, value in _SYSCTLS.items():
                self._router.sysctl(key, value)
            for port in range(len(self._mtus)):
                self._add_port(port)
            self._add_specials()
            for port in range(len(self._mtus)):
                self._far.append(RawSocket(self._wires.name, f"far{port}"))
                stack.callback(self._far[port].close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _add_port(self, port: int) -> None:
        router, near = self._router, f"near{port}"
        veth_pair((router, near), (self._wires, f"far{port}"))
        self._wires.run("ip", "link", "set", f"far{port}", "address", far_mac(port).hex(":"), "arp", "off")
        for words in (["down"], ["addrgenmode", "none", "address", near_mac(port).hex(":"), "up"]):
            router.run("ip", "link", "set", near, *words)
        router.run("ip", "link", "set", near, "mtu", str(self._mtus[port]))
        router.address(near, f"10.0.{port}.1/24", f"2001:db8:{port:x}::1/64", f"fe80::{port:x}:1/64")
        neighbour = ("lladdr", far_mac(port).hex(":"), "nud", "permanent", "dev", near)
        for prefix, gateway, other in (
            (f"198.18.{port}.0/24", f"10.0.{port}.9", f"10.0.{port}.77"),
            (f"2001:db8:18:{port:x}::/64", f"fe80::{port:x}:9", f"2001:db8:{port:x}::77"),
        ):
            for address in (gateway, other):
                router.run("ip", "neigh", "replace", address, *neighbour)
            router.route(prefix, "via", gateway, "dev", near)

    def _add_specials(self) -> None:
        for special, kind in (
            (Special.BLACKHOLE, "blackhole"),
            (Special.UNREACHABLE, "unreachable"),
            (Special.PROHIBIT, "prohibit"),
        ):
            for prefix in (f"198.19.{special}.0/24", f"2001:db8:19:{special:x}::/64"):
                self._router.run("ip", "route", "add", kind, prefix)
        self._router.address("near1", f"198.19.{Special.BROADCAST}.1/24")

    def set_rp_filter(self, port: int, value: int) -> None:
        """0: off, 1: strict, 2: loose; IPv4 alone has it."""
        self._router.sysctl(f"net.ipv4.conf.near{port}.rp_filter", value)

    def add_route(self, prefix: str, *ports: int) -> None:
        """By the far ends of these ports."""
        hops = [word for port in ports for word in ("nexthop", "via", f"10.0.{port}.9", "dev", f"near{port}")]
        self._router.run("ip", "route", "add", prefix, *hops)

    def delete_route(self, prefix: str) -> None:
        self._router.run("ip", "route", "del", prefix)

    def exchange(self, port: int, frame: bytes) -> list[tuple[int, bytes]]:
        """Send one frame into a port; what came out because of it, as (port, frame)."""
        for raw in self._far:
            raw.received()
        marks = [self._marker(to) for to in range(len(self._far))]
        sent: list[tuple[int, bytes]] = []
        seen: set[bytes] = set()

        def finished() -> bool:
            for to, raw in enumerate(self._far):
                for out in raw.received():
                    seen.update(mark for mark in marks if mark in out)
                    if _MARK not in out and out[:6] != _MLD:
                        sent.append((to, out))
            return len(seen) == len(marks)

        with _one_cpu():
            self._far[port].send(frame, *(frame4(port, udp4(f"198.18.{n}.9", mark)) for n, mark in enumerate(marks)))
            wait_for(finished, 10, f"the markers behind a frame into port {port}", interval=0.001)
        return sent

    def _marker(self, port: int) -> bytes:
        self._marks += 1
        return _MARK + b"%d-%d." % (port, self._marks)


@contextmanager
def _one_cpu() -> Iterator[None]:
    """The calling thread stays where it is: so do the frames that it sends."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
