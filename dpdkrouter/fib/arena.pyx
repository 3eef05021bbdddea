"""Blocks of 1 to 17 units of the IPv6 trie's part: exact size classes, a bump range, splitting and joining.

All bookkeeping is in private memory, made anew on attach from the nodes that can be reached (`forget`, `take`
for each, `rebuild`). Free neighbours are joined only by `rebuild`, which alloc calls when nothing fits and
enough was freed since the last time to make its one pass over the map worth it. Control thread only.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc
from libc.stdlib cimport free as c_free
from libc.string cimport memset

cdef enum:
    LARGEST = 17    # units of a node with 64 runs
    RANGES = 18


cdef class Arena:
    """Units 1 to units - 1."""

    def __cinit__(self, uint32_t units):
        self.units = units
        self.taken = <uint8_t *>calloc(units, 1)
        self.next = <uint32_t *>calloc(units + 1, sizeof(uint32_t))
        if self.taken == NULL or self.next == NULL:
            raise MemoryError
        self.rebuild()

    def __dealloc__(self):
        c_free(self.taken)
        c_free(self.next)

    cdef void forget(self) noexcept:
        """Nothing is taken, nothing is free: `take` and `rebuild` follow."""
        memset(self.taken, 0, self.units)
        memset(self.head, 0, sizeof(self.head))
        self.used = self.freed = self.bump = self.bump_end = 0

    cdef void take(self, uint32_t at, uint32_t size) noexcept:
        memset(self.taken + at, 1, size)
        self.used += size

    cdef void rebuild(self) noexcept:
        """Make the free lists from the map, free neighbours joined."""
        cdef uint32_t at = 1, start
        memset(self.head, 0, sizeof(self.head))
        self.bump = self.bump_end = 0
        self.freed = 0
        while at < self.units:
            start = at
            while at < self.units and not self.taken[at]:
                at += 1
            if at > start:
                self.give_range(start, at - start)
            at += 1

    cdef void give_range(self, uint32_t at, uint32_t size) noexcept:
        cdef uint32_t which = size if size <= LARGEST else RANGES
        if which == RANGES:
            self.next[at + 1] = size
        self.next[at] = self.head[which]
        self.head[which] = at

    cdef uint32_t find(self, uint32_t size) noexcept:
        cdef uint32_t at = self.head[size]
        cdef uint32_t larger
        if at:
            self.head[size] = self.next[at]
            return at
        if self.bump_end - self.bump < size and self.head[RANGES]:
            if self.bump_end > self.bump:
                self.give_range(self.bump, self.bump_end - self.bump)
            self.bump = self.head[RANGES]
            self.bump_end = self.bump + self.next[self.bump + 1]
            self.head[RANGES] = self.next[self.bump]
        if self.bump_end - self.bump >= size:
            self.bump += size
            return self.bump - size
        for larger in range(size + 1, LARGEST + 1):
            at = self.head[larger]
            if at:
                self.head[larger] = self.next[at]
                self.give_range(at + size, larger - size)
                return at
        return 0

    cdef uint32_t alloc(self, uint32_t size) noexcept:
        """First unit of a block, or 0: full."""
        cdef uint32_t at = self.find(size)
        if at == 0 and self.freed >= size and self.freed > self.units // 256:
            self.rebuild()
            at = self.find(size)
        if at:
            self.take(at, size)
        return at

    cdef void give(self, uint32_t at, uint32_t size) noexcept:
        """Give a block back; nobody may read it any more."""
        memset(self.taken + at, 0, size)
        self.used -= size
        self.freed += size
        self.give_range(at, size)
