"""Mapped segment files; see segment.pyx."""
from libc.stdint cimport uint8_t

cdef class Mapping:
    cdef readonly str path
    cdef readonly int fd            # kept open: a writer's lock hangs on it
    cdef readonly size_t file_bytes  # the file's length
    cdef readonly size_t bytes      # mapped from the file's start
    cdef readonly bint writable
    cdef str temporary              # name until published; empty afterwards
    cdef uint8_t *base              # NULL once closed

    cdef int map(self, size_t bytes) except -1
