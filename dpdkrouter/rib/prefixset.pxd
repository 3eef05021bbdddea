"""A set of prefixes with ranges of lengths, to ask about many prefixes. See prefixset.pyx."""
from libc.stdint cimport uint8_t, uint64_t

from dpdkrouter.rib.batch cimport mask_hi, mask_lo


ctypedef struct Slot:
    uint64_t hi
    uint64_t lo
    uint64_t lengths[3]      # bit n: prefixes of length n within this one are in the set
    uint8_t length           # of the prefix itself
    uint8_t used


ctypedef struct Family:
    Slot* slots
    uint64_t mask
    uint8_t have[129]        # the distinct lengths, ascending
    int count                # of these
    uint64_t first[4]        # bit n: some entry has prefixes whose first byte is n


cdef class PrefixSet:
    cdef Family families[2]
    cdef int _add(self, Family* family, uint64_t hi, uint64_t lo, int length, int low, int high) except -1


cdef inline uint64_t slot_hash(uint64_t hi, uint64_t lo, int length) noexcept nogil:
    cdef uint64_t value = (hi ^ (lo * 0x9E3779B97F4A7C15ULL) ^ <uint64_t>length) * 0xFF51AFD7ED558CCDULL
    value = (value ^ (value >> 32)) * 0xC4CEB9FE1A85EC53ULL
    return value ^ (value >> 29)


cdef inline bint has_prefix(
    const Family* family, uint64_t hi, uint64_t lo, int length, bint any_length
) noexcept nogil:
    """Whether a prefix is in the set; any_length: whether some entry covers it, whatever lengths it names."""
    cdef int i, n
    cdef uint64_t at, masked_hi, masked_lo
    cdef const Slot* slot
    if not family.first[hi >> 62] >> (hi >> 56 & 63) & 1:
        return False
    for i in range(family.count):
        n = family.have[i]
        if n > length:
            return False
        masked_hi = hi & mask_hi(n)
        masked_lo = lo & mask_lo(n)
        at = slot_hash(masked_hi, masked_lo, n) & family.mask
        while True:
            slot = &family.slots[at]
            if not slot.used:
                break
            if slot.hi == masked_hi and slot.lo == masked_lo and slot.length == n:
                if any_length or slot.lengths[length >> 6] >> (length & 63) & 1:
                    return True
                break
            at = (at + 1) & family.mask
    return False
