"""A packet's way after reception, the same for workers and the host thread:

    parse -> lookup -> choose -> rewrite -> transmit
               `---------------------`----> dispose: drop, ICMP error, punt
"""
from libc.stdint cimport uint32_t, uint64_t
from fastpath.lookup4 cimport lookup4_burst
from fastpath.lookup6 cimport lookup6_burst
from fastpath.stages.choose cimport choose
from fastpath.stages.dispose cimport dispose
from fastpath.stages.parse cimport parse
from fastpath.stages.rewrite cimport rewrite
from fastpath.state cimport KIND_ORIGINATED, KIND_RECEIVED, PORTS, burst, worker


cdef inline uint32_t route(worker *w, burst *b) noexcept nogil:
    """One burst of rx[0..n), of one kind and port. Returns how many packets went to a port."""
    cdef uint32_t forwarded = 0
    parse(w, b)
    if b.n4:
        lookup4_burst(&w.t, b.dst4, b.group, b.n4)
        choose(w, b, b.pkt4, b.n4, False)
        forwarded += rewrite(w, b, b.pkt4, b.n4, False)
    if b.n6:
        lookup6_burst(&w.t, b.hi6, b.lo6, b.group, b.n6)
        choose(w, b, b.pkt6, b.n6, True)
        forwarded += rewrite(w, b, b.pkt6, b.n6, True)
    if b.n_slow:
        dispose(w, b)
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
    b.n = <uint32_t>w.n_origin
    for i in range(w.n_origin):
        b.rx[i] = w.origin[i]
    w.n_origin = 0
    b.kind = KIND_ORIGINATED
    b.port = PORTS
    route(w, b)
