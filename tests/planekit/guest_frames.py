"""Run in a guest whose kernel has what the host's lacks: frames go into its router one by one, and what comes out is told.

    python3 guest_frames.py ORDER ANSWER      in the namespace where the wires' far ends are

ORDER, JSON: {"far": [INTERFACE, ..], "cases": [{"frame": HEX, "marks": [[HEX, HEX], ..]}, ..]}. Each frame is sent into the
first interface, with a marker behind it for each interface: a frame, and what is in it when it comes out there. So
everything before it has been dealt with. ANSWER, JSON: for each case [[INTERFACE'S NUMBER, HEX], ..]. Nothing but the
standard library is needed, as a Python takes its time in an emulated machine.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path

SOL_PACKET = 263
PACKET_AUXDATA = 8
PACKET_IGNORE_OUTGOING = 23
ETH_P_ALL = 3
STATUS_VLAN = 1 << 4
STATUS_TPID = 1 << 6
PATIENCE_S = 60.0


def opened(interface: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    raw.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    raw.bind((interface, ETH_P_ALL))
    raw.setblocking(False)
    return raw


def received(raw: socket.socket) -> bytes:
    """A frame as it was on the wire: the kernel takes the outer tag off and tells it beside (packet(7))."""
    frame, said, _, _ = raw.recvmsg(65536, 64)
    for level, kind, data in said:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, *_, tci, tpid = struct.unpack("=IIIHHHH", data[:20])
            if status & STATUS_VLAN:
                return frame[:12] + struct.pack(">HH", tpid if status & STATUS_TPID else 0x8100, tci) + frame[12:]
    return frame


def exchange(far: list[socket.socket], frame: bytes, marks: list[tuple[bytes, bytes]]) -> list[tuple[int, str]]:
    """What came out because of a frame."""
    far[0].send(frame)
    for mark, _ in marks:
        far[0].send(mark)
    wanted = {needle for _, needle in marks}
    out: list[tuple[int, str]] = []
    until = time.monotonic() + PATIENCE_S
    while wanted:
        ready, _, _ = select.select(far, [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise SystemExit(f"markers {wanted} have not come")
        for raw in ready:
            got = received(raw)
            found = {needle for _, needle in marks if needle in got}
            wanted -= found
            if not found:
                out.append((far.index(raw), got.hex()))
    return out


def main(order: str, answer: str) -> None:
    os.sched_setaffinity(0, {0})  # the kernel's backlog is a CPU's: so frames stay in order
    told = json.loads(Path(order).read_text())
    far = [opened(interface) for interface in told["far"]]
    answers = []
    for case in told["cases"]:
        marks = [(bytes.fromhex(frame), bytes.fromhex(needle)) for frame, needle in case["marks"]]
        answers.append(exchange(far, bytes.fromhex(case["frame"]), marks))
    Path(answer).write_text(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
