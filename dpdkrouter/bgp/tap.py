"""ExaBGP with a tap: `python -m dpdkrouter.bgp.tap server CONFIGURATION` is ExaBGP whose UPDATEs stay raw.

Stock ExaBGP decodes and prints every UPDATE (about 215 us each). Here an Established session's UPDATEs go to the
helper as they came (frames.py), many at a time; all else is ExaBGP's own: sessions, timers, capabilities, errors of
the header, what it sends, and its JSON lines, which travel as frames in the same order.

Invariants: nothing here waits. What the helper has not taken is kept; beyond PENDING_LIMIT no session is read, so
TCP slows the peers, while keepalives are sent and no hold timer runs out for want of reading. A message is taken
whole or not at all. A helper that is started again is first told all sessions, then START.

Replaced: Protocol.read_message, Processes.write, _start and received, Delay.increase, and what graceful.py and gtsm.py
replace (tapcheck.py sees to it that these are the ones known). The control process can end a session with a NOTIFICATION
of its choice by the line `dpdkrouter notify EPOCH CODE SUBCODE [HEX]` (RFC 7606's session reset; ExaBGP can send Cease
only).
Runs in ExaBGP's process, in its only thread. RFC 4271 sections 4.1 and 6.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from exabgp.bgp.fsm import FSM
from exabgp.bgp.message import _NOP, Notify
from exabgp.reactor.api.processes import Processes
from exabgp.reactor.delay import Delay
from exabgp.reactor.network.error import LostConnection, NotConnected
from exabgp.reactor.protocol import _UPDATE, Protocol

from dpdkrouter.bgp import graceful, gtsm
from dpdkrouter.bgp.forwarding import Forwarding
from dpdkrouter.bgp.frames import LINE, RETRY, SESSION, START, UPDATES, frame

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

log = logging.getLogger("tap")

PENDING_LIMIT = 2 << 20
HARD_LIMIT = 32 << 20  # lines alone, of sessions that flap while the helper hangs
READ_BYTES = 256 << 10
PIPE_BYTES = 1 << 20
STALL_SLEEP_S = 0.005
HEADER_BYTES = 19
SHORTEST_UPDATE = 23
UPDATE = 2
MARKER = b"\xff" * 16
COMMAND = "dpdkrouter notify "


class Writer:
    """Frames on their way to the helper."""

    def __init__(self) -> None:
        self._helper: subprocess.Popen[bytes] | None = None
        self._pending: deque[bytes] = deque()
        self._size = 0
        self._slept = 0.0

    def attach(self, helper: subprocess.Popen[bytes]) -> None:
        """A new helper takes the place of the former; what waited for that one is gone with it."""
        assert helper.stdin is not None
        os.set_blocking(helper.stdin.fileno(), False)
        try:
            fcntl.fcntl(helper.stdin.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            log.debug("the pipe to the helper stays small")
        self._helper = helper
        self._clear()

    def _clear(self) -> None:
        self._pending.clear()
        self._size = 0

    def put(self, data: bytes) -> None:
        """Send a frame, or keep it until it can be sent."""
        if self._helper is None:
            return
        self._pending.append(data)
        self._size += len(data)
        self.flush()
        if self._size > HARD_LIMIT and self._helper is not None:
            self._helper.kill()  # ExaBGP starts another, which is told the sessions as they are then
            self._lost()

    def flush(self) -> None:
        """Send what the pipe takes now."""
        while self._pending and self._helper is not None and self._helper.stdin is not None:
            data = self._pending[0]
            try:
                count = os.write(self._helper.stdin.fileno(), data)
            except BlockingIOError:
                return
            except (OSError, ValueError):
                self._lost()  # Processes.received finds it dead and starts another
                return
            self._size -= count
            if count < len(data):
                self._pending[0] = data[count:]
                return
            self._pending.popleft()

    def _lost(self) -> None:
        self._helper = None
        self._clear()

    def full(self) -> bool:
        """Whether sessions must not be read now. Slows a loop that would spin on their readable sockets."""
        self.flush()
        if self._size <= PENDING_LIMIT:
            return False
        if time.monotonic() - self._slept > STALL_SLEEP_S:
            time.sleep(STALL_SLEEP_S)
            self._slept = time.monotonic()
        return True


@dataclass(slots=True)
class Told:
    """What was said of a peer that is up, for a helper that comes later."""

    opened: bytes = b""
    up: bytes = b""
    session: bytes = b""


@dataclass(slots=True)
class Session:
    """An Established session: what was read of it and not taken, and how it is to end."""

    epoch: int
    peer: str
    buffer: bytearray = field(default_factory=bytearray)
    notify: Exception | None = None


class Tap:
    """All sessions of this ExaBGP."""

    def __init__(self, forwarding: Forwarding) -> None:
        self.writer = Writer()
        self._forwarding = forwarding
        self._told: dict[str, Told] = {}
        self._sessions: dict[int, Session] = {}
        self._epoch = 0

    def attach(self, helper: subprocess.Popen[bytes]) -> None:
        """A helper was started."""
        self.writer.attach(helper)
        for told in self._told.values():
            for data in (told.opened, told.up, told.session):
                if data:
                    self.writer.put(data)
        self.writer.put(frame(START, b""))

    def line(self, text: str) -> None:
        """A line of ExaBGP's JSON."""
        data = frame(LINE, text.encode("ascii", "replace"))
        if '"type": "state"' in text or '"type": "open"' in text:
            self._remember(json.loads(text), data)
        self.writer.put(data)

    def _remember(self, said: dict[str, Any], data: bytes) -> None:
        neighbor = said["neighbor"]
        peer = str(neighbor["address"]["peer"])
        if said["type"] == "open":
            if neighbor["direction"] == "receive":
                self._told[peer] = Told(opened=data)
        elif neighbor["state"] == "up":
            self._told.setdefault(peer, Told()).up = data
        elif neighbor["state"] == "down":
            self._told.pop(peer, None)
            for epoch in [one.epoch for one in self._sessions.values() if one.peer == peer]:
                del self._sessions[epoch]

    def session(self, protocol: Any) -> Session:
        """The session of a connection; the first call begins it."""
        found: Session | None = getattr(protocol, "dpdkrouter", None)
        if found is None:
            self._epoch += 1
            found = Session(self._epoch, str(protocol.neighbor["peer-address"]))
            protocol.dpdkrouter = self._sessions[found.epoch] = found
            protocol.connection._reader = lambda number: _from_buffer(protocol.connection, found, number)
            data = frame(SESSION, json.dumps(describe(protocol, found)).encode(), found.epoch)
            self._told.setdefault(found.peer, Told()).session = data
            self._forwarding.established(found.peer)
            self.writer.put(data)
        return found

    def end(self, protocol: Any, notify: Exception) -> None:
        """End a session by this NOTIFICATION."""
        self.session(protocol).notify = notify

    def command(self, text: str) -> None:
        """`dpdkrouter notify EPOCH CODE SUBCODE [HEX]`; one for a session that has ended is late, and ignored."""
        try:
            epoch, code, subcode, *data = text.removeprefix(COMMAND).split()
            session = self._sessions.get(int(epoch))
            if session is not None:
                session.notify = Notify(int(code), int(subcode), bytes.fromhex("".join(data)))
        except ValueError as error:
            log.error("command %r is wrong: %s", text, error)


