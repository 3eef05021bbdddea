"""Stage 3: group to adjacency. A single member stands in the group word itself; several share buckets by flow hash."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.atomic cimport dr_load_acquire_32, dr_load_relaxed_16
from fastpath.bytes cimport dr_get_32, dr_get_be16, dr_get_be32, dr_get_be64, dr_swap_32, dr_swap_64
from fastpath.dpdk.eal cimport rte_prefetch0
from fastpath.dpdk.mbuf cimport RTE_MBUF_F_RX_RSS_HASH, dr_data, dr_rss, rte_mbuf
from fastpath.layout cimport DR_BUCKETS, DR_GROUP_MULTI
from fastpath.state cimport BURST, ETHER, burst, lanes, worker

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


cdef inline bint plain_flows4(burst *b, const lanes *v, uint32_t n) noexcept nogil:
    """Load the ports of n IPv4 packets into mac. False when one of them is not of the usual kind, so that hop and rest
    don't hold its addresses, or has the device's hash: then each is hashed by itself."""
    cdef uint32_t i
    cdef uint64_t close = 0, flags = 0
    for i in range(n):
        b.mac[i] = dr_get_32(v.frame[i] + ETHER + 20)
        flags |= v.pkt[i].ol_flags
    for i in range(n):
        close |= ~(v.hop[i] | (0 - v.hop[i])) >> 63          # 1 for 0, which needs a close look
    return close == 0 and not (flags & RTE_MBUF_F_RX_RSS_HASH)


cdef inline void hash_flows4(burst *b, const lanes *v, uint32_t n) noexcept nogil:
    """way[i]: the bucket of packet i, flow_hash4 >> 24, on 64-bit lanes."""
    cdef uint32_t i
    cdef uint64_t hop, addresses, protocol, has_ports, room, h
    for i in range(n):
        hop = v.hop[i]
        protocol = hop >> 24 & 0xFF
        room = (v.length[i] >> 32 & 0xFFFF) - ETHER - 24     # negative: the first segment ends before the ports
        has_ports = ((((protocol ^ PROTO_TCP) - 1) | ((protocol ^ PROTO_UDP) - 1)) & ((hop & 0xFF3F) - 1) & ~room) >> 63
        addresses = dr_swap_64(hop >> 48 | b.rest[i] << 16)
        h = (addresses ^ <uint64_t>0x9E3779B97F4A7C15) * <uint64_t>0xBF58476D1CE4E5B9
        h ^= h >> 29 ^ protocol ^ (<uint64_t>dr_swap_32(<uint32_t>b.mac[i]) << 8 & (0 - has_ports))
        b.way[i] = h * <uint64_t>0x94D049BB133111EB >> 56


cdef inline void choose_members(worker *w, burst *b, lanes *v, uint32_t n, bint ipv6) noexcept nogil:
    """hop_word[i]: of a group of several, its member for the packet's flow. All buckets are asked for, then read: with
    many groups they lie far apart."""
    cdef uint32_t i
    cdef const uint16_t *at[BURST]
    if not ipv6 and plain_flows4(b, v, n):
        hash_flows4(b, v, n)
    else:
        for i in range(n):
            b.way[i] = bucket(v.pkt[i], ipv6)
    for i in range(n):
        at[i] = &w.t.buckets[<uint64_t>(b.hop_word[i] & ~DR_GROUP_MULTI) * DR_BUCKETS + b.way[i]]
        if b.hop_word[i] & DR_GROUP_MULTI:
            rte_prefetch0(at[i])
    for i in range(n):
        if b.hop_word[i] & DR_GROUP_MULTI:
            b.hop_word[i] = dr_load_relaxed_16(at[i])


cdef inline void choose(worker *w, burst *b, lanes *v, uint32_t n, bint ipv6) noexcept nogil:
    """group[i] -> adjacency[i], prefetched."""
    cdef uint32_t i, seen = 0
    for i in range(n):
        b.hop_word[i] = dr_load_acquire_32(&w.t.groups[b.group[i]])
        seen |= b.hop_word[i]
    if seen & DR_GROUP_MULTI:
        choose_members(w, b, v, n, ipv6)
    for i in range(n):
        b.adjacency[i] = &w.t.adjacencies[b.hop_word[i]]
        rte_prefetch0(b.adjacency[i])
