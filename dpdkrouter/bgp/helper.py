"""The process that ExaBGP runs: its JSON feed goes to the control process, commands come back.

ExaBGP stops when a reader stops, and ends when its helper dies often, so this program reads stdin always,
never waits for anyone and never exits while ExaBGP lives. The control process listens on a Unix socket; the
helper is the client and reconnects for ever. What the control process hasn't read waits in `FeedBuffer`,
bounded; beyond the bound lines are dropped and the loss is said.

The first line of a connection, and one after every loss, is a hello in JSON:

    {"dpdkrouter": "hello", "epoch": "9f..", "connection": 2, "gap": true, "dropped": 17, "exabgp": 4711,
     "peers": [{"address": "192.0.2.9", "state": "up", "neighbor": {..}, "open": {..}}, ..]}

`gap` false: the lines that follow hold all that ExaBGP has said since it started, so no peer is listed.
`gap` true: something before this line is missing (dropped, lost with the last connection, or said before
the helper itself was respawned): `peers` is the state now, and whoever reads asks those that are up for a
route refresh.

With the tap (tap.py) what comes and goes are frames (frames.py) and nothing is dropped: while the control process
is slow or away the helper stops reading at LIMIT bytes, and the tap stops reading the peers. A hello then is a
frame, waits until the tap has told the sessions there are, and a peer in it has a `session`.

A control process says every second or so that it lives. After HOLD seconds without any word of it (it was killed and
stays away, or it hangs) the helper has ExaBGP withdraw what was announced for it: the lines stand in the file ANNOUNCED,
which the control process writes before it announces anything. One that hangs loses its connection then, so that it
announces everything again when it goes on.

ExaBGP starts it with `python -I -S helper.py SOCKET MARKER LIMIT FEED ANNOUNCED HOLD`, FEED being tap or json, once a
(re)spawn: standard library only, no import from the package. MARKER is a file that the launcher removes before it
starts ExaBGP: if it is there, this is a respawn. Runs in one thread. Standards: none; the line format is ExaBGP's JSON
encoder 5.0.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path

BUFFER_LIMIT = 64 << 20
LINE_LIMIT = 16 << 20
COMMAND_LINE_LIMIT = 1 << 20  # ExaBGP's own bound for one command
COMMAND_LIMIT = 4 << 20
READ_SIZE = 256 << 10
RECONNECT_SECONDS = 0.25
WAIT_SECONDS = 60.0  # at most so long nothing is looked at
FRAME_LIMIT = 8 << 20
FRAME = struct.Struct("=BxxxII")  # as frames.HEADER, and the kinds
LINE, SESSION, UPDATES, START = 1, 2, 3, 4
ALIVE = b"dpdkrouter alive"
_STATE_MARKS = (b'"type": "state"', b'"type": "open"')
_PRINTABLE = bytes(range(32, 127))


class PeerStates:
    """What ExaBGP has said about each peer: up or down, and the OPEN it sent."""

    def __init__(self) -> None:
        self._peers: dict[str, dict[str, object]] = {}

    def note(self, line: bytes) -> None:
        """Remember a state or OPEN line; anything else, and what can't be read, is ignored."""
        try:
            message = json.loads(line)
            kind, neighbor = message["type"], message["neighbor"]
            address = neighbor["address"]["peer"]
            if kind == "open" and neighbor.get("direction") == "receive":
                self._peers.setdefault(address, {"address": address, "state": "down"})["open"] = neighbor["open"]
            elif kind == "state" and neighbor["state"] in ("up", "down"):
                peer = self._peers.setdefault(address, {"address": address})
                peer["state"] = neighbor["state"]
                peer["neighbor"] = {"address": neighbor["address"], "asn": neighbor["asn"]}
                if neighbor["state"] == "down":
                    peer.pop("open", None)
                    peer.pop("session", None)
        except (ValueError, KeyError, TypeError, AttributeError):
            return

    def note_session(self, body: bytes) -> None:
        """Remember a SESSION frame."""
        session = json.loads(body)
        self._peers.setdefault(session["peer"], {"address": session["peer"]})["session"] = session

    def listing(self) -> list[dict[str, object]]:
        """The peers, as a hello shows them."""
        return [self._peers[address] for address in sorted(self._peers)]


