"""Which punt class a packet for the host stack has: what it takes of the class's rate, others can't have.

`bgp`: TCP port 179 from an address of a configured peer; RFC 5082 3: where TTL security is configured, only with so
many hops left as it asks for. `neighbor`: ARP, and ND with the 255 hops that RFC 4861 asks for, so from this link.
`echo`: ICMP and ICMPv6 echo, requests and replies. All else is `local`, later fragments too: they have no ports.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.bytes cimport dr_get_be16, dr_get_be32, dr_get_be64
from fastpath.reasons cimport PuntClass
from fastpath.stages.choose cimport PROTO_TCP
from fastpath.state cimport VERDICT_PUNT, peer, router

cdef enum:
    PROTO_ICMP = 1
    PROTO_ICMPV6 = 58
    ECHO_REPLY4 = 0
    ECHO_REQUEST4 = 8
    ECHO_REQUEST6 = 128
    ECHO_REPLY6 = 129
    ND_FIRST = 133               # router solicitation .. redirect, RFC 4861 4
    ND_LAST = 137
    ND_HOPS = 255
    FRAGMENT_OFFSET = 0x1FFF
    PORT_BGP = 179
    IPV6_SIZE = 40


cdef inline uint64_t peer_hash(uint64_t hi, uint64_t lo) noexcept nogil:
    return ((hi ^ lo) * <uint64_t>0x9E3779B97F4A7C15) >> 32


cdef inline bint from_peer(const router *r, uint64_t hi, uint64_t lo, uint32_t family, uint32_t hops) noexcept nogil:
    """An address of a configured peer, with as many hops left as its packets must have. IPv4 in lo."""
    cdef const peer *p
    cdef uint64_t at = peer_hash(hi, lo)
    if r.peers is NULL:
        return False
    while True:
        p = &r.peers[at & r.peers_mask]                      # at most half full: the walk ends
        if p.family == 0:
            return False
        if p.hi == hi and p.lo == lo and p.family == family:
            return hops >= p.least_hops
        at += 1


cdef inline bint is_bgp(const uint8_t *l4) noexcept nogil:
    return dr_get_be16(l4) == PORT_BGP or dr_get_be16(l4 + 2) == PORT_BGP


cdef inline uint16_t class4(const uint8_t *ip, uint32_t in_first) noexcept nogil:
    """Of IPv4 that is not BGP."""
    cdef uint32_t header = (ip[0] & 15) * 4
    if (ip[9] == PROTO_ICMP and in_first > header and dr_get_be16(ip + 6) & FRAGMENT_OFFSET == 0
            and (ip[header] == ECHO_REQUEST4 or ip[header] == ECHO_REPLY4)):
        return VERDICT_PUNT | PuntClass.echo
    return VERDICT_PUNT | PuntClass.local


cdef inline uint16_t class6(const uint8_t *ip, uint32_t in_first) noexcept nogil:
    """Of IPv6 that is not BGP."""
    cdef uint8_t kind
    if ip[6] == PROTO_ICMPV6 and in_first > IPV6_SIZE:
        kind = ip[IPV6_SIZE]
        if ND_FIRST <= kind <= ND_LAST and ip[7] == ND_HOPS:
            return VERDICT_PUNT | PuntClass.neighbor
        if kind == ECHO_REQUEST6 or kind == ECHO_REPLY6:
            return VERDICT_PUNT | PuntClass.echo
    return VERDICT_PUNT | PuntClass.local


cdef inline uint16_t local_class(const router *r, const uint8_t *ip, uint32_t in_first, bint ipv6) noexcept nogil:
    """Of a packet to one of the router's addresses."""
    cdef uint32_t header = IPV6_SIZE if ipv6 else (ip[0] & 15) * 4
    cdef bint bgp = ip[6 if ipv6 else 9] == PROTO_TCP and in_first >= header + 4 and is_bgp(ip + header)
    if ipv6:
        if bgp and from_peer(r, dr_get_be64(ip + 8), dr_get_be64(ip + 16), 6, ip[7]):
            return VERDICT_PUNT | PuntClass.bgp
        return class6(ip, in_first)
    if bgp and dr_get_be16(ip + 6) & FRAGMENT_OFFSET == 0 and from_peer(r, 0, dr_get_be32(ip + 12), 4, ip[8]):
        return VERDICT_PUNT | PuntClass.bgp
    return class4(ip, in_first)
