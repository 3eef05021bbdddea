"""Plain pointers into a mapped route segment: what the lookups take instead of an object.

Invariant: every pointer lies in the readers' part of a mapping that outlives the struct, whose header
segment.attach has checked. Nothing here allocates, checks bounds or can fail. Any thread may use it.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastpath.atomic cimport dr_load_acquire_32
from fastpath.layout cimport DR_BUCKETS, DR_GROUP_MULTI, dr_adjacency, dr_interface, dr_route_header

cdef struct tables:
    const dr_route_header *header
    const dr_interface *interfaces     # [DR_MAX_PORTS]
    const dr_adjacency *adjacencies    # [max_adjacencies]
    const uint32_t *groups             # [max_groups]
    const uint16_t *buckets            # [max_ecmp_groups][DR_BUCKETS]
    const uint16_t *ipv4_root          # [2^24]
    const uint16_t *ipv4_extended      # [max_ipv4_extended][256]
    const uint32_t *ipv6_root          # [DR_IPV6_ROOT]
    const uint8_t *ipv6_trie           # units of DR_IPV6_UNIT bytes


cdef inline void tables_bind(tables *t, const void *base) noexcept nogil:
    """Point `t` into the segment mapped at `base`."""
    cdef const uint8_t *b = <const uint8_t *>base
    cdef const dr_route_header *h = <const dr_route_header *>base
    t.header = h
    t.interfaces = <const dr_interface *>(b + h.interfaces.offset)
    t.adjacencies = <const dr_adjacency *>(b + h.adjacencies.offset)
    t.groups = <const uint32_t *>(b + h.groups.offset)
    t.buckets = <const uint16_t *>(b + h.buckets.offset)
    t.ipv4_root = <const uint16_t *>(b + h.ipv4_root.offset)
    t.ipv4_extended = <const uint16_t *>(b + h.ipv4_extended.offset)
    t.ipv6_root = <const uint32_t *>(b + h.ipv6_root.offset)
    t.ipv6_trie = b + h.ipv6_trie.offset


cdef inline uint32_t group_adjacency(const tables *t, uint16_t group, uint32_t flow_hash) noexcept nogil:
    """Adjacency index of `group` for a flow: its only one, or the bucket that the hash's top 8 bits name."""
    cdef uint32_t word = dr_load_acquire_32(&t.groups[group])
    if word & DR_GROUP_MULTI:
        return t.buckets[<uint64_t>(word & ~DR_GROUP_MULTI) * DR_BUCKETS + (flow_hash >> 24)]
    return word
