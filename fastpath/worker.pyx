"""The worker: one a lcore, polling its (port, queue) pairs; the pipeline of stages/ on each burst.

Compiled once per SIMD level. Runs `nogil` from end to end on an EAL lcore; owns its `worker` and its lines of the
stats segment, reads `router`. Counters are stored once a burst.
"""
from libc.stdint cimport uint32_t, uint64_t
from fastpath.atomic cimport dr_load_acquire_32
from fastpath.dpdk.eal cimport rte_rdtsc, rte_version
from fastpath.dpdk.ethdev cimport rte_eth_rx_burst
from fastpath.layout cimport dr_port_counters
from fastpath.stages.idle cimport back_off, offline, online, quiescent
from fastpath.stages.pipeline cimport route, route_origin
from fastpath.stages.transmit cimport drain, flush
from fastpath.state cimport BURST, KIND_RECEIVED, burst, worker

cdef extern from *:
    """
    #define dr_log2(n) (31 - __builtin_clz(n))
    """
    int dr_log2(uint32_t n) nogil
    const char *DR_VARIANT

cdef enum:
    HOUSEKEEPING = 64            # polls between quiescent reports


cdef inline uint32_t receive(worker *w, burst *b, uint32_t k) noexcept nogil:
    """Poll pair k; counts what came."""
    cdef uint32_t i, n
    cdef uint64_t octets = 0
    cdef dr_port_counters *c = &w.stats.port[w.rx[k].port]
    n = rte_eth_rx_burst(w.rx[k].dev, w.rx[k].queue, b.rx, BURST)
    w.stats.bursts[dr_log2(n) + 1 if n else 0] += 1
    if n:
        for i in range(n):
            octets += b.rx[i].pkt_len
        c.rx_packets += n
        c.rx_bytes += octets
        w.stats.rx_packets += n
    b.n = n
    b.port = w.rx[k].port
    b.kind = KIND_RECEIVED
    return n


cdef inline uint32_t poll(worker *w, burst *b) noexcept nogil:
    """One turn over all pairs. Returns how many packets moved."""
    cdef uint32_t k, moved = 0
    for k in range(w.n_rx):
        if receive(w, b, k):
            moved += b.n
            route(w, b)
            if w.n_origin:
                route_origin(w, b)
    moved += drain(w)
    flush(w)
    return moved


cdef int run(void *arg) noexcept nogil:
    cdef worker *w = <worker *>arg
    cdef burst b
    cdef uint64_t now, last = rte_rdtsc()
    cdef uint32_t moved
    online(w)
    while not dr_load_acquire_32(&w.router.stop):
        moved = poll(w, &b)
        w.stats.polls += 1
        if w.stats.polls % HOUSEKEEPING == 0:
            quiescent(w)
        if moved:
            w.empty_polls = 0
        else:
            back_off(w)
        now = rte_rdtsc()
        if moved:
            w.stats.cycles_busy += now - last
        else:
            w.stats.cycles_idle += now - last
        last = now
    offline(w)
    return 0


def variant() -> str:
    """The SIMD level that this module was compiled for."""
    return DR_VARIANT.decode()


def dpdk_version() -> str:
    """The version of the DPDK library that is loaded."""
    return rte_version().decode()


def entry() -> int:
    """Address of the loop, an lcore_function_t, for fastpath.router.Router.start()."""
    return <size_t>&run
