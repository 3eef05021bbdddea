"""Hash index (prefix, length) -> node: open addressing, linear probing, deletion by shifting back.

Invariants: a slot is 0 or (32 bits of the hash << 32 | node index); at most three quarters are filled;
between a node's home slot and its slot no slot is empty. The tag answers most probes without touching the
node. The seed is random, so a peer cannot choose prefixes that collide.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from dpdkrouter.rib.records cimport NONE, Node


ctypedef struct Index:
    uint64_t* slots
    uint64_t mask
    uint64_t count
    uint64_t seed


cdef inline uint64_t mix(uint64_t value) noexcept nogil:
    """The finalizer of splitmix64 (Steele, Lea, Flood 2014)."""
    value = (value ^ (value >> 30)) * <uint64_t>0xBF58476D1CE4E5B9ULL
    value = (value ^ (value >> 27)) * <uint64_t>0x94D049BB133111EBULL
    return value ^ (value >> 31)


cdef inline uint32_t hash_prefix(uint64_t seed, uint64_t hi, uint64_t lo, uint8_t length) noexcept nogil:
    return <uint32_t>(mix(mix(hi ^ seed) + lo + (<uint64_t>length << 56)) >> 32)


cdef inline uint32_t index_find(
    const Index* index, const Node* nodes, uint64_t hi, uint64_t lo, uint8_t length, uint32_t tag
) noexcept nogil:
    cdef uint64_t at = tag & index.mask
    cdef uint64_t slot
    cdef const Node* node
    if index.slots == NULL:
        return NONE
    while True:
        slot = index.slots[at]
        if slot == 0:
            return NONE
        if <uint32_t>(slot >> 32) == tag:
            node = &nodes[<uint32_t>slot]
            if node.hi == hi and node.lo == lo and node.length == length:
                return <uint32_t>slot
        at = (at + 1) & index.mask


cdef inline void index_place(uint64_t* slots, uint64_t mask, uint64_t slot) noexcept nogil:
    cdef uint64_t at = (slot >> 32) & mask
    while slots[at] != 0:
        at = (at + 1) & mask
    slots[at] = slot


cdef inline void index_insert(Index* index, uint32_t tag, uint32_t node) noexcept nogil:
    """The key is not in the index, and room was reserved."""
    index_place(index.slots, index.mask, (<uint64_t>tag << 32) | node)
    index.count += 1


cdef inline void index_remove(Index* index, uint32_t tag, uint32_t node) noexcept nogil:
    """The node is in the index."""
    cdef uint64_t wanted = (<uint64_t>tag << 32) | node
    cdef uint64_t hole = tag & index.mask
    cdef uint64_t at, home
    while index.slots[hole] != wanted:
        hole = (hole + 1) & index.mask
    at = hole
    while True:
        at = (at + 1) & index.mask
        if index.slots[at] == 0:
            break
        home = (index.slots[at] >> 32) & index.mask
        # A slot may move into the hole unless its home lies between the hole and itself.
        if ((at - home) & index.mask) >= ((at - hole) & index.mask):
            index.slots[hole] = index.slots[at]
            hole = at
    index.slots[hole] = 0
    index.count -= 1


cdef inline int index_reserve(Index* index, uint64_t more) except -1:
    """Make room for `more` keys; grows by rehashing the tags, without touching a node."""
    cdef uint64_t size = index.mask + 1 if index.slots != NULL else 64
    cdef uint64_t old = index.mask + 1 if index.slots != NULL else 0
    cdef uint64_t i
    cdef uint64_t* slots
    while (index.count + more) * 4 > size * 3:
        size *= 2
    if size == old:
        return 0
    slots = <uint64_t*>calloc(size, sizeof(uint64_t))
    if slots == NULL:
        raise MemoryError(f"the RIB's index needs {size * sizeof(uint64_t)} bytes")
    for i in range(old):
        if index.slots[i] != 0:
            index_place(slots, size - 1, index.slots[i])
    free(index.slots)
    index.slots = slots
    index.mask = size - 1
    return 0
