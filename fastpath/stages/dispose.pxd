"""Stage 6: what did not go to a port: dropped with a reason (and an ICMP error where the RFCs ask), or punted.

Counts what was received once, by the worker that read it: rx = forwarded + punted + dropped.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from fastpath.dpdk.eal cimport rte_rdtsc
from fastpath.dpdk.mbuf cimport dr_data, dr_set_note, rte_mbuf, rte_pktmbuf_free
from fastpath.dpdk.ring cimport rte_ring_count, rte_ring_enqueue_burst
from fastpath.reasons cimport DropReason, PuntClass
from fastpath.stages.icmp cimport icmp_error, to_link_local
from fastpath.stages.police cimport bucket_take
from fastpath.stages.transmit cimport transmit
from fastpath.state cimport (KIND_INJECTED, KIND_ORIGINATED, KIND_PARKED, KIND_RECEIVED, MAX_ORIGIN, PORTS,
                             PUNT_RING_OTHERS, VERDICT_PUNT, burst, count_drop, worker)

cdef enum:
    PUNT_KIND_SHIFT = 8          # the mbuf's note carries class | kind << 8 to the host thread


cdef inline uint16_t punt(worker *w, burst *b, rte_mbuf *m, uint16_t punt_class, uint64_t now) noexcept nogil:
    """Hand to the host thread; returns the drop reason when it is not taken, else the punt verdict. ARP and ND are
    policed by port, so that a link without manners costs others no neighbour; the end of a ring is for BGP alone."""
    cdef void *obj = m
    cdef bint by_port = punt_class == PuntClass.neighbor and b.port < PORTS
    if not bucket_take(&w.neighbor[b.port] if by_port else &w.classes[punt_class], now):
        w.stats.policed[punt_class] += 1
        return DropReason.punt_policed
    if punt_class != PuntClass.bgp and rte_ring_count(w.router.punt[w.slot]) >= PUNT_RING_OTHERS:
        return DropReason.punt_ring_full
    m.port = b.port
    dr_set_note(m, punt_class | <uint32_t>b.kind << PUNT_KIND_SHIFT)
    if rte_ring_enqueue_burst(w.router.punt[w.slot], &obj, 1, NULL) == 0:
        return DropReason.punt_ring_full
    return VERDICT_PUNT


cdef inline void send_back(worker *w, uint16_t port, const rte_mbuf *m, rte_mbuf *error) noexcept nogil:
    """An error about m to the station that sent it: to a link-local address no route leads."""
    memcpy(dr_data(error), dr_data(m) + 6, 6)
    memcpy(dr_data(error) + 6, &w.router.port[port].mac, 6)
    w.stats.originated += 1
    w.stats.port[port].originated += 1
    transmit(w, port, error)


cdef inline void answer(worker *w, burst *b, rte_mbuf *m, uint16_t reason, uint16_t mtu) noexcept nogil:
    """Originate the ICMP error that goes with a drop reason, if any; it walks the stages in this iteration."""
    cdef rte_mbuf *error = icmp_error(w, m, b.port, reason, mtu)
    if error is NULL:
        return
    if to_link_local(error):
        send_back(w, b.port, m, error)
    elif w.n_origin < MAX_ORIGIN:
        w.origin[w.n_origin] = error
        w.n_origin += 1
    else:
        count_drop(w, DropReason.originate_policed)
        rte_pktmbuf_free(error)


cdef inline void drop(worker *w, burst *b, rte_mbuf *m, uint16_t reason, uint16_t mtu) noexcept nogil:
    count_drop(w, DropReason.originate_failed if b.kind == KIND_ORIGINATED else reason)
    if b.kind <= KIND_PARKED:
        answer(w, b, m, reason, mtu)
    rte_pktmbuf_free(m)


cdef inline void dispose(worker *w, burst *b) noexcept nogil:
    cdef uint32_t i
    cdef uint16_t verdict
    cdef uint32_t punted = 0, dropped = 0
    cdef uint64_t now = rte_rdtsc()
    for i in range(b.n_slow):
        verdict = b.verdict[i]
        if verdict & VERDICT_PUNT:
            if b.kind >= KIND_INJECTED and (verdict & 0xFF) != PuntClass.resolve:
                verdict = DropReason.inject_loop         # the kernel sent it here: not back to it
            else:
                verdict = punt(w, b, b.slow[i], verdict & 0xFF, now)
        if verdict & VERDICT_PUNT:
            punted += 1
            if b.kind == KIND_RECEIVED:
                w.stats.punts[(b.verdict[i] & 0xFF)] += 1
        else:
            dropped += 1
            drop(w, b, b.slow[i], verdict, b.mtu[i])
    if b.kind == KIND_RECEIVED:
        w.stats.punted += punted
        w.stats.dropped += dropped
    b.n_slow = 0
