"""Stage 1: validate once, then trust. Ethernet here, the rest in parse4 and parse6.

Nearly every packet is of the usual kind: sent to the port's MAC, without options, unicast. take4 and take6 check a
whole burst for that in loops that a compiler vectorises; what is left over goes check by check, by the functions that
say what is wrong with a packet. Fills v4/dst4, v6/hi6/lo6 with what may be looked up; all else goes to slow with its
verdict. The usual packets go before the others of their burst.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.bytes cimport dr_get_64, dr_get_be16, dr_get_be32, dr_get_be64, dr_get_mac, dr_swap_32, dr_swap_64
from fastpath.dpdk.eal cimport rte_prefetch0
from fastpath.dpdk.mbuf cimport dr_data, dr_lengths, rte_mbuf
from fastpath.lookup4 cimport lookup4_prefetch
from fastpath.lookup6 cimport lookup6_prefetch
from fastpath.reasons cimport DropReason, PuntClass
from fastpath.stages.parse4 cimport hops4, parse4, plain4
from fastpath.stages.parse6 cimport IPV6_HEADER, hops6, parse6, plain6
from fastpath.stages.tags cimport begins_tag, keep, untag
from fastpath.state cimport (ETHER, HOP4, HOP6, KIND_RECEIVED, VERDICT_OK, VERDICT_OK6, VERDICT_PUNT, burst, lanes,
                             to_slow, worker)

cdef enum:
    TYPE_IPV4 = 0x0800
    TYPE_ARP = 0x0806
    TYPE_IPV6 = 0x86DD


cdef inline uint32_t ip_length(const uint8_t *ip, bint ipv6) noexcept nogil:
    """Bytes of a parsed packet; its frame may be longer: padding (RFC 894), or a trailer of the sender's."""
    return dr_get_be16(ip + 4) + IPV6_HEADER if ipv6 else dr_get_be16(ip + 2)


cdef inline uint16_t link_verdict(const rte_mbuf *m, const uint8_t *frame, uint64_t mac, bint check_mac,
                                  bint *group) noexcept nogil:
    """Ethernet: long enough, and sent to this port's MAC or to a group."""
    if m.data_len < ETHER:
        return DropReason.frame_truncated
    group[0] = check_mac and (frame[0] & 1) != 0
    if check_mac and not group[0] and dr_get_mac(frame) != mac:
        return DropReason.mac_mismatch
    return VERDICT_OK


cdef inline uint16_t packet_verdict(burst *b, rte_mbuf *m, uint64_t mac) noexcept nogil:
    """What becomes of one packet, check by check: VERDICT_OK for IPv4 that may be looked up, VERDICT_OK6 for IPv6."""
    cdef const uint8_t *frame = dr_data(m)
    cdef bint group = False
    cdef uint16_t verdict = link_verdict(m, frame, mac, b.kind == KIND_RECEIVED, &group)
    cdef uint16_t ether_type
    if verdict != VERDICT_OK:
        return verdict
    ether_type = dr_get_be16(frame + 12)
    if ether_type == TYPE_IPV4:
        return parse4(frame + ETHER, m.data_len - ETHER, m.pkt_len - ETHER, group)
    if ether_type == TYPE_IPV6:
        verdict = parse6(frame + ETHER, m.data_len - ETHER, m.pkt_len - ETHER, group)
        return VERDICT_OK6 if verdict == VERDICT_OK else verdict
    if ether_type == TYPE_ARP:
        return VERDICT_PUNT | PuntClass.neighbor
    return DropReason.ethertype_unsupported


cdef inline uint64_t any_bad(burst *b, uint32_t n) noexcept nogil:
    cdef uint32_t i
    cdef uint64_t seen = 0
    for i in range(n):
        seen |= b.bad[i]
    return seen


cdef inline void copy_one(lanes *to, uint32_t k, const lanes *source, uint32_t i) noexcept nogil:
    to.pkt[k] = source.pkt[i]
    to.frame[k] = source.frame[i]
    to.length[k] = source.length[i]


cdef inline void move_lane(burst *b, lanes *v, uint32_t k, uint32_t i, bint ipv6) noexcept nogil:
    """What the later stages need of packet i of v, to k, when those between are taken out."""
    copy_one(v, k, v, i)
    v.hop[k] = v.hop[i]
    if ipv6:
        b.hi6[k] = b.hi6[i]
        b.lo6[k] = b.lo6[i]
    else:
        b.dst4[k] = b.dst4[i]
        b.rest[k] = b.rest[i]


