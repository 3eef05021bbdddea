"""Moving frames between the workers' punt rings, the TAPs, the ports and host0. Host thread only; the one place of
the fast path, beside back_off(), that makes system calls.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from fastpath.bytes cimport dr_put_be16
from fastpath.dpdk.mbuf cimport (dr_data, dr_note, rte_mbuf, rte_pktmbuf_alloc, rte_pktmbuf_append, rte_pktmbuf_free,
                                 rte_pktmbuf_read, rte_pktmbuf_tailroom)
from fastpath.dpdk.ring cimport rte_ring_dequeue_burst
from fastpath.host cimport BOUNCE, host
from fastpath.reasons cimport DropReason, PuntClass
from fastpath.stages.dispose cimport PUNT_KIND_SHIFT
from fastpath.stages.parking cimport park_packet
from fastpath.stages.parse cimport gather
from fastpath.stages.parse4 cimport IPV4_HEADER
from fastpath.stages.parse6 cimport IPV6_HEADER
from fastpath.stages.pipeline cimport route
from fastpath.stages.transmit cimport transmit
from fastpath.state cimport BURST, ETHER, KIND_INJECTED, PORTS, count_drop

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void *buf, size_t count) noexcept
    ssize_t write(int fd, const void *buf, size_t count) noexcept
    int close(int fd) noexcept

cdef extern from "<errno.h>" nogil:
    int EBADFD
    int errno

cdef enum:
    READS = 32                   # frames a TAP may bring in one turn
    TYPE_IPV4 = 0x0800
    TYPE_IPV6 = 0x86DD


cdef inline void to_tap(host *h, rte_mbuf *m) noexcept nogil:
    """A punted frame to the twin of the port that it came from."""
    cdef const void *frame
    if m.port >= PORTS or h.tap[m.port] < 0 or m.pkt_len > BOUNCE:
        count_drop(h.w, DropReason.tap_full)
    else:
        frame = rte_pktmbuf_read(m, 0, m.pkt_len, h.bounce)
        if frame is NULL or write(h.tap[m.port], frame, m.pkt_len) < 0:
            count_drop(h.w, DropReason.tap_full)
    rte_pktmbuf_free(m)


cdef inline uint32_t take_punts(host *h, uint64_t now) noexcept nogil:
    """What the workers (and this thread's own pipeline, slot 0) punted. Returns how many."""
    cdef uint32_t slot, i, n, word, total = 0
    cdef void *pkt[BURST]
    for slot in range(h.router.workers + 1):
        n = rte_ring_dequeue_burst(h.router.punt[slot], pkt, BURST, NULL)
        total += n
        for i in range(n):
            word = dr_note(<rte_mbuf *>pkt[i])
            if (word & 0xFF) == PuntClass.resolve:
                park_packet(h, <rte_mbuf *>pkt[i], word >> PUNT_KIND_SHIFT, now)
            else:
                to_tap(h, <rte_mbuf *>pkt[i])
    return total


cdef inline rte_mbuf *read_packet(host *h, int *fd, uint32_t headroom) noexcept nogil:
    """One packet from a TAP or TUN, `headroom` bytes left free before it; NULL when there is none. Without an mbuf it
    stays with the kernel. A device that vanished is closed: the main thread opens it anew."""
    cdef rte_mbuf *m = rte_pktmbuf_alloc(h.router.pool)
    cdef ssize_t n
    if m is NULL:
        return NULL
    n = read(fd[0], dr_data(m) + headroom, rte_pktmbuf_tailroom(m) - headroom)
    if n > 0:
        rte_pktmbuf_append(m, <uint16_t>(headroom + n))    # read() was given the tail room
        return m
    if n < 0 and errno == EBADFD:
        close(fd[0])
        fd[0] = -1
    rte_pktmbuf_free(m)
    return NULL


cdef inline uint32_t from_taps(host *h) noexcept nogil:
    """What the kernel sends on a twin goes out of its port as it is."""
    cdef uint32_t port, _i, total = 0
    cdef rte_mbuf *m
    for port in range(h.router.ports):
        if h.tap[port] < 0:
            continue
        for _i in range(<uint32_t>READS):
            m = read_packet(h, &h.tap[port], 0)
            if m is NULL:
                break
            total += 1
            h.w.stats.injected += 1
            h.w.stats.port[port].injected += 1
            transmit(h.w, port, m)
    return total


cdef inline bint to_one_host(const uint8_t *ip, uint32_t length) noexcept nogil:
    """A unicast packet of a family that is routed: what the kernel says on host0 for the link's own sake, such as MLD
    reports (RFC 3810 5.2.14), ends here."""
    if length >= IPV6_HEADER and ip[0] >> 4 == 6:
        return ip[24] != 0xFF
    return length >= IPV4_HEADER and ip[0] >> 4 == 4 and ip[16] < 0xE0


cdef inline uint32_t from_host0(host *h) noexcept nogil:
    """What the kernel routes to far destinations: looked up like a received packet, its hop count kept."""
    cdef uint32_t n = 0
    cdef rte_mbuf *m
    cdef uint8_t *data
    if h.host0 < 0:
        return 0
    while n < READS:
        m = read_packet(h, &h.host0, ETHER)
        if m is NULL:
            break
        data = dr_data(m)
        memset(data, 0, 12)
        dr_put_be16(data + 12, TYPE_IPV6 if data[ETHER] >> 4 == 6 else TYPE_IPV4)
        if to_one_host(data + ETHER, m.data_len - ETHER):
            h.b.rx.pkt[n] = m
            n += 1
        else:
            count_drop(h.w, DropReason.inject_invalid)
            rte_pktmbuf_free(m)
    if n:
        h.b.n = <uint16_t>n
        h.b.kind = KIND_INJECTED
        h.b.port = PORTS
        gather(&h.b)
        route(h.w, &h.b)
    return n
