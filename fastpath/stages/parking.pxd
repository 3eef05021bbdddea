"""Packets whose next hop has no MAC yet: a few a next hop, a bounded number in all, until it is resolved or given up.

Host thread only. RFC 1812 3.3.2 (keep at least one packet while resolving), RFC 4861 7.2.2 (small queue, then
address unreachable). Requests to the control process go through the lossy ring of the stats segment.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from fastpath.atomic cimport dr_store_release_64
from fastpath.bytes cimport dr_get_be16, dr_get_be32, dr_get_be64
from fastpath.dpdk.mbuf cimport dr_data, rte_mbuf, rte_pktmbuf_free
from fastpath.host cimport PARK_EACH, PARKS, host, park
from fastpath.layout cimport (DR_ACTION_GLEAN, DR_ACTION_RESOLVE, DR_ACTION_SHIFT, DR_PORT_SHIFT, DR_RESOLVE_RING,
                              dr_adjacency, dr_resolve_request)
from fastpath.lookup4 cimport lookup4_burst
from fastpath.lookup6 cimport lookup6_burst
from fastpath.reasons cimport DropReason
from fastpath.stages.choose cimport choose
from fastpath.stages.dispose cimport answer
from fastpath.stages.parse cimport gather
from fastpath.stages.pipeline cimport route, route_origin
from fastpath.state cimport ETHER, KIND_PARKED, KIND_RECEIVED, count_drop

cdef enum:
    EXPIRE_MS = 3000             # three probes of one second: RFC 4861 10, and Linux's for ARP
    REQUEST_MS = 1000
    YIELD_MS = 50                # so long a next hop stays whatever others want its place; a host on the link needs 1


cdef inline const dr_adjacency *adjacency_of(host *h, rte_mbuf *m) noexcept nogil:
    """Look m's destination up again, by the stages that the workers use."""
    cdef const uint8_t *ip = dr_data(m) + ETHER
    cdef bint ipv6 = dr_get_be16(dr_data(m) + 12) == 0x86DD
    if ipv6:
        h.b.hi6[0] = dr_get_be64(ip + 24)
        h.b.lo6[0] = dr_get_be64(ip + 32)
        lookup6_burst(&h.w.t, h.b.hi6, h.b.lo6, h.b.group, 1)
    else:
        h.b.dst4[0] = dr_get_be32(ip + 16)
        lookup4_burst(&h.w.t, h.b.dst4, h.b.group, 1)
    h.b.v4.pkt[0] = m
    h.b.v4.frame[0] = dr_data(m)
    h.b.v4.hop[0] = 0                # look closely: nothing else was filled in
    choose(h.w, &h.b, &h.b.v4, 1, ipv6)
    return h.b.adjacency[0]


cdef inline bint wanted(host *h, rte_mbuf *m, park *key) noexcept nogil:
    """Fill key with the next hop that m waits for; False when it waits for none (any more)."""
    cdef const dr_adjacency *a = adjacency_of(h, m)
    cdef uint32_t action = <uint32_t>(a.dst >> DR_ACTION_SHIFT)
    cdef const uint8_t *ip = dr_data(m) + ETHER
    memset(key.address, 0, 16)
    key.port = <uint8_t>(a.dst >> DR_PORT_SHIFT)
    if action == DR_ACTION_RESOLVE:
        key.family = a.family
        memcpy(key.address, a.nexthop, 16)
        return True
    if action == DR_ACTION_GLEAN:
        key.family = 6 if ip[0] >> 4 == 6 else 4
        if key.family == 6:
            memcpy(key.address, ip + 24, 16)
        else:
            memcpy(key.address, ip + 16, 4)
        return True
    return False


cdef inline void request(host *h, park *p, uint64_t now) noexcept nogil:
    """Ask the control process; the sequence number is stored last, so a reader never takes half an entry."""
    cdef uint64_t head = h.router.stats.resolve.head
    cdef dr_resolve_request *slot = &h.router.stats.resolve.slot[head % DR_RESOLVE_RING]
    dr_store_release_64(&slot.seq, 0)
    slot.family = p.family
    slot.port = p.port
    memcpy(slot.address, p.address, 16)
    dr_store_release_64(&slot.seq, head + 1)
    dr_store_release_64(&h.router.stats.resolve.head, head + 1)
    p.request_tsc = now + h.hz // 1000 * REQUEST_MS


