"""Two tables compared by what they do with each prefix, both as packed columns in any order.

Both are put in order of prefix and walked side by side; nothing else is held but 24 bytes a route of each. For
`route diff`; any thread.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort

from dpdkrouter.fib.rules cimport mask4, mask_hi, mask_lo

cdef extern from *:
    uint32_t __builtin_bswap32(uint32_t word) noexcept nogil
    uint64_t __builtin_bswap64(uint64_t word) noexcept nogil

cdef struct entry:
    uint64_t hi         # IPv4 in the upper half
    uint64_t lo
    uint16_t use        # what is done with the prefix: a number of the caller's; 0 is never used
    uint8_t length


cdef int in_order(const void *left, const void *right) noexcept nogil:
    cdef const entry *a = <const entry *>left
    cdef const entry *b = <const entry *>right
    if a.hi != b.hi:
        return -1 if a.hi < b.hi else 1
    if a.lo != b.lo:
        return -1 if a.lo < b.lo else 1
    return <int>a.length - <int>b.length


cdef entry *sorted_entries(int family, columns, size_t *count) except NULL:
    """A table's entries in order; the caller frees them."""
    cdef const uint8_t[::1] prefixes = memoryview(columns[0]).cast("B")
    cdef const uint8_t[::1] lengths = memoryview(columns[1]).cast("B")
    cdef const uint16_t[::1] uses = memoryview(columns[2]).cast("B").cast("H")
    cdef Py_ssize_t n = lengths.shape[0]
    cdef Py_ssize_t i
    if prefixes.shape[0] != n * (4 if family == 4 else 16) or uses.shape[0] != n:
        raise ValueError(f"columns of {prefixes.shape[0]}, {n} and {uses.shape[0]} do not go together")
    cdef entry *found = <entry *>malloc((n + 1) * sizeof(entry))
    if found == NULL:
        raise MemoryError
    for i in range(n):
        if family == 4:
            found[i].hi = <uint64_t>__builtin_bswap32((<const uint32_t *>&prefixes[0])[i]) << 32
            found[i].lo = 0
        else:
            found[i].hi = __builtin_bswap64((<const uint64_t *>&prefixes[0])[2 * i])
            found[i].lo = __builtin_bswap64((<const uint64_t *>&prefixes[0])[2 * i + 1])
        found[i].length = lengths[i]
        found[i].use = uses[i]
    with nogil:
        qsort(found, n, sizeof(entry), in_order)
    count[0] = n
    return found


cdef object packed(int family, const entry *one):
    """(prefix in network order, length)."""
    if family == 4:
        return int(one.hi >> 32).to_bytes(4, "big"), one.length
    return (int(one.hi) << 64 | int(one.lo)).to_bytes(16, "big"), one.length


def first_wrong(int family, prefixes, lengths) -> int:
    """The first route of two columns whose length is out of range or whose prefix has host bits; -1: none."""
    cdef const uint8_t[::1] packed = memoryview(prefixes).cast("B")
    cdef const uint8_t[::1] length = memoryview(lengths).cast("B")
    cdef Py_ssize_t i
    if packed.shape[0] != length.shape[0] * (4 if family == 4 else 16):
        raise ValueError(f"columns of {packed.shape[0]} and {length.shape[0]} bytes do not go together")
    for i in range(length.shape[0]):
        if family == 4:
            if length[i] > 32 or __builtin_bswap32((<const uint32_t *>&packed[0])[i]) & ~mask4(length[i]):
                return i
        elif (length[i] > 128 or __builtin_bswap64((<const uint64_t *>&packed[0])[2 * i]) & ~mask_hi(length[i])
              or __builtin_bswap64((<const uint64_t *>&packed[0])[2 * i + 1]) & ~mask_lo(length[i])):
            return i
    return -1


def differences(int family, left, right, int examples=3) -> dict:
    """{(use on the left, use on the right): (how many prefixes, the first ones)}; use 0: the prefix is not there.

    left, right: (prefixes, lengths, uses), each use a uint16 of the caller's, above 0.
    """
    cdef size_t n = 0, m = 0, i = 0, j = 0
    cdef entry *a = sorted_entries(family, left, &n)
    cdef entry *b = NULL
    cdef const entry *one
    cdef int order
    cdef uint16_t was, will
    counts, first = {}, {}
    try:
        b = sorted_entries(family, right, &m)
        while i < n or j < m:
            order = -1 if j == m else 1 if i == n else in_order(&a[i], &b[j])
            one = &a[i] if order <= 0 else &b[j]
            was = a[i].use if order <= 0 else 0
            will = b[j].use if order >= 0 else 0
            i += order <= 0
            j += order >= 0
            if was != will:
                key = was, will
                counts[key] = counts.get(key, 0) + 1
                if counts[key] <= examples:
                    first.setdefault(key, []).append(packed(family, one))
    finally:
        free(a)
        free(b)
    return {key: (count, tuple(first[key])) for key, count in counts.items()}
