"""Stage 5: a buffer a port, sent when full and at the end of the burst. What the driver does not take is freed
and counted as a transmit drop; a thread without a TX queue on the port hands over to the port's owner.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from fastpath.dpdk.ethdev cimport rte_eth_tx_burst
from fastpath.dpdk.mbuf cimport rte_mbuf, rte_pktmbuf_free_bulk
from fastpath.dpdk.ring cimport rte_ring_dequeue_burst, rte_ring_enqueue_burst
from fastpath.layout cimport dr_port_counters
from fastpath.stages.tags cimport put_on
from fastpath.state cimport BURST, PORTS, burst, lanes, tx_buffer, worker

cdef extern from *:
    """
    #define dr_popcount(v) ((uint32_t)__builtin_popcount(v))
    #define dr_lowest(v) ((uint32_t)__builtin_ctz(v))
    """
    uint32_t dr_popcount(uint32_t v) noexcept nogil
    uint32_t dr_lowest(uint32_t v) noexcept nogil

cdef enum:
    FEW_PORTS = 4                # a pass a port is cheaper then than a dependent store a packet


cdef inline void send_packets(worker *w, uint32_t port, rte_mbuf **pkt, uint32_t n, uint32_t octets) noexcept nogil:
    cdef int queue = w.tx[port].queue
    cdef dr_port_counters *c = &w.stats.port[port]
    cdef uint32_t sent, i, ready = n
    cdef uint64_t unsent_bytes = 0
    if queue < 0:
        sent = rte_ring_enqueue_burst(w.router.port[port].handover, <void * const *>pkt, n, NULL)
    else:
        if w.router.port[port].parent != PORTS:
            ready = put_on(w.router, port, pkt, n)
        sent = rte_eth_tx_burst(w.router.port[port].dev, <uint16_t>queue, pkt, <uint16_t>ready)
    if sent < n:
        for i in range(sent, n):
            unsent_bytes += pkt[i].pkt_len - (w.router.port[port].tag_bytes if i < ready and queue >= 0 else 0)
        rte_pktmbuf_free_bulk(&pkt[sent], n - sent)
        c.tx_drops += n - sent
    if queue >= 0:
        c.tx_packets += sent
        c.tx_bytes += octets - unsent_bytes


cdef inline void send(worker *w, uint32_t port) noexcept nogil:
    """Send what the port's buffer holds."""
    cdef tx_buffer *t = &w.tx[port]
    send_packets(w, port, t.pkt, t.n, t.bytes)
    t.n = 0
    t.bytes = 0


cdef inline void transmit(worker *w, uint32_t port, rte_mbuf *m) noexcept nogil:
    cdef tx_buffer *t = &w.tx[port]
    t.pkt[t.n] = m
    t.bytes += m.pkt_len
    t.n += 1
    if t.n == BURST:
        send(w, port)


cdef inline void transmit_all(worker *w, lanes *v, uint32_t n, uint32_t port) noexcept nogil:
    """All of v[0..n) leave by this port; a full burst goes from where it is."""
    cdef tx_buffer *t = &w.tx[port]
    cdef uint32_t i
    cdef uint64_t octets = 0
    for i in range(n):
        octets += <uint32_t>v.length[i]
    if t.n + n > BURST:
        send(w, port)
    if n == BURST:
        send_packets(w, port, v.pkt, n, <uint32_t>octets)
        return
    memcpy(&t.pkt[t.n], v.pkt, n * sizeof(rte_mbuf *))
    t.bytes += <uint32_t>octets
    t.n += <uint16_t>n
    if t.n == BURST:
        send(w, port)


cdef inline void transmit_two(worker *w, burst *b, const lanes *v, uint32_t n, uint32_t one,
                              uint32_t two) noexcept nogil:
    """v[0..n) leave by one of two ports: one pass fills both buffers; no branch in it depends on a packet."""
    cdef tx_buffer *first = &w.tx[one]
    cdef tx_buffer *second = &w.tx[two]
    cdef uint32_t i, k = 0
    cdef uint64_t octets = 0, ours = 0
    cdef rte_mbuf **to_first
    cdef rte_mbuf **to_second
    if first.n + n > BURST:
        send(w, one)
    if second.n + n > BURST:
        send(w, two)
    to_first = &first.pkt[first.n]
    to_second = &second.pkt[second.n]
    for i in range(n):
        to_first[k] = v.pkt[i]
        to_second[i - k] = v.pkt[i]
        k += b.way[i] == one
    for i in range(n):
        octets += <uint32_t>v.length[i]
        ours += <uint32_t>v.length[i] & (0 - (((b.way[i] ^ one) - 1) >> 63))
    first.n += <uint16_t>k
    first.bytes += <uint32_t>ours
    second.n += <uint16_t>(n - k)
    second.bytes += <uint32_t>(octets - ours)
    if first.n == BURST:
        send(w, one)
    if second.n == BURST:
        send(w, two)


cdef inline void transmit_some(worker *w, burst *b, const lanes *v, uint32_t n, uint32_t port) noexcept nogil:
    """Those of v[0..n) that leave by this port; no branch depends on a packet."""
    cdef tx_buffer *t = &w.tx[port]
    cdef uint32_t i, k
    cdef uint64_t octets = 0
    if t.n + n > BURST:
        send(w, port)
    k = t.n
    for i in range(n):
        t.pkt[k] = v.pkt[i]
        k += b.way[i] == port
    for i in range(n):
        octets += <uint32_t>v.length[i] & (0 - (((b.way[i] ^ port) - 1) >> 63))
    t.n = <uint16_t>k
    t.bytes += <uint32_t>octets
    if k == BURST:
        send(w, port)


cdef inline void transmit_burst(worker *w, burst *b, lanes *v, uint32_t n, uint32_t ports) noexcept nogil:
    """v[0..n), 0 < n <= BURST, to the buffers of the ports way[0..n). ports: bit p says that some leave by p."""
    cdef uint32_t i
    if ports & (ports - 1) == 0:
        transmit_all(w, v, n, dr_lowest(ports))
    elif dr_popcount(ports) == 2:
        transmit_two(w, b, v, n, dr_lowest(ports), dr_lowest(ports & (ports - 1)))
    elif dr_popcount(ports) <= FEW_PORTS:
        while ports:
            transmit_some(w, b, v, n, dr_lowest(ports))
            ports &= ports - 1
    else:
        for i in range(n):
            transmit(w, <uint32_t>b.way[i], v.pkt[i])


cdef inline void flush(worker *w) noexcept nogil:
    cdef uint32_t port
    for port in range(w.router.ports):
        if w.tx[port].n:
            send(w, port)


cdef inline void keep_lacp(worker *w) noexcept nogil:
    """An empty burst, in which DPDK's bonding driver sends the LACPDUs that are due: wanted every 100 ms at least
    (rte_eth_bond.h), also when there is nothing else to send."""
    cdef uint32_t i, port
    for i in range(w.n_lacp):
        port = w.lacp[i]
        rte_eth_tx_burst(w.router.port[port].dev, <uint16_t>w.tx[port].queue, NULL, 0)


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
