"""Stage 4: what the adjacency says. Forwarding rewrites MACs and hop count and hands to the port's buffer;
every other action becomes a verdict. RFC 1812 5.3.1 (TTL), RFC 1624 (checksum), RFC 8200 3 (hop limit).
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.atomic cimport dr_load_relaxed_64
from fastpath.bytes cimport dr_get_be16, dr_get_be64, dr_put_macs
from fastpath.dpdk.mbuf cimport dr_data, rte_mbuf, rte_pktmbuf_trim
from fastpath.layout cimport (DR_ACTION_BLACKHOLE, DR_ACTION_BROADCAST, DR_ACTION_FORWARD, DR_ACTION_GLEAN,
                              DR_ACTION_LOCAL, DR_ACTION_RESOLVE, DR_ACTION_SHIFT, DR_ACTION_UNREACHABLE,
                              DR_PORT_SHIFT, dr_adjacency)
from fastpath.reasons cimport DropReason, PuntClass
from fastpath.stages.choose cimport PROTO_TCP
from fastpath.stages.parse cimport ip_length
from fastpath.stages.parse6 cimport class6, link_local6
from fastpath.stages.transmit cimport transmit
from fastpath.state cimport (ETHER, KIND_ORIGINATED, KIND_PARKED, KIND_RECEIVED, PORTS, VERDICT_OK, VERDICT_PUNT,
                             burst, to_slow, worker)

cdef enum:
    PORT_BGP = 179


cdef inline bint is_bgp(const uint8_t *l4) noexcept nogil:
    return dr_get_be16(l4) == PORT_BGP or dr_get_be16(l4 + 2) == PORT_BGP


cdef inline uint16_t local_verdict(const uint8_t *ip, uint32_t in_first, bint ipv6) noexcept nogil:
    """Punt class of a packet to one of the router's addresses."""
    cdef uint32_t header = 40 if ipv6 else (ip[0] & 15) * 4
    if ip[6 if ipv6 else 9] == PROTO_TCP and in_first >= header + 4 and is_bgp(ip + header):
        return VERDICT_PUNT | PuntClass.bgp
    return class6(ip, in_first) if ipv6 else VERDICT_PUNT | PuntClass.local


cdef inline uint16_t hop_verdict(const uint8_t *ip, bint ipv6) noexcept nogil:
    """Whether a received packet may leave: its hops, and RFC 4291 2.5.6: a link-local source stays on its link."""
    if ipv6 and link_local6(dr_get_be64(ip + 8)):
        return DropReason.ipv6_link_local
    return DropReason.ttl_expired if ip[7 if ipv6 else 8] <= 1 else VERDICT_OK


cdef inline uint16_t action_verdict(uint32_t action, const uint8_t *ip, uint32_t in_first, uint16_t kind,
                                    bint ipv6) noexcept nogil:
    """What an adjacency that does not forward does with a packet."""
    cdef uint16_t verdict = VERDICT_OK
    if action == DR_ACTION_LOCAL:
        return local_verdict(ip, in_first, ipv6)
    if action == DR_ACTION_GLEAN or action == DR_ACTION_RESOLVE:
        if kind <= KIND_PARKED:
            verdict = hop_verdict(ip, ipv6)
        return verdict if verdict != VERDICT_OK else VERDICT_PUNT | PuntClass.resolve
    if action == DR_ACTION_BLACKHOLE:
        return DropReason.blackhole
    if action == DR_ACTION_UNREACHABLE:
        return DropReason.unreachable
    if action == DR_ACTION_BROADCAST:
        return DropReason.directed_broadcast
    return DropReason.no_route


cdef inline void hop4(uint8_t *ip) noexcept nogil:
    """Decrement TTL; RFC 1624 equation 3: TTL is the high byte of its word, so the checksum grows by 0x0100."""
    cdef uint32_t s
    ip[8] -= 1
    s = (<uint16_t *>(ip + 10))[0] + <uint32_t>1      # 0x0100 in network order, as the word lies in memory
    # 0xffff becomes 0, as a full sum has it: RFC 1624 3, where RFC 1141 was wrong
    (<uint16_t *>(ip + 10))[0] = <uint16_t>(s + (s >= 0xFFFF))


cdef inline bint too_long(rte_mbuf *m, const uint8_t *ip, uint32_t mtu, bint ipv6) noexcept nogil:
    """Of a frame longer than the MTU: whether its packet is too. If not, what follows the packet is cut off."""
    cdef uint32_t length = ip_length(ip, ipv6)
    return length > mtu or rte_pktmbuf_trim(m, <uint16_t>(m.pkt_len - ETHER - length)) != 0


cdef inline void count_own(worker *w, uint16_t kind, uint32_t port) noexcept nogil:
    """A packet that is none of the received ones leaves by a port."""
    if kind == KIND_ORIGINATED:
        w.stats.port[port].originated += 1
    else:
        w.stats.port[port].injected += 1


cdef inline uint16_t forward_verdict(worker *w, burst *b, rte_mbuf *m, const dr_adjacency *a, uint64_t dst,
                                     bint ipv6) noexcept nogil:
    """One packet with a resolved adjacency. A hop that ends here is an older fault than an MTU: RFC 1812 4.3.3.1."""
    cdef uint8_t *frame = dr_data(m)
    cdef uint32_t port = <uint32_t>(dst >> DR_PORT_SHIFT) & 0xFF
    cdef uint16_t verdict = VERDICT_OK
    if port >= PORTS or not w.router.port[port].link_up:
        return DropReason.port_down
    if b.kind <= KIND_PARKED:
        verdict = hop_verdict(frame + ETHER, ipv6)
        if verdict != VERDICT_OK:
            return verdict
    if m.pkt_len - ETHER > a.mtu and too_long(m, frame + ETHER, a.mtu, ipv6):
        b.mtu[b.n_slow] = a.mtu
        return DropReason.mtu_exceeded
    if b.kind <= KIND_PARKED:
        if ipv6:
            frame[ETHER + 7] -= 1
        else:
            hop4(frame + ETHER)
    dr_put_macs(frame, dst, dr_load_relaxed_64(&a.src))
    if b.kind != KIND_RECEIVED:
        count_own(w, b.kind, port)
    transmit(w, port, m)
    return VERDICT_OK


cdef inline uint32_t rewrite(worker *w, burst *b, rte_mbuf **pkt, int n, bint ipv6) noexcept nogil:
    """adjacency[i] applied to pkt[i]. Returns how many went to a port."""
    cdef int i
    cdef uint32_t forwarded = 0
    cdef uint64_t dst
    cdef uint16_t verdict
    for i in range(n):
        dst = dr_load_relaxed_64(&b.adjacency[i].dst)
        if <uint32_t>(dst >> DR_ACTION_SHIFT) == DR_ACTION_FORWARD:
            verdict = forward_verdict(w, b, pkt[i], b.adjacency[i], dst, ipv6)
        else:
            verdict = action_verdict(<uint32_t>(dst >> DR_ACTION_SHIFT), dr_data(pkt[i]) + ETHER,
                                     pkt[i].data_len - ETHER, b.kind, ipv6)
        if verdict == VERDICT_OK:
            forwarded += 1
        else:
            to_slow(b, pkt[i], verdict)
    return forwarded
