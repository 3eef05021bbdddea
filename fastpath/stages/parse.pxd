"""Stage 1: validate once, then trust. Ethernet here, the rest in parse4 and parse6.

Fills pkt4/dst4, pkt6/hi6/lo6 with what may be looked up; all else goes to slow with its verdict.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.bytes cimport dr_get_be32, dr_get_be64, dr_get_be16, dr_get_mac
from fastpath.dpdk.eal cimport rte_prefetch0
from fastpath.dpdk.mbuf cimport dr_data, rte_mbuf
from fastpath.reasons cimport DropReason, PuntClass
from fastpath.stages.parse4 cimport parse4
from fastpath.stages.parse6 cimport IPV6_HEADER, parse6
from fastpath.state cimport (BURST, ETHER, KIND_RECEIVED, VERDICT_OK, VERDICT_PUNT, burst, to_slow, worker)

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
    """Sort one packet into pkt4 or pkt6 (VERDICT_OK) or say what becomes of it."""
    cdef const uint8_t *frame = dr_data(m)
    cdef bint group = False
    cdef uint16_t verdict = link_verdict(m, frame, mac, b.kind == KIND_RECEIVED, &group)
    cdef uint16_t ether_type
    if verdict != VERDICT_OK:
        return verdict
    ether_type = dr_get_be16(frame + 12)
    if ether_type == TYPE_IPV4:
        verdict = parse4(frame + ETHER, m.data_len - ETHER, m.pkt_len - ETHER, group)
        if verdict == VERDICT_OK:
            b.pkt4[b.n4] = m
            b.dst4[b.n4] = dr_get_be32(frame + ETHER + 16)
            b.n4 += 1
        return verdict
    if ether_type == TYPE_IPV6:
        verdict = parse6(frame + ETHER, m.data_len - ETHER, m.pkt_len - ETHER, group)
        if verdict == VERDICT_OK:
            b.pkt6[b.n6] = m
            b.hi6[b.n6] = dr_get_be64(frame + ETHER + 24)
            b.lo6[b.n6] = dr_get_be64(frame + ETHER + 32)
            b.n6 += 1
        return verdict
    if ether_type == TYPE_ARP:
        return VERDICT_PUNT | PuntClass.neighbor
    return DropReason.ethertype_unsupported


cdef inline void parse(worker *w, burst *b) noexcept nogil:
    cdef int i
    cdef uint16_t verdict
    cdef uint64_t mac = w.router.port[b.port].mac if b.kind == KIND_RECEIVED else 0
    b.n4 = 0
    b.n6 = 0
    b.n_slow = 0
    for i in range(b.n):
        rte_prefetch0(dr_data(b.rx[i]))
    for i in range(b.n):
        verdict = packet_verdict(b, b.rx[i], mac)
        if verdict != VERDICT_OK:
            to_slow(b, b.rx[i], verdict)
