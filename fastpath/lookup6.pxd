"""IPv6 lookup: 24 bits of 2000::/3 direct (12 of the rest), then nodes of 6 bits whose slots are runs of equal entries.

A node is a bitmap of the slots where a run starts and one entry a run: popcount of the bits up to the slot
gives the entry (the idea of Poptrie, Asai and Ohara 2015, written from the paper). A level costs one line, or
two where a node crosses a line's end, so a burst goes down level by level: each lane's node is prefetched a pass before
it is read. Destinations outside 2000::/3 are few and go down by themselves. docs/performance.md has what was measured
against it: wider strides, range nodes, gathers. A node is immutable but for single stores to its entries, and is
reached by one store.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastpath.atomic cimport dr_load_acquire_32
from fastpath.layout cimport (DR_IPV6_CHILD, DR_IPV6_GLOBAL, DR_IPV6_OTHER_BITS, DR_IPV6_ROOT_BITS, DR_IPV6_STRIDE,
                              DR_IPV6_UNIT)
from fastpath.tables cimport tables

cdef extern from *:
    void __builtin_prefetch(const void *p, int write, int locality) noexcept nogil
    int __builtin_popcountll(unsigned long long word) noexcept nogil

cdef enum:
    LOOKUP6_BURST = 64    # lanes that one pass holds in its arrays on the stack
    LOOKUP6_GROUP = 0x7FFF


cdef inline bint is_global6(uint64_t hi) noexcept nogil:
    """Whether an address is in 2000::/3 (RFC 4291 2.4: what is given out)."""
    return hi >> 61 == 1


cdef inline uint32_t root_of_global6(uint64_t hi) noexcept nogil:
    """root_index6 of an address in 2000::/3; of any other an entry that is there."""
    return <uint32_t>(hi >> (64 - DR_IPV6_ROOT_BITS)) & (DR_IPV6_GLOBAL - 1)


cdef inline uint32_t root_index6(uint64_t hi) noexcept nogil:
    """The root's entry for an address."""
    if is_global6(hi):
        return root_of_global6(hi)
    return DR_IPV6_GLOBAL + <uint32_t>(hi >> (64 - DR_IPV6_OTHER_BITS))


cdef inline int root_bits6(uint64_t hi) noexcept nogil:
    """How many bits of an address the root has looked at."""
    return DR_IPV6_ROOT_BITS if is_global6(hi) else DR_IPV6_OTHER_BITS


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
    """The low bits of the address shifted down by 64 + shift, for nodes that need bits of lo: -68 <= shift < 0."""
    if shift < -64:          # of the deepest node, which begins at bit 126
        return lo << (-64 - shift)
    return (hi << -shift) | (lo >> (64 + shift)) if shift > -DR_IPV6_STRIDE else lo >> (64 + shift)


cdef inline uint32_t lookup6_leaf(const tables *t, uint64_t hi, uint64_t lo) noexcept nogil:
    """The leaf of one address: group and owner's length."""
    cdef uint32_t entry = dr_load_acquire_32(&t.ipv6_root[root_index6(hi)])
    cdef int bits = root_bits6(hi)
    hi = (hi << bits) | (lo >> (64 - bits))
    lo = lo << bits
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
    __builtin_prefetch(&t.ipv6_root[root_of_global6(hi)], 0, 3)


cdef inline uint32_t step(const tables *t, const uint8_t **node, uint32_t *entry, int i, uint64_t address,
                          bint some_ended) noexcept nogil:
    """One level of lane i, whose entry stays when it is a leaf's. Returns 1 if there is a further level, else 0."""
    cdef uint32_t below = dr_load_acquire_32(entry_at(node[i], address))
    cdef uint32_t going = <uint32_t>(<int32_t>entry[i] >> 31)
    entry[i] = entry[i] ^ (entry[i] ^ below) & going if some_ended else below
    node[i] = node_of(t, entry[i])
    __builtin_prefetch(node[i], 0, 3)
    return entry[i] >> 31


cdef inline uint32_t descend(const tables *t, const uint8_t **node, uint8_t *lane, uint32_t *entry, int i, int k,
                             uint64_t address) noexcept nogil:
    """One level of the lane at i, which goes on at k if it has not ended. Returns how many go on: 0 or 1."""
    cdef uint32_t below = dr_load_acquire_32(entry_at(node[i], address))
    entry[lane[i]] = below
    lane[k] = lane[i]
    node[k] = node_of(t, below)
    __builtin_prefetch(node[k], 0, 3)
    return below >> 31


cdef inline uint32_t start(const tables *t, const uint64_t *hi, const uint64_t *lo, const uint8_t **node,
                           uint32_t *entry, int n) noexcept nogil:
    """The root's entries, and for destinations outside 2000::/3 their leaves. Returns how many go on."""
    cdef int i
    cdef uint32_t going = 0
    cdef uint64_t others = 0
    for i in range(n):
        entry[i] = dr_load_acquire_32(&t.ipv6_root[root_of_global6(hi[i])])
        node[i] = node_of(t, entry[i])
        __builtin_prefetch(node[i], 0, 3)
        going += entry[i] >> 31
        others |= hi[i] >> 61 ^ 1
    if others:
        going = 0
        for i in range(n):
            if not is_global6(hi[i]):
                entry[i] = lookup6_leaf(t, hi[i], lo[i])
                node[i] = t.ipv6_trie
            going += entry[i] >> 31
    return going


cdef inline void lookup6_fetched(const tables *t, const uint64_t *hi, const uint64_t *lo, uint16_t *group,
                                 int n) noexcept nogil:
    """lookup6_burst for n <= LOOKUP6_BURST, when each address's lookup6_prefetch has been done.

    All lanes go down in step, so one shift serves them all. While most of them go on, those that have ended stay where
    they are, at their leaf, which costs less than sorting them out; then the others' numbers are kept packed at the
    arrays' front, without a branch to mispredict.
    """
    cdef const uint8_t *node[LOOKUP6_BURST]
    cdef uint32_t entry[LOOKUP6_BURST]
    cdef uint8_t lane[LOOKUP6_BURST]
    cdef int i, k
    cdef int m = start(t, hi, lo, node, entry, n)
    cdef int shift = 64 - DR_IPV6_ROOT_BITS - DR_IPV6_STRIDE
    while m == n and n and shift >= 0:
        m = 0
        for i in range(n):
            m += step(t, node, entry, i, hi[i] >> shift, False)
        shift -= DR_IPV6_STRIDE
    while 2 * m > n and shift >= 0:
        m = 0
        for i in range(n):
            m += step(t, node, entry, i, hi[i] >> shift, True)
        shift -= DR_IPV6_STRIDE
    if m:
        m = 0
        for i in range(n):
            lane[m] = i
            node[m] = node[i]
            m += entry[i] >> 31
    while m and shift >= 0:
        k = 0
        for i in range(m):
            k += descend(t, node, lane, entry, i, k, hi[lane[i]] >> shift)
        m = k
        shift -= DR_IPV6_STRIDE
    while m:
        k = 0
        for i in range(m):
            k += descend(t, node, lane, entry, i, k, deep_bits(hi[lane[i]], lo[lane[i]], shift))
        m = k
        shift -= DR_IPV6_STRIDE
    for i in range(n):
        group[i] = <uint16_t>entry[i]


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
