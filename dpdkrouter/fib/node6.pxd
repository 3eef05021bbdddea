"""One node of the IPv6 trie: from runs to 64 slots and back.

A leaf carries its owner's length, so a node alone says which rule each slot shows. Runs are kept apart where
rules may be: two neighbouring rules of the same length and group stay two runs. So a rule's leaves are
whole runs, and can always be changed in place, by single stores, without memory.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastpath.layout cimport (DR_IPV6_CHILD, DR_IPV6_GLOBAL, DR_IPV6_OTHER_BITS, DR_IPV6_ROOT_BITS, DR_IPV6_STRIDE,
                              DR_IPV6_UNIT)
from fastpath.lookup6 cimport is_global6

cdef extern from *:
    int __builtin_popcountll(unsigned long long word) noexcept nogil


cdef inline int owner(uint32_t leaf) noexcept nogil:
    """Length of the rule that a leaf shows."""
    return (leaf >> 16) & 0xFF


cdef inline uint8_t *node_at(uint8_t *trie, uint32_t entry) noexcept nogil:
    """The node that a child entry leads to."""
    return trie + <uint64_t>(entry & ~DR_IPV6_CHILD) * DR_IPV6_UNIT


cdef inline uint64_t *starts_of(uint8_t *node) noexcept nogil:
    return <uint64_t *>node


cdef inline uint32_t *entries_of(uint8_t *node) noexcept nogil:
    return <uint32_t *>(node + 8)


cdef inline int runs_of(uint8_t *node) noexcept nogil:
    return __builtin_popcountll(starts_of(node)[0])


cdef inline uint32_t units_for(int runs) noexcept nogil:
    return (8 + 4 * runs + DR_IPV6_UNIT - 1) // DR_IPV6_UNIT


cdef inline int run_of(uint8_t *node, int slot) noexcept nogil:
    """Which run a slot is in."""
    return __builtin_popcountll(starts_of(node)[0] & (((<uint64_t>2) << slot) - 1)) - 1


cdef inline bint stands_alone(uint8_t *node, int slot) noexcept nogil:
    """Whether the run of a slot is this slot only."""
    cdef uint64_t starts = starts_of(node)[0] >> slot
    return starts & 1 and (slot == 63 or starts & 2)


cdef inline int node_base(int level) noexcept nogil:
    """Bits of the address above a node of this level."""
    return DR_IPV6_OTHER_BITS + DR_IPV6_STRIDE * level


cdef inline int first_level(uint64_t hi) noexcept nogil:
    """Level of the nodes that the root's entry for an address leads to: where its part of the root ends."""
    return (DR_IPV6_ROOT_BITS - DR_IPV6_OTHER_BITS) // DR_IPV6_STRIDE if is_global6(hi) else 0


cdef inline uint64_t root_address(uint32_t index) noexcept nogil:
    """The first half of the first address that an entry of the root answers for."""
    if index < DR_IPV6_GLOBAL:
        return <uint64_t>(index | DR_IPV6_GLOBAL) << (64 - DR_IPV6_ROOT_BITS)
    return <uint64_t>(index - DR_IPV6_GLOBAL) << (64 - DR_IPV6_OTHER_BITS)


cdef inline int level_of(int length) noexcept nogil:
    """Level of the node in whose slots a prefix longer than the root's bits ends."""
    return (length - DR_IPV6_OTHER_BITS - 1) // DR_IPV6_STRIDE


cdef inline int slot_at(uint64_t hi, uint64_t lo, int base) noexcept nogil:
    """The six bits of an address that follow its first `base`."""
    cdef int shift = 128 - DR_IPV6_STRIDE - base
    if shift >= 64:
        return (hi >> (shift - 64)) & 63
    if shift > 58:    # across the halves
        return ((hi << (64 - shift)) | (lo >> shift)) & 63
    if shift < 0:     # the deepest: two bits are left
        return (lo << -shift) & 63
    return (lo >> shift) & 63


cdef inline int range_of(int length) noexcept nogil:
    """Slots that a prefix covers in the node where it ends."""
    return 1 << (node_base(level_of(length)) + DR_IPV6_STRIDE - length)


cdef inline void expand(uint8_t *node, uint32_t *slots) noexcept nogil:
    """slots: uint32[64]."""
    cdef uint64_t starts = starts_of(node)[0]
    cdef uint32_t *entry = entries_of(node)
    cdef int slot, run = -1
    for slot in range(64):
        run += <int>(starts >> slot) & 1
        slots[slot] = entry[run]


cdef inline uint64_t runs(const uint32_t *slots, int base) noexcept nogil:
    """The start bits of 64 slots in a node below `base` bits."""
    cdef uint64_t starts = 1
    cdef int slot, width
    for slot in range(1, 64):
        if slots[slot] != slots[slot - 1] or slots[slot] & DR_IPV6_CHILD:
            starts |= (<uint64_t>1) << slot
        elif owner(slots[slot]) > base:
            width = 1 << (base + DR_IPV6_STRIDE - owner(slots[slot]))
            if slot & (width - 1) == 0:
                starts |= (<uint64_t>1) << slot
    return starts


cdef inline void encode(uint8_t *node, const uint32_t *slots, uint64_t starts) noexcept nogil:
    cdef int slot
    cdef uint32_t *entry = entries_of(node)
    starts_of(node)[0] = starts
    for slot in range(64):
        if (starts >> slot) & 1:
            entry[0] = slots[slot]
            entry += 1


cdef inline bint is_leaf_throughout(uint8_t *node, int level) noexcept nogil:
    """Whether no rule ends in this node or below: all runs are one leaf whose owner is above."""
    cdef uint32_t *entry = entries_of(node)
    cdef int run
    if entry[0] & DR_IPV6_CHILD or owner(entry[0]) > node_base(level):
        return False
    for run in range(1, runs_of(node)):
        if entry[run] != entry[0]:
            return False
    return True
