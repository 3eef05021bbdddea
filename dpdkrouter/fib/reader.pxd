"""Read-only use of a route segment; see reader.pyx."""
from libc.stdint cimport uint8_t, uint16_t, uint64_t

from dpdkrouter.fib.rules cimport rules4, rules6
from fastpath.layout cimport dr_route_header
from fastpath.segment cimport Mapping
from fastpath.tables cimport tables

cdef class FibReader:
    cdef readonly Mapping mapping
    cdef const dr_route_header *header
    cdef tables tables
    cdef rules4 rules4
    cdef rules6 rules6
    cdef double patience

    cdef object find_rule(self, int family, uint64_t hi, uint64_t lo)
    cdef object group_members(self, int group)
    cdef Py_ssize_t fill4(self, uint64_t start, uint64_t end, Py_ssize_t room, uint8_t *prefixes, uint8_t *lengths,
                          uint16_t *groups, uint8_t *sources) noexcept nogil
    cdef Py_ssize_t fill6(self, uint64_t start, uint64_t end, Py_ssize_t room, uint8_t *prefixes, uint8_t *lengths,
                          uint16_t *groups, uint8_t *sources) noexcept nogil

cdef void bind_rules4(rules4 *rules, const dr_route_header *header) noexcept
cdef void bind_rules6(rules6 *rules, const dr_route_header *header) noexcept
