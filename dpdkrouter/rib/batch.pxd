"""A checked batch of prefixes in packed arrays. See batch.pyx."""
from cpython.buffer cimport Py_buffer
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "endian.h" nogil:
    uint64_t be64toh(uint64_t value)
    uint64_t htobe64(uint64_t value)
    uint32_t be32toh(uint32_t value)
    uint32_t htobe32(uint32_t value)


cdef class Batch:
    cdef Py_buffer views[3]
    cdef int held                  # how many of views are held
    cdef const uint8_t* prefixes
    cdef const uint8_t* lengths
    cdef const uint8_t* path_ids   # NULL: all 0
    cdef Py_ssize_t size
    cdef int width                 # bytes a prefix: 4 or 16

    cdef int _hold(self, object source, str name) except -1


cdef inline void load_address(const uint8_t* source, int width, uint64_t* hi, uint64_t* lo) noexcept nogil:
    """Network order to the two words of a Node."""
    cdef uint32_t word
    cdef uint64_t words[2]
    if width == 4:
        memcpy(&word, source, 4)
        hi[0] = <uint64_t>be32toh(word) << 32
        lo[0] = 0
    else:
        memcpy(words, source, 16)
        hi[0] = be64toh(words[0])
        lo[0] = be64toh(words[1])


cdef inline void store_address(uint8_t* target, int width, uint64_t hi, uint64_t lo) noexcept nogil:
    cdef uint32_t word
    cdef uint64_t words[2]
    if width == 4:
        word = htobe32(<uint32_t>(hi >> 32))
        memcpy(target, &word, 4)
    else:
        words[0] = htobe64(hi)
        words[1] = htobe64(lo)
        memcpy(target, words, 16)


cdef inline uint64_t mask_hi(int length) noexcept nogil:
    if length <= 0:
        return 0
    return <uint64_t>-1 if length >= 64 else ~((<uint64_t>-1) >> length)


cdef inline uint64_t mask_lo(int length) noexcept nogil:
    return mask_hi(length - 64)


cdef inline uint32_t batch_path_id(Batch batch, Py_ssize_t i) noexcept nogil:
    cdef uint32_t path_id
    if batch.path_ids == NULL:
        return 0
    memcpy(&path_id, batch.path_ids + 4 * i, 4)
    return path_id