cdef inline void expire(host *h, park *p) noexcept nogil:
    """Given up: host unreachable to whom it concerns (RFC 1812 5.2.7.1, RFC 4861 7.2.2)."""
    cdef int i
    h.b.kind = KIND_PARKED
    for i in range(p.n):
        h.b.port = p.pkt[i].port
        count_drop(h.w, DropReason.next_hop_unresolved)
        if p.kind[i] == KIND_RECEIVED:
            answer(h.w, &h.b, p.pkt[i], DropReason.next_hop_unresolved, 0)
        rte_pktmbuf_free(p.pkt[i])
    if h.w.n_origin:
        route_origin(h.w, &h.b)
    p.family = 0
    h.parked -= 1


cdef inline park *find_park(host *h, const park *key, uint64_t now) noexcept nogil:
    """The entry of this next hop, else a free one, else the oldest, given up if it had its time: a scan of silent
    addresses must not keep a real neighbour out. NULL: none. PARKS entries, and only unresolved traffic comes here."""
    cdef int i
    cdef park *p
    cdef park *free = NULL
    cdef park *oldest = &h.parks[0]
    for i in range(PARKS):
        p = &h.parks[i]
        if p.family == 0:
            if free is NULL:
                free = p
        elif p.family == key.family and p.port == key.port and memcmp(p.address, key.address, 16) == 0:
            return p
        elif p.expires_tsc < oldest.expires_tsc:
            oldest = p
    if free is NULL and now + h.hz // 1000 * (EXPIRE_MS - YIELD_MS) > oldest.expires_tsc:
        expire(h, oldest)
        free = oldest
    return free


cdef inline void reroute(host *h, rte_mbuf *m, uint16_t kind) noexcept nogil:
    """Through the pipeline, as what it was."""
    h.b.n = 1
    h.b.rx.pkt[0] = m
    h.b.kind = KIND_PARKED if kind == KIND_RECEIVED else kind
    h.b.port = m.port
    gather(&h.b)
    route(h.w, &h.b)


cdef inline void park_packet(host *h, rte_mbuf *m, uint16_t kind, uint64_t now) noexcept nogil:
    cdef park key
    cdef park *p
    if not wanted(h, m, &key):
        reroute(h, m, kind)                                # resolved meanwhile
        return
    p = find_park(h, &key, now)
    if p is NULL or (p.family and p.n == PARK_EACH):
        count_drop(h.w, DropReason.park_full)
        rte_pktmbuf_free(m)
        return
    if p.family == 0:
        p.family = key.family
        p.port = key.port
        memcpy(p.address, key.address, 16)
        p.n = 0
        p.expires_tsc = now + h.hz // 1000 * EXPIRE_MS
        h.parked += 1
        request(h, p, now)
    p.pkt[p.n] = m
    p.kind[p.n] = kind
    p.n += 1


cdef inline void release(host *h, park *p) noexcept nogil:
    """Resolved (or routed elsewhere): its packets take the fast path."""
    cdef int i
    p.family = 0
    h.parked -= 1
    for i in range(p.n):
        reroute(h, p.pkt[i], p.kind[i])


cdef inline void tend_parks(host *h, uint64_t now) noexcept nogil:
    """Every millisecond while something is parked."""
    cdef int i
    cdef park key
    cdef park *p
    if h.parked == 0 or now < h.tick_tsc:
        return
    h.tick_tsc = now + h.hz // 1000
    for i in range(PARKS):
        p = &h.parks[i]
        if p.family == 0:
            continue
        if not wanted(h, p.pkt[0], &key):
            release(h, p)
        elif now > p.expires_tsc:
            expire(h, p)
        elif now > p.request_tsc:
            request(h, p, now)
