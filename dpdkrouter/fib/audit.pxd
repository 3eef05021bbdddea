"""The segment's own check; see audit.pyx."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from dpdkrouter.fib.mend cimport Mender
from dpdkrouter.fib.reader cimport FibReader
from dpdkrouter.fib.walk6 cimport leaf6
from fastpath.layout cimport dr_route_header

cdef struct place:           # where a walk stands
    int phase
    uint64_t at              # slot, root index or group; of leaves the address' upper half
    uint64_t lo

cdef class SegmentAudit:
    cdef FibReader reader
    cdef Mender mender               # None: only look
    cdef const dr_route_header *header
    cdef const uint8_t *depth
    cdef const uint8_t *extended_depth
    cdef uint32_t *root6
    cdef uint8_t *trie
    cdef uint32_t units
    cdef uint32_t *block_of          # [max_ipv4_extended]: 1 + the root entry that was seen to name it
    cdef uint64_t *lengths6          # [BUCKETS6][2]: bits of the lengths 32 to 95, 96 to 128
    cdef uint64_t short6             # bits of the lengths 0 to 31
    cdef place now
    cdef bint safe                   # for a mender: no entry leads astray
    cdef readonly uint64_t rules     # checked
    cdef readonly uint64_t entries   # of the tables, checked
    cdef readonly uint64_t wrong
    cdef readonly uint64_t mended
    cdef readonly list differences   # the first ones
    cdef dict buckets_of             # bucket block -> the group that was seen to name it

    cdef int forward(self, uint64_t work) except -1
    cdef object note(self, int family, uint64_t hi, uint64_t lo, int length, str what)
    cdef bint in_use(self, uint16_t group) noexcept nogil
    cdef uint64_t bad_rule4(self, uint64_t at, uint64_t end, uint32_t *where) noexcept nogil
    cdef bint shows4(self, uint32_t prefix, int length) noexcept nogil
    cdef bint owned4(self, uint32_t address, int depth, uint16_t group, int deepest) noexcept nogil
    cdef uint64_t bad_root4(self, uint64_t at, uint64_t end) noexcept nogil
    cdef bint block_right(self, uint32_t index, uint32_t block) noexcept nogil
    cdef bint owns_block(self, uint32_t index) noexcept
    cdef void count_lengths6(self, uint64_t at, uint64_t end) noexcept nogil
    cdef int64_t longest6(self, uint64_t lengths, int base, uint64_t hi, uint64_t lo) noexcept nogil
    cdef bint right6(self, uint64_t hi, uint64_t lo, const leaf6 *leaf) noexcept nogil
    cdef bint shows6(self, const leaf6 *leaf, int64_t at) noexcept nogil
    cdef int64_t rule_at(self, uint64_t hi, uint64_t lo) noexcept nogil
    cdef uint64_t bad_rule6(self, uint64_t at, uint64_t end, uint64_t *where) noexcept nogil
    cdef bint bad_leaf6(self, uint64_t *hi, uint64_t *lo, uint64_t *left, leaf6 *leaf) noexcept nogil
