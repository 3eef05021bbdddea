"""Which of a sorted list of addresses lie in any of a batch of prefixes.

The next-hop tracker asks this of every delta: a delta may hold a million prefixes, the tracker some hundred
addresses. Cost: two binary searches a prefix, both in one or two cache lines, and nothing more for
addresses already found.
"""
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

from dpdkrouter.rib.batch cimport Batch


cdef inline Py_ssize_t lower_bound(
    const uint8_t* addresses, Py_ssize_t count, int width, const uint8_t* wanted, bint after
) noexcept nogil:
    """The first address that is not before `wanted`, or with `after` the first that is behind it."""
    cdef Py_ssize_t low = 0, high = count, middle
    cdef int order
    while low < high:
        middle = (low + high) >> 1
        order = memcmp(addresses + middle * width, wanted, width)
        if order < 0 or (after and order == 0):
            low = middle + 1
        else:
            high = middle
    return low


cdef inline void last_address(const uint8_t* prefix, int length, int width, uint8_t* last) noexcept nogil:
    cdef int i
    memcpy(last, prefix, width)
    for i in range(length >> 3, width):
        last[i] |= 0xFF >> (length & 7) if i == length >> 3 else 0xFF


def covered(int family, prefixes, lengths, bytes addresses):
    """Indexes of the addresses that some prefix covers.

    prefixes, lengths: as Rib.announce takes them; addresses: packed, network order, sorted.
    """
    cdef Batch batch = Batch("covered", family, prefixes, lengths)
    cdef const uint8_t* known = addresses
    cdef Py_ssize_t count = len(addresses) // batch.width
    cdef bytearray hit = bytearray(count)
    cdef uint8_t* marks = hit
    cdef uint8_t last[16]
    cdef Py_ssize_t i, at, end
    for i in range(batch.size):
        at = lower_bound(known, count, batch.width, batch.prefixes + i * batch.width, False)
        if at == count:
            continue
        last_address(batch.prefixes + i * batch.width, batch.lengths[i], batch.width, last)
        if memcmp(known + at * batch.width, last, batch.width) > 0:
            continue
        end = lower_bound(known, count, batch.width, last, True)
        while at < end:
            marks[at] = 1
            at += 1
    return [at for at in range(count) if hit[at]]
