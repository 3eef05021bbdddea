"""A stats segment as the fast path would publish it, with lcores that say what a test wants them to say.

Offsets are those of struct dr_stats in fastpath/include/dr_layout.h.
"""

import os
import struct
from pathlib import Path

from dpdkrouter.fib.grace import start_time
from fastpath.segment import STATS_BYTES, Mapping, create

MAGIC = 0x3154415453445244
OFFLINE = (1 << 64) - 1
HEADER_BYTES = 320
PID_AT = 24
LCORES_AT = 4096 + 32 * 128 + 64 + 256 * 32  # header page, ports, resolve ring
LCORE_BYTES = 64 + 128 + 64 + 512 + 64 + 32 * 64


class Stats:
    """The lcores of one fast path process; made in the process that plays it."""

    def __init__(self, path: Path, lcores: int) -> None:
        self.mapping: Mapping = create(path, STATS_BYTES)
        self._view = self.mapping.view()
        struct.pack_into(
            "=QIIQQQ", self._view, 0, MAGIC, 1, HEADER_BYTES, STATS_BYTES, os.getpid(), start_time(os.getpid())
        )
        for lcore in range(lcores):
            struct.pack_into("=QI", self._view, LCORES_AT + lcore * LCORE_BYTES, 0, 1)
        self.mapping.publish()

    def quiescent(self, lcore: int, epoch: int) -> None:
        struct.pack_into("=Q", self._view, LCORES_AT + lcore * LCORE_BYTES, epoch)

    def died(self) -> None:
        """As if the process had ended: its start time is no longer that of its pid."""
        struct.pack_into("=Q", self._view, PID_AT + 8, 1)

    def close(self) -> None:
        self._view.release()
        self.mapping.close()
