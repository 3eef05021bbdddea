"""From the attributes found in an UPDATE to the RIB's packed form (rib/packed.pxd).

A path of 2-byte AS numbers becomes one of 4 bytes here, and is joined with AS4_PATH (RFC 6793 section 4.2.3).
`out` has room for SCRATCH bytes: twice the longest path, AS4_PATH, and all else that a message can hold.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from dpdkrouter.bgp.pathattrs cimport AS_TRANS, Found, Rules, Span
from dpdkrouter.rib.packed cimport AS_SEQUENCE, AS_SET, HAS_AGGREGATOR, PackedHead, PackedHop


cdef enum:
    SCRATCH = 5 * 65536


cdef inline uint32_t path_units(Span path, int width) noexcept nogil:
    """How many ASNs a path counts for: a set is one, other kinds of segments none (RFC 4271 9.1.2.2 a)."""
    cdef uint32_t at = 0, units = 0
    while at < path.size:
        if path.at[at] == AS_SEQUENCE:
            units += path.at[at + 1]
        elif path.at[at] == AS_SET:
            units += 1
        at += 2 + <uint32_t>path.at[at + 1] * width
    return units


cdef inline uint32_t widen(Span path, uint32_t units, uint8_t* out) noexcept nogil:
    """Write the first `units` of a path of 2-byte ASNs with 4 bytes each; returns the size."""
    cdef uint32_t at = 0, size = 0, count, i
    while at < path.size and units:
        count = path.at[at + 1]
        out[size] = path.at[at]
        if path.at[at] == AS_SEQUENCE:
            count = min(count, units)
            units -= count
        else:
            units -= 1
        out[size + 1] = <uint8_t>count
        for i in range(count):
            memset(out + size + 2 + 4 * i, 0, 2)
            memcpy(out + size + 4 + 4 * i, path.at + at + 2 + 2 * i, 2)
        size += 2 + 4 * count
        at += 2 + 2 * <uint32_t>path.at[at + 1]
    return size


cdef inline uint32_t join(uint8_t* out, uint32_t size, uint32_t last, Span more) noexcept nogil:
    """Append AS4_PATH to a path whose last segment begins at `last`; returns the size.

    A sequence goes on in the last one when it fits, so that the path is the one that a 4-byte speaker sends.
    """
    cdef uint32_t at = 0, bytes_
    cdef bint follows = size > 0
    while at < more.size:
        bytes_ = 4 * <uint32_t>more.at[at + 1]
        if more.at[at] == AS_SEQUENCE or more.at[at] == AS_SET:
            if follows and more.at[at] == AS_SEQUENCE and out[last] == AS_SEQUENCE and \
                    <uint32_t>out[last + 1] + more.at[at + 1] <= 255:
                out[last + 1] += more.at[at + 1]
                memcpy(out + size, more.at + at + 2, bytes_)
                size += bytes_
            else:
                memcpy(out + size, more.at + at, 2 + bytes_)
                size += 2 + bytes_
            follows = False
        at += 2 + bytes_
    return size


cdef inline uint32_t last_segment(const uint8_t* path, uint32_t size) noexcept nogil:
    cdef uint32_t at = 0, last = 0
    while at < size:
        last = at
        at += 2 + 4 * <uint32_t>path[at + 1]
    return last


cdef inline uint32_t write_path(const Found* found, const Rules* rules, uint8_t* out) noexcept nogil:
    cdef uint32_t units, newer, size
    if rules.as4:
        memcpy(out, found.as_path.at, found.as_path.size)
        return found.as_path.size
    units = path_units(found.as_path, 2)
    if found.as4_path.size == 0 or (found.present & HAS_AGGREGATOR and found.aggregator[0] != AS_TRANS
                                    and found.has_as4_aggregator):
        return widen(found.as_path, units, out)
    newer = path_units(found.as4_path, 4)
    if newer > units:
        return widen(found.as_path, units, out)
    size = widen(found.as_path, units - newer, out)
    return join(out, size, last_segment(out, size), found.as4_path)


cdef inline uint8_t* append(uint8_t* out, Span span) noexcept nogil:
    memcpy(out, span.at, span.size)
    return out + span.size


cdef inline uint32_t pack_attributes(
    const Found* found, const Rules* rules, const uint8_t* next_hop, uint32_t width, uint8_t* out
) noexcept nogil:
    """Write the packed set; returns its size. next_hop: `width` bytes, 4 or 16."""
    cdef PackedHead head
    cdef PackedHop hop
    cdef uint8_t* at = out + sizeof(PackedHead) + sizeof(PackedHop)
    memset(&head, 0, sizeof(PackedHead))
    memset(&hop, 0, sizeof(PackedHop))
    hop.family = 4 if width == 4 else 6
    hop.weight = 1
    memcpy(hop.address, next_hop, width)
    memcpy(out + sizeof(PackedHead), &hop, sizeof(PackedHop))
    head.origin = found.origin
    head.present = found.present
    head.med = found.med
    head.local_pref = found.local_pref
    head.originator_id = found.originator_id
    if found.present & HAS_AGGREGATOR:
        head.aggregator_as = found.aggregator[0]
        head.aggregator_id = found.aggregator[1]
        if not rules.as4 and found.aggregator[0] == AS_TRANS and found.has_as4_aggregator:
            head.aggregator_as = found.as4_aggregator[0]
            head.aggregator_id = found.as4_aggregator[1]
    head.hops = 1
    head.path_bytes = write_path(found, rules, at)
    at += head.path_bytes
    head.communities = <unsigned short>(found.communities.size // 4)
    at = append(at, found.communities)
    head.extended = <unsigned short>(found.extended.size // 8)
    at = append(at, found.extended)
    head.large = <unsigned short>(found.large.size // 12)
    at = append(at, found.large)
    head.clusters = <unsigned short>(found.clusters.size // 4)
    at = append(at, found.clusters)
    memcpy(out, &head, sizeof(PackedHead))
    return <uint32_t>(at - out)
