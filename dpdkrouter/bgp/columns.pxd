"""Routes of one family as they grow, one element a route. See columns.pyx."""
from libc.stdint cimport uint8_t, uint32_t


cdef class Columns:
    cdef uint8_t* prefixes       # width bytes each, network order, host bits clear
    cdef uint8_t* lengths
    cdef uint32_t* path_ids      # native order; 0 without ADD-PATH
    cdef uint32_t* sets          # 0: withdrawn, else 1 + index of the attribute set
    cdef readonly Py_ssize_t size
    cdef Py_ssize_t capacity
    cdef readonly int width      # 4 or 16
    cdef readonly bint has_path_ids
    cdef list attributes         # packed attribute sets of the announced routes
    cdef bytes last              # the last of them

    cdef uint32_t choose(self, const uint8_t* packed, Py_ssize_t size) except 0
    cdef int reserve(self, Py_ssize_t more) except -1


cdef inline int put_routes(
    Columns columns, const uint8_t* at, Py_ssize_t size, bint add_path, uint32_t chosen, uint32_t* ignored
) noexcept:
    """Append the routes of an NLRI field, `size` of room reserved; -1 when it is syntactically incorrect.

    RFC 4271 section 4.3, RFC 7911 section 3, RFC 7606 section 5.3. A multicast or link-local prefix is no
    route (RFC 4271 section 6.3): it is left out and counted in `ignored`.
    """
    cdef const uint8_t* end = at + size
    cdef Py_ssize_t index = columns.size
    cdef int width = columns.width
    cdef int length, held, i
    cdef uint8_t* prefix
    cdef uint32_t path_id = 0
    while at < end:
        if add_path:
            if end - at < 5:
                return -1
            path_id = <uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | at[3]
            at += 4
        length = at[0]
        at += 1
        held = (length + 7) >> 3
        if length > 8 * width or held > end - at:
            return -1
        prefix = columns.prefixes + index * width
        for i in range(held):
            prefix[i] = at[i]
        for i in range(held, width):
            prefix[i] = 0
        if length & 7:
            prefix[held - 1] &= <uint8_t>(0xFF00 >> (length & 7))
        at += held
        if no_unicast(prefix, width, length):
            ignored[0] += 1
            continue
        columns.lengths[index] = <uint8_t>length
        columns.path_ids[index] = path_id
        columns.sets[index] = chosen
        index += 1
    columns.size = index
    if add_path:
        columns.has_path_ids = True
    return 0


cdef inline bint no_unicast(const uint8_t* prefix, int width, int length) noexcept:
    """224.0.0.0/4, ff00::/8, fe80::/10."""
    if width == 4:
        return length >= 4 and prefix[0] & 0xF0 == 0xE0
    if length < 8 or prefix[0] < 0xFE:
        return False
    return prefix[0] == 0xFF or (length >= 10 and prefix[1] & 0xC0 == 0x80)
