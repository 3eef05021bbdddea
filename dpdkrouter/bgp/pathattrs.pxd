"""The path attributes of one UPDATE: found, checked one by one, and judged by RFC 7606.

Invariants: nothing is copied, a Span points into the message; of several attributes of one type the first
counts; `fault` is the first that makes the routes withdrawn, `reset` one that ends the session. Which
attributes are missing is judged by the caller, who knows what is announced.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from dpdkrouter.bgp.faults cimport Fault
from dpdkrouter.rib.packed cimport (
    AS_SEQUENCE, AS_SET, ATOMIC_AGGREGATE, CONFED_SET, HAS_AGGREGATOR, HAS_LOCAL_PREF, HAS_MED, HAS_ORIGINATOR,
)


cdef enum:
    OPTIONAL = 0x80
    TRANSITIVE = 0x40
    EXTENDED_LENGTH = 0x10
    AS_TRANS = 23456       # RFC 6793
    FAULTS = 64
    # attribute types
    ORIGIN = 1
    AS_PATH = 2
    NEXT_HOP = 3
    MULTI_EXIT_DISC = 4
    LOCAL_PREF = 5
    ATOMIC = 6
    AGGREGATOR = 7
    COMMUNITIES = 8
    ORIGINATOR_ID = 9
    CLUSTER_LIST = 10
    MP_REACH = 14
    MP_UNREACH = 15
    EXTENDED_COMMUNITIES = 16
    AS4_PATH = 17
    AS4_AGGREGATOR = 18
    IPV6_EXTENDED = 25
    LARGE_COMMUNITIES = 32


ctypedef struct Span:
    const uint8_t* at
    uint32_t size


# What the checks need to know of the session, and the counts of what they found.
ctypedef struct Rules:
    bint internal          # iBGP
    bint as4               # 4-byte AS numbers were negotiated (RFC 6793)
    uint64_t counts[FAULTS]


ctypedef struct Found:
    uint64_t seen[4]       # a bit a type
    uint32_t count         # attributes
    Fault fault
    Span fault_at          # the whole attribute that it was found in
    Fault reset
    Span reset_at
    uint8_t present        # as PackedHead.present
    uint8_t origin
    uint32_t med
    uint32_t local_pref
    uint32_t originator_id
    uint32_t aggregator[2]
    uint32_t as4_aggregator[2]
    bint has_as4_aggregator
    Span as_path
    Span as4_path
    Span next_hop
    Span communities
    Span extended
    Span large
    Span clusters
    Span mp_reach          # values; the _whole ones with flags, type and length
    Span mp_reach_whole
    Span mp_unreach
    Span mp_unreach_whole


cdef inline uint16_t be16(const uint8_t* at) noexcept nogil:
    return <uint16_t>(<uint16_t>at[0] << 8 | at[1])


cdef inline uint32_t be32(const uint8_t* at) noexcept nogil:
    return <uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | at[3]


cdef inline bint has(const Found* found, int kind) noexcept nogil:
    return (found.seen[kind >> 6] >> (kind & 63)) & 1


cdef inline int wrong(Found* found, Fault fault, Span whole) noexcept nogil:
    if found.fault == Fault.NONE:
        found.fault = fault
        found.fault_at = whole
    return 0


cdef inline int fatal(Found* found, Fault fault, Span whole) noexcept nogil:
    if found.reset == Fault.NONE:
        found.reset = fault
        found.reset_at = whole
    return 0


cdef inline bint path_malformed(Span path, int width, int last_kind) noexcept nogil:
    """RFC 7606 section 7.2; AS 0 by RFC 7607. last_kind: the highest segment type allowed."""
    cdef uint32_t at = 0, _i, count
    cdef const uint8_t* asn
    while at < path.size:
        if path.size - at < 2:
            return True
        count = path.at[at + 1]
        if path.at[at] == 0 or path.at[at] > last_kind or count == 0 or path.size - at - 2 < count * width:
            return True
        asn = path.at + at + 2
        for _i in range(count):
            if (be16(asn) if width == 2 else be32(asn)) == 0:
                return True
            asn += width
        at += 2 + count * width
    return False


cdef inline bint flags_right(uint8_t flags, uint8_t kind) noexcept nogil:
    """Optional and Transitive as the type has them (RFC 4271 section 5, 1997, 4456, 4360, 4760, 6793, 8092)."""
    cdef uint8_t both = flags & (OPTIONAL | TRANSITIVE)
    if kind in (ORIGIN, AS_PATH, NEXT_HOP, LOCAL_PREF, ATOMIC):
        return both == TRANSITIVE
    if kind in (MULTI_EXIT_DISC, ORIGINATOR_ID, CLUSTER_LIST, MP_REACH, MP_UNREACH):
        return both == OPTIONAL
    if kind in (AGGREGATOR, COMMUNITIES, EXTENDED_COMMUNITIES, AS4_PATH, AS4_AGGREGATOR, IPV6_EXTENDED,
                LARGE_COMMUNITIES):
        return both == (OPTIONAL | TRANSITIVE)
    return True


cdef inline bint multiple(Span value, uint32_t unit) noexcept nogil:
    return value.size != 0 and value.size % unit == 0


cdef inline int take_list(
    Found* found, Span* target, Span value, uint32_t unit, Fault fault, Span whole
) noexcept nogil:
    if not multiple(value, unit):
        return wrong(found, fault, whole)
    target[0] = value
    return 0


cdef inline int take_word(
    Found* found, uint32_t* target, uint8_t bit, Span value, Fault fault, Span whole
) noexcept nogil:
    if value.size != 4:
        return wrong(found, fault, whole)
    target[0] = be32(value.at)
    found.present |= bit
    return 0


cdef inline int take_aggregator(Found* found, Rules* rules, Span value) noexcept nogil:
    """RFC 7606 section 7.7; AS 0 by RFC 7607: discarded."""
    cdef uint32_t asn
    if value.size != (8 if rules.as4 else 6):
        rules.counts[<int>Fault.AGGREGATOR] += 1
        return 0
    asn = be32(value.at) if rules.as4 else be16(value.at)
    if asn == 0:
        rules.counts[<int>Fault.AGGREGATOR] += 1
        return 0
    found.aggregator[0] = asn
    found.aggregator[1] = be32(value.at + value.size - 4)
    found.present |= HAS_AGGREGATOR
    return 0


cdef inline int take_as4(Found* found, Rules* rules, uint8_t kind, bint flags_ok, Span value) noexcept nogil:
    """AS4_PATH and AS4_AGGREGATOR: of use from a 2-byte speaker only, discarded when malformed (RFC 6793 6)."""
    if rules.as4 or not flags_ok:
        rules.counts[<int>Fault.AS4] += 1
    elif kind == AS4_PATH:
        if value.size == 0 or path_malformed(value, 4, CONFED_SET):
            rules.counts[<int>Fault.AS4] += 1
        else:
            found.as4_path = value
    elif value.size != 8 or be32(value.at) == 0:
        rules.counts[<int>Fault.AS4] += 1
    else:
        found.as4_aggregator[0] = be32(value.at)
        found.as4_aggregator[1] = be32(value.at + 4)
        found.has_as4_aggregator = True
    return 0


cdef inline int take_mp(Found* found, uint8_t kind, bint flags_ok, Span value, Span whole) noexcept nogil:
    """RFC 7606 section 5.3: what can't be located can't be withdrawn."""
    if not flags_ok or value.size < (5 if kind == MP_REACH else 3):
        return fatal(found, Fault.MP_ATTRIBUTE, whole)
    if kind == MP_REACH:
        found.mp_reach = value
        found.mp_reach_whole = whole
    else:
        found.mp_unreach = value
        found.mp_unreach_whole = whole
    return 0


cdef inline int take_known(Found* found, Rules* rules, uint8_t kind, Span value, Span whole) noexcept nogil:
    """One attribute whose flags are right."""
    if kind == ORIGIN:
        if value.size != 1 or value.at[0] > 2:
            return wrong(found, Fault.ORIGIN, whole)
        found.origin = value.at[0]
    elif kind == AS_PATH:
        if path_malformed(value, 4 if rules.as4 else 2, AS_SEQUENCE):
            return wrong(found, Fault.AS_PATH, whole)
        found.as_path = value
    elif kind == NEXT_HOP:
        if value.size != 4:
            return wrong(found, Fault.NEXT_HOP, whole)
        found.next_hop = value
    elif kind == MULTI_EXIT_DISC:
        return take_word(found, &found.med, HAS_MED, value, Fault.MED, whole)
    elif kind == LOCAL_PREF:
        return take_word(found, &found.local_pref, HAS_LOCAL_PREF, value, Fault.LOCAL_PREF, whole)
    elif kind == ATOMIC:
        if value.size:
            rules.counts[<int>Fault.ATOMIC_AGGREGATE] += 1
        else:
            found.present |= ATOMIC_AGGREGATE
    elif kind == AGGREGATOR:
        return take_aggregator(found, rules, value)
    elif kind == COMMUNITIES:
        return take_list(found, &found.communities, value, 4, Fault.COMMUNITY, whole)
    elif kind == ORIGINATOR_ID:
        return take_word(found, &found.originator_id, HAS_ORIGINATOR, value, Fault.ORIGINATOR_ID, whole)
    elif kind == CLUSTER_LIST:
        return take_list(found, &found.clusters, value, 4, Fault.CLUSTER_LIST, whole)
    elif kind == EXTENDED_COMMUNITIES:
        return take_list(found, &found.extended, value, 8, Fault.EXTENDED_COMMUNITY, whole)
    elif kind == IPV6_EXTENDED:
        if not multiple(value, 20):
            return wrong(found, Fault.EXTENDED_COMMUNITY, whole)
    elif kind == LARGE_COMMUNITIES:
        return take_list(found, &found.large, value, 12, Fault.LARGE_COMMUNITY, whole)
    return 0


cdef inline int take(Found* found, Rules* rules, Span whole, Span value) noexcept nogil:
    """One attribute, complete and the first of its type."""
    cdef uint8_t flags = whole.at[0]
    cdef uint8_t kind = whole.at[1]
    cdef bint flags_ok = flags_right(flags, kind)
    if kind == MP_REACH or kind == MP_UNREACH:
        return take_mp(found, kind, flags_ok, value, whole)
    if kind == AS4_PATH or kind == AS4_AGGREGATOR:
        return take_as4(found, rules, kind, flags_ok, value)
    if not rules.internal and kind in (LOCAL_PREF, ORIGINATOR_ID, CLUSTER_LIST):
        rules.counts[<int>Fault.NOT_INTERNAL] += 1
        return 0
    if not flags_ok:
        return wrong(found, Fault.FLAGS, whole)
    if not flags & OPTIONAL and not (ORIGIN <= kind <= ATOMIC):
        return fatal(found, Fault.UNKNOWN_WELL_KNOWN, whole)
    return take_known(found, rules, kind, value, whole)


cdef inline void find_attributes(Found* found, Rules* rules, const uint8_t* at, uint32_t size) noexcept nogil:
    """All attributes of the field (RFC 7606 sections 3 and 4); `found` was zeroed."""
    cdef uint32_t head, length
    cdef uint8_t kind
    cdef Span whole, value
    while size:
        head = 4 if at[0] & EXTENDED_LENGTH else 3
        whole.at, whole.size = at, size
        if size < head:
            wrong(found, Fault.ATTRIBUTE_LENGTH, whole)
            return
        length = be16(at + 2) if head == 4 else at[2]
        if length > size - head:
            wrong(found, Fault.ATTRIBUTE_LENGTH, whole)
            return
        whole.size = head + length
        value.at, value.size = at + head, length
        kind = at[1]
        if has(found, kind):
            if kind == MP_REACH or kind == MP_UNREACH:
                fatal(found, Fault.MP_TWICE, whole)
                return
            rules.counts[<int>Fault.DUPLICATE] += 1
        else:
            found.seen[kind >> 6] |= <uint64_t>1 << (kind & 63)
            found.count += 1
            take(found, rules, whole, value)
        at += whole.size
        size -= whole.size