class FeedBuffer:
    """The lines that wait for the control process: bounded, whole lines only, losses remembered."""

    kind = "json"
    ready = True  # to connect

    def __init__(self, epoch: str, respawned: bool, limit: int = BUFFER_LIMIT) -> None:
        self._epoch = epoch
        self._limit = limit
        self._blocks: deque[bytes] = deque()
        self._size = 0
        self._partial = bytearray()
        self._skipping_line = False
        self._peers = PeerStates()
        self._connection = 0
        self._connected = False
        self._gap = respawned
        self._dropping = respawned
        self.dropped = 0

    def feed(self, data: bytes) -> None:
        """Take bytes from ExaBGP; lines may be split anywhere."""
        end = data.rfind(b"\n") + 1
        if end == 0:
            self._extend_partial(data)
            return
        if self._skipping_line:
            start = data.find(b"\n") + 1
            self._skipping_line = False
            block = data[start:end]
        else:
            block = bytes(self._partial) + data[:end]
            self._partial.clear()
        self._extend_partial(data[end:])
        if block:
            self._add(block)

    def _extend_partial(self, data: bytes) -> None:
        if self._skipping_line:
            return
        self._partial += data
        if len(self._partial) > LINE_LIMIT:
            self._partial.clear()
            self._skipping_line = True
            self._lose(1)

    def _add(self, block: bytes) -> None:
        if any(mark in block for mark in _STATE_MARKS):
            for line in block.splitlines():
                if any(mark in line for mark in _STATE_MARKS):
                    self._peers.note(line)
        if not self._dropping and self._size + len(block) > self._limit:
            self._dropping = True
        if self._dropping:
            self._lose(block.count(b"\n"))
            return
        self._blocks.append(block)
        self._size += len(block)

    def _lose(self, lines: int) -> None:
        self.dropped += lines
        self._gap = True
        self._dropping = True
        if not self._connected:
            self._clear()  # what is kept would follow a hello that is newer than it
        elif not self._blocks:
            self._hello()

    def _clear(self) -> None:
        self._blocks.clear()
        self._size = 0

    def connected(self) -> None:
        """A new connection: what it gets starts with a hello."""
        self._connection += 1
        self._connected = True
        if self._gap:
            self._clear()
        self._hello()

    def disconnected(self) -> None:
        """The connection is gone: what it carried may not have been read."""
        self._connected = False
        self._gap = True
        self._dropping = True
        self._clear()

    def _hello(self) -> None:
        line = (
            json.dumps(
                {
                    "dpdkrouter": "hello",
                    "epoch": self._epoch,
                    "connection": self._connection,
                    "gap": self._gap,
                    "dropped": self.dropped,
                    "exabgp": os.getppid(),
                    "feed": self.kind,
                    "peers": self._peers.listing() if self._gap else [],
                }
            ).encode()
            + b"\n"
        )
        line = self._framed(line)
        # At the front: a hello without a gap precedes the lines that waited for it; with one, nothing waits.
        self._blocks.appendleft(line)
        self._size += len(line)
        self._gap = False
        self._dropping = False

    def _framed(self, line: bytes) -> bytes:
        return line

    def full(self) -> bool:
        """Whether ExaBGP must not be read now: never, it would stop."""
        return False

    def next_block(self) -> bytes:
        """The bytes to send next; empty when there are none."""
        return self._blocks[0] if self._blocks else b""

    def sent(self, count: int) -> None:
        """`count` bytes of next_block() were sent; after a loss, the hello follows when all that was kept
        is out.
        """
        block = self._blocks[0]
        self._size -= count
        if count < len(block):
            self._blocks[0] = block[count:]
            return
        self._blocks.popleft()
        if self._dropping and not self._blocks:
            self._hello()


