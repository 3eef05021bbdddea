"""Allocator of the IPv6 trie's units; see arena.pyx."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef class Arena:
    cdef uint32_t units        # in the part; unit 0 is never given
    cdef uint32_t used         # units given and not yet freed
    cdef uint8_t *taken        # [units]: 1 while given
    cdef uint32_t *next        # [units]: free list; the unit after a large range's first holds its length
    cdef uint32_t head[19]     # [size]: free blocks of 1 to 17 units; [18]: ranges of 18 and more
    cdef uint32_t bump, bump_end
    cdef uint32_t freed        # since the free lists were built

    cdef uint32_t alloc(self, uint32_t size) noexcept
    cdef void give(self, uint32_t at, uint32_t size) noexcept
    cdef void forget(self) noexcept
    cdef void take(self, uint32_t at, uint32_t size) noexcept
    cdef void rebuild(self) noexcept
    cdef void give_range(self, uint32_t at, uint32_t size) noexcept
    cdef uint32_t find(self, uint32_t size) noexcept
