"""Every route, found by (prefix, length): open addressing with linear probing in the segment's writer's part.

Invariants: a rule stands at or after its home slot with no empty slot between; no rule stands twice, except
while a withdrawal closes its hole, and then the journal says where. A rule is published by one store of the
word that holds its length. A covering route is found by probing the shorter lengths that are in use: at most
32 or 128 probes, whose lines are fetched together. Readers use the same code with every length taken as in
use.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastpath.atomic cimport dr_load_relaxed_64, dr_store_release_64
from fastpath.layout cimport dr_journal, dr_rule4

cdef extern from *:
    void __builtin_prefetch(const void *p, int write, int locality) noexcept nogil
    uint64_t __builtin_bswap64(uint64_t word) noexcept nogil

cdef struct rule6:          # struct dr_rule6 as words
    uint64_t hi_be
    uint64_t lo_be
    uint64_t word           # length + 1, source, group: see pack()
    uint64_t pad

cdef struct rules4:
    dr_rule4 *slot
    uint64_t mask           # slots - 1
    int shift               # 64 - log2(slots)
    uint64_t count
    uint64_t limit
    uint32_t lengths[33]    # rules of each length

cdef struct rules6:
    rule6 *slot
    uint64_t mask
    int shift
    uint64_t count
    uint64_t limit
    uint32_t lengths[129]


cdef inline uint32_t mask4(int length) noexcept nogil:
    return <uint32_t>(~<uint64_t>0 << (32 - length))


cdef inline uint64_t mask_hi(int length) noexcept nogil:
    return 0 if length == 0 else (~<uint64_t>0 << (64 - length) if length < 64 else ~<uint64_t>0)


cdef inline uint64_t mask_lo(int length) noexcept nogil:
    return 0 if length <= 64 else ~<uint64_t>0 << (128 - length)


cdef inline bint is_prefix4(uint32_t prefix, int length) noexcept nogil:
    return 0 <= length <= 32 and not prefix & ~mask4(length)


cdef inline bint is_prefix6(uint64_t hi, uint64_t lo, int length) noexcept nogil:
    return 0 <= length <= 128 and not (hi & ~mask_hi(length) or lo & ~mask_lo(length))


cdef inline uint64_t pack(int length, uint8_t source, uint16_t group) noexcept nogil:
    """The word that publishes a rule.

    Bytes length + 1, source, group (little endian, as the struct has them).
    """
    return <uint64_t>(length + 1) | <uint64_t>source << 8 | <uint64_t>group << 16


cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    """Spread the bits so that the top ones depend on all (finalizer of splitmix64, Steele et al.

    2014, shortened).
    """
    x = (x ^ (x >> 32)) * <uint64_t>0x9E3779B97F4A7C15
    return (x ^ (x >> 29)) * <uint64_t>0xBF58476D1CE4E5B9


# -- IPv4 --

cdef inline uint64_t home4(const rules4 *r, uint32_t prefix, int length) noexcept nogil:
    return mix(<uint64_t>prefix << 8 | <uint64_t>length) >> r.shift


cdef inline int64_t find4(const rules4 *r, uint32_t prefix, int length) noexcept nogil:
    """Slot of a rule, or -1."""
    cdef uint64_t at = home4(r, prefix, length)
    cdef uint64_t _probe, word
    cdef uint64_t wanted = <uint64_t>prefix | <uint64_t>(length + 1) << 32
    for _probe in range(r.mask + 1):
        word = dr_load_relaxed_64(&r.slot[at])
        if word & <uint64_t>0xFFFFFFFFFF == wanted:
            return at
        if not (word >> 32) & 0xFF:
            return -1
        at = (at + 1) & r.mask
    return -1


cdef inline int64_t cover4(const rules4 *r, uint32_t address, int below) noexcept nogil:
    """Slot of the longest rule shorter than `below` that covers the address, or -1."""
    cdef int length
    cdef int64_t at
    for length in range(below):
        if r.lengths[length]:
            __builtin_prefetch(&r.slot[home4(r, address & mask4(length), length)], 0, 3)
    for length in range(below - 1, -1, -1):
        if r.lengths[length]:
            at = find4(r, address & mask4(length), length)
            if at >= 0:
                return at
    return -1


cdef inline void place4(rules4 *r, uint32_t prefix, int length, uint8_t source, uint16_t group) noexcept nogil:
    """Store a rule, new or in place of the one with the same prefix. There must be room."""
    cdef int64_t found = find4(r, prefix, length)
    cdef uint64_t at
    if found >= 0:
        at = found
    else:
        at = home4(r, prefix, length)
        while r.slot[at].length_plus1:
            at = (at + 1) & r.mask
        r.count += 1
        r.lengths[length] += 1
    dr_store_release_64(&r.slot[at], <uint64_t>prefix | pack(length, source, group) << 32)


cdef inline void close4(rules4 *r, dr_journal *journal, uint64_t hole) noexcept nogil:
    """Take the rule at `hole` out and move later ones up.

    The journal follows, so that it can go on after a kill.
    """
    cdef uint64_t at = hole
    cdef uint64_t home
    journal.hole = hole + 1
    while True:
        at = (at + 1) & r.mask
        if not r.slot[at].length_plus1:
            break
        home = home4(r, r.slot[at].prefix, r.slot[at].length_plus1 - 1)
        if ((at - home) & r.mask) >= ((at - hole) & r.mask):
            dr_store_release_64(&r.slot[hole], dr_load_relaxed_64(&r.slot[at]))
            dr_store_release_64(&journal.hole, at + 1)
            hole = at
    dr_store_release_64(&r.slot[hole], 0)


# -- IPv6: hi, lo are the prefix's halves in host order --

cdef inline uint64_t home6(const rules6 *r, uint64_t hi, uint64_t lo, int length) noexcept nogil:
    return mix(hi ^ mix(lo + <uint64_t>length)) >> r.shift


cdef inline int64_t find6(const rules6 *r, uint64_t hi, uint64_t lo, int length) noexcept nogil:
    """Slot of a rule, or -1."""
    cdef uint64_t at = home6(r, hi, lo, length)
    cdef uint64_t _probe, word
    hi = __builtin_bswap64(hi)
    lo = __builtin_bswap64(lo)
    for _probe in range(r.mask + 1):
        word = dr_load_relaxed_64(&r.slot[at].word)
        if not word & 0xFF:
            return -1
        if word & 0xFF == <uint64_t>(length + 1) and r.slot[at].hi_be == hi and r.slot[at].lo_be == lo:
            return at
        at = (at + 1) & r.mask
    return -1


cdef inline int64_t cover6(const rules6 *r, uint64_t hi, uint64_t lo, int below) noexcept nogil:
    """Slot of the longest rule shorter than `below` that covers the address, or -1."""
    cdef int length
    cdef int64_t at
    for length in range(below):
        if r.lengths[length]:
            __builtin_prefetch(&r.slot[home6(r, hi & mask_hi(length), lo & mask_lo(length), length)], 0, 3)
    for length in range(below - 1, -1, -1):
        if r.lengths[length]:
            at = find6(r, hi & mask_hi(length), lo & mask_lo(length), length)
            if at >= 0:
                return at
    return -1


cdef inline void store6(rule6 *to, uint64_t hi_be, uint64_t lo_be, uint64_t word) noexcept nogil:
    """Fill a slot: never readable with a prefix and a length that do not belong together."""
    dr_store_release_64(&to.word, 0)
    dr_store_release_64(&to.hi_be, hi_be)
    dr_store_release_64(&to.lo_be, lo_be)
    dr_store_release_64(&to.word, word)


cdef inline void place6(rules6 *r, uint64_t hi, uint64_t lo, int length, uint8_t source,
                        uint16_t group) noexcept nogil:
    """Store a rule, new or in place of the one with the same prefix. There must be room."""
    cdef int64_t found = find6(r, hi, lo, length)
    cdef uint64_t at
    if found >= 0:
        dr_store_release_64(&r.slot[found].word, pack(length, source, group))
        return
    at = home6(r, hi, lo, length)
    while r.slot[at].word & 0xFF:
        at = (at + 1) & r.mask
    r.count += 1
    r.lengths[length] += 1
    store6(&r.slot[at], __builtin_bswap64(hi), __builtin_bswap64(lo), pack(length, source, group))


cdef inline void close6(rules6 *r, dr_journal *journal, uint64_t hole) noexcept nogil:
    """close4 for IPv6. A rule moved up is copied whole before the journal goes on, so a half copy is copied
    again.
    """
    cdef uint64_t at = hole
    cdef uint64_t home
    cdef rule6 *rule
    journal.hole = hole + 1
    while True:
        at = (at + 1) & r.mask
        rule = &r.slot[at]
        if not rule.word & 0xFF:
            break
        home = home6(r, __builtin_bswap64(rule.hi_be), __builtin_bswap64(rule.lo_be), (rule.word & 0xFF) - 1)
        if ((at - home) & r.mask) >= ((at - hole) & r.mask):
            store6(&r.slot[hole], rule.hi_be, rule.lo_be, rule.word)
            dr_store_release_64(&journal.hole, at + 1)
            hole = at
    dr_store_release_64(&r.slot[hole].word, 0)
