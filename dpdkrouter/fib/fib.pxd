"""The writer of a route segment; see fib.pyx."""
from libc.stdint cimport uint8_t, uint16_t, uint64_t

from dpdkrouter.fib.writer cimport Writer

cdef class Fib(Writer):
    cdef readonly uint64_t carried_refused    # routes that other limits had no room for

    cdef int check4(self, const uint8_t[::1] prefixes, const uint8_t[::1] lengths, const uint16_t[::1] groups,
                    const uint8_t[::1] sources, Py_ssize_t n) except -1
    cdef int check6(self, const uint8_t[::1] prefixes, const uint8_t[::1] lengths, const uint16_t[::1] groups,
                    const uint8_t[::1] sources, Py_ssize_t n) except -1
    cdef int check_group(self, Py_ssize_t i, uint16_t group, uint8_t source) except -1
    cdef object apply_checked(self, int family, const uint8_t[::1] prefixes, const uint8_t[::1] lengths,
                              const uint16_t[::1] groups, const uint8_t[::1] sources, Py_ssize_t n)
    cdef void fetch(self, int family, const uint8_t *prefix, int length) noexcept
    cdef bint swept4(self, uint64_t slot, uint8_t stale) except -1
    cdef bint swept6(self, uint64_t slot, uint8_t stale) except -1
