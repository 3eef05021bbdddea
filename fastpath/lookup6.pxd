"""IPv6 lookup: 20 bits direct, then nodes of 6 bits whose 64 slots are stored as runs of equal entries.

A node is a bitmap of the slots where a run starts and one entry a run: popcount of the bits up to the slot
gives the entry (the idea of Poptrie, Asai and Ohara 2015, written from the paper). A level costs two
dependent lines, often one, so a burst goes down level by level: all lanes' bitmaps, then all lanes' entries,
each prefetched a pass before it is read. A node is immutable but for single stores to its entries, and is
reached by one store.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastpath.atomic cimport dr_load_acquire_32
from fastpath.layout cimport DR_IPV6_CHILD, DR_IPV6_ROOT_BITS, DR_IPV6_STRIDE, DR_IPV6_UNIT
from fastpath.tables cimport tables

cdef extern from *:
    void __builtin_prefetch(const void *p, int write, int locality) noexcept nogil
    int __builtin_popcountll(unsigned long long word) noexcept nogil

cdef enum:
    LOOKUP6_BURST = 64    # lanes that one pass holds in its arrays on the stack
    LOOKUP6_GROUP = 0x7FFF


cdef inline const uint8_t *node_of(const tables *t, uint32_t entry) noexcept nogil:
    """The node that a child entry names.

    Of a leaf the trie's first, unused unit, so that a prefetch of it is cheap.
    """
    return t.ipv6_trie + <uint64_t>((entry & ~DR_IPV6_CHILD) * (entry >> 31)) * DR_IPV6_UNIT


cdef inline const uint32_t *node_entry(const uint8_t *node, uint32_t slot) noexcept nogil:
    """The entry of `slot` (0 to 63): that of the last run which starts at or before it."""
    cdef uint64_t upto = ((<uint64_t>2) << slot) - 1    # slot 63: all ones
    cdef int run = __builtin_popcountll((<const uint64_t *>node)[0] & upto) - 1
    return (<const uint32_t *>(node + 8)) + run


cdef inline uint32_t lookup6_leaf(const tables *t, uint64_t hi, uint64_t lo) noexcept nogil:
    """The leaf of one address: group and owner's length."""
    cdef uint32_t entry = dr_load_acquire_32(&t.ipv6_root[hi >> (64 - DR_IPV6_ROOT_BITS)])
    hi = (hi << DR_IPV6_ROOT_BITS) | (lo >> (64 - DR_IPV6_ROOT_BITS))
    lo = lo << DR_IPV6_ROOT_BITS
    while entry & DR_IPV6_CHILD:
        entry = dr_load_acquire_32(node_entry(node_of(t, entry), hi >> (64 - DR_IPV6_STRIDE)))
        hi = (hi << DR_IPV6_STRIDE) | (lo >> (64 - DR_IPV6_STRIDE))
        lo = lo << DR_IPV6_STRIDE
    return entry


cdef inline uint16_t lookup6(const tables *t, uint64_t hi, uint64_t lo) noexcept nogil:
    """Group of one address, given as two halves in host order; 0: no route."""
    return lookup6_leaf(t, hi, lo) & LOOKUP6_GROUP


cdef inline void lookup6_pass(const tables *t, const uint64_t *hi, const uint64_t *lo, uint16_t *group,
                              int n) noexcept nogil:
    """lookup6_burst for n <= LOOKUP6_BURST.

    The lanes still going down are kept packed at the arrays' front.
    """
    cdef uint64_t high[LOOKUP6_BURST]
    cdef uint64_t low[LOOKUP6_BURST]
    cdef const uint8_t *node[LOOKUP6_BURST]
    cdef const uint32_t *at[LOOKUP6_BURST]
    cdef uint8_t lane[LOOKUP6_BURST]
    cdef int i, k, m = 0
    cdef uint32_t entry
    for i in range(n):
        __builtin_prefetch(&t.ipv6_root[hi[i] >> (64 - DR_IPV6_ROOT_BITS)], 0, 3)
    for i in range(n):
        entry = dr_load_acquire_32(&t.ipv6_root[hi[i] >> (64 - DR_IPV6_ROOT_BITS)])
        group[i] = entry & LOOKUP6_GROUP
        node[m] = node_of(t, entry)
        __builtin_prefetch(node[m], 0, 3)
        lane[m] = i
        high[m] = (hi[i] << DR_IPV6_ROOT_BITS) | (lo[i] >> (64 - DR_IPV6_ROOT_BITS))
        low[m] = lo[i] << DR_IPV6_ROOT_BITS
        m += (entry & DR_IPV6_CHILD) != 0    # a leaf's lane is overwritten by the next: no branch to mispredict
    while m:
        for i in range(m):
            at[i] = node_entry(node[i], high[i] >> (64 - DR_IPV6_STRIDE))
            __builtin_prefetch(at[i], 0, 3)
        k = 0
        for i in range(m):
            entry = dr_load_acquire_32(at[i])
            group[lane[i]] = entry & LOOKUP6_GROUP
            node[k] = node_of(t, entry)
            __builtin_prefetch(node[k], 0, 3)
            lane[k] = lane[i]
            high[k] = (high[i] << DR_IPV6_STRIDE) | (low[i] >> (64 - DR_IPV6_STRIDE))
            low[k] = low[i] << DR_IPV6_STRIDE
            k += (entry & DR_IPV6_CHILD) != 0
        m = k


cdef inline void lookup6_burst(const tables *t, const uint64_t *hi, const uint64_t *lo, uint16_t *group,
                               int n) noexcept nogil:
    """Groups of n addresses.

    Hi, lo: uint64[n], the address's halves in host order; group: uint16[n]; 0 <= n.
    """
    cdef int done = 0
    cdef int part
    while done < n:
        part = n - done if n - done < LOOKUP6_BURST else LOOKUP6_BURST
        lookup6_pass(t, hi + done, lo + done, group + done, part)
        done += part
