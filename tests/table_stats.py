"""A stats segment as the fast path would publish it, with lcores that say what a test wants them to say."""

import os
import struct
from pathlib import Path

from dpdkrouter.fib.grace import start_time
from fastpath.segment import STATS_BYTES, Mapping, create
from statskit import layout, place_of

OFFLINE = (1 << 64) - 1


class Stats:
    """The lcores of one fast path process; made in the process that plays it."""

    def __init__(self, path: Path, lcores: int) -> None:
        self.mapping: Mapping = create(path, STATS_BYTES)
        self._view = self.mapping.view()
        _, constants = layout()
        for field, value in (
            ("magic", constants["DR_STATS_MAGIC"]),
            ("version", constants["DR_STATS_VERSION"]),
            ("header_bytes", constants["sizeof(struct dr_stats_header)"]),
            ("segment_bytes", STATS_BYTES),
            ("pid", os.getpid()),
            ("pid_start", start_time(os.getpid())),
        ):
            self._set(f"header.{field}", value)
        for lcore in range(lcores):
            self._set(f"lcore[{lcore}].quiescent", 0)
            self._set(f"lcore[{lcore}].online", 1)
        self._quiescent_at = [place_of(f"lcore[{lcore}].quiescent")[0] for lcore in range(lcores)]
        self.mapping.publish()

    def _set(self, field: str, value: int) -> None:
        at, size = place_of(field)
        self._view[at : at + size] = value.to_bytes(size, "little")

    def quiescent(self, lcore: int, epoch: int) -> None:
        struct.pack_into("=Q", self._view, self._quiescent_at[lcore], epoch)

    def died(self) -> None:
        """As if the process had ended: its start time is no longer that of its pid."""
        self._set("header.pid_start", 1)

    def close(self) -> None:
        self._view.release()
        self.mapping.close()
