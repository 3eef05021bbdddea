"""Prefix lists as routing policy has them: entries with a range of lengths (le, ge), asked about a million prefixes.

One hash table a family. An entry's lengths are a bitmap, so entries of one prefix merge. Cost of a question: one probe
for each distinct length of the entries that is not longer than the prefix, however many entries there are.

Invariants: made once, never changed. Used by imports.pyx for each prefix that comes in, by bgp/exports.py for each that
goes out.
"""
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from dpdkrouter.rib.batch cimport Batch, load_address


cdef class PrefixSet:
    def __cinit__(self, entries):
        """entries: values with `prefix`, `low` and `high` (rib/policy.py)."""
        cdef int which
        cdef uint64_t hi, lo, size
        cdef Batch batch
        for which in range(2):
            ours = [entry for entry in entries if entry.prefix.version == (4, 6)[which]]
            size = 8
            while size < 2 * len(ours):
                size *= 2
            self.families[which].slots = <Slot*>calloc(size, sizeof(Slot))
            if self.families[which].slots == NULL:
                raise MemoryError(f"a prefix list needs {size * sizeof(Slot)} bytes")
            self.families[which].mask = size - 1
            for entry in ours:
                length = entry.prefix.prefixlen
                if not length <= entry.low <= entry.high <= entry.prefix.max_prefixlen:
                    raise ValueError(f"prefix list: {entry.prefix} cannot have lengths {entry.low} to {entry.high}")
                batch = Batch("prefix list", entry.prefix.version, entry.prefix.network_address.packed, bytes([length]))
                load_address(batch.prefixes, batch.width, &hi, &lo)
                self._add(&self.families[which], hi, lo, length, entry.low, entry.high)
            for i, length in enumerate(sorted({entry.prefix.prefixlen for entry in ours})):
                self.families[which].have[<int>i] = length
                self.families[which].count += 1

    def __dealloc__(self):
        free(self.families[0].slots)
        free(self.families[1].slots)

    cdef int _add(self, Family* family, uint64_t hi, uint64_t lo, int length, int low, int high) except -1:
        cdef uint64_t at = slot_hash(hi, lo, length) & family.mask
        cdef Slot* slot
        cdef int n
        while True:
            slot = &family.slots[at]
            if not slot.used or (slot.hi == hi and slot.lo == lo and slot.length == length):
                break
            at = (at + 1) & family.mask
        slot.hi, slot.lo, slot.length, slot.used = hi, lo, length, 1
        for n in range(low, high + 1):
            slot.lengths[n >> 6] |= <uint64_t>1 << (n & 63)
        for n in range(256 if length == 0 else 1 << max(0, 8 - length)):
            n += <int>(hi >> 56)
            family.first[n >> 6] |= <uint64_t>1 << (n & 63)
        return 0

    def matches(self, network, any_length=False):
        """Whether a network is in the set; any_length: whether an entry covers it, whatever lengths it names."""
        cdef uint64_t hi, lo
        cdef int length = network.prefixlen
        cdef Batch batch = Batch("prefix list", network.version, network.network_address.packed, bytes([length]))
        load_address(batch.prefixes, batch.width, &hi, &lo)
        return bool(has_prefix(&self.families[0 if batch.width == 4 else 1], hi, lo, length, any_length))
