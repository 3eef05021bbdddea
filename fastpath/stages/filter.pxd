"""Ingress filters, on ports that have one: a list of rules by librte_acl, then the port's policer by librte_meter.

Between parse and lookup: of what is valid and to be looked up, transit or for the router itself. What parse hands to
the host stack for its link's sake (ARP, link-local and link-scope multicast) has the punt classes' policers instead.
The first rule that matches decides; one that only counts counts what it is the first such to match before that. A
list's rules are those of one `acl` for the whole burst, whatever replaces it meanwhile.

Policers: RFC 2697, colour-blind, red is dropped; bytes are the frame's without FCS. DSCP and ECN are not touched.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.atomic cimport dr_load_acquire_64
from fastpath.dpdk.acl cimport rte_acl_classify, rte_acl_ctx
from fastpath.dpdk.eal cimport rte_rdtsc
from fastpath.dpdk.meter cimport RTE_COLOR_RED, rte_color, rte_meter_srtcm_color_blind_check
from fastpath.filters cimport (ACTION_DENY, KEY4_UPPER, KEY6_UPPER, KEY_PROTOCOL, NONE, STATE_BROKEN, acl,
                               filter_work, policer)
from fastpath.layout cimport dr_filter_counter
from fastpath.reasons cimport DropReason
from fastpath.stages.keys cimport UPPER_ICMPV6, key4, key6
from fastpath.stages.parse cimport move_lane
from fastpath.state cimport ETHER, VERDICT_OK, burst, lanes, to_slow, worker

cdef enum:
    ND_SOLICITATION = 135        # RFC 4861 4.3, 4.4
    ND_ADVERTISEMENT = 136
    ND_HOPS = 255                # RFC 4861 7.1: it came from the link itself
    HOP_LIMIT = 7                # of IPv6's header


cdef inline void note(dr_filter_counter *c, uint32_t octets) noexcept nogil:
    c.packets += 1
    c.bytes += octets


cdef inline bint conforms(filter_work *f, uint32_t number, uint32_t octets, uint64_t now_tsc) noexcept nogil:
    """Whether a policer lets a packet pass: green or yellow."""
    cdef policer *p = &f.all.policers[number]
    cdef rte_color colour = rte_meter_srtcm_color_blind_check(&f.meter[number], &p.profile, now_tsc, octets)
    note(&f.counters[p.first + <uint32_t>colour], octets)
    return colour != RTE_COLOR_RED


cdef inline void classify(filter_work *f, const acl *a, const lanes *v, uint32_t n, bint ipv6) noexcept nogil:
    """The keys of v[0..n), and in result the rules that they match: 1 + the number, 0: none; the rule that decides,
    and in a list that has them behind it the one that only counts."""
    cdef const rte_acl_ctx *rules = a.ipv6 if ipv6 else a.ipv4
    cdef uint32_t i, in_first
    for i in range(n):
        f.at[i] = f.key[i]
        in_first = <uint32_t>(v.length[i] >> 32 & 0xFFFF) - ETHER
        if ipv6:
            key6(f.key[i], v.frame[i] + ETHER, in_first)
        else:
            key4(f.key[i], v.frame[i] + ETHER, in_first)
    if rules is NULL or rte_acl_classify(rules, f.at, f.result, n, a.categories) != 0:
        for i in range(n * a.categories):
            f.result[i] = 0


cdef inline bint is_nd(const uint8_t *key, const uint8_t *ip) noexcept nogil:
    """What a neighbour on the link needs of the router to reach it."""
    return (key[KEY_PROTOCOL] == UPPER_ICMPV6 and ip[HOP_LIMIT] == ND_HOPS
            and ND_SOLICITATION <= key[KEY6_UPPER + 1] <= ND_ADVERTISEMENT)


cdef inline uint16_t judge(filter_work *f, const acl *a, uint32_t i, const uint8_t *ip, uint32_t octets, bint ipv6,
                           uint64_t now_tsc) noexcept nogil:
    """What the list says of packet i of those classified."""
    cdef uint32_t rule = f.result[i * a.categories], counting
    if f.key[i][(KEY6_UPPER if ipv6 else KEY4_UPPER) + 2] & STATE_BROKEN:
        return DropReason.acl_deny
    if a.categories > 1:
        counting = f.result[i * a.categories + 1]
        if counting and (counting < rule or rule == 0):
            note(&f.counters[a.first + counting - 1], octets)
    if rule == 0:
        rule = a.rules + 1
        if ipv6 and a.action[a.rules] == ACTION_DENY and is_nd(f.key[i], ip):
            return VERDICT_OK
    rule -= 1
    note(&f.counters[a.first + rule], octets)
    if a.action[rule] == ACTION_DENY:
        return DropReason.acl_deny
    if a.policer[rule] != NONE and not conforms(f, a.policer[rule], octets, now_tsc):
        return DropReason.policed
    return VERDICT_OK


cdef inline uint32_t filter_family(worker *w, burst *b, lanes *v, uint32_t n, bint ipv6) noexcept nogil:
    """v[0..n) by the port's filters; returns how many pass, at the front. The others go to slow."""
    cdef filter_work *f = w.filters
    cdef const acl *a = NULL
    cdef uint32_t i, k = 0, octets, limit = f.all.policer_of[b.port]
    cdef uint64_t now = rte_rdtsc()
    cdef uint16_t verdict = VERDICT_OK
    if f.all.list_of[b.port] != NONE:
        a = <const acl *><size_t>dr_load_acquire_64(&f.all.list[f.all.list_of[b.port]])
        classify(f, a, v, n, ipv6)
    for i in range(n):
        octets = <uint32_t>v.length[i]
        if a is not NULL:
            verdict = judge(f, a, i, v.frame[i] + ETHER, octets, ipv6, now)
        else:
            verdict = VERDICT_OK
        if verdict == VERDICT_OK and limit != NONE and not conforms(f, limit, octets, now):
            verdict = DropReason.policed
        if verdict != VERDICT_OK:
            to_slow(b, v.pkt[i], verdict)
            continue
        move_lane(b, v, k, i, ipv6)
        k += 1
    return k


cdef inline void filter_received(worker *w, burst *b) noexcept nogil:
    """A parsed burst of a port that has filters."""
    if b.n4:
        b.n4 = filter_family(w, b, b.p4, b.n4, False)
    if b.n6:
        b.n6 = filter_family(w, b, b.p6, b.n6, True)
