"""A BGP speaker that sends a prebuilt stream as fast as TCP takes it: `python sender.py LOCAL PEER ASN FILE`.

It prints the monotonic time of the first UPDATE and of the last byte handed to TCP, a line each, and keeps the session
until its stdin ends. A line of JSON on stdin asks for churn (churn.py): then it prints the time after each second's last
UPDATE. Run it in a namespace. RFC 4271.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any

from lab.harness.speaker import HOLD_SECONDS, KEEPALIVE, OPEN, message, open_body

CONNECT_S = 60
SLICES = 50
FAMILIES = [(1, bytes((0, afi, 0, 1))) for afi in (1, 2)]


def _connect(local: str, peer: str) -> socket.socket:
    deadline = time.monotonic() + CONNECT_S
    while True:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.bind((local, 0))
        try:
            connection.connect((peer, 179))
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return connection


def _receive(connection: socket.socket, seen: bytearray) -> int:
    """The type of the next message; it is dropped."""
    while len(seen) < 19 or len(seen) < (seen[16] << 8 | seen[17]):
        data = connection.recv(65536)
        if not data:
            raise ConnectionError("the peer closed the session")
        seen += data
    kind = seen[18]
    del seen[: seen[16] << 8 | seen[17]]
    return kind


def _churn(connection: socket.socket, asked: dict[str, Any]) -> None:
    """A second of UPDATEs after the other, in slices, each with its end; the time after each end."""
    data, parts, at = Path(asked["file"]).read_bytes(), [], 0
    for size in asked["sizes"]:
        parts.append(data[at : at + size])
        at += size
    start = time.monotonic()
    for second, end in enumerate(asked["ends"]):
        part = parts[second % len(parts)]
        for number in range(SLICES):
            wait = start + second + number / SLICES - time.monotonic()
            time.sleep(max(0.0, wait))
            connection.sendall(part[len(part) * number // SLICES : len(part) * (number + 1) // SLICES])
        connection.sendall(bytes.fromhex(end))
        print(time.monotonic(), flush=True)


def main(arguments: list[str]) -> int:
    """See the module."""
    local, peer, asn, file = arguments
    stream = Path(file).read_bytes()
    connection = _connect(local, peer)
    connection.sendall(message(OPEN, open_body(int(asn), local, FAMILIES)))
    seen = bytearray()
    while (kind := _receive(connection, seen)) != KEEPALIVE:
        if kind == OPEN:
            connection.sendall(message(KEEPALIVE))
    print(time.monotonic(), flush=True)
    connection.sendall(stream)
    print(time.monotonic(), flush=True)
    while True:
        ready, _, _ = select.select([connection, sys.stdin], [], [], HOLD_SECONDS / 4)
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return 0
            _churn(connection, json.loads(line))
        if connection in ready:
            _receive(connection, seen)
        else:
            connection.sendall(message(KEEPALIVE))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
