"""Stage 4: what the adjacency says. Forwarding rewrites MACs and hop count and hands to the port's buffer;
every other action becomes a verdict. RFC 1812 5.3.1 (TTL), RFC 1624 (checksum), RFC 8200 3 (hop limit).
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.atomic cimport dr_load_relaxed_32, dr_load_relaxed_64
from fastpath.bytes cimport dr_get_32, dr_get_be16, dr_get_be64, dr_put_32, dr_put_64, dr_put_ether
from fastpath.dpdk.mbuf cimport dr_data, rte_mbuf, rte_pktmbuf_trim
from fastpath.layout cimport (DR_ACTION_BLACKHOLE, DR_ACTION_BROADCAST, DR_ACTION_FORWARD, DR_ACTION_GLEAN,
                              DR_ACTION_LOCAL, DR_ACTION_PROHIBIT, DR_ACTION_RESOLVE, DR_ACTION_SHIFT,
                              DR_ACTION_UNREACHABLE,
                              DR_IF_NEIGHBORS_FULL, DR_PORT_SHIFT, dr_adjacency)
from fastpath.reasons cimport DropReason, PuntClass
from fastpath.stages.classify cimport local_class
from fastpath.stages.parse cimport any_bad, ip_length
from fastpath.stages.fragment cimport send_in_fragments
from fastpath.stages.parse6 cimport link_local6
from fastpath.stages.transmit cimport transmit_burst
from fastpath.state cimport (BURST, ETHER, HOP4, HOP6, KIND_ORIGINATED, KIND_PARKED, KIND_RECEIVED, PORTS, VERDICT_OK,
                             VERDICT_PUNT, VERDICT_SENT, burst, lanes, to_slow, worker)

cdef extern from *:
    """
    /* GCC 12 vectorises no shift of a value that it knows. */
    #define dr_hidden(v) ({ uint64_t h_ = (v); __asm__("" : "+r"(h_)); h_; })
    """
    uint64_t dr_hidden(uint64_t v) noexcept nogil

cdef enum:
    DONT_FRAGMENT = 0x4000
    ETHER_IPV4 = 0x0008          # EtherTypes as they lie in memory
    ETHER_IPV6 = 0xDD86


cdef inline uint16_t hop_verdict(const uint8_t *ip, bint ipv6) noexcept nogil:
    """Whether a received packet may leave: its hops, and RFC 4291 2.5.6: a link-local source stays on its link."""
    if ipv6 and link_local6(dr_get_be64(ip + 8)):
        return DropReason.ipv6_link_local
    return DropReason.ttl_expired if ip[7 if ipv6 else 8] <= 1 else VERDICT_OK


cdef inline bint neighbors_full(const worker *w, uint32_t port) noexcept nogil:
    """Whether a port has as many neighbours as it may: next hops of routes are resolved all the same."""
    return port < PORTS and dr_load_relaxed_32(&w.t.interfaces[port].flags) & DR_IF_NEIGHBORS_FULL != 0


cdef inline uint16_t action_verdict(worker *w, uint64_t dst, const uint8_t *ip, uint32_t in_first, uint16_t kind,
                                    bint ipv6) noexcept nogil:
    """What an adjacency that does not forward does with a packet; dst: its first word."""
    cdef uint32_t action = <uint32_t>(dst >> DR_ACTION_SHIFT)
    cdef uint16_t verdict = VERDICT_OK
    if action == DR_ACTION_LOCAL:
        return local_class(w.router, ip, in_first, ipv6)
    if action == DR_ACTION_GLEAN or action == DR_ACTION_RESOLVE:
        if kind <= KIND_PARKED:
            verdict = hop_verdict(ip, ipv6)
        if verdict != VERDICT_OK:
            return verdict
        if action == DR_ACTION_GLEAN and neighbors_full(w, <uint32_t>(dst >> DR_PORT_SHIFT) & 0xFF):
            return DropReason.neighbors_full
        return VERDICT_PUNT | PuntClass.resolve
    if action == DR_ACTION_BLACKHOLE:
        return DropReason.blackhole
    if action == DR_ACTION_UNREACHABLE:
        return DropReason.unreachable
    if action == DR_ACTION_PROHIBIT:
        return DropReason.prohibited
    if action == DR_ACTION_BROADCAST:
        return DropReason.directed_broadcast
    return DropReason.no_route


cdef inline void hop4(uint8_t *ip) noexcept nogil:
    """Decrement TTL; RFC 1624 equation 3: TTL is the high byte of its word, so the checksum grows by 0x0100."""
    cdef uint32_t word = dr_get_32(ip + 8)                   # TTL, protocol, checksum as they lie in memory
    cdef uint32_t s = (word >> 16) + 1                       # 0x0100 in network order
    # 0xffff becomes 0, as a full sum has it: RFC 1624 3, where RFC 1141 was wrong
    s += s >= 0xFFFF
    dr_put_32(ip + 8, ((word & 0xFFFF) - 1) | s << 16)


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
    cdef bint parts = False
    if port >= PORTS or not (dr_load_relaxed_32(&w.router.links_up) >> port & 1):
        return DropReason.port_down
    if b.kind <= KIND_PARKED:
        verdict = hop_verdict(frame + ETHER, ipv6)
        if verdict != VERDICT_OK:
            return verdict
    if m.pkt_len - ETHER > a.mtu and too_long(m, frame + ETHER, a.mtu, ipv6):
        if ipv6 or dr_get_be16(frame + ETHER + 6) & DONT_FRAGMENT:
            b.mtu[b.n_slow] = a.mtu
            return DropReason.mtu_exceeded
        parts = True
    if b.kind <= KIND_PARKED:
        if ipv6:
            frame[ETHER + 7] -= 1
        else:
            hop4(frame + ETHER)
    if parts:
        verdict = send_in_fragments(w, m, port, a, dst)
        if verdict != VERDICT_SENT:
            return verdict
        if b.kind != KIND_RECEIVED:
            count_own(w, b.kind, port)
        return VERDICT_SENT
    dr_put_ether(frame, dst, dr_load_relaxed_64(&a.src), ETHER_IPV6 if ipv6 else ETHER_IPV4)
    if b.kind != KIND_RECEIVED:
        count_own(w, b.kind, port)
    return VERDICT_OK


cdef inline uint16_t closer_verdict(worker *w, burst *b, rte_mbuf *m, const dr_adjacency *a, uint64_t dst,
                                    bint ipv6) noexcept nogil:
    """What an adjacency does with a packet that is not the usual one, check by check."""
    if <uint32_t>(dst >> DR_ACTION_SHIFT) == DR_ACTION_FORWARD:
        return forward_verdict(w, b, m, a, dst, ipv6)
    return action_verdict(w, dst, dr_data(m) + ETHER, m.data_len - ETHER, b.kind, ipv6)


cdef inline uint32_t rewrite_others(worker *w, burst *b, lanes *v, uint32_t n, uint64_t *others_ports,
                                    uint32_t *sent, bint ipv6) noexcept nogil:
    """Some packets need a closer look: those go check by check behind the others. Returns how many are left; `sent`
    went to their port already."""
    cdef uint32_t i, k = 0, others = 0
    cdef uint64_t dst, ports = 0
    cdef uint16_t verdict
    cdef const dr_adjacency *a
    cdef rte_mbuf *m
    cdef rte_mbuf *other[BURST]
    cdef const dr_adjacency *theirs[BURST]
    for i in range(n):
        other[others] = v.pkt[i]
        theirs[others] = b.adjacency[i]
        others += b.bad[i] != 0
        v.pkt[k] = v.pkt[i]
        v.length[k] = v.length[i]
        b.way[k] = b.way[i]
        k += b.bad[i] == 0
    for i in range(others):
        m = other[i]
        a = theirs[i]
        dst = dr_load_relaxed_64(&a.dst)
        verdict = closer_verdict(w, b, m, a, dst, ipv6)
        if verdict == VERDICT_SENT:
            sent[0] += 1
            continue
        if verdict != VERDICT_OK:
            to_slow(b, m, verdict)
            continue
        v.pkt[k] = m
        v.length[k] = m.pkt_len
        b.way[k] = dst >> DR_PORT_SHIFT & 0xFF
        ports |= <uint64_t>1 << b.way[k]
        k += 1
    others_ports[0] = ports
    return k


cdef inline void plain_ways(burst *b, const lanes *v, uint32_t n, uint64_t links, int hop_shift) noexcept nogil:
    """way[i]: the port that word[i] names; bad[i] = 0: the adjacency forwards, by a port that is up, with hops left,
    within the MTU. On 64-bit lanes, several packets at once."""
    cdef uint32_t i
    cdef uint64_t way, hop
    for i in range(n):
        way = b.word[i] >> DR_PORT_SHIFT ^ <uint64_t>DR_ACTION_FORWARD << 8
        hop = v.hop[i] >> hop_shift & 0xFF                   # one less than it came with
        b.way[i] = way
        b.bad[i] = (((PORTS - 1 - way) | (hop - 1) | (254 - hop)
                     | (b.room[i] + ETHER - <uint32_t>v.length[i])) >> 63
                    | (~links >> (way & (PORTS - 1)) & 1))


cdef inline uint64_t ports_of(const burst *b, uint32_t n) noexcept nogil:
    """Bit p: some of way[0..n) are p."""
    cdef uint32_t i
    cdef uint64_t seen = 0, one = dr_hidden(1)
    for i in range(n):
        seen |= one << (b.way[i] & (PORTS - 1))
    return seen


cdef inline void write_head(burst *b, lanes *v, uint32_t i, bint ipv6) noexcept nogil:
    """The frame's MACs and the word with its hop count."""
    cdef uint8_t *frame = v.frame[i]
    dr_put_ether(frame, b.word[i], dr_load_relaxed_64(&b.adjacency[i].src), ETHER_IPV6 if ipv6 else ETHER_IPV4)
    dr_put_64(frame + (HOP6 if ipv6 else HOP4), v.hop[i])


cdef inline uint32_t rewrite(worker *w, burst *b, lanes *v, uint32_t n, bint ipv6) noexcept nogil:
    """adjacency[i] applied to packet i of v. Returns how many went to a port."""
    cdef uint32_t i, sent = 0
    cdef uint64_t ports, others = 0
    # what does not come from a port is looked at check by check
    cdef uint64_t links = dr_load_relaxed_32(&w.router.links_up) if b.kind == KIND_RECEIVED else 0
    for i in range(n):
        b.word[i] = dr_load_relaxed_64(&b.adjacency[i].dst)
        b.room[i] = b.adjacency[i].mtu
    plain_ways(b, v, n, links, 40 if ipv6 else 16)
    if any_bad(b, n) == 0:
        ports = ports_of(b, n)
        for i in range(n):
            write_head(b, v, i, ipv6)
    else:
        ports = 0
        for i in range(n):
            if b.bad[i] == 0:
                write_head(b, v, i, ipv6)
                ports |= <uint64_t>1 << b.way[i]
        n = rewrite_others(w, b, v, n, &others, &sent, ipv6)
        ports |= others
    if n:
        transmit_burst(w, b, v, n, <uint32_t>ports)
    return n + sent
