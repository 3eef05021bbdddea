"""A packet's way after reception, the same for workers and the host thread:

    parse -> (sources, filters, options) -> lookup -> choose -> rewrite -> transmit
      `---------------`------------------------`---------------------`----> dispose: drop, ICMP error, punt
"""
from libc.stdint cimport uint32_t, uint64_t
from fastpath.lookup4 cimport lookup4_fetched
from fastpath.lookup6 cimport lookup6_fetched
from fastpath.stages.choose cimport choose
from fastpath.stages.dispose cimport dispose
from fastpath.stages.ingress cimport check_received
from fastpath.stages.parse cimport gather, parse
from fastpath.stages.profile cimport (STAGE_CHOOSE, STAGE_DISPOSE, STAGE_FILTER, STAGE_LOOKUP4, STAGE_LOOKUP6,
                                      STAGE_PARSE, STAGE_REWRITE, lap)
from fastpath.stages.rewrite cimport rewrite
from fastpath.state cimport KIND_ORIGINATED, KIND_RECEIVED, PORTS, burst, worker


cdef inline uint32_t route(worker *w, burst *b) noexcept nogil:
    """One burst of rx[0..n), gathered, of one kind and port. Returns how many packets went to a port."""
    cdef uint32_t forwarded = 0
    parse(w, b)
    lap(w, STAGE_PARSE)
    if w.router.checked >> b.port & 1:
        check_received(w, b)
        lap(w, STAGE_FILTER)
    if b.n4:
        lookup4_fetched(&w.t, b.dst4, b.group, b.n4)
        lap(w, STAGE_LOOKUP4)
        choose(w, b, b.p4, b.n4, False)
        lap(w, STAGE_CHOOSE)
        forwarded += rewrite(w, b, b.p4, b.n4, False)
        lap(w, STAGE_REWRITE)
    if b.n6:
        lookup6_fetched(&w.t, b.hi6, b.lo6, b.group, b.n6)
        lap(w, STAGE_LOOKUP6)
        choose(w, b, b.p6, b.n6, True)
        lap(w, STAGE_CHOOSE)
        forwarded += rewrite(w, b, b.p6, b.n6, True)
        lap(w, STAGE_REWRITE)
    if b.n_slow:
        dispose(w, b)
        lap(w, STAGE_DISPOSE)
    if b.kind == KIND_RECEIVED:
        w.stats.forwarded += forwarded
    elif b.kind == KIND_ORIGINATED:
        w.stats.originated += forwarded
    else:
        w.stats.injected += forwarded
    return forwarded


cdef inline void route_origin(worker *w, burst *b) noexcept nogil:
    """The ICMP errors that the last bursts caused."""
    cdef uint32_t i
    b.n = w.n_origin
    for i in range(w.n_origin):
        b.rx.pkt[i] = w.origin[i]
    w.n_origin = 0
    b.kind = KIND_ORIGINATED
    b.port = PORTS
    gather(b)
    route(w, b)
