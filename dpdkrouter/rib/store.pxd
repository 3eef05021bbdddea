"""All Adj-RIB-Ins and the Loc-RIB's records. See store.pyx."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from dpdkrouter.rib.batch cimport Batch
from dpdkrouter.rib.imports cimport ImportFilter
from dpdkrouter.rib.index cimport Index
from dpdkrouter.rib.interns cimport Interns
from dpdkrouter.rib.records cimport List, Node, OriginRecord, PathRecord, Pool


ctypedef struct Table:
    Pool nodes
    Pool paths
    Index index
    List dirty               # nodes to decide, each once (NODE_DIRTY)
    uint64_t best            # prefixes with a result
    uint64_t by_length[129]  # the same, by prefix length
    uint32_t longest         # paths of the prefix that had most


cdef class Store:
    cdef Table tables[2]     # IPv4, IPv6
    cdef OriginRecord* origins
    cdef uint32_t origin_capacity
    cdef uint32_t origin_size
    cdef list origin_addresses   # origin id -> peer address or None
    cdef list filters            # origin id -> ImportFilter or None
    cdef list free_origins
    cdef list resting_origins    # removed since the last decision
    cdef readonly Interns interns

    cdef int _check_origin(self, str what, object origin_id) except -1
    cdef int _check_attributes(self, str what, object attr_id) except -1
    cdef uint64_t _apply(
        self, Batch batch, uint16_t origin, const uint32_t* attrs, uint32_t attr
    ) except? 0xFFFFFFFFFFFFFFFF
    cdef uint64_t _apply_sets(
        self, Batch batch, uint16_t origin, const uint32_t[::1] chosen, const List* ids
    ) except? 0xFFFFFFFFFFFFFFFF
    cdef void _apply_all(
        self, Table* table, Batch batch, uint16_t origin, const uint32_t* attrs, uint32_t attr,
        const uint16_t* verdicts, uint64_t* changed
    ) noexcept
    cdef uint64_t _drop_all(self, int which, uint16_t origin, uint8_t flags) noexcept


cdef inline Node* nodes_of(const Table* table) noexcept nogil:
    return <Node*>table.nodes.base


cdef inline PathRecord* paths_of(const Table* table) noexcept nogil:
    return <PathRecord*>table.paths.base
