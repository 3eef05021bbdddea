"""The RIB: Store plus decision, Loc-RIB and views. See table.pyx."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from dpdkrouter.rib.decision cimport Contest
from dpdkrouter.rib.records cimport List, Node, PathRecord
from dpdkrouter.rib.store cimport Store, Table


cdef class Rib(Store):
    cdef List candidates
    cdef List equal
    cdef uint32_t multipath
    cdef bint relaxed
    cdef bint any_as

    cdef int _contest(self, Table* table, Contest* contest) except -1
    cdef int _requeue(self, Table* table) except -1
    cdef object _decide_family(self, Table* table, int width, uint32_t limit)
    cdef uint32_t _union(self, Contest* contest) except 0
    cdef uint32_t _backed(self, Contest* contest, const Node* node, uint32_t best) except 0
    cdef int _touch(self, uint32_t hopset) except -1
    cdef int _settle(self, Table* table, int which, Node* node, uint32_t best, uint32_t hopset) except -1
    cdef object _route(self, Table* table, int width, const Node* node)
    cdef str _verdict(self, const PathRecord* path)
    cdef bytes _prefix(self, const Node* node, int width)
    cdef uint32_t _find(self, Table* table, bytes prefix, int length) except? 0xFFFFFFFF
