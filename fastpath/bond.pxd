"""Bonds of devices; see bond.pyx."""
from libc.stdint cimport uint16_t
from fastpath.layout cimport dr_port_state

cdef class Bond:
    cdef readonly str device      # its name for EAL
    cdef readonly bint lacp
    cdef bint alone               # one member at a time
    cdef uint16_t dev
    cdef list names               # of the members, for EAL
    cdef list members             # DPDK's port ids

    cdef int describe(self, dr_port_state *state) except -1
    cdef int update(self, dr_port_state *state) except -1
    cdef int close(self) except -1

cdef bint distributes(uint16_t dev) noexcept nogil