cdef inline uint32_t take4(worker *w, burst *b, uint32_t n, uint64_t mac) noexcept nogil:
    """The usual IPv4 packets among rx[0..n) to v4; returns how many others are left, at the front of rx.

    The destinations' lines in the table are asked for first, whatever the frames are: the checks take about as long as
    memory does.
    """
    cdef uint32_t i, k = 0, left = 0
    cdef const uint8_t *frame
    for i in range(n):
        frame = b.rx.frame[i]
        b.mac[i] = dr_get_64(frame)
        b.start[i] = dr_get_64(frame + 12)
        b.rx.hop[i] = dr_get_64(frame + HOP4)
        b.rest[i] = dr_get_64(frame + 28)
        lookup4_prefetch(&w.t, dr_get_be32(frame + ETHER + 16))
    plain4(b, n, mac)
    if any_bad(b, n) == 0:
        b.p4 = &b.rx
        k = n
    else:
        for i in range(n):
            copy_one(&b.v4, k, &b.rx, i)
            b.v4.hop[k] = b.rx.hop[i]
            b.rest[k] = b.rest[i]
            k += b.bad[i] == 0
            copy_one(&b.rx, left, &b.rx, i)
            left += b.bad[i] != 0
    b.n4 = k
    for i in range(k):
        b.dst4[i] = dr_swap_32(<uint32_t>(b.rest[i] >> 16))
    hops4(b)
    return left


cdef inline uint32_t take6(worker *w, burst *b, uint32_t n, uint64_t mac) noexcept nogil:
    """take4 for IPv6."""
    cdef uint32_t i, k = 0, left = 0
    cdef const uint8_t *frame
    for i in range(n):
        frame = b.rx.frame[i]
        b.mac[i] = dr_get_64(frame)
        b.start[i] = dr_get_64(frame + 12)
        b.rx.hop[i] = dr_get_64(frame + HOP6)
        b.hi6[i] = dr_get_64(frame + 38)
        b.lo6[i] = dr_get_64(frame + 46)
        lookup6_prefetch(&w.t, dr_swap_64(b.hi6[i]))
    plain6(b, n, mac)
    if any_bad(b, n) == 0:
        b.p6 = &b.rx
        k = n
    else:
        for i in range(n):
            copy_one(&b.v6, k, &b.rx, i)
            b.v6.hop[k] = b.rx.hop[i]
            b.hi6[k] = b.hi6[i]
            b.lo6[k] = b.lo6[i]
            k += b.bad[i] == 0
            copy_one(&b.rx, left, &b.rx, i)
            left += b.bad[i] != 0
    b.n6 = k
    hops6(b)
    return left


cdef inline void take_others(worker *w, burst *b, uint32_t n, uint64_t mac) noexcept nogil:
    """What is left, check by check; `hop` 0 tells rewrite to do likewise."""
    cdef uint32_t i
    cdef uint16_t verdict
    cdef rte_mbuf *m
    cdef const uint8_t *frame
    for i in range(n):
        m = b.rx.pkt[i]
        frame = b.rx.frame[i]
        verdict = VERDICT_OK
        if b.kind == KIND_RECEIVED and m.data_len >= ETHER and begins_tag(frame):
            verdict = untag(m)
            keep(b, i, m)
            frame = b.rx.frame[i]
        if verdict == VERDICT_OK:
            verdict = packet_verdict(b, m, mac)
        if verdict == VERDICT_OK:
            copy_one(&b.v4, b.n4, &b.rx, i)
            b.v4.hop[b.n4] = 0
            b.dst4[b.n4] = dr_get_be32(frame + ETHER + 16)
            lookup4_prefetch(&w.t, b.dst4[b.n4])
            b.n4 += 1
        elif verdict == VERDICT_OK6:
            copy_one(&b.v6, b.n6, &b.rx, i)
            b.v6.hop[b.n6] = 0
            b.hi6[b.n6] = dr_get_be64(frame + ETHER + 24)
            b.lo6[b.n6] = dr_get_be64(frame + ETHER + 32)
            lookup6_prefetch(&w.t, b.hi6[b.n6])
            b.n6 += 1
        else:
            to_slow(b, m, verdict)


cdef inline void gather(burst *b) noexcept nogil:
    """rx.frame and rx.length of rx.pkt[0..n), frames prefetched."""
    cdef uint32_t i
    for i in range(b.n):
        b.rx.frame[i] = dr_data(b.rx.pkt[i])
        rte_prefetch0(b.rx.frame[i])
        b.rx.length[i] = dr_lengths(b.rx.pkt[i])


cdef inline void parse(worker *w, burst *b) noexcept nogil:
    """rx[0..n), gathered, to v4, v6 and slow. What does not come from a port is looked at check by check."""
    cdef uint32_t left = b.n
    cdef uint64_t mac = 0
    b.n4 = 0
    b.n6 = 0
    b.n_slow = 0
    b.p4 = &b.v4
    b.p6 = &b.v6
    if b.kind == KIND_RECEIVED:
        mac = w.router.port[b.port].mac
        if dr_get_be16(b.rx.frame[0] + 12) == TYPE_IPV6:
            left = take6(w, b, left, mac)
            if left:
                left = take4(w, b, left, mac)
        else:
            left = take4(w, b, left, mac)
            if left:
                left = take6(w, b, left, mac)
    if left:
        take_others(w, b, left, mac)