class FrameBuffer(FeedBuffer):
    """The frames that wait for the control process. What a lost connection had taken is lost, nothing else is."""

    kind = "tap"

    def __init__(self, epoch: str, respawned: bool, limit: int = FRAME_LIMIT) -> None:
        super().__init__(epoch, respawned, limit)
        self.ready = False
        self._dropping = False

    def full(self) -> bool:
        """True when the tap has to wait."""
        return self._size > self._limit

    def feed(self, data: bytes) -> None:
        """Take bytes from the tap; frames may be split anywhere."""
        self._partial += data
        at, kept = 0, []
        while len(self._partial) - at >= FRAME.size:
            kind, size, _ = FRAME.unpack_from(self._partial, at)
            end = at + FRAME.size + size
            if end > len(self._partial):
                break
            if kind == START:
                self.ready = True
            else:
                kept.append(bytes(self._partial[at:end]))
                self._note(kind, kept[-1])
            at = end
        del self._partial[:at]
        if kept:
            self._blocks.append(b"".join(kept))
            self._size += len(self._blocks[-1])

    def _note(self, kind: int, data: bytes) -> None:
        body = data[FRAME.size :]
        if kind == SESSION:
            self._peers.note_session(body)
        elif kind == LINE and any(mark in body for mark in _STATE_MARKS):
            self._peers.note(body)

    def connected(self) -> None:
        """A new connection: its hello goes before what waits."""
        self._connection += 1
        self._connected = True
        self._hello()

    def disconnected(self) -> None:
        """The connection is gone: what it carried may not have been read, and the rest may begin within a frame."""
        self._connected = False
        self._gap = True
        self._clear()

    def _framed(self, line: bytes) -> bytes:
        return FRAME.pack(LINE, len(line) - 1, 0) + line[:-1]


class CommandBuffer:
    """Commands on their way to ExaBGP: whole lines of printable ASCII, because ExaBGP kills a helper that
    sends else.
    """

    def __init__(self) -> None:
        self._partial = b""
        self._skipping_line = False
        self.pending = bytearray()
        self.refused = 0

    def feed(self, data: bytes) -> None:
        """Take bytes from the control process."""
        *lines, rest = (self._partial + data).split(b"\n")
        for line in lines:
            if self._skipping_line or len(line) > COMMAND_LINE_LIMIT or line.translate(None, _PRINTABLE):
                self.refused += 1
                self._skipping_line = False
            elif line and line != ALIVE:
                self.pending += line + b"\n"
        self._partial = rest
        if len(rest) > COMMAND_LINE_LIMIT:
            self._partial = b""
            self._skipping_line = True

    def full(self) -> bool:
        """True when the control process has to wait."""
        return len(self.pending) > COMMAND_LIMIT

    def disconnected(self) -> None:
        """Half a command of a lost connection is no command."""
        self._partial = b""
        self._skipping_line = False


class Hold:
    """How long ExaBGP announces for a control process that is silent. path: ANNOUNCED; seconds 0: for ever."""

    def __init__(self, path: str, seconds: int, now: float) -> None:
        self._path = Path(path)
        self._seconds = seconds
        self._due = float("inf")
        self.heard(now)

    def heard(self, now: float) -> None:
        """The control process has said something."""
        self._due = now + self._seconds if self._seconds else float("inf")

    def left(self, now: float) -> float:
        """Seconds until what was announced is to be withdrawn; infinite when it has been."""
        return self._due - now

    def withdrawals(self) -> list[str]:
        """The lines that withdraw it, once it is due: they are due no more."""
        self._due = float("inf")
        try:
            return [str(line) for line in json.loads(self._path.read_bytes())["withdraw"]]
        except FileNotFoundError:
            return []  # nothing was ever announced


class ExabgpGoneError(Exception):
    """stdin or stdout is closed: the work is over."""


