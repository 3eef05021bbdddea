"""IPv4 packets larger than the next hop's MTU, without DF: RFC 791 3.2, RFC 1812 5.2.6, by librte_ip_frag.

A packet's fragments leave as it would have: same MACs, hop taken, options that RFC 791 wants copied. It is counted as
one packet forwarded (or injected); what its port sends more than that is `fragments`.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.atomic cimport dr_load_relaxed_64
from fastpath.bytes cimport dr_fold, dr_put_ether, dr_sum
from fastpath.dpdk.ip_frag cimport rte_ipv4_fragment_copy_nonseg_packet
from fastpath.dpdk.mbuf cimport (dr_data, rte_mbuf, rte_pktmbuf_adj, rte_pktmbuf_copy, rte_pktmbuf_free,
                                 rte_pktmbuf_prepend)
from fastpath.layout cimport dr_adjacency
from fastpath.reasons cimport DropReason
from fastpath.stages.transmit cimport transmit
from fastpath.state cimport ETHER, VERDICT_SENT, worker

cdef enum:
    MOST = 32                    # fragments of a packet: more than the largest frame has at the least MTU of a port
    TYPE_IPV4 = 0x0008           # EtherType as it lies in memory


cdef inline void send_fragment(worker *w, uint32_t port, rte_mbuf *m, uint64_t dst, uint64_t src) noexcept nogil:
    cdef uint8_t *ip = dr_data(m)
    cdef uint8_t *frame
    (<uint16_t *>(ip + 10))[0] = 0
    (<uint16_t *>(ip + 10))[0] = ~dr_fold(dr_sum(ip, (ip[0] & 15) * 4, 0))
    frame = <uint8_t *>rte_pktmbuf_prepend(m, ETHER)
    dr_put_ether(frame, dst, src, TYPE_IPV4)
    transmit(w, port, m)


cdef inline uint16_t send_in_fragments(worker *w, rte_mbuf *m, uint32_t port, const dr_adjacency *a,
                                       uint64_t dst) noexcept nogil:
    """Packet m, whose hop is taken, to a port in fragments; VERDICT_SENT, and m is gone; otherwise it is as it was."""
    cdef rte_mbuf *part[MOST]
    cdef rte_mbuf *whole = m
    cdef uint64_t src = dr_load_relaxed_64(&a.src)
    cdef int32_t n, i
    if m.nb_segs > 1:                                       # a buffer holds the largest MTU, but some use less of it
        whole = rte_pktmbuf_copy(m, w.router.pool, 0, m.pkt_len)
        if whole is NULL or whole.nb_segs > 1:
            rte_pktmbuf_free(whole)
            return DropReason.fragmentation_failed
    rte_pktmbuf_adj(whole, ETHER)
    n = rte_ipv4_fragment_copy_nonseg_packet(whole, part, MOST, a.mtu, w.router.pool)
    if n <= 0:
        if whole != m:
            rte_pktmbuf_free(whole)
        else:
            rte_pktmbuf_prepend(m, ETHER)
        return DropReason.fragmentation_failed
    for i in range(n):
        send_fragment(w, port, part[i], dst, src)
    w.stats.port[port].fragments += n - 1
    if whole != m:
        rte_pktmbuf_free(whole)
    rte_pktmbuf_free(m)
    return VERDICT_SENT
