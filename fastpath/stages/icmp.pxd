"""ICMP errors of the router's own: RFC 792, RFC 1812 4.3, RFC 4443 2.4 and 3.

Rate limited, and what is beyond the rate counted (RFC 1812 4.3.2.8, RFC 4443 2.4 (f)): by the source's prefix, so that
one prober does not use up what others need, and by the port that received. Only for packets that are dropped.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from fastpath.bytes cimport dr_fold, dr_get_be16, dr_get_be32, dr_get_be64, dr_put_be16, dr_put_be32, dr_sum
from fastpath.dpdk.eal cimport rte_rdtsc
from fastpath.dpdk.mbuf cimport (dr_data, rte_mbuf, rte_pktmbuf_alloc, rte_pktmbuf_append, rte_pktmbuf_free,
                                 rte_pktmbuf_read)
from fastpath.layout cimport dr_interface
from fastpath.reasons cimport DropReason
from fastpath.stages.parse cimport ip_length
from fastpath.stages.parse6 cimport link_local6
from fastpath.stages.police cimport bucket_take
from fastpath.state cimport ETHER, ICMP_SOURCES, PORTS, count_drop, worker

cdef enum:
    QUOTE4_TOTAL = 576           # RFC 1812 4.3.2.3: as much as fits without exceeding 576 bytes
    QUOTE6_TOTAL = 1280          # RFC 4443 2.4 (c): the minimum MTU
    HOPS = 64
    EXTENSIONS = 8               # headers looked behind for an ICMPv6 error
    ICMP4_UNREACHABLE = 3
    ICMP4_TIME_EXCEEDED = 11
    ICMP6_UNREACHABLE = 1
    ICMP6_TOO_BIG = 2
    ICMP6_TIME_EXCEEDED = 3
    ICMP6_INFORMATIONAL = 128    # types from here on are no errors, RFC 4443 2.1
    ICMP6_REDIRECT = 137


cdef inline uint32_t error4(uint16_t reason) noexcept nogil:
    """type << 8 | code, 0: none."""
    if reason == DropReason.ttl_expired:
        return ICMP4_TIME_EXCEEDED << 8
    if reason == DropReason.no_route:
        return ICMP4_UNREACHABLE << 8 | 0
    if reason in (DropReason.unreachable, DropReason.next_hop_unresolved, DropReason.neighbors_full):
        return ICMP4_UNREACHABLE << 8 | 1
    if reason == DropReason.prohibited:
        return ICMP4_UNREACHABLE << 8 | 13                 # RFC 1812 5.2.7.1
    if reason == DropReason.mtu_exceeded:
        return ICMP4_UNREACHABLE << 8 | 4
    return 0


cdef inline uint32_t error6(uint16_t reason) noexcept nogil:
    if reason == DropReason.ttl_expired:
        return ICMP6_TIME_EXCEEDED << 8
    if reason == DropReason.no_route:
        return ICMP6_UNREACHABLE << 8 | 0
    if reason == DropReason.ipv6_link_local:
        return ICMP6_UNREACHABLE << 8 | 2                  # beyond scope of source address
    if reason in (DropReason.unreachable, DropReason.next_hop_unresolved, DropReason.neighbors_full):
        return ICMP6_UNREACHABLE << 8 | 3
    if reason == DropReason.prohibited:
        return ICMP6_UNREACHABLE << 8 | 1
    if reason == DropReason.mtu_exceeded:
        return ICMP6_TOO_BIG << 8
    return 0


cdef inline bint may_answer4(const uint8_t *ip, uint32_t in_first, uint16_t reason) noexcept nogil:
    """RFC 1812 4.3.2.7: never about an ICMP error or a later fragment; DF decides about fragmentation needed."""
    cdef uint32_t header = (ip[0] & 15) * 4
    cdef uint8_t kind
    if dr_get_be16(ip + 6) & 0x1FFF:
        return False
    if reason == DropReason.mtu_exceeded and not ip[6] & 0x40:
        return False
    if ip[9] != 1:
        return True
    if in_first < header + 1:
        return False
    kind = ip[header]
    return kind == 0 or kind == 8 or 13 <= kind <= 18      # queries and replies


cdef inline bint may_be_error6(const uint8_t *ip, uint32_t in_first) noexcept nogil:
    """An ICMPv6 error or redirect, also behind extension headers (RFC 8200 4.1); True too when that cannot be told."""
    cdef uint8_t header = ip[6]
    cdef uint32_t at = 40, size
    cdef int _i
    for _i in range(EXTENSIONS):
        if header == 58:
            return at >= in_first or ip[at] < ICMP6_INFORMATIONAL or ip[at] == ICMP6_REDIRECT
        if header != 0 and header != 43 and header != 44 and header != 51 and header != 60:
            return False
        if at + 8 > in_first:
            return True
        if header == 44 and dr_get_be16(ip + at + 2) & 0xFFF8:     # a later fragment
            return ip[at] == 58 or ip[at] == 60
        size = 8 if header == 44 else (ip[at + 1] + 2) * 4 if header == 51 else (ip[at + 1] + 1) * 8
        header = ip[at]
        at += size
    return True


cdef inline bint may_answer6(const uint8_t *ip, uint32_t in_first) noexcept nogil:
    """RFC 4443 2.4 (e): never about an ICMPv6 error or redirect, nor to a source that does not name one node."""
    if may_be_error6(ip, in_first):
        return False
    return not (dr_get_be64(ip + 8) == 0 and dr_get_be64(ip + 16) == 0)


cdef inline void fill4(uint8_t *out, const dr_interface *port, const rte_mbuf *m, uint32_t quoted, uint32_t error,
                       uint16_t mtu, uint16_t ip_id) noexcept nogil:
    """The whole error packet from the Ethernet header on; quoted bytes are in place."""
    cdef const uint8_t *theirs = dr_data(m) + ETHER
    cdef uint8_t *ip = out + ETHER
    cdef uint8_t *icmp = ip + 20
    memset(out, 0, ETHER + 28)
    dr_put_be16(out + 12, 0x0800)
    ip[0] = 0x45
    ip[1] = 0xC0 | theirs[1] & 0x1C    # RFC 1812 4.3.2.5: precedence internetwork control, their TOS; no ECN
    dr_put_be16(ip + 2, <uint16_t>(28 + quoted))
    dr_put_be16(ip + 4, ip_id)
    ip[8] = HOPS
    ip[9] = 1
    memcpy(ip + 12, &port.ipv4_be, 4)
    memcpy(ip + 16, theirs + 12, 4)
    (<uint16_t *>(ip + 10))[0] = ~dr_fold(dr_sum(ip, 20, 0))
    dr_put_be16(icmp, <uint16_t>error)
    if error == (ICMP4_UNREACHABLE << 8 | 4):
        dr_put_be16(icmp + 6, mtu)                         # RFC 1191 4
    (<uint16_t *>(icmp + 2))[0] = ~dr_fold(dr_sum(icmp, 8 + quoted, 0))


cdef inline void fill6(uint8_t *out, const dr_interface *port, const rte_mbuf *m, uint32_t quoted, uint32_t error,
                       uint16_t mtu) noexcept nogil:
    cdef uint8_t *ip = out + ETHER
    cdef uint8_t *icmp = ip + 40
    cdef const uint8_t *src = dr_data(m) + ETHER + 8
    cdef uint8_t pseudo[8]
    memset(out, 0, ETHER + 48)
    dr_put_be16(out + 12, 0x86DD)
    ip[0] = 0x60
    dr_put_be16(ip + 4, <uint16_t>(8 + quoted))
    ip[6] = 58
    ip[7] = HOPS
    if link_local6(dr_get_be64(src)):
        memcpy(ip + 8, port.ipv6_link_local, 16)
    else:
        memcpy(ip + 8, port.ipv6, 16)
    memcpy(ip + 24, src, 16)
    dr_put_be16(icmp, <uint16_t>error)
    if error == ICMP6_TOO_BIG << 8:
        dr_put_be32(icmp + 4, mtu)
    dr_put_be32(&pseudo[0], 8 + quoted)
    dr_put_be32(&pseudo[4], 58)
    (<uint16_t *>(icmp + 2))[0] = ~dr_fold(dr_sum(icmp, 8 + quoted, dr_sum(ip + 8, 32, dr_sum(pseudo, 8, 0))))


cdef inline rte_mbuf *quote(worker *w, rte_mbuf *m, bint ipv6, uint32_t *quoted) noexcept nogil:
    """A new mbuf with room for Ethernet, IP and ICMP headers, then as much of m's packet as may be quoted."""
    cdef uint32_t header = 48 if ipv6 else 28
    cdef uint32_t total = QUOTE6_TOTAL if ipv6 else QUOTE4_TOTAL
    cdef rte_mbuf *out
    cdef const void *from_
    cdef uint8_t *data
    quoted[0] = ip_length(dr_data(m) + ETHER, ipv6)
    if quoted[0] > total - header:
        quoted[0] = total - header
    out = rte_pktmbuf_alloc(w.router.pool)
    if out is NULL:
        return NULL
    data = <uint8_t *>rte_pktmbuf_append(out, <uint16_t>(ETHER + header + quoted[0]))
    from_ = rte_pktmbuf_read(m, ETHER, quoted[0], data + ETHER + header) if data is not NULL else NULL
    if from_ is NULL:
        rte_pktmbuf_free(out)
        return NULL
    if from_ != data + ETHER + header:
        memcpy(data + ETHER + header, from_, quoted[0])
    return out


