"""Grace periods: when memory that was taken out of the table may be used again.

A block is retired after the store that made it unreachable, and carries the epoch that is raised next. An
lcore stores the epoch that it reads into its `quiescent` word at a moment when it holds nothing from the
table; so when every lcore's word has reached a block's epoch, no lcore can hold that block (the argument of
QSBR; Hart et al. 2007). A sleeping or ended lcore shows DR_OFFLINE, and the lcores of a fast path that is
gone count as quiescent.

What the fast path must do for this: publish its stats segment, with its lcores online and their words at 0,
before it reads the table for the first time. The queue is bounded; a full one means that an lcore hangs, and
routes that would retire memory are refused. Control thread only; nothing here blocks.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pathlib import Path

from dpdkrouter.errors import SegmentError, SegmentVersionError

from fastpath.atomic cimport dr_fence, dr_load_acquire_64, dr_store_release_64
from fastpath.layout cimport DR_MAX_LCORES, DR_OFFLINE, dr_lcore_stats, dr_route_header, dr_stats

from fastpath.segment import READERS, STATS, attach


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot (proc(5), /proc/PID/stat: field 22).

    0 when there is none, or one that is dead and only not yet waited for: a zombie (field 3) of which no other
    thread is left (field 20) runs no code any more.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    words = stat[stat.rindex(b")") + 2:].split()
    return 0 if words[0] in b"ZX" and int(words[17]) <= 1 else int(words[19])


cdef class Grace:
    """The queue of retired blocks of one segment, and the stats segment of the fast path that reads it.

    stats_path: where the fast path publishes its stats segment; None: nobody reads the table.
    """

    def __cinit__(self, stats_path=None, uint32_t size=65536):
        self.stats_path = stats_path
        self.size = size
        self.queue = <retired *>calloc(size, sizeof(retired))
        if self.queue == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.queue)

    def watch(self, stats_path) -> None:
        """Follow the fast path that publishes its stats segment at `stats_path`.

        None: nobody reads the table.
        """
        self.stats_path, self.stats = stats_path, None

    cdef void bind(self, dr_route_header *header) noexcept:
        self.header = header

    cdef bint has_room(self, uint32_t n) noexcept:
        return self.count + n <= self.size

    cdef void retire(self, uint32_t kind, uint32_t what) noexcept:
        """Queue what no entry of the table leads to any more. has_room() was asked before."""
        cdef retired *slot = &self.queue[(self.first + self.count) % self.size]
        slot.epoch = self.header.grace_epoch + 1
        slot.kind = kind
        slot.what = what
        self.count += 1
        self.untagged += 1

    cdef uint64_t raise_epoch(self) noexcept:
        """Ask every lcore to pass a quiescent state; what was retired until now waits for it."""
        cdef uint64_t epoch = self.header.grace_epoch + 1
        dr_fence()
        dr_store_release_64(&self.header.grace_epoch, epoch)
        self.untagged = 0
        return epoch

    cdef int look(self) except -1:
        """Bring `passed` up to date."""
        if self.untagged:
            self.raise_epoch()
        self.passed = self.quiescent()
        if self.passed < self.header.grace_epoch and not self.follow_stats():
            self.passed = DR_OFFLINE
        return 0

    cdef bint pop(self, retired *out) noexcept:
        """Take the oldest block whose grace period is over."""
        if not self.count or self.queue[self.first].epoch > self.passed:
            return False
        out[0] = self.queue[self.first]
        self.first = (self.first + 1) % self.size
        self.count -= 1
        return True

    cdef uint64_t quiescent(self) noexcept:
        """The oldest epoch that an lcore may still be in.

        0 when the stats segment is not mapped but could be.
        """
        cdef uint64_t oldest = DR_OFFLINE
        cdef uint64_t seen
        cdef const dr_lcore_stats *lcore
        cdef int i
        if self.stats_path is None:
            return DR_OFFLINE
        if self.stats is None:
            return 0
        for i in range(DR_MAX_LCORES):
            lcore = &(<const dr_stats *>self.stats.base).lcore[i]
            if lcore.online:
                seen = dr_load_acquire_64(&lcore.quiescent)
                oldest = seen if seen < oldest else oldest
        return oldest

    cdef bint follow_stats(self) except *:
        """Map the stats segment that has the name now; False when no live fast path stands behind it."""
        cdef const dr_stats *stats
        if self.stats is None or not self.stats.is_current():
            self.stats = None
            try:
                self.stats = attach(self.stats_path, STATS, READERS)
            except SegmentVersionError:
                return True    # of another release: somebody may live behind it, but cannot be asked
            except SegmentError:
                return False
            self.passed = self.quiescent()
        stats = <const dr_stats *>self.stats.base
        return stats.header.pid != 0 and start_time(stats.header.pid) == stats.header.pid_start
