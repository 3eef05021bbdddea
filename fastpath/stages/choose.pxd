"""Stage 3: group to adjacency. A single member stands in the group word itself; several share buckets by flow hash
(flow.pxd)."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.atomic cimport dr_load_acquire_32, dr_load_relaxed_16
from fastpath.bytes cimport dr_get_32, dr_swap_32, dr_swap_64
from fastpath.dpdk.eal cimport rte_prefetch0
from fastpath.dpdk.mbuf cimport RTE_MBUF_F_RX_RSS_HASH, dr_data, dr_rss, rte_mbuf
from fastpath.layout cimport DR_BUCKETS, DR_GROUP_MULTI
from fastpath.stages.flow cimport HASH_DEVICE, PROTO_TCP, PROTO_UDP, flow_hash, flow_hash6, usual
from fastpath.state cimport BURST, ETHER, burst, lanes, worker


cdef inline uint32_t bucket(rte_mbuf *m, uint32_t how) noexcept nogil:
    """Of one packet, whatever it is. how: HASH_ bits."""
    cdef const uint8_t *ip = dr_data(m) + ETHER
    if how & HASH_DEVICE and m.ol_flags & RTE_MBUF_F_RX_RSS_HASH and usual(ip):
        return <uint32_t>(dr_rss(m) * <uint32_t>0x9E3779B1) >> 24
    return flow_hash(ip, m.data_len - ETHER, how) >> 24


cdef inline uint64_t hash_flows4(burst *b, const lanes *v, uint32_t n) noexcept nogil:
    """way[i]: the bucket of packet i, flow_hash >> 24, on 64-bit lanes; b.mac has the packets' ports. Other than 0:
    some are not of the usual kind, TCP or UDP in one piece and without options, and their bad[i] is not 0."""
    cdef uint32_t i
    cdef uint64_t hop, addresses, protocol, ports, room, h, odd = 0
    for i in range(n):
        hop = v.hop[i]                                       # 0 for what needs a close look
        protocol = hop >> 24 & 0xFF
        room = (v.length[i] >> 32 & 0xFFFF) - ETHER - 24     # negative: the first segment ends before the ports
        ports = ((((protocol ^ PROTO_TCP) - 1) | ((protocol ^ PROTO_UDP) - 1)) & ((hop & 0xFF3F) - 1) & ~room) >> 63
        addresses = dr_swap_64(hop >> 48 | b.rest[i] << 16)
        h = (addresses ^ <uint64_t>0x9E3779B97F4A7C15) * <uint64_t>0xBF58476D1CE4E5B9
        h ^= h >> 29 ^ protocol ^ <uint64_t>dr_swap_32(<uint32_t>b.mac[i]) << 8
        b.way[i] = h * <uint64_t>0x94D049BB133111EB >> 56
        b.bad[i] = ports ^ 1
        odd |= b.bad[i]
    return odd


cdef inline void ways4(burst *b, const lanes *v, uint32_t n) noexcept nogil:
    """way[i] of n IPv4 packets."""
    cdef uint32_t i
    for i in range(n):
        b.mac[i] = dr_get_32(v.frame[i] + ETHER + 20)
    if hash_flows4(b, v, n):
        for i in range(n):
            if b.bad[i]:
                b.way[i] = bucket(v.pkt[i], 0)


cdef inline void ways(worker *w, burst *b, const lanes *v, uint32_t n, bint ipv6) noexcept nogil:
    cdef uint32_t i, how = w.router.hashing
    if how:
        for i in range(n):
            b.way[i] = bucket(v.pkt[i], how)
    elif ipv6:
        for i in range(n):
            b.way[i] = flow_hash6(v.frame[i] + ETHER, (v.length[i] >> 32 & 0xFFFF) - ETHER) >> 24
    else:
        ways4(b, v, n)


cdef inline void choose_members(worker *w, burst *b, lanes *v, uint32_t n, bint ipv6) noexcept nogil:
    """hop_word[i]: of a group of several, its member for the packet's flow. All buckets are asked for, then read: with
    many groups they lie far apart."""
    cdef uint32_t i
    cdef const uint16_t *at[BURST]
    ways(w, b, v, n, ipv6)
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
