"""Interned attribute sets, hop sets and next hops of one Rib. See interns.pyx."""
from libc.stdint cimport uint32_t

from dpdkrouter.rib.records cimport AttrRecord, HopRecord, List, Pool


cdef class Interns:
    cdef Pool attr_pool
    cdef Pool hop_pool
    cdef List idle_attrs           # attribute sets without a path: freed when the decision ends, if so still
    cdef List touched_hops         # hop sets whose count of prefixes came from or went to 0
    cdef List resting_hops         # freed ids, not given out again before the next decision
    cdef bint reachability_changed  # some HopRecord has HOP_CHANGED
    cdef uint32_t serial           # of the newest attribute set
    cdef uint32_t asn
    cdef uint32_t router_id
    cdef uint32_t cluster_id
    cdef uint32_t max_backed
    cdef uint32_t backed           # hop sets that have a backup
    cdef dict attr_ids             # packed attributes -> id
    cdef list attr_packed          # id -> packed attributes
    cdef dict hop_ids              # HopSet with canonical addresses -> id
    cdef dict hop_addresses        # packed address -> id of the set of this one next hop, without a port
    cdef list hop_values           # id -> HopSet
    # id -> {key in unions that this id is in: every id in it}, or None
    cdef list hop_unions
    cdef dict unions               # sorted hop set ids as bytes, or b"b" and the ids of two -> id
    cdef dict next_hops            # canonical address -> _NextHop
    cdef dict tracking             # canonical address -> False: went, True: came since take_tracking

    cdef uint32_t intern_attributes(self, object attributes) except 0
    cdef uint32_t intern_packed(self, bytes packed) except 0
    cdef uint32_t _packed_hops(self, bytes packed) except 0
    cdef object attributes_of(self, uint32_t attr_id)
    cdef uint32_t intern_hops(self, object kind, object hops) except 0
    cdef uint32_t intern_hopset(self, object value) except 0
    cdef uint32_t backed_by(self, uint32_t hop_id, uint32_t backup) except 0
    cdef object hopset_of(self, uint32_t hop_id)
    cdef uint32_t union_of(self, const uint32_t* hop_ids, uint32_t n) except 0
    cdef int set_next_hop(self, object address, bint reachable, uint32_t metric) except -1
    cdef int refresh_hops(self, uint32_t hop_id) except -1
    cdef int release_hops(self, uint32_t hop_id) except -1
    cdef int release_idle_attributes(self) except -1
    cdef tuple publish(self)


cdef inline AttrRecord* attrs_of(Interns interns) noexcept nogil:
    return <AttrRecord*>interns.attr_pool.base


cdef inline HopRecord* hops_of(Interns interns) noexcept nogil:
    return <HopRecord*>interns.hop_pool.base
