"""The IPv6 trie's leaves in order of address, for the audit, which believes nothing that it reads.

Besides the table's writer and its lookup the one place that knows the trie's layout.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from dpdkrouter.fib.node6 cimport (entries_of, first_level, node_at, node_base, root_address, run_of, runs_of, slot_at,
                                   starts_of, units_for)
from fastpath.atomic cimport dr_load_acquire_32
from fastpath.layout cimport DR_IPV6_CHILD, DR_IPV6_GLOBAL, DR_IPV6_ROOT, DR_IPV6_STRIDE
from fastpath.lookup6 cimport root_bits6, root_index6

cdef extern from *:
    ctypedef uint64_t u128 "unsigned __int128"

cdef enum:
    LEVELS6 = 20         # levels of nodes

cdef struct leaf6:
    uint32_t *at         # the entry
    uint32_t word        # what stands there
    int bits             # of the address that lead to it; it may answer for several slots of so many
    bint broken          # it names what cannot be a node
    uint64_t first_hi    # the addresses that the entry answers for
    uint64_t first_lo
    uint64_t last_hi
    uint64_t last_lo


cdef inline uint32_t word6(int length, uint16_t group) noexcept nogil:
    """What stands where a rule is shown; length -1: where none is."""
    return 0 if length < 0 else <uint32_t>length << 16 | group


cdef inline void leaf6_at(uint32_t *root, uint8_t *trie, uint32_t units, uint64_t hi, uint64_t lo,
                          leaf6 *leaf) noexcept nogil:
    """What the trie shows for an address, and for which others by the same entry."""
    cdef uint32_t *at = &root[root_index6(hi)]
    cdef uint32_t entry = dr_load_acquire_32(at)
    cdef uint32_t unit
    cdef uint8_t *node
    cdef int level = first_level(hi), slot, before = 0, after = 1
    cdef uint64_t starts
    cdef u128 place
    leaf.broken = False
    leaf.bits = root_bits6(hi)
    while entry & DR_IPV6_CHILD:
        unit = entry & ~DR_IPV6_CHILD
        node = node_at(trie, entry)
        if (level >= LEVELS6 or unit == 0 or unit >= units or not starts_of(node)[0] & 1
                or unit + units_for(runs_of(node)) > units):
            leaf.broken = True
            break
        slot = slot_at(hi, lo, node_base(level))
        at = entries_of(node) + run_of(node, slot)
        entry = dr_load_acquire_32(at)
        leaf.bits = node_base(level) + DR_IPV6_STRIDE
        starts = starts_of(node)[0]
        before = 0
        while not starts >> (slot - before) & 1:
            before += 1
        after = 1
        while slot + after < 64 and not starts >> (slot + after) & 1:
            after += 1
        if entry & DR_IPV6_CHILD and before + after > 1:    # a node for several slots: none is made so
            leaf.broken = True
            break
        level += 1
    leaf.at = at
    leaf.word = entry
    if leaf.bits > 128:    # the deepest node's slots are sixteenths of an address
        leaf.bits = 128
        before, after = before >> 4, (after + 15) >> 4
    place = (<u128>hi << 64 | <u128>lo) >> (128 - leaf.bits)
    leaf.first_hi = <uint64_t>(((place - <u128>before) << (128 - leaf.bits)) >> 64)
    leaf.first_lo = <uint64_t>((place - <u128>before) << (128 - leaf.bits))
    leaf.last_hi = <uint64_t>((((place + <u128>after) << (128 - leaf.bits)) - 1) >> 64)
    leaf.last_lo = <uint64_t>(((place + <u128>after) << (128 - leaf.bits)) - 1)


cdef inline void same_root6(uint32_t *root, leaf6 *leaf) noexcept nogil:
    """Let a leaf in the root go on over the entries that are the same: millions are a few runs."""
    cdef uint32_t index = root_index6(leaf.last_hi)
    cdef uint32_t last = index
    cdef uint32_t end = DR_IPV6_GLOBAL if index < DR_IPV6_GLOBAL else DR_IPV6_ROOT
    if leaf.at == &root[index] and not leaf.broken:
        while last + 1 < end and root[last + 1] == root[index] and root_index6(root_address(last + 1)) == last + 1:
            last += 1
        leaf.last_hi += root_address(last) - root_address(index)
