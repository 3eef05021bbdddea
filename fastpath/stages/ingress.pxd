"""Checks of what a port received that its configuration asks for: its sources (uRPF), its filters, IPv4 options.

Between parse and lookup, of packets that are to be looked up, transit or for the router itself; a port without any of
them never comes here. What parse hands to the host stack for its link's sake (ARP, link-scope multicast, DHCP's and
ND's unspecified source, link-local destinations) has passed by already.

uRPF, RFC 3704 2.2 to 2.5: the source's own route, by the tables' lookup over the burst. Strict: some next hop of it
leaves by the receiving port; all members of its group count (feasible paths, as far as the table has them), so does a
default route. Loose: it has one that leads somewhere; a default route does not count (2.5), the header says which
groups are those routes'. Blackhole, unreachable and prohibit routes, directed broadcasts and the router's own addresses
are no source's route. A link-local IPv6 source stays on its link (rewrite) and is left alone: ND needs it.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.atomic cimport dr_load_acquire_32, dr_load_relaxed_16, dr_load_relaxed_32, dr_load_relaxed_64
from fastpath.bytes cimport dr_get_be32, dr_get_be64
from fastpath.layout cimport (DR_ACTION_FORWARD, DR_ACTION_GLEAN, DR_ACTION_RESOLVE, DR_ACTION_SHIFT, DR_BUCKETS,
                              DR_GROUP_MULTI, DR_PORT_SHIFT)
from fastpath.lookup4 cimport lookup4_burst
from fastpath.lookup6 cimport lookup6_burst
from fastpath.reasons cimport DropReason, PuntClass
from fastpath.stages.filter cimport filter_received
from fastpath.stages.parse cimport move_lane
from fastpath.stages.parse6 cimport link_local6
from fastpath.state cimport (BURST, ETHER, KIND_RECEIVED, OPTIONS_FORWARD, OPTIONS_PUNT, PORTS, URPF_OFF, URPF_STRICT,
                             VERDICT_PUNT, burst, lanes, to_slow, worker)
from fastpath.tables cimport tables

cdef enum:
    NO_OPTIONS = 5               # words of an IPv4 header without options
    NO_GROUP = 0xFFFF            # a group's number has 15 bits


cdef inline bint leads(const tables *t, uint32_t adjacency, uint32_t port) noexcept nogil:
    """Whether an adjacency sends by `port`, or by any when that is PORTS."""
    cdef uint64_t dst = dr_load_relaxed_64(&t.adjacencies[adjacency].dst)
    cdef uint32_t action = <uint32_t>(dst >> DR_ACTION_SHIFT)
    if action != DR_ACTION_FORWARD and action != DR_ACTION_GLEAN and action != DR_ACTION_RESOLVE:
        return False
    return port == PORTS or (dst >> DR_PORT_SHIFT & 0xFF) == port


cdef inline bint group_leads(const tables *t, uint16_t group, uint32_t port) noexcept nogil:
    """leads() of any member of a group."""
    cdef uint32_t i, word = dr_load_acquire_32(&t.groups[group])
    cdef const uint16_t *member
    if not (word & DR_GROUP_MULTI):
        return leads(t, word, port)
    member = &t.buckets[<uint64_t>(word & ~DR_GROUP_MULTI) * DR_BUCKETS]
    for i in range(<uint32_t>DR_BUCKETS):
        if leads(t, dr_load_relaxed_16(&member[i]), port):
            return True
    return False


cdef inline uint32_t pass_on(burst *b, lanes *v, uint32_t n, const uint16_t *verdict, bint ipv6) noexcept nogil:
    """Those of v[0..n) whose verdict is 0 to the front, the others to slow; how many are left."""
    cdef uint32_t i, k = 0
    for i in range(n):
        if verdict[i]:
            to_slow(b, v.pkt[i], verdict[i])
        else:
            move_lane(b, v, k, i, ipv6)
            k += 1
    return k


cdef inline void look_up_sources(worker *w, burst *b, const lanes *v, uint32_t n, bint ipv6) noexcept nogil:
    """group[i]: of the source of v[i]; NO_GROUP where it is none of uRPF's."""
    cdef uint32_t i
    cdef uint32_t src4[BURST]
    cdef uint64_t hi6[BURST]
    cdef uint64_t lo6[BURST]
    if not ipv6:
        for i in range(n):
            src4[i] = dr_get_be32(v.frame[i] + ETHER + 12)
        lookup4_burst(&w.t, src4, b.group, n)
        return
    for i in range(n):
        hi6[i] = dr_get_be64(v.frame[i] + ETHER + 8)
        lo6[i] = dr_get_be64(v.frame[i] + ETHER + 16)
    lookup6_burst(&w.t, hi6, lo6, b.group, n)
    for i in range(n):
        if link_local6(hi6[i]):
            b.group[i] = NO_GROUP


cdef inline uint32_t check_sources(worker *w, burst *b, lanes *v, uint32_t n, bint ipv6) noexcept nogil:
    """uRPF of v[0..n); returns how many pass. Neighbours in a burst often share a group, which is judged once."""
    cdef bint strict = w.router.urpf[b.port] == URPF_STRICT
    cdef uint32_t i, port = b.port if strict else PORTS, last = NO_GROUP
    cdef uint32_t default_group = NO_GROUP if strict else dr_load_relaxed_32(&w.t.header.default_group[ipv6])
    cdef uint16_t bad = 0
    cdef uint16_t verdict[BURST]
    look_up_sources(w, b, v, n, ipv6)
    for i in range(n):
        verdict[i] = 0
        if b.group[i] == NO_GROUP:
            continue
        if b.group[i] != last:
            last = b.group[i]
            bad = DropReason.urpf_strict if strict else DropReason.urpf_loose
            if last != 0 and last != default_group and group_leads(&w.t, last, port):
                bad = 0
        verdict[i] = bad
    return pass_on(b, v, n, verdict, ipv6)


cdef inline uint32_t check_options(worker *w, burst *b, lanes *v, uint32_t n) noexcept nogil:
    """IPv4 packets with options to the host stack, or dropped; returns how many are left."""
    cdef uint16_t instead = VERDICT_PUNT | PuntClass.local
    cdef uint16_t verdict[BURST]
    cdef uint32_t i
    if w.router.options[b.port] != OPTIONS_PUNT:
        instead = DropReason.ipv4_options
    for i in range(n):
        verdict[i] = instead if (v.frame[i][ETHER] & 15) > NO_OPTIONS else 0
    return pass_on(b, v, n, verdict, False)


cdef inline void check_received(worker *w, burst *b) noexcept nogil:
    """A parsed burst of a port that has any of these. Whose source is wrong costs no rule's count and no policer's
    tokens; what a list denies does not get to the host stack for its options."""
    if b.kind != KIND_RECEIVED:
        return
    if w.router.urpf[b.port] != URPF_OFF:
        if b.n4:
            b.n4 = check_sources(w, b, b.p4, b.n4, False)
        if b.n6:
            b.n6 = check_sources(w, b, b.p6, b.n6, True)
    if w.router.filtered >> b.port & 1:
        filter_received(w, b)
    if b.n4 and w.router.options[b.port] != OPTIONS_FORWARD:
        b.n4 = check_options(w, b, b.p4, b.n4)
