"""The worker: one a lcore, polling its (port, queue) pairs; the pipeline of stages/ on each burst.

Compiled once per SIMD level. Runs `nogil` from end to end on an EAL lcore; owns its `worker` and its lines of the
stats segment, reads `router`. Counters are stored once a burst.
"""
from libc.stdint cimport uint32_t, uint64_t
from fastpath.atomic cimport dr_load_acquire_32
from fastpath.dpdk.eal cimport rte_rdtsc, rte_version
from fastpath.dpdk.ethdev cimport rte_eth_rx_burst
from fastpath.layout cimport dr_port_counters
from fastpath.stages.idle cimport back_off, disarm, offline, online, quiescent, sleep_exactly
from fastpath.stages.parse cimport gather
from fastpath.stages.pipeline cimport route, route_origin
from fastpath.stages.profile cimport STAGE_RECEIVE, STAGE_TRANSMIT, begin, lap
from fastpath.stages.tags cimport next_sub_interface, sort_out
from fastpath.stages.transmit cimport drain, flush, keep_lacp
from fastpath.state cimport BURST, KIND_RECEIVED, burst, turn_function, worker

cdef extern from *:
    """
    #define dr_log2(n) (31 - __builtin_clz(n))
    /* the compiler must not know which function it is, or it would make a second, inlined copy of it */
    #define dr_opaque(f) ({ __typeof__(f) *g_ = (f); __asm__("" : "+r"(g_)); g_; })
    """
    int dr_log2(uint32_t n) nogil
    turn_function dr_opaque(turn_function f) nogil
    const char *DR_VARIANT

cdef enum:
    HOUSEKEEPING = 64            # polls between quiescent reports


cdef inline uint32_t receive(worker *w, burst *b, uint32_t k) noexcept nogil:
    """Poll pair k; counts what came, has it fetched, and sets aside what is for sub-interfaces."""
    cdef uint32_t i, n, own
    cdef uint64_t octets = 0
    cdef dr_port_counters *c = &w.stats.port[w.rx[k].port]
    n = rte_eth_rx_burst(w.rx[k].dev, w.rx[k].queue, b.rx.pkt, BURST)
    w.stats.bursts[dr_log2(n) + 1 if n else 0] += 1
    b.n = n
    if n == 0:
        return 0
    b.port = w.rx[k].port
    b.kind = KIND_RECEIVED
    gather(b)
    own = sort_out(w, b) if w.router.port[b.port].tagged else n
    for i in range(own):
        octets += <uint32_t>b.rx.length[i]
    c.rx_packets += own
    c.rx_bytes += octets
    w.stats.rx_packets += n
    return n


cdef inline void route_all(worker *w, burst *b) noexcept nogil:
    """What was received: the port's own packets, then those of each of its sub-interfaces that has some."""
    while True:
        if b.n:
            route(w, b)
        if w.n_origin:
            route_origin(w, b)
        if w.n_tagged == 0:
            break
        next_sub_interface(w, b)
        gather(b)


cdef inline uint32_t poll(worker *w, burst *b) noexcept nogil:
    """One turn over all pairs. Returns how many packets moved."""
    cdef uint32_t k, n, moved = 0
    begin(w)
    for k in range(w.n_rx):
        n = receive(w, b, k)
        if n:
            lap(w, STAGE_RECEIVE)
            moved += n
            route_all(w, b)
    moved += drain(w)
    flush(w)
    if moved:
        lap(w, STAGE_TRANSMIT)
    return moved


cdef inline void account(worker *w, uint32_t moved) noexcept nogil:
    """After a poll: its cycles were busy ones if it moved packets, idle ones if not; a sample ends."""
    cdef uint64_t now = rte_rdtsc()
    if moved:
        w.stats.cycles_busy += now - w.last_tsc
        if w.sampling:
            w.sampling = 0
            w.stats.sampled_polls += 1
            w.stats.sampled_packets += moved
    else:
        w.stats.cycles_idle += now - w.last_tsc
    w.last_tsc = now


cdef inline void housekeeping(worker *w) noexcept nogil:
    """Every HOUSEKEEPING polls: a quiescent report, for no table reference is held now, LACP's turn, and the order to
    sample the next poll that moves something."""
    quiescent(w)
    keep_lacp(w)
    w.sampling = 1


cdef uint32_t turn(worker *w) noexcept nogil:
    """The loop's body, one copy for the loop and for those who time it. Returns how many packets moved."""
    cdef uint32_t moved = poll(w, &w.b)
    if moved:
        w.empty_polls = 0
        if w.armed:
            disarm(w)
    else:
        back_off(w)
    account(w, moved)
    w.stats.polls += 1
    if w.stats.polls % HOUSEKEEPING == 0:
        housekeeping(w)
    return moved


cdef int run(void *arg) noexcept nogil:
    cdef worker *w = <worker *>arg
    cdef turn_function step = dr_opaque(turn)
    sleep_exactly()
    online(w)
    w.last_tsc = rte_rdtsc()
    while not dr_load_acquire_32(&w.router.stop):
        step(w)
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


def turn_entry() -> int:
    """Address of the loop's body, a turn_function, for the bench; the caller does what run() does around it."""
    return <size_t>&turn
