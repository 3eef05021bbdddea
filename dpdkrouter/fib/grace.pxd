"""Retired memory and the lcores that may still read it; see grace.pyx."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastpath.layout cimport dr_route_header, dr_stats
from fastpath.segment cimport Mapping

cdef enum Retired:
    RETIRED_EXTENDED = 0    # block of ipv4_extended
    RETIRED_NODE = 1        # trie node, by its first unit
    RETIRED_GROUP = 2
    RETIRED_BUCKETS = 3
    RETIRED_ADJACENCY = 4

cdef struct retired:
    uint64_t epoch
    uint32_t what
    uint32_t kind

cdef class Grace:
    cdef dr_route_header *header
    cdef retired *queue
    cdef uint32_t size, first, count
    cdef uint32_t untagged        # retired since the epoch was last raised
    cdef uint64_t passed          # every lcore has been quiescent since this epoch was raised
    cdef object stats_path
    cdef Mapping stats

    cdef void bind(self, dr_route_header *header) noexcept
    cdef bint has_room(self, uint32_t n) noexcept
    cdef void retire(self, uint32_t kind, uint32_t what) noexcept
    cdef uint64_t raise_epoch(self) noexcept
    cdef int look(self) except -1
    cdef bint pop(self, retired *out) noexcept
    cdef uint64_t quiescent(self) noexcept
    cdef bint follow_stats(self) except *
