"""Many numbered UDP packets a second from one namespace to another: which of them never came.

    with Flood(client, west, ["198.18.0.53", "2001:db8:53::53"], 5000, rate=24_000) as flood:
        router.kill("control")
        ...
    assert flood.lost == 0

Sender and receiver are processes of this file, each in its namespace: `flood.py send RUN RATE PORT ADDRESS..` and
`flood.py receive RUN PORT ADDRESS..`, which end with their stdin and then print what they saw as JSON. They send and
take many packets a system call (sendmmsg, recvmmsg), in turn over the addresses, and come before all else on the
machine (`first`), because what they could not send or take in time is no loss of the router's. A sender that was kept
from running catches up at no more than MOST a turn, far less than the ports' rings should hold. RUN stands in each
packet: what is late, because nobody had time for it, is no packet of the stream that comes next.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import TextIO

    from lab.harness.namespace import Namespace

MOST = 256
TURN_S = 0.001
SETTLE_S = 2.0  # what has not come when nothing has come for so long does not come
RUN_SHIFT = 32
BUFFER_BYTES = 64 << 20
MASK = (1 << RUN_SHIFT) - 1
FLOWING = 500
PRIORITY = -15
_SO_RCVBUFFORCE = 33
_MSG_WAITFORONE = 0x10000
_libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr, flat."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("iovecs", ctypes.POINTER(_Iovec)),
        ("iovec_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("padding", ctypes.c_int),
        ("size", ctypes.c_uint),
    )


class Batch:
    """MOST messages of 8 bytes each, a number in network order."""

    def __init__(self) -> None:
        self.data = ctypes.create_string_buffer(8 * MOST)
        start = ctypes.addressof(self.data)
        self._iovecs = (_Iovec * MOST)(*(_Iovec(start + 8 * i, 8) for i in range(MOST)))
        self._messages = (_Message * MOST)()
        for message, iovec in zip(self._messages, self._iovecs, strict=True):
            message.iovecs, message.iovec_count = ctypes.pointer(iovec), 1

    def send(self, to: socket.socket, first: int, count: int) -> int:
        """Send the numbers from `first` on; how many were sent."""
        struct.pack_into(f"!{count}Q", self.data, 0, *range(first, first + count))
        return max(0, int(_libc.sendmmsg(to.fileno(), self._messages, count, 0)))

    def receive(self, of: socket.socket) -> tuple[int, ...]:
        """The numbers of what is there, at most MOST."""
        count = _libc.recvmmsg(of.fileno(), self._messages, MOST, socket.MSG_DONTWAIT | _MSG_WAITFORONE, None)
        return struct.unpack_from(f"!{count}Q", self.data) if count > 0 else ()


def first(pid: int, priority: int = PRIORITY) -> None:
    """Let a process, with all its threads, come before others on a busy machine."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(task.name), priority)


def _socket(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)


def send(run: int, rate: int, port: int, addresses: Sequence[str]) -> dict[str, float]:
    """Until stdin ends."""
    sockets = [_socket(address) for address in addresses]
    for one, address in zip(sockets, addresses, strict=True):
        one.connect((address, port))
    batch = Batch()
    start, sent, turn = time.monotonic(), 0, 0
    while not select.select([sys.stdin], [], [], TURN_S)[0]:
        due = int((time.monotonic() - start) * rate) - sent
        if due > 0:
            sent += batch.send(sockets[turn % len(sockets)], run << RUN_SHIFT | sent, min(due, MOST))
            turn += 1
    return {"sent": sent, "seconds": time.monotonic() - start}


def receive(run: int, port: int, addresses: Sequence[str]) -> dict[str, object]:
    """Until stdin ends, and what is on its way then."""
    sockets = [_socket(address) for address in addresses]
    for one, address in zip(sockets, addresses, strict=True):
        one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
        one.bind((address, port))
    print("ready", flush=True)
    batch, seen, count, told = Batch(), bytearray(1 << 20), 0, False
    watched: list[socket.socket | TextIO] = [*sockets, sys.stdin]
    ended, last = False, time.monotonic()
    while not ended or time.monotonic() < last + SETTLE_S:
        ready = select.select(watched, [], [], 0.05)[0]
        if sys.stdin in ready:
            watched.remove(sys.stdin)
            ended = True
        for one in sockets:
            found = batch.receive(one) if one in ready else ()
            numbers = [number & MASK for number in found if number >> RUN_SHIFT == run]
            for number in numbers:
                if number >= len(seen):
                    seen += bytes(len(seen))
                seen[number] = 1
            count += len(numbers)
            last = time.monotonic() if numbers else last
        if count >= FLOWING and not told:
            told = True
            print("flowing", flush=True)
    came = seen.count(1)
    return {"received": came, "repeated": count - came, "runs": _runs(seen, seen.rfind(1) + 1)}


def _runs(seen: bytearray, end: int) -> list[tuple[int, int]]:
    """(first, one after the last) of the numbers below `end` that are missing."""
    found = []
    at = seen.find(0, 0, end)
    while at >= 0:
        after = seen.find(1, at, end)
        found.append((at, after))
        at = seen.find(0, after, end)
    return found


class Flood:
    """A stream from one namespace to addresses in another; a context manager that sends meanwhile.

    Entered, packets arrive. Left: `sent`, `seconds`, `received`, `repeated` and `runs`, the gaps as (first, after) numbers.
    """

    def __init__(
        self, sender: Namespace, receiver: Namespace, addresses: Sequence[str], port: int, rate: int = 24_000
    ) -> None:
        program = [sys.executable, __file__]
        run, words = str(random.getrandbits(31)), [str(port), *addresses]
        self._commands = (
            receiver.command(*program, "receive", run, *words),
            sender.command(*program, "send", run, str(rate), *words),
        )
        self._processes: list[subprocess.Popen[str]] = []
        self.sent = self.received = self.repeated = 0
        self.seconds = 0.0
        self.runs: list[tuple[int, int]] = []

    def __enter__(self) -> Flood:
        try:
            for command, line in zip(self._commands, ("ready", "flowing"), strict=True):
                self._processes.append(
                    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                )
                said = self._processes[0].stdout
                assert said is not None
                assert said.readline().strip() == line
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            receiver, sender = self._processes
            found = json.loads(sender.communicate(timeout=60)[0]) | json.loads(receiver.communicate(timeout=60)[0])
        finally:
            self._kill()
        self.sent, self.seconds, self.received = found["sent"], found["seconds"], found["received"]
        self.repeated, self.runs = found["repeated"], [(first, after) for first, after in found["runs"]]

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    @property
    def lost(self) -> int:
        """How many never came."""
        return self.sent - self.received

    @property
    def pps(self) -> float:
        """How many a second were sent."""
        return self.sent / self.seconds

    def __str__(self) -> str:
        return f"{self.sent} packets at {self.pps:.0f} a second, {self.lost} lost, gaps {self.runs[:5]}"


if __name__ == "__main__":
    first(os.getpid())
    if sys.argv[1] == "send":
        print(json.dumps(send(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])))
    else:
        print(json.dumps(receive(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])))
