"""Routes of one family as packed arrays that grow: the UPDATE decoder fills them, Rib.apply takes them.

Invariants: all four arrays have `size` elements, in the order of the messages; `take` gives them away as
bytes and empties the columns. An attribute set is written down once as long as routes with it follow each
other; the RIB finds the others equal. One decoder, one thread.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp


cdef class Columns:
    """width: bytes a prefix, 4 or 16."""

    def __cinit__(self, int width):
        self.width = width
        self.attributes = []

    def __dealloc__(self):
        free(self.prefixes)
        free(self.lengths)
        free(self.path_ids)
        free(self.sets)

    cdef uint32_t choose(self, const uint8_t* packed, Py_ssize_t size) except 0:
        """The value for `sets` of a packed attribute set."""
        if self.last is None or PyBytes_GET_SIZE(self.last) != size or memcmp(
            PyBytes_AS_STRING(self.last), packed, size
        ):
            self.last = PyBytes_FromStringAndSize(<const char*>packed, size)
            self.attributes.append(self.last)
        return <uint32_t>len(self.attributes)

    cdef int reserve(self, Py_ssize_t more) except -1:
        """Make room for `more` routes."""
        cdef Py_ssize_t wanted = max(self.size + more, 2 * self.capacity, 1024)
        if self.size + more <= self.capacity:
            return 0
        grow(<void**>&self.prefixes, wanted * self.width)
        grow(<void**>&self.lengths, wanted)
        grow(<void**>&self.path_ids, wanted * sizeof(uint32_t))
        grow(<void**>&self.sets, wanted * sizeof(uint32_t))
        self.capacity = wanted
        return 0

    def take(self):
        """(prefixes, lengths, sets, attributes, path ids or None), arrays as bytes."""
        cdef Py_ssize_t size = self.size
        found = (
            self.prefixes[:size * self.width],
            self.lengths[:size],
            (<uint8_t*>self.sets)[:size * 4],
            self.attributes,
            (<uint8_t*>self.path_ids)[:size * 4] if self.has_path_ids else None,
        ) if size else (b"", b"", b"", self.attributes, None)
        self.size = 0
        self.has_path_ids = False
        self.attributes = []
        self.last = None
        return found


cdef int grow(void** base, Py_ssize_t size) except -1:
    cdef void* moved = realloc(base[0], size)
    if moved == NULL:
        raise MemoryError(f"the UPDATE decoder needs {size} bytes")
    base[0] = moved
    return 0
