"""The kernel's neighbours in the router's namespace, followed by netlink from asyncio.

One netlink socket, opened inside the namespace and non-blocking, carries requests, a dump at the start and
the events after it. Requests are executed by the kernel within send(2) (microseconds, no acknowledgement
asked for; only a refusal is answered). When the kernel had to drop events (ENOBUFS) everything is dumped
again: changes between two dumps are then seen as their sum. What a change means is neighbour_table.py's
business.

All methods belong to the event loop's thread; none blocks. At most `_DATAGRAMS_A_TURN` datagrams are read
before the loop has its turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import time
from typing import TYPE_CHECKING

from dpdkrouter.errors import HostError
from dpdkrouter.host import rtnl, sysctls
from dpdkrouter.host.namespace import run_in
from dpdkrouter.host.neighbour_table import REFRESH_S, Counters, Key, Neighbour, NeighbourTable, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from ipaddress import IPv4Address, IPv6Address

_log = logging.getLogger(__name__)

_DATAGRAM_BYTES = 65536
_DATAGRAMS_A_TURN = 32
_RECEIVE_BYTES = 4 << 20
_TICK_S = 1.0
_REMEMBERED = 256  # requests whose refusal can still be explained
_SO_RCVBUFFORCE = 33


class Neighbours:
    """Follows and directs the neighbours of the ports; `ports`: index by name (Taps.indexes)."""

    def __init__(
        self,
        namespace: str,
        ports: Mapping[str, int],
        *,
        in_use: Callable[[Key], bool] = lambda _key: True,
        limit: Mapping[int, int] | None = None,
        most: Mapping[str, int] | None = None,
        refresh_s: float = REFRESH_S,
        receive_bytes: int = _RECEIVE_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`limit`: resolutions under way, by address version; default: gc_thresh3 / 8. `most`: neighbours of a port."""
        if limit is None:
            limit = {version: max(1, top // 8) for version, top in sysctls.neighbour_limits().items()}
        self._namespace = namespace
        self._table = NeighbourTable(limit, in_use, refresh_s, most)
        self._clock = clock
        self._receive_bytes = receive_bytes
        self._indexes: dict[str, int] = {}
        self._ports: dict[int, str] = {}
        self._socket: socket.socket | None = None
        self._sequence = 0
        self._dump_sequence = 0
        self._asked: dict[int, Request] = {}
        self._changed = asyncio.Event()
        self._synced = asyncio.Event()
        self._failure: HostError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ticked = clock()
        self._map_ports(ports)

    async def start(self) -> None:
        """Open the socket, return after the dump: `usable` is then all that the kernel knows."""
        self._socket = await asyncio.to_thread(run_in, self._namespace, self._open)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket.fileno(), self._readable)
        self._timer = loop.call_later(_TICK_S, self._tick)
        self._dump()
        await self._synced.wait()
        self._raise_failure()

    def close(self) -> None:
        """Stop; neighbours stay in the kernel. A waiting `changes` returns nothing."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._changed.set()
        self._synced.set()

    async def changes(self) -> list[Neighbour]:
        """Wait for changes and return the latest of each neighbour; empty after `close`."""
        while True:
            await self._changed.wait()
            self._raise_failure()
            self._changed.clear()
            batch = self._table.take_changes()
            if batch or self._socket is None:
                if self._socket is None:
                    self._changed.set()
                return batch

    def usable(self) -> Iterable[Neighbour]:
        """All usable neighbours as of now."""
        return self._table.usable()

    def full(self, port: str) -> bool:
        """Whether the port has as many neighbours as it may."""
        return self._table.full(port)

    @property
    def counters(self) -> Counters:
        """What happened since the start."""
        return self._table.counters

    @property
    def resolving(self) -> int:
        """Resolutions under way."""
        return self._table.resolving

    def resolve(self, port: str, address: IPv4Address | IPv6Address) -> bool:
        """Ask for a neighbour; the answer comes as a change. False: unknown port, or too many."""
        if port not in self._indexes:
            return False
        accepted = self._table.resolve((port, address), self._clock())
        self._flush()
        return accepted

    def manage(self, port: str, address: IPv4Address | IPv6Address) -> None:
        """Have the kernel keep a next hop resolved."""
        self._known(port)
        self._table.manage((port, address))
        self._flush()

    def unmanage(self, port: str, address: IPv4Address | IPv6Address) -> None:
        """Undo `manage`."""
        self._table.unmanage((port, address))
        self._flush()

    def unmanage_others(self) -> None:
        """Undo what only an earlier control process managed; call it when routes have settled."""
        self._table.unmanage_others()
        self._flush()

    def set_static(self, static: Mapping[Key, bytes]) -> None:
        """Make exactly these the static neighbours; call it before `start` and on a change."""
        for port, _address in static:
            self._known(port)
        self._table.set_static(static)
        self._flush()

    def verify(self, port: str) -> None:
        """Ask all neighbours of a port again; call it when its link came up."""
        self._table.verify(port)
        self._flush()

    def hold(self) -> None:
        """The fast path is absent: lose no neighbour until `release`."""
        self._table.hold()

    def release(self) -> None:
        """The fast path is back."""
        self._table.release(self._clock())
        self._flush()

    def set_ports(self, ports: Mapping[str, int]) -> None:
        """Ports changed: neighbours of ports that went or have a new TAP are lost, new ones read."""
        for port, index in self._indexes.items():
            if ports.get(port) != index:
                self._table.forget_port(port, again=port in ports)
        self._map_ports(ports)
        self._dump()
        self._flush()

    # --- inside

    def _map_ports(self, ports: Mapping[str, int]) -> None:
        self._indexes = dict(ports)
        self._ports = {index: port for port, index in ports.items()}

    def _known(self, port: str) -> None:
        if port not in self._indexes:
            raise HostError(
                f"port {port}: has no TAP in namespace {self._namespace}; known are {sorted(self._indexes)}"
            )

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _open(self) -> socket.socket:
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        with contextlib.suppress(PermissionError):  # the ordinary limit is a smaller buffer, hence more overruns
            kernel.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, self._receive_bytes)
        kernel.bind((0, rtnl.GROUP_NEIGH))
        return kernel

    def _dump(self) -> None:
        if self._socket is not None:
            self._sequence += 1
            self._dump_sequence = self._sequence
            self._table.begin_dump()
            try:
                self._socket.send(rtnl.dump_request(self._sequence))
            except OSError as error:
                raise HostError(f"neighbours of {self._namespace}: {error.strerror}") from error

    def _readable(self) -> None:
        try:
            for _ in range(_DATAGRAMS_A_TURN):
                if self._socket is None:
                    return
                try:
                    data = self._socket.recv(_DATAGRAM_BYTES)
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise HostError(f"neighbours of {self._namespace}: {error.strerror}") from error
                    self._table.counters.overruns += 1
                    self._dump()
                    continue
                self._take(data)
            self._flush()
        except HostError as error:  # a callback has no caller: whoever waits for changes gets it
            self._failure = error
            self.close()

    def _take(self, data: bytes) -> None:
        now = self._clock()
        for message in rtnl.decode(data):
            match message:
                case rtnl.Entry() if message.index in self._ports:
                    key = (self._ports[message.index], message.address)
                    if message.gone:
                        self._table.deleted(key, now)
                    else:
                        self._table.learned(key, message.state, message.mac, message.managed, now)
                case rtnl.Refused():
                    self._refused(message)
                case rtnl.Done():
                    self._dumped(message.sequence, now)

    def _dumped(self, sequence: int, now: float) -> None:
        if sequence != self._dump_sequence:  # another one was wanted while this one ran
            self._dump()
            return
        self._table.end_dump(now)
        self._synced.set()

    def _refused(self, message: rtnl.Refused) -> None:
        if message.code == errno.EBUSY:  # a dump is under way: its end will find that another is wanted
            return
        if message.sequence == self._dump_sequence:
            raise HostError(f"neighbours of {self._namespace}: dump refused: {os.strerror(message.code)}")
        request = self._asked.get(message.sequence)
        if message.code == errno.ENOBUFS:
            self._table.counters.refused += 1
        elif message.code != errno.ENOENT:  # deleting or probing what went meanwhile is no error
            self._table.counters.errors += 1
            _log.warning("neighbour request refused: %s: %s", request, os.strerror(message.code))

    def _flush(self) -> None:
        """Send what the table asks for, and wake whoever waits for changes."""
        if self._socket is not None:
            for request in self._table.take_requests():
                self._send(request)
        self._changed.set()

    def _send(self, request: Request) -> None:
        port, address = request.key
        if self._socket is None or port not in self._indexes:
            return
        self._sequence += 1
        self._asked[self._sequence] = request
        self._asked.pop(self._sequence - _REMEMBERED, None)
        message = rtnl.request(request.verb, self._indexes[port], address, request.mac, self._sequence)
        try:
            self._socket.send(message)
        except OSError as error:
            self._table.counters.errors += 1
            _log.warning("neighbour request not sent: %s: %s", request, error.strerror)

    def _tick(self) -> None:
        now = self._clock()
        self._table.tick(now - self._ticked, now)
        self._ticked = now
        self._flush()
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
