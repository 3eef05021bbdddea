"""The frames between the tap in ExaBGP and the control process.

    kind u8 | 3 zero bytes | size u32 | epoch u32 | `size` bytes        native order

Kinds: LINE, a line of ExaBGP's JSON, or a hello, as text; SESSION, in JSON, what a session negotiated: it follows
the session's `up`, and its epoch names the session from then on; UPDATES, whole UPDATE messages of that session;
START, which ends what the tap tells a new helper about the sessions there are, and which the helper keeps. All are
in one order, that of the sessions' events. No kind is `{`, with which a stream of JSON lines begins.

helper.py, which imports nothing of the package, has the layout once more.
"""

from __future__ import annotations

import struct

HEADER = struct.Struct("=BxxxII")
LINE, SESSION, UPDATES, START = 1, 2, 3, 4
MAX_FRAME = 1 << 20
RETRY = "DPDKROUTER_CONNECT_RETRY"  # in ExaBGP's environment: seconds between attempts to connect, at most


def frame(kind: int, body: bytes, epoch: int = 0) -> bytes:
    """One frame."""
    return HEADER.pack(kind, len(body), epoch) + body


def is_frames(data: bytes) -> bool:
    """Whether a stream that begins so is one of frames, not of JSON lines."""
    return data[:1] != b"{"
