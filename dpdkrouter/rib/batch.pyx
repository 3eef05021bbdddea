"""Batches of prefixes as the RIB takes them, checked as a whole before anything is applied.

Invariants: a Batch that could be made is right: the arrays have one length, every prefix length is in
range, no host bit is set. It holds the callers' buffers while it lives and copies nothing.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint64_t

import socket


def show_prefix(prefix: bytes, length: int) -> str:
    """A prefix for an error message or a show command: `prefix` in network order."""
    family = socket.AF_INET if len(prefix) == 4 else socket.AF_INET6
    return f"{socket.inet_ntop(family, prefix)}/{length}"


cdef class Batch:
    """prefixes: n * 4 or n * 16 bytes, network order; lengths: n bytes; path_ids: n u32 or None."""

    def __cinit__(self, what, family, prefixes, lengths, path_ids=None):
        if family != 4 and family != 6:
            raise ValueError(f"{what}: family {family!r} is unknown, allowed: 4 and 6")
        self.width = 4 if family == 4 else 16
        self._hold(prefixes, f"{what}: prefixes")
        self._hold(lengths, f"{what}: lengths")
        self.size = self.views[1].len
        self.prefixes = <const uint8_t*>self.views[0].buf
        self.lengths = <const uint8_t*>self.views[1].buf
        if self.views[0].len != self.size * self.width:
            raise ValueError(
                f"{what}: prefixes have {self.views[0].len} bytes, "
                f"but {self.size} lengths of family {family} need {self.size * self.width}"
            )
        if path_ids is not None:
            self._hold(path_ids, f"{what}: path ids")
            self.path_ids = <const uint8_t*>self.views[2].buf
            if self.views[2].len != self.size * 4:
                raise ValueError(
                    f"{what}: path ids have {self.views[2].len} bytes, "
                    f"but {self.size} lengths need {self.size * 4}"
                )
        self._check(what)

    def __dealloc__(self):
        cdef int i
        for i in range(self.held):
            PyBuffer_Release(&self.views[i])

    cdef int _hold(self, object source, str name) except -1:
        try:
            PyObject_GetBuffer(source, &self.views[self.held], PyBUF_SIMPLE)
        except (TypeError, BufferError):
            raise ValueError(f"{name} are {type(source).__name__}, not contiguous bytes") from None
        self.held += 1
        return 0

    def _check(self, what):
        cdef Py_ssize_t i
        cdef uint64_t hi, lo
        cdef int length, longest = 8 * self.width
        for i in range(self.size):
            length = self.lengths[i]
            load_address(self.prefixes + i * self.width, self.width, &hi, &lo)
            if length > longest:
                raise ValueError(
                    f"{what}: element {i} of {self.size} has prefix length {length}, allowed: 0 to {longest}"
                )
            if hi & ~mask_hi(length) or lo & ~mask_lo(length):
                prefix = show_prefix(self.prefixes[i * self.width:(i + 1) * self.width], length)
                raise ValueError(f"{what}: element {i} of {self.size}, {prefix}, has host bits set")