def describe(protocol: Any, session: Session) -> dict[str, object]:
    """The body of a SESSION frame."""
    negotiated = protocol.negotiated
    unicast = {str(afi): (afi, safi) for afi, safi in negotiated.families if str(safi) == "unicast"}
    return {
        "peer": session.peer,
        "epoch": session.epoch,
        "local_address": str(protocol.neighbor["local-address"]),
        "internal": int(negotiated.local_as) == int(negotiated.peer_as),
        "as4": bool(negotiated.asn4),
        "max_message": int(negotiated.msg_size),
        "families": sorted(unicast),
        "add_path": sorted(name for name, family in unicast.items() if negotiated.addpath.receive(*family)),
    }


def whole_updates(buffer: bytearray, longest: int) -> tuple[int, int]:
    """(bytes, messages) of the complete UPDATEs that the buffer begins with."""
    at = count = 0
    left = len(buffer)
    while left >= SHORTEST_UPDATE and buffer[at + 18] == UPDATE:
        size = buffer[at + 16] << 8 | buffer[at + 17]
        if not SHORTEST_UPDATE <= size <= min(longest, left) or not buffer.startswith(MARKER, at):
            break
        at += size
        left -= size
        count += 1
    return at, count


def whole_or_wrong(buffer: bytearray, longest: int) -> bool:
    """Whether the buffer begins with a complete message, or with what can't become one."""
    if len(buffer) < HEADER_BYTES:
        return False
    size = buffer[16] << 8 | buffer[17]
    return not buffer.startswith(MARKER) or not HEADER_BYTES <= size <= longest or len(buffer) >= size


