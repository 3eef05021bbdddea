"""Stage 5: a buffer a port, sent when full and at the end of the burst. What the driver does not take is freed
and counted as a transmit drop; a thread without a TX queue on the port hands over to the port's owner.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from fastpath.dpdk.ethdev cimport rte_eth_tx_burst
from fastpath.dpdk.mbuf cimport rte_mbuf, rte_pktmbuf_free_bulk
from fastpath.dpdk.ring cimport rte_ring_dequeue_burst, rte_ring_enqueue_burst
from fastpath.layout cimport dr_port_counters
from fastpath.state cimport BURST, PORTS, tx_buffer, worker


cdef inline void send(worker *w, uint32_t port) noexcept nogil:
    """Send what the port's buffer holds."""
    cdef tx_buffer *t = &w.tx[port]
    cdef dr_port_counters *c = &w.stats.port[port]
    cdef uint32_t sent, i
    cdef uint64_t unsent_bytes = 0
    if t.queue < 0:
        sent = rte_ring_enqueue_burst(w.router.port[port].handover, <void * const *>t.pkt, t.n, NULL)
    else:
        sent = rte_eth_tx_burst(w.router.port[port].dev, <uint16_t>t.queue, t.pkt, t.n)
    if sent < t.n:
        for i in range(sent, t.n):
            unsent_bytes += t.pkt[i].pkt_len
        rte_pktmbuf_free_bulk(&t.pkt[sent], t.n - sent)
        c.tx_drops += t.n - sent
    if t.queue >= 0:
        c.tx_packets += sent
        c.tx_bytes += t.bytes - unsent_bytes
    t.n = 0
    t.bytes = 0


cdef inline void transmit(worker *w, uint32_t port, rte_mbuf *m) noexcept nogil:
    cdef tx_buffer *t = &w.tx[port]
    t.pkt[t.n] = m
    t.bytes += m.pkt_len
    t.n += 1
    if t.n == BURST:
        send(w, port)


cdef inline void flush(worker *w) noexcept nogil:
    cdef uint32_t port
    for port in range(w.router.ports):
        if w.tx[port].n:
            send(w, port)


cdef inline uint32_t drain(worker *w) noexcept nogil:
    """Send what other threads handed over for the ports that this worker owns. Returns how many packets."""
    cdef uint32_t i, k, n, port, total = 0
    cdef void *pkt[BURST]
    for i in range(w.n_drain):
        port = w.drain[i]
        n = rte_ring_dequeue_burst(w.router.port[port].handover, pkt, BURST, NULL)
        for k in range(n):
            transmit(w, port, <rte_mbuf *>pkt[k])
        total += n
    return total
