"""A BGP speaker of raw bytes: an OPEN, keepalives, and whatever UPDATE a test gives it. For what no real
daemon sends.

It connects, so the other side must listen. Run it inside a namespace with `python speaker.py LOCAL PEER ASN
UPDATE_HEX.. [repeat=N] [add-path]`; the last UPDATE is sent N times. It keeps the session until its stdin ends, and
prints `established` once the session is.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time

MARKER = b"\xff" * 16
OPEN, UPDATE, NOTIFICATION, KEEPALIVE = 1, 2, 3, 4
HOLD_SECONDS = 90


def message(kind: int, body: bytes = b"") -> bytes:
    """A BGP message (RFC 4271 section 4.1)."""
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


def open_body(asn: int, router_id: str, capabilities: list[tuple[int, bytes]]) -> bytes:
    """An OPEN's body with capabilities (RFC 5492), 4-byte ASN included."""
    capabilities = [*capabilities, (65, struct.pack("!I", asn))]
    options = b"".join(bytes((2, 2 + len(value), code, len(value))) + value for code, value in capabilities)
    short_asn = asn if asn < 65536 else 23456
    fixed = struct.pack("!BHH4sB", 4, short_asn, HOLD_SECONDS, socket.inet_aton(router_id), len(options))
    return fixed + options


def attribute(flags: int, code: int, value: bytes) -> bytes:
    """One path attribute (RFC 4271 section 4.3)."""
    if len(value) > 255:
        return struct.pack("!BBH", flags | 0x10, code, len(value)) + value
    return struct.pack("!BBB", flags, code, len(value)) + value


def update_body(attributes: bytes = b"", announced: bytes = b"", withdrawn: bytes = b"") -> bytes:
    """An UPDATE's body."""
    return struct.pack("!H", len(withdrawn)) + withdrawn + struct.pack("!H", len(attributes)) + attributes + announced


def main(arguments: list[str]) -> int:
    """See the module."""
    local, peer, asn = arguments[:3]
    families = [(1, struct.pack("!HBB", afi, 0, 1)) for afi in (1, 2)]
    add_path = [(69, struct.pack("!HBB", 1, 1, 2))] if "add-path" in arguments[3:] else []
    repeat = sum(int(text.removeprefix("repeat=")) for text in arguments[3:] if text.startswith("repeat="))
    words = [text for text in arguments[3:] if text != "add-path" and not text.startswith("repeat=")]
    updates = [bytes.fromhex(text) for text in words]
    updates += updates[-1:] * (repeat - 1)
    deadline = time.monotonic() + 15
    while True:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.bind((local, 0))
        try:
            connection.connect((peer, 179))
            break
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    connection.sendall(message(OPEN, open_body(int(asn), local, families + add_path)))
    seen = b""
    opened = False
    while True:
        ready, _, _ = select.select([connection, sys.stdin], [], [], HOLD_SECONDS / 4)
        if connection in ready:
            data = connection.recv(65536)
            if not data:
                print("closed", flush=True)
                return 1
            seen += data
        elif sys.stdin in ready:
            return 0
        else:
            connection.sendall(message(KEEPALIVE))
        while len(seen) >= 19 and len(seen) >= (length := struct.unpack("!H", seen[16:18])[0]):
            kind, seen = seen[18], seen[length:]
            if kind == OPEN:
                connection.sendall(message(KEEPALIVE))
            elif kind == NOTIFICATION:
                print("notification", flush=True)
            elif kind == KEEPALIVE and not opened:
                opened = True
                for update in updates:
                    connection.sendall(message(UPDATE, update))
                print("established", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
