"""One rule at a time; see writer.pyx."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from dpdkrouter.fib.grace cimport Grace
from dpdkrouter.fib.groups cimport Groups
from dpdkrouter.fib.reader cimport FibReader
from dpdkrouter.fib.rules cimport rules4, rules6
from dpdkrouter.fib.table4 cimport Table4
from dpdkrouter.fib.table6 cimport Table6
from fastpath.layout cimport dr_journal, dr_route_header
from fastpath.segment cimport Mapping

cdef enum:    # outcomes of an operation
    UNCHANGED = 0
    INSERTED = 1
    REPLACED = 2
    WITHDRAWN = 3
    FULL_ROUTES4 = 4
    FULL_ROUTES6 = 5
    FULL_EXTENDED = 6
    FULL_TRIE = 7
    OUTCOMES = 8

cdef class Writer:
    cdef readonly Mapping mapping
    cdef readonly FibReader reader       # over the same mapping
    cdef readonly Grace grace
    cdef dr_route_header *header
    cdef dr_journal *journal
    cdef rules4 rules4
    cdef rules6 rules6
    cdef Table4 table4
    cdef Table6 table6
    cdef Groups hops
    cdef bint mending                    # damage is being mended: nothing is given back meanwhile
    cdef bint derived                    # the allocators know what is free
    cdef uint32_t in_vain                # reclaim() calls that freed nothing, in a row

    cdef int recover(self) except -1
    cdef bint journal_right(self) noexcept
    cdef int redo(self) except -1
    cdef void count_rules(self) noexcept
    cdef int derive(self) except -1
    cdef int settle(self) except -1
    cdef void withhold(self)
    cdef int begin(self) except -1
    cdef int end(self) except -1
    cdef int reclaim(self) except -1
    cdef bint reclaim_for_more(self) except *
    cdef void log4(self, uint32_t op, uint32_t prefix, int length, uint8_t source, uint16_t group,
                   uint16_t old_group) noexcept
    cdef void log6(self, uint32_t op, uint64_t hi, uint64_t lo, int length, uint8_t source, uint16_t group,
                   uint16_t old_group, uint8_t family=*) noexcept
    cdef int put4(self, uint32_t prefix, int length, uint8_t source, uint16_t group) except -1
    cdef int put6(self, uint64_t hi, uint64_t lo, int length, uint8_t source, uint16_t group) except -1
    cdef int replace6(self, int64_t found, uint64_t hi, uint64_t lo, int length, uint8_t source,
                      uint16_t group) except -1
    cdef int withdraw4(self, uint32_t prefix, int length) except -1
    cdef int withdraw6(self, uint64_t hi, uint64_t lo, int length) except -1
    cdef void uncover4(self, uint32_t prefix, int length) noexcept
    cdef void uncover6(self, uint64_t hi, uint64_t lo, int length) noexcept
