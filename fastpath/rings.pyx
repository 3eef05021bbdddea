"""Ports that are rings in memory, and a load of prepared mbufs that rotates through them while the worker's turns are
timed.

Used by scripts/bench and its test, never by the router. What is timed is `worker.turn`, the body of the loop that
`dpdkrouter fastpath` runs, in the variant that the caller imports, or `floor_turn`, the least that any program
does with the same mbufs. Refilling, draining and checking happen outside the timed spans. A span is a few turns, so a
preemption spoils that span and no other. One thread an object and queue; the GIL is released while a lap runs.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from dpdkrouter.errors import FastPathError

from fastpath.dpdk.eal cimport rte_errno, rte_pause, rte_prefetch0, rte_rdtsc, rte_strerror
from fastpath.dpdk.eth_ring cimport rte_eth_from_rings
from fastpath.dpdk.ethdev cimport rte_eth_rx_burst, rte_eth_tx_burst
from fastpath.dpdk.mbuf cimport (RTE_PKTMBUF_HEADROOM, dr_data, rte_mbuf, rte_mempool, rte_mempool_lookup,
                                 rte_pktmbuf_alloc, rte_pktmbuf_free)
from fastpath.dpdk.ring cimport (RING_F_SC_DEQ, RING_F_SP_ENQ, rte_ring, rte_ring_create, rte_ring_dequeue_burst,
                                 rte_ring_enqueue_burst, rte_ring_lookup)
from fastpath.stages.idle cimport offline, online
from fastpath.state cimport BURST, PORTS, turn_function, worker

cdef enum:
    QUEUES = 2                   # RX queues a port, one a worker
    TX_QUEUES = 3                # and one of the host thread
    STAMP = 48                   # where a paced frame says when it arrived: in its payload
    HEAD = 64                    # bytes of a frame that are written anew for each rotation: its first line

PUNTED = 255
"""In `out_port`: the packet went to the host thread."""


cdef uint32_t floor_turn(worker *w) noexcept nogil:
    """The floor: receive, prefetch, read and write the first header line of each packet, send by the next port."""
    cdef uint32_t i, n
    cdef uint32_t out = w.rx[0].port + 1 if w.router.ports > 1 else 0
    cdef rte_mbuf **pkt = w.b.rx.pkt
    n = rte_eth_rx_burst(w.rx[0].dev, w.rx[0].queue, pkt, BURST)
    for i in range(n):
        rte_prefetch0(dr_data(pkt[i]))
    for i in range(n):
        dr_data(pkt[i])[8] += 1
    if n:
        rte_eth_tx_burst(w.router.port[out].dev, <uint16_t>w.tx[out].queue, pkt, <uint16_t>n)
    return n


def floor_entry() -> int:
    """Address of the floor's turn, which takes the place of worker.turn_entry()'s."""
    return <size_t>&floor_turn


cdef class Rings:
    """`ports` devices of rings; open each with Router.open_port by device(), then take() mbufs."""
    cdef rte_ring *rx[PORTS][QUEUES]
    cdef rte_ring *tx[PORTS][TX_QUEUES]
    cdef rte_ring *punt[QUEUES]
    cdef readonly int ports
    cdef readonly int queues

    def __init__(self, int ports, int queues, unsigned int slots):
        """queues: as many as workers. slots: packets that a ring holds, a power of two above every rotation."""
        cdef int port, q
        if not (1 <= ports <= PORTS and 1 <= queues <= QUEUES):
            raise ValueError(f"{ports} ports with {queues} queues: at most {PORTS} with {QUEUES}")
        self.ports = ports
        self.queues = queues
        for port in range(ports):
            for q in range(queues):
                self.rx[port][q] = make_ring(f"rx{port}_{q}", slots)
            for q in range(queues + 1):
                self.tx[port][q] = make_ring(f"tx{port}_{q}", slots)
            if rte_eth_from_rings(f"bench{port}".encode(), self.rx[port], queues, self.tx[port], queues + 1, 0) < 0:
                raise FastPathError(f"no device of rings: {rte_strerror(rte_errno).decode()}")

    def device(self, int port) -> str:
        """EAL's name of a port's device, for Router.open_port."""
        return f"net_ring_bench{port}"

    def join_punts(self) -> None:
        """Find the punt rings of the Router that opened the ports."""
        cdef int q
        for q in range(self.queues):
            self.punt[q] = rte_ring_lookup(f"punt{q + 1}".encode())
            if self.punt[q] == NULL:
                raise FastPathError(f"the router has no punt ring {q + 1}")


cdef rte_ring *make_ring(str name, unsigned int slots) except NULL:
    cdef rte_ring *ring = rte_ring_create(name.encode(), slots, -1, RING_F_SP_ENQ | RING_F_SC_DEQ)
    if ring == NULL:
        raise FastPathError(f"no ring of {slots} slots: {rte_strerror(rte_errno).decode()}")
    return ring


cdef class Load:
    """Mbufs that rotate through one queue: filled with frames, read by turns, taken back from where they were sent."""
    cdef Rings rings
    cdef rte_mbuf **pkt          # at rest, in the order in which they were taken back
    cdef rte_mbuf **filled       # the same, in the order in which they are received
    cdef readonly uint32_t count
    cdef uint32_t[::1] order     # a permutation: another order than the one they came back in
    cdef int queue
    cdef worker *w

    def __cinit__(self):
        self.pkt = NULL
        self.filled = NULL

    def __init__(self, Rings rings not None, int queue, size_t worker_address, uint32_t[::1] order not None):
        """worker_address: Router.worker_address of the worker that polls the queue. order: a permutation."""
        cdef rte_mempool *pool = rte_mempool_lookup(b"mbufs")
        cdef uint32_t i
        if pool == NULL:
            raise FastPathError("the router's pool of mbufs is not there")
        self.rings = rings
        self.queue = queue
        self.w = <worker *>worker_address
        self.order = order
        self.pkt = <rte_mbuf **>malloc(len(order) * sizeof(rte_mbuf *))
        self.filled = <rte_mbuf **>malloc(len(order) * sizeof(rte_mbuf *))
        for i in range(<uint32_t>len(order)):
            self.pkt[i] = rte_pktmbuf_alloc(pool)
            if self.pkt[i] == NULL:
                raise FastPathError(f"the pool has no {len(order)} mbufs, only {i}")
            self.count += 1

    def __dealloc__(self):
        free(self.pkt)
        free(self.filled)

    def release(self) -> None:
        """Give the mbufs back to the pool."""
        cdef uint32_t i
        for i in range(self.count):
            rte_pktmbuf_free(self.pkt[i])
        self.count = 0

    def lap(self, size_t turn, const uint8_t[:, ::1] heads not None, const uint16_t[::1] lengths not None,
            int turns, uint64_t gap_tsc, uint64_t[::1] cycles not None, uint32_t[::1] packets not None,
            uint8_t[:, ::1] out=None, uint8_t[::1] out_port=None) -> tuple[int, int]:
        """Send every frame once, a rotation at a time: (timed spans, packets that came back).

        heads: uint8[n, 64], each frame's first line; lengths: uint16[n]. turns: of a span. gap_tsc: cycles that pass
        before each rotation. cycles, packets: of each span. out: uint8[n, 64] and out_port: uint8[n], or None: the
        heads as they were sent and where, in the order in which they came out. Packets that never come out are lost.
        """
        cdef uint32_t n = <uint32_t>len(heads), done = 0, part, back, spans = 0, total = 0
        cdef uint32_t room = <uint32_t>min(cycles.shape[0], packets.shape[0])
        cdef bint keep = out is not None
        if heads.shape[1] != HEAD or lengths.shape[0] != n or (keep and (out.shape[0] < n or out_port.shape[0] < n)):
            raise ValueError("heads are 64 bytes each, and every array as long as they are")
        with nogil:
            online(self.w)
            while done < n:
                part = n - done if n - done < self.count else self.count
                self.fill(&heads[done, 0], &lengths[done], part, gap_tsc)
                spans = self.spans(<turn_function>turn, part, turns, &cycles[0], &packets[0], spans, room)
                back = self.drain(part, &out[total, 0] if keep else NULL, &out_port[total] if keep else NULL)
                total += back
                if back < part:
                    break
                done += part
            offline(self.w)
        return spans, total

    cdef void fill(self, const uint8_t *heads, const uint16_t *lengths, uint32_t n, uint64_t gap_tsc) noexcept nogil:
        """The next frames into mbufs, in the order of the permutation, and into the RX ring of the first port."""
        cdef uint32_t i, k = 0
        cdef rte_mbuf *m
        cdef uint64_t until = rte_rdtsc() + gap_tsc
        for i in range(self.count):
            if k == n:
                break
            m = self.pkt[self.order[i]]
            self.filled[k] = m
            self.prepare(m, heads + <size_t>k * HEAD, lengths[k])
            k += 1
        while rte_rdtsc() < until:
            rte_pause()
        rte_ring_enqueue_burst(self.rings.rx[0][self.queue], <void * const *>self.filled, n, NULL)

    cdef void prepare(self, rte_mbuf *m, const uint8_t *head, uint16_t length) noexcept nogil:
        m.data_off = RTE_PKTMBUF_HEADROOM
        m.data_len = length
        m.pkt_len = length
        m.ol_flags = 0
        memcpy(dr_data(m), head, HEAD)

    cdef uint32_t spans(self, turn_function turn, uint32_t n, int turns, uint64_t *cycles, uint32_t *packets,
                        uint32_t at, uint32_t room) noexcept nogil:
        """Take turns until all n packets are received; one entry of cycles and packets a span. Returns how many."""
        cdef uint32_t moved = 0, part
        cdef uint64_t start
        cdef int _i
        self.w.last_tsc = rte_rdtsc()
        while moved < n and at < room:
            part = 0
            start = rte_rdtsc()
            for _i in range(turns):
                if moved + part >= n:
                    break
                part += turn(self.w)
            cycles[at] = rte_rdtsc() - start
            packets[at] = part
            at += 1
            moved += part
            if part == 0:
                break
        return at

    def paced(self, size_t turn, const uint8_t[:, ::1] heads not None, const uint16_t[::1] lengths not None,
              uint64_t interval_tsc, uint64_t[::1] waited not None) -> int:
        """Frames arrive one by one, `interval_tsc` apart, whatever the turns take; returns how many came out again.

        waited: of each frame, from its arrival to its being taken from the TX ring, in cycles. One thread does all:
        so what the other two cost is in it too. At most as many frames as there are mbufs.
        """
        cdef uint32_t n = <uint32_t>len(heads), came = 0, gone = 0
        cdef uint64_t next_tsc
        if n > self.count or waited.shape[0] < n:
            raise ValueError(f"{n} frames for {self.count} mbufs and {waited.shape[0]} results")
        with nogil:
            online(self.w)
            next_tsc = rte_rdtsc() + interval_tsc
            self.w.last_tsc = rte_rdtsc()
            while gone < n and rte_rdtsc() < next_tsc + (<uint64_t>n << 20):
                while came < n and rte_rdtsc() >= next_tsc:
                    self.arrive(came, &heads[came, 0], lengths[came], next_tsc)
                    came += 1
                    next_tsc += interval_tsc
                (<turn_function>turn)(self.w)
                gone += self.depart(&waited[0], gone, n)
            offline(self.w)
        return gone

    cdef void arrive(self, uint32_t i, const uint8_t *head, uint16_t length, uint64_t at) noexcept nogil:
        cdef rte_mbuf *m = self.pkt[i]
        cdef void *obj = m
        self.prepare(m, head, length)
        memcpy(dr_data(m) + STAMP, &at, sizeof(at))
        rte_ring_enqueue_burst(self.rings.rx[0][self.queue], &obj, 1, NULL)

    cdef uint32_t depart(self, uint64_t *waited, uint32_t gone, uint32_t n) noexcept nogil:
        """Take what was sent; the mbufs stay where pkt has them."""
        cdef void *out[BURST]
        cdef uint32_t got, i, total = 0
        cdef uint64_t now = rte_rdtsc(), at
        cdef int port
        for port in range(self.rings.ports):
            got = rte_ring_dequeue_burst(self.rings.tx[port][self.queue], out, BURST, NULL)
            for i in range(got):
                memcpy(&at, dr_data(<rte_mbuf *>out[i]) + STAMP, sizeof(at))
                if gone + total < n:
                    waited[gone + total] = now - at
                    total += 1
        return total

    def first(self, const uint8_t[::1] head not None, int length, uint64_t patience_tsc) -> int:
        """One frame while a worker polls by itself: cycles until it is sent, or 0 when that takes too long."""
        cdef uint64_t start, now
        cdef uint64_t waited[1]
        if self.count == 0 or head.shape[0] != HEAD:
            raise ValueError("one frame's first 64 bytes, and an mbuf for it")
        waited[0] = 0
        with nogil:
            start = now = rte_rdtsc()
            self.arrive(0, &head[0], <uint16_t>length, start)
            while self.depart(waited, 0, 1) == 0 and now - start < patience_tsc:
                rte_pause()
                now = rte_rdtsc()
        return waited[0]

    cdef uint32_t drain(self, uint32_t n, uint8_t *out, uint8_t *out_port) noexcept nogil:
        """Take the packets back from the rings where they were sent or punted; returns how many. The mbufs that did
        not come back are gone: the caller stops."""
        cdef uint32_t back = 0
        cdef int port
        for port in range(self.rings.ports):
            back += self.take(self.rings.tx[port][self.queue], back, n, out, out_port, <uint8_t>port)
        back += self.take(self.rings.punt[self.queue], back, n, out, out_port, 255)
        if back == self.count:
            memcpy(self.pkt, self.filled, back * sizeof(rte_mbuf *))
        else:
            self.settle(back)
        return back

    cdef void settle(self, uint32_t n) noexcept nogil:
        """A smaller rotation is back: its mbufs take the places from which as many were taken."""
        cdef uint32_t i
        for i in range(n):
            self.pkt[self.order[i]] = self.filled[i]

    cdef uint32_t take(self, rte_ring *ring, uint32_t at, uint32_t n, uint8_t *out, uint8_t *out_port,
                       uint8_t port) noexcept nogil:
        cdef uint32_t got = 0, i
        cdef uint32_t room = n - at
        cdef void **where = <void **>&self.filled[at]
        if room:
            got = rte_ring_dequeue_burst(ring, where, room, NULL)
        if out != NULL:
            for i in range(got):
                memcpy(out + <size_t>(at + i) * HEAD, dr_data(<rte_mbuf *>where[i]), HEAD)
                out_port[at + i] = port
        return got
