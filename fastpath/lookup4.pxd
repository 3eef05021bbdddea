"""IPv4 lookup: DIR-24-8 with 16-bit entries (Gupta, Lin, McKeown 1998).

A lookup is one load, or two when the /24 holds longer prefixes. It is bound by memory, so a burst first
prefetches every root line and only then reads. Into the second cache: with 64 lines on their way that measured 5 to
13 % better than into the first (docs/performance.md). Each entry is loaded once: what a concurrent writer stores is
seen before or after, never between.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from fastpath.atomic cimport dr_load_acquire_16
from fastpath.layout cimport DR_IPV4_EXTENDED
from fastpath.tables cimport tables

cdef extern from *:
    void __builtin_prefetch(const void *p, int write, int locality) noexcept nogil


cdef inline const uint16_t *extended_entry(const tables *t, uint16_t entry, uint32_t dst) noexcept nogil:
    """The entry of `dst` in the block that an extended root entry names."""
    return &t.ipv4_extended[((<uint64_t>(entry & ~DR_IPV4_EXTENDED)) << 8) | (dst & 0xFF)]


cdef inline uint16_t lookup4(const tables *t, uint32_t dst) noexcept nogil:
    """Group of one address (host order); 0: no route."""
    cdef uint16_t entry = dr_load_acquire_16(&t.ipv4_root[dst >> 8])
    if entry & DR_IPV4_EXTENDED:
        entry = dr_load_acquire_16(extended_entry(t, entry, dst))
    return entry


cdef inline void lookup4_prefetch(const tables *t, uint32_t dst) noexcept nogil:
    """Have the root line of an address fetched."""
    __builtin_prefetch(&t.ipv4_root[dst >> 8], 0, 1)


cdef inline void lookup4_fetched(const tables *t, const uint32_t *dst, uint16_t *group, int n) noexcept nogil:
    """lookup4_burst, when each address's lookup4_prefetch has been done."""
    cdef int i
    cdef uint16_t entry, seen = 0
    for i in range(n):
        entry = dr_load_acquire_16(&t.ipv4_root[dst[i] >> 8])
        group[i] = entry
        seen = seen | entry
    if not (seen & DR_IPV4_EXTENDED):
        return
    for i in range(n):
        if group[i] & DR_IPV4_EXTENDED:
            __builtin_prefetch(extended_entry(t, group[i], dst[i]), 0, 3)
    for i in range(n):
        if group[i] & DR_IPV4_EXTENDED:
            group[i] = dr_load_acquire_16(extended_entry(t, group[i], dst[i]))


cdef inline void lookup4_burst(const tables *t, const uint32_t *dst, uint16_t *group, int n) noexcept nogil:
    """Groups of n addresses. dst: uint32[n], host order; group: uint16[n]; 0 <= n."""
    cdef int i
    for i in range(n):
        lookup4_prefetch(t, dst[i])
    lookup4_fetched(t, dst, group, n)
