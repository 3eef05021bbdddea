"""What makes a damaged segment right again; see mend.pyx."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from dpdkrouter.fib.writer cimport Writer

cdef class Mender:
    cdef Writer writer

    cdef int show4(self, uint32_t prefix, int length, uint16_t group) except -1
    cdef int entry4(self, uint32_t index, bint own_block) except -1
    cdef int drop4(self, uint64_t slot) except -1
    cdef int drop6(self, uint64_t slot) except -1
    cdef int answer6(self, uint64_t hi, uint64_t lo) except -1
    cdef int group(self, uint32_t group, bint own_block) except -1
    cdef int cut4(self, list found) except -1
    cdef int cut6(self, list found) except -1
    cdef int cut_under(self, uint32_t *at, int level, uint64_t hi, uint64_t lo, uint8_t[::1] taken,
                       list found) except -1
    cdef int cut_entry(self, uint32_t *at, int bits, uint64_t hi, uint64_t lo, list found) except -1
    cdef int cut_groups(self) except -1
    cdef int put_within4(self, uint32_t index) except -1
    cdef int put_within6(self, uint64_t first_hi, uint64_t first_lo, uint64_t last_hi, uint64_t last_lo,
                         int longer) except -1
