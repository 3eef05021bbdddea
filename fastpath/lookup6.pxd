"""IPv6 lookup: 20 bits direct, then nodes of 6 bits whose 64 slots are stored as runs of equal entries.

A node is a bitmap of the slots where a run starts and one entry a run: popcount of the bits up to the slot
gives the entry (the idea of Poptrie, Asai and Ohara 2015, written from the paper). A level costs one line, or
two where a node crosses a line's end, so a burst goes down level by level: each lane's node is prefetched a pass before
it is read. docs/performance.md has what was measured against it: wider
strides, range nodes, gathers. A node is immutable but for single stores to its entries, and is
reached by one store.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

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
    cdef uint32_t unit = (entry & <uint32_t>(<int32_t>entry >> 31)) << 1    # the shift drops the child bit
    return t.ipv6_trie + (<uint64_t>unit << 3)


cdef inline const uint32_t *entry_at(const uint8_t *node, uint64_t address) noexcept nogil:
    """The entry of the slot in the address's low six bits: that of the last run which starts at or before it.

    What stands above those bits does not matter.
    """
    cdef uint64_t upto = (<const uint64_t *>node)[0] << (~address & 63)
    return (<const uint32_t *>(node + 4)) + __builtin_popcountll(upto)


cdef inline uint64_t deep_bits(uint64_t hi, uint64_t lo, int shift) noexcept nogil:
    """The low bits of the address shifted down by 64 + shift, for nodes that need bits of lo: -64 <= shift < 0."""
    return (hi << -shift) | (lo >> (64 + shift)) if shift > -DR_IPV6_STRIDE else lo >> (64 + shift)


cdef inline uint32_t lookup6_leaf(const tables *t, uint64_t hi, uint64_t lo) noexcept nogil:
    """The leaf of one address: group and owner's length."""
    cdef uint32_t entry = dr_load_acquire_32(&t.ipv6_root[hi >> (64 - DR_IPV6_ROOT_BITS)])
    hi = (hi << DR_IPV6_ROOT_BITS) | (lo >> (64 - DR_IPV6_ROOT_BITS))
    lo = lo << DR_IPV6_ROOT_BITS
    while entry & DR_IPV6_CHILD:
        entry = dr_load_acquire_32(entry_at(node_of(t, entry), hi >> (64 - DR_IPV6_STRIDE)))
        hi = (hi << DR_IPV6_STRIDE) | (lo >> (64 - DR_IPV6_STRIDE))
        lo = lo << DR_IPV6_STRIDE
    return entry


cdef inline uint16_t lookup6(const tables *t, uint64_t hi, uint64_t lo) noexcept nogil:
    """Group of one address, given as two halves in host order; 0: no route."""
    return lookup6_leaf(t, hi, lo) & LOOKUP6_GROUP


cdef inline void lookup6_prefetch(const tables *t, uint64_t hi) noexcept nogil:
    """Have the root line of an address fetched; hi: its first half in host order."""
    __builtin_prefetch(&t.ipv6_root[hi >> (64 - DR_IPV6_ROOT_BITS)], 0, 3)


cdef inline uint32_t descend(const tables *t, const uint8_t **node, uint8_t *lane, uint16_t *group, int i, int k,
                             uint64_t address) noexcept nogil:
    """One level of the lane at i, which goes on at k if it has not ended. Returns how many go on: 0 or 1."""
    cdef uint32_t entry = dr_load_acquire_32(entry_at(node[i], address))
    group[lane[i]] = <uint16_t>entry
    lane[k] = lane[i]
    node[k] = node_of(t, entry)
    __builtin_prefetch(node[k], 0, 3)
    return entry >> 31


cdef inline void lookup6_fetched(const tables *t, const uint64_t *hi, const uint64_t *lo, uint16_t *group,
                                 int n) noexcept nogil:
    """lookup6_burst for n <= LOOKUP6_BURST, when each address's lookup6_prefetch has been done.

    All lanes go down in step, so one shift serves them all, and those that have ended drop out: the others' numbers
    are kept packed at the arrays' front, without a branch to mispredict.
    """
    cdef const uint8_t *node[LOOKUP6_BURST]
    cdef uint8_t lane[LOOKUP6_BURST]
    cdef int i, k, m = 0
    cdef int shift = 64 - DR_IPV6_ROOT_BITS - DR_IPV6_STRIDE
    cdef uint32_t entry
    for i in range(n):
        entry = dr_load_acquire_32(&t.ipv6_root[hi[i] >> (64 - DR_IPV6_ROOT_BITS)])
        group[i] = <uint16_t>entry    # of a leaf the group, of a child entry overwritten later
        node[m] = node_of(t, entry)
        __builtin_prefetch(node[m], 0, 3)
        lane[m] = i
        m += entry >> 31
    while m and shift >= 0:
        k = 0
        for i in range(m):
            k += descend(t, node, lane, group, i, k, hi[lane[i]] >> shift)
        m = k
        shift -= DR_IPV6_STRIDE
    while m:
        k = 0
        for i in range(m):
            k += descend(t, node, lane, group, i, k, deep_bits(hi[lane[i]], lo[lane[i]], shift))
        m = k
        shift -= DR_IPV6_STRIDE


cdef inline void lookup6_burst(const tables *t, const uint64_t *hi, const uint64_t *lo, uint16_t *group,
                               int n) noexcept nogil:
    """Groups of n addresses.

    Hi, lo: uint64[n], the address's halves in host order; group: uint16[n]; 0 <= n.
    """
    cdef int done = 0
    cdef int part, i
    while done < n:
        part = n - done if n - done < LOOKUP6_BURST else LOOKUP6_BURST
        for i in range(part):
            lookup6_prefetch(t, hi[done + i])
        lookup6_fetched(t, hi + done, lo + done, group + done, part)
        done += part
