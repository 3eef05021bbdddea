"""Records of the RIB and the pools they live in.

Invariants: record 0 of a pool is never used, so index 0 means none; a record's index never changes while it
is used, so indexes are links; a record that a batch may need is reserved before the batch begins, so that a
batch is applied whole or not at all. One thread at a time.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memset


cdef enum:
    NONE = 0
    # PathRecord.flags
    PATH_USED = 1
    PATH_STALE = 2
    PATH_BEST = 4
    PATH_MULTIPATH = 8
    PATH_REJECTED = 16     # refused by the origin's import filter: as it was received, takes part in nothing
    # Node.state: the low bits hold the Loc-RIB's source
    NODE_SOURCE = 0x0F
    NODE_DIRTY = 0x80
    NODE_FREE = 0xFF       # Node.length of a record that is not in use
    # AttrRecord.flags and HopRecord.flags
    RECORD_USED = 1
    RECORD_LISTED = 2      # in the list of ids to look at when the decision ends
    HOP_PUBLISHED = 4      # told to the FIB writer by Delta.added
    HOP_CHANGED = 8        # reachable or metric changed since the last decision
    FAMILIES = 2
    MAX_LENGTH = 128


# A prefix: 32 bytes, two to a cache line. hi holds an IPv4 address in its upper half.
ctypedef struct Node:
    uint64_t hi
    uint64_t lo
    uint32_t paths         # first path
    uint32_t hopset        # the Loc-RIB's result, 0: none
    uint32_t best          # its best path; none as well when that path went since the last decision
    uint16_t origin        # the best path's origin
    uint8_t length
    uint8_t state


# A path in an Adj-RIB-In: 24 bytes.
ctypedef struct PathRecord:
    uint32_t next
    uint32_t node
    uint32_t attr
    uint32_t path_id
    uint16_t origin
    uint8_t flags
    uint8_t step
    uint16_t verdict       # of the origin's import filter


# The part of an attribute set that the decision reads.
ctypedef struct AttrRecord:
    uint32_t refs          # paths
    uint32_t hopset
    uint32_t local_pref
    uint32_t med
    uint32_t neighbour_as
    uint32_t originator_id  # 0: none
    uint32_t serial        # tells this set from earlier ones of the same id
    uint64_t path_hash     # of the AS path: equal paths, for multipath that is not relaxed
    uint16_t path_length
    uint16_t cluster_length
    uint8_t origin
    uint8_t excluded       # Step for which no path with this set may be used, or 0
    uint8_t flags


ctypedef struct HopRecord:
    uint32_t attr_refs
    uint32_t node_refs     # prefixes of the Loc-RIB
    uint32_t metric
    uint8_t reachable
    uint8_t shares         # unicast: may be a member of a multipath set
    uint8_t flags


ctypedef struct OriginRecord:
    uint64_t paths[2]
    uint64_t best[2]
    uint64_t stale[2]
    uint64_t looped[2]
    uint64_t rejected[2]
    uint64_t limit[2]      # paths that are taken; 0: any number
    uint64_t over[2]       # announcements beyond it, which were not taken
    uint64_t* by_verdict[2]  # ImportFilter.paths; NULL: no filter
    const uint8_t* accepts   # ImportFilter.accepts, by verdict
    uint32_t router_id
    uint32_t address_rank  # place of the peer's address among all peers' addresses
    uint8_t source         # 0: not in use


ctypedef struct Pool:
    void* base
    uint32_t item          # bytes a record, at least 4
    uint32_t size          # records ever used, 0 included
    uint32_t capacity
    uint32_t free          # first free record; the link is in a record's first 4 bytes
    uint32_t live


ctypedef struct List:
    uint32_t* items
    uint32_t size
    uint32_t capacity


cdef inline int grow(void** base, uint32_t* capacity, uint64_t wanted, uint64_t item) except -1:
    """Make room for `wanted` items, doubling."""
    cdef uint64_t target = capacity[0] if capacity[0] else 64
    cdef void* moved
    if wanted <= capacity[0]:
        return 0
    while target < wanted:
        target *= 2
    if target > 0xFFFFFFFFULL:
        raise MemoryError("the RIB cannot hold more than 4294967295 records")
    moved = realloc(base[0], target * item)
    if moved == NULL:
        raise MemoryError(f"the RIB needs {target * item} bytes more")
    base[0] = moved
    capacity[0] = <uint32_t>target
    return 0


cdef inline int pool_reserve(Pool* pool, uint64_t more) except -1:
    """Make sure that `more` records can be taken without a failure."""
    if pool.size == 0:
        grow(&pool.base, &pool.capacity, 64, pool.item)
        memset(pool.base, 0, pool.item)
        pool.size = 1
    return grow(&pool.base, &pool.capacity, pool.live + 1 + more, pool.item)


cdef inline uint32_t pool_take(Pool* pool) noexcept nogil:
    """A record's index; the caller has reserved it and fills it in."""
    cdef uint32_t index = pool.free
    if index != NONE:
        pool.free = (<uint32_t*>(<char*>pool.base + <uint64_t>index * pool.item))[0]
    else:
        index = pool.size
        pool.size += 1
    pool.live += 1
    return index


cdef inline void pool_give(Pool* pool, uint32_t index) noexcept nogil:
    (<uint32_t*>(<char*>pool.base + <uint64_t>index * pool.item))[0] = pool.free
    pool.free = index
    pool.live -= 1


cdef inline int list_reserve(List* items, uint64_t wanted) except -1:
    return grow(<void**>&items.items, &items.capacity, wanted, sizeof(uint32_t))


cdef inline void list_push(List* items, uint32_t value) noexcept nogil:
    """Room was reserved."""
    items.items[items.size] = value
    items.size += 1
