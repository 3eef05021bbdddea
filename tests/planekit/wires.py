"""veth pairs in a namespace of their own: the fast path has the near ends, the test the far ones by raw sockets.

No address, no IPv6, no ARP: the kernel says nothing by itself. The TAP twins and host0 are there too, up, and as mute.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Self

from dpdkrouter.host.namespace import run_in
from dpdkrouter.host.tun import HOST_DEVICE, Kind, open_keeper
from lab.harness.namespace import Namespace, veth_pair

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_STATUS_VLAN, _STATUS_TPID = 0x10, 0x40
_PACKET_IGNORE_OUTGOING = 23
_SO_RCVBUFFORCE = 33
_SO_SNDBUFFORCE = 32
_BUFFER = 64 << 20


def near_mac(port: int) -> bytes:
    return bytes([2, 0, 0, 0, 0, port])


def far_mac(port: int) -> bytes:
    return bytes([2, 0, 0, 0, 1, port])


class RawSocket:
    """Every frame that an interface receives, and a way to send frames on it."""

    def __init__(self, namespace: str, interface: str) -> None:
        self._socket = run_in(namespace, lambda: _packet_socket(interface))

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            while not self._taken(frame):
                time.sleep(0.0005)

    def _taken(self, frame: bytes) -> bool:
        """False while the interface's queue is full."""
        try:
            self._socket.send(frame)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return False
        return True

    def received(self) -> list[bytes]:
        """What has come since the last call, without waiting."""
        frames = []
        while True:
            try:
                frame, said, _, _ = self._socket.recvmsg(65536, 64)
                frames.append(_with_tag(frame, said))
            except BlockingIOError:
                return frames
            except OSError as error:
                if error.errno != errno.ENETDOWN:  # said once when the interface goes down
                    raise

    def close(self) -> None:
        self._socket.close()


def _with_tag(frame: bytes, said: list[tuple[int, int, bytes]]) -> bytes:
    """The frame as it was on the wire: the kernel takes the outer tag off and tells it beside (packet(7))."""
    for level, kind, data in said:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
            status, *_, tci, tpid = struct.unpack("=IIIHHHH", data[:20])
            if status & _STATUS_VLAN:
                return frame[:12] + struct.pack(">HH", tpid if status & _STATUS_TPID else 0x8100, tci) + frame[12:]
    return frame


def _packet_socket(interface: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    raw.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
    raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    raw.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
    raw.bind((interface, _ETH_P_ALL))
    raw.setblocking(False)
    return raw


class Wires:
    """A context manager. `far[p]` is the raw socket opposite port p, `twin[p]` one on its TAP, `host0` on the TUN."""

    def __init__(self, name: str, ports: int, mtu: int = 1500, subs: int = 0) -> None:
        """subs: how many more ports have a twin, but no wire."""
        self._namespace = Namespace(f"fr{name}")
        self.ports = ports
        self._twins = ports + subs
        self._mtu = mtu
        self._keepers: list[int] = []
        self.far: list[RawSocket] = []
        self.twin: list[RawSocket] = []
        self.host0: RawSocket

    @property
    def namespace(self) -> str:
        return self._namespace.name

    def device(self, port: int, arguments: str = "") -> str:
        """The configuration's name of a port's device."""
        rooms = ",blocksz=36864,framesz=9216,framecnt=256" if self._mtu > 1500 else ""
        return f"net_af_packet{port},iface=near{port}{rooms}" + (f",{arguments}" if arguments else "")

    def whole_device(self, port: int) -> str:
        """A device that gives frames as they are: net_af_packet's fan-out group reassembles IPv4 fragments."""
        return f"net_pcap{port},rx_iface_in=near{port},tx_iface=near{port}"

    def set_link(self, port: int, up: bool) -> None:
        """The far end up or down; the near one loses its carrier."""
        self._namespace.run("ip", "link", "set", f"far{port}", "up" if up else "down")

    def ip(self, *words: str) -> None:
        """ip(8) in the namespace, as for interfaces that a device made."""
        self._namespace.run("ip", *words)

    def set_twin(self, port: int, up: bool) -> None:
        self._namespace.run("ip", "link", "set", f"port{port}", "up" if up else "down")

    def __enter__(self) -> Self:
        namespace = self._namespace.__enter__()
        try:
            for family in ("all", "default"):
                namespace.sysctl(f"net.ipv6.conf.{family}.disable_ipv6", 1)
            for port in range(self.ports):
                self._pair(port)
            self._keepers = run_in(self.namespace, self._make_twins)
            for name in [f"port{port}" for port in range(self._twins)] + [HOST_DEVICE]:
                namespace.run("ip", "link", "set", name, "mtu", str(self._mtu), "up")
            self.far = [RawSocket(self.namespace, f"far{port}") for port in range(self.ports)]
            self.twin = [RawSocket(self.namespace, f"port{port}") for port in range(self._twins)]
            self.host0 = RawSocket(self.namespace, HOST_DEVICE)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _pair(self, port: int) -> None:
        namespace = self._namespace
        veth_pair((namespace, f"near{port}"), (namespace, f"far{port}"), self._mtu)
        for end, mac in (("near", near_mac(port)), ("far", far_mac(port))):
            namespace.run("ip", "link", "set", f"{end}{port}", "address", mac.hex(":"), "arp", "off")
            namespace.run("ip", "link", "set", f"{end}{port}", "txqueuelen", "10000")

    def _make_twins(self) -> list[int]:
        keepers = [open_keeper(f"port{port}", Kind.TAP, carrier=True) for port in range(self._twins)]
        return [*keepers, open_keeper(HOST_DEVICE, Kind.TUN, carrier=True)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for raw in [*self.far, *self.twin]:
            raw.close()
        if hasattr(self, "host0"):
            self.host0.close()
        for keeper in self._keepers:
            os.close(keeper)
        self._namespace.__exit__(None, None, None)

    def drain(self) -> None:
        """Forget what has come so far."""
        for raw in self._all():
            raw.received()

    def _all(self) -> Iterable[RawSocket]:
        return [*self.far, *self.twin, self.host0]