cdef inline bint within_rate(worker *w, const uint8_t *ip, uint16_t port, bint ipv6) noexcept nogil:
    """The source's prefix, a /24 or a /48, and the port have room for one error. Prefixes may share a bucket."""
    cdef uint64_t prefix = dr_get_be64(ip + 8) >> 16 if ipv6 else dr_get_be32(ip + 12) >> 8
    cdef uint64_t now = rte_rdtsc()
    cdef uint32_t k = <uint32_t>(prefix * <uint64_t>0x9E3779B97F4A7C15 >> 32) % ICMP_SOURCES
    return bucket_take(&w.icmp_source[k], now) and bucket_take(&w.icmp[port], now)


cdef inline rte_mbuf *icmp_error(worker *w, rte_mbuf *m, uint16_t port, uint16_t reason,
                                 uint16_t mtu) noexcept nogil:
    """The error that goes with `reason` for packet m, received on `port`; NULL when none may be sent."""
    cdef bint ipv6 = dr_get_be16(dr_data(m) + 12) == 0x86DD if m.data_len >= ETHER else False
    cdef uint32_t error = error6(reason) if ipv6 else error4(reason)
    cdef const uint8_t *ip = dr_data(m) + ETHER
    cdef const dr_interface *source
    cdef rte_mbuf *out
    cdef uint32_t quoted = 0
    if error == 0 or port >= PORTS:
        return NULL
    source = &w.t.interfaces[port]
    if not (may_answer6(ip, m.data_len - ETHER) if ipv6 else may_answer4(ip, m.data_len - ETHER, reason)):
        return NULL
    if source.ipv6[0] == 0 if ipv6 else source.ipv4_be == 0:
        return NULL
    if not within_rate(w, ip, port, ipv6):
        count_drop(w, DropReason.originate_policed)
        return NULL
    out = quote(w, m, ipv6, &quoted)
    if out is NULL:
        count_drop(w, DropReason.originate_failed)
        return NULL
    if ipv6:
        fill6(dr_data(out), source, m, quoted, error, mtu)
    else:
        w.ip_id += 1
        fill4(dr_data(out), source, m, quoted, error, mtu, w.ip_id)
    return out


cdef inline bint to_link_local(const rte_mbuf *error) noexcept nogil:
    """Whether an error of ours goes to a link-local address."""
    return dr_get_be16(dr_data(error) + 12) == 0x86DD and link_local6(dr_get_be64(dr_data(error) + ETHER + 24))