def _read(connection: Any, buffer: bytearray) -> None:
    """Add what TCP has now."""
    if not connection.io:
        connection.close()
        raise NotConnected("Trying to read on a closed TCP connection")
    try:
        data = connection.io.recv(READ_BYTES)
    except (BlockingIOError, InterruptedError):
        return
    except OSError as error:
        connection.close()
        raise LostConnection(f"issue reading on the socket: {error}") from None
    if not data:
        connection.close()
        raise LostConnection("the TCP connection was closed by the remote end")
    buffer += data


def _from_buffer(connection: Any, session: Session, number: int) -> Iterator[bytes]:
    """In place of Connection._reader: `number` bytes, or b"" as long as they are not there."""
    while len(session.buffer) < number:
        before = len(session.buffer)
        _read(connection, session.buffer)
        if len(session.buffer) == before:
            yield b""
    data = bytes(session.buffer[:number])
    del session.buffer[:number]
    yield data


def read_message(tap: Tap, stock: Any, protocol: Any) -> Iterator[Any]:
    """In place of Protocol.read_message."""
    peer = protocol.peer
    if peer.fsm != FSM.ESTABLISHED:
        yield from stock(protocol)
        return
    session = tap.session(protocol)
    if session.notify is not None:
        raise session.notify
    if tap.writer.full():
        peer.recv_timer.last_read = int(time.time())
        yield _NOP
        return
    buffer, longest = session.buffer, protocol.connection.msg_size
    if not whole_or_wrong(buffer, longest):
        _read(protocol.connection, buffer)
    size, count = whole_updates(buffer, longest)
    if count:
        tap.writer.put(frame(UPDATES, bytes(buffer[:size]), session.epoch))
        del buffer[:size]
        peer.stats["receive-update"] += count
        yield _UPDATE
    elif whole_or_wrong(buffer, longest):
        yield from stock(protocol)
    else:
        yield _NOP


def install(tap: Tap) -> None:
    """Replace ExaBGP's methods."""
    stock_read, stock_start, stock_received = Protocol.read_message, Processes._start, Processes.received

    def write(_processes: Any, _process: str, string: str | None, _neighbor: Any = None) -> bool:
        if string is not None:
            tap.line(string)
        return True

    def start(processes: Any, process: str) -> None:
        before = processes._process.get(process)
        stock_start(processes, process)
        after = processes._process.get(process)
        if after is not None and after is not before:
            tap.attach(after)

    def received(processes: Any) -> Iterator[tuple[str, str]]:
        tap.writer.flush()
        for process, command in stock_received(processes):
            if command.startswith(COMMAND):
                tap.command(command)
            else:
                yield process, command

    Protocol.read_message = lambda protocol: read_message(tap, stock_read, protocol)
    Processes.write, Processes._start, Processes.received = write, start, received


def limit_delay(most: int) -> None:
    """Let attempts to connect be at most so many seconds apart; ExaBGP's delay grows to 60."""
    stock = Delay.increase

    def increase(delay: Any) -> None:
        stock(delay)
        delay._next = min(delay._next, most)

    Delay.increase = increase


def main() -> int:
    """Be ExaBGP."""
    from exabgp.application.main import main as exabgp

    forwarding = Forwarding.of(os.environ)
    tap = Tap(forwarding)
    install(tap)
    limit_delay(int(os.environ.get(RETRY, "60")))
    graceful.install(forwarding, tap.end)
    gtsm.install()
    sys.argv[0] = "exabgp"
    return int(exabgp() or 0)


if __name__ == "__main__":
    sys.exit(main())
