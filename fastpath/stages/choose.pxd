"""Stage 3: group to adjacency. A single member stands in the group word itself; several share buckets by flow hash."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.atomic cimport dr_load_acquire_32
from fastpath.bytes cimport dr_get_be16, dr_get_be32, dr_get_be64
from fastpath.dpdk.eal cimport rte_prefetch0
from fastpath.dpdk.mbuf cimport RTE_MBUF_F_RX_RSS_HASH, dr_data, dr_rss, rte_mbuf
from fastpath.layout cimport DR_BUCKETS, DR_GROUP_MULTI
from fastpath.state cimport ETHER, burst, worker

cdef enum:
    PROTO_TCP = 6
    PROTO_UDP = 17


cdef inline uint32_t mix(uint64_t a, uint64_t b) noexcept nogil:
    """Two multiplications (the finaliser of a 64-bit multiply-xorshift hash): the high byte chooses the bucket."""
    cdef uint64_t h = (a ^ <uint64_t>0x9E3779B97F4A7C15) * <uint64_t>0xBF58476D1CE4E5B9
    h = (h ^ (h >> 29) ^ b) * <uint64_t>0x94D049BB133111EB
    return <uint32_t>(h >> 32)


cdef inline uint32_t flow_hash4(const uint8_t *ip, uint32_t in_first) noexcept nogil:
    """5-tuple; a fragment hashes on addresses and protocol alone, so that all of a packet goes one way."""
    cdef uint32_t header = (ip[0] & 15) * 4
    cdef uint64_t ports = ip[9]
    cdef bint fragment = (dr_get_be16(ip + 6) & 0x3FFF) != 0
    if not fragment and (ip[9] == PROTO_TCP or ip[9] == PROTO_UDP) and in_first >= header + 4:
        ports |= <uint64_t>dr_get_be32(ip + header) << 8
    return mix(dr_get_be64(ip + 12), ports)


cdef inline uint32_t flow_hash6(const uint8_t *ip, uint32_t in_first) noexcept nogil:
    """Addresses, next header, and ports when they follow directly."""
    cdef uint64_t ports = ip[6]
    if (ip[6] == PROTO_TCP or ip[6] == PROTO_UDP) and in_first >= 44:
        ports |= <uint64_t>dr_get_be32(ip + 40) << 8
    cdef uint64_t src = dr_get_be64(ip + 8) ^ (dr_get_be64(ip + 16) * <uint64_t>0xD6E8FEB86659FD93)
    cdef uint64_t dst = dr_get_be64(ip + 24) ^ (dr_get_be64(ip + 32) * <uint64_t>0xA0761D6478BD642F)
    return mix(src ^ (dst << 1 | dst >> 63), ports)


cdef inline uint32_t bucket(rte_mbuf *m, bint ipv6) noexcept nogil:
    cdef const uint8_t *ip = dr_data(m) + ETHER
    cdef uint32_t h
    if m.ol_flags & RTE_MBUF_F_RX_RSS_HASH:
        h = <uint32_t>(dr_rss(m) * <uint32_t>0x9E3779B1)
    elif ipv6:
        h = flow_hash6(ip, m.data_len - ETHER)
    else:
        h = flow_hash4(ip, m.data_len - ETHER)
    return h >> 24


cdef inline void choose(worker *w, burst *b, rte_mbuf **pkt, int n, bint ipv6) noexcept nogil:
    """group[i] -> adjacency[i], prefetched."""
    cdef int i
    cdef uint32_t word
    for i in range(n):
        word = dr_load_acquire_32(&w.t.groups[b.group[i]])
        if word & DR_GROUP_MULTI:
            word = w.t.buckets[<uint64_t>(word & ~DR_GROUP_MULTI) * DR_BUCKETS + bucket(pkt[i], ipv6)]
        b.adjacency[i] = &w.t.adjacencies[word]
        rte_prefetch0(b.adjacency[i])