class Helper:
    """The loop: stdin to the socket, the socket to stdout; nothing in it waits for one of them alone."""

    def __init__(self, socket_path: str, buffer: FeedBuffer, hold: Hold, stdin_fd: int = 0, stdout_fd: int = 1) -> None:
        self._path = socket_path
        self._buffer = buffer
        self._hold = hold
        self._commands = CommandBuffer()
        self._stdin_fd = stdin_fd
        self._stdout_fd = stdout_fd
        self._socket: socket.socket | None = None
        self._next_attempt = 0.0
        os.set_blocking(stdin_fd, False)
        os.set_blocking(stdout_fd, False)

    def run(self) -> None:
        """Until ExaBGP closes its side."""
        while True:
            try:
                self.step()
            except ExabgpGoneError:
                self._send()
                return
            except Exception as error:  # an exit here would end ExaBGP and every session
                print(f"bgp helper: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                self._disconnect()
                time.sleep(0.05)

    def step(self) -> None:
        """Wait for anything that can be done, and do it."""
        left = self._hold.left(time.monotonic())
        if left <= 0:
            self._withdraw()
        self._connect()
        poller = select.poll()
        poller.register(self._stdin_fd, 0 if self._buffer.full() else select.POLLIN)
        if self._commands.pending:
            poller.register(self._stdout_fd, select.POLLOUT)
        if self._socket is not None:
            wanted = 0 if self._commands.full() else select.POLLIN
            poller.register(self._socket, wanted | (select.POLLOUT if self._buffer.next_block() else 0))
        wait_ms = min(RECONNECT_SECONDS if self._socket is None else WAIT_SECONDS, max(left, 0)) * 1000 + 1
        socket_fd = -1 if self._socket is None else self._socket.fileno()
        for fd, events in poller.poll(wait_ms):
            if fd == self._stdin_fd:
                self._read_feed()
            elif fd == self._stdout_fd:
                self._write_commands()
            elif fd == socket_fd:
                if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                    self._receive()
                if events & select.POLLOUT:
                    self._send()

    def _withdraw(self) -> None:
        lines = self._hold.withdrawals()
        print(f"bgp helper: control is silent: withdrawing what it announced, {len(lines)} lines", file=sys.stderr)
        self._disconnect()
        self._commands.feed("".join(f"{line}\n" for line in lines).encode("ascii"))

    def _connect(self) -> None:
        if self._socket is not None or not self._buffer.ready or time.monotonic() < self._next_attempt:
            return
        self._next_attempt = time.monotonic() + RECONNECT_SECONDS
        attempt = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        attempt.setblocking(False)
        if attempt.connect_ex(self._path) != 0:
            attempt.close()
            return
        self._socket = attempt
        self._buffer.connected()

    def _disconnect(self) -> None:
        if self._socket is None:
            return
        self._socket.close()
        self._socket = None
        self._next_attempt = time.monotonic() + RECONNECT_SECONDS
        self._buffer.disconnected()
        self._commands.disconnected()

    def _read_feed(self) -> None:
        try:
            data = os.read(self._stdin_fd, READ_SIZE)
        except BlockingIOError:
            return
        if not data:
            raise ExabgpGoneError
        self._buffer.feed(data)

    def _write_commands(self) -> None:
        try:
            count = os.write(self._stdout_fd, self._commands.pending)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise ExabgpGoneError from error
            raise
        del self._commands.pending[:count]

    def _receive(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._hold.heard(time.monotonic())
            self._commands.feed(data)
        else:
            self._disconnect()

    def _send(self) -> None:
        while self._socket is not None and (block := self._buffer.next_block()):
            try:
                count = self._socket.send(block)
            except BlockingIOError:
                return
            except OSError:
                self._disconnect()
                return
            self._buffer.sent(count)
            if count < len(block):
                return


def _is_respawn(marker: str) -> bool:
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return True
    except OSError:
        return True  # can't know: say that something may be missing
    return False


def main(arguments: list[str]) -> int:
    """Run until ExaBGP ends; `arguments` are those of the module's head."""
    socket_path, marker, limit, feed, announced, hold = arguments
    kind = FrameBuffer if feed == FrameBuffer.kind else FeedBuffer
    buffer = kind(os.urandom(8).hex(), _is_respawn(marker), int(limit))
    Helper(socket_path, buffer, Hold(announced, int(hold), time.monotonic())).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
