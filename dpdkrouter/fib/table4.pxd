"""The IPv4 table's writer; see table4.pyx."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from dpdkrouter.fib.grace cimport Grace

cdef class Table4:
    cdef uint16_t *root            # [2^24]
    cdef uint16_t *extended        # [blocks][256]
    cdef uint8_t *depth            # [2^24]
    cdef uint8_t *extended_depth   # [blocks][256]
    cdef uint32_t blocks
    cdef uint16_t *free_list       # [blocks]
    cdef uint32_t free_count
    cdef readonly uint32_t left_behind  # blocks that should have been retired but had no room in the queue
    cdef Grace grace

    cdef void bind(self, uint16_t *root, uint16_t *extended, uint8_t *depth, uint8_t *extended_depth) noexcept
    cdef bint derive(self) except *
    cdef bint fits(self, uint32_t prefix, int length) noexcept
    cdef void insert(self, uint32_t prefix, int length, uint16_t group) noexcept
    cdef void withdraw(self, uint32_t prefix, int length, uint16_t cover, int cover_length) noexcept
    cdef void release(self, uint32_t block) noexcept
    cdef void tidy(self) noexcept
    cdef void insert_extended(self, uint32_t prefix, int length, uint16_t group) noexcept
    cdef void collapse(self, uint32_t index) noexcept
