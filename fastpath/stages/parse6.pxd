"""IPv6 header validation: RFC 8200 3, and the scopes of RFC 4291 2.5 to 2.8."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.bytes cimport dr_get_be16, dr_get_be64, dr_swap_64
from fastpath.reasons cimport DropReason
from fastpath.stages.classify cimport class6
from fastpath.state cimport ETHER, VERDICT_OK, burst, lanes

cdef enum:
    IPV6_HEADER = 40
    START6 = 0x60DD86            # frame[12..14]: IPv6, as it lies in memory; the last byte's low half is traffic class
    START6_MASK = 0xF0FFFF


cdef inline bint link_local6(uint64_t hi) noexcept nogil:
    return hi >> 54 == 0x3FA     # fe80::/10


cdef inline bint mapped6(uint64_t hi, uint64_t lo) noexcept nogil:
    return hi == 0 and lo >> 32 == 0xFFFF    # ::ffff:0:0/96


cdef inline uint16_t addresses6(const uint8_t *ip, uint32_t in_first, bint group) noexcept nogil:
    cdef uint64_t src_hi = dr_get_be64(ip + 8)
    cdef uint64_t src_lo = dr_get_be64(ip + 16)
    cdef uint64_t dst_hi = dr_get_be64(ip + 24)
    cdef uint64_t dst_lo = dr_get_be64(ip + 32)
    if src_hi >> 56 == 0xFF or (src_hi == 0 and src_lo == 1) or mapped6(src_hi, src_lo):
        return DropReason.ipv6_source
    if dst_hi >> 56 == 0xFF:
        # ff02::/16 is ours to hear; no other multicast is routed here (RFC 4291 2.7)
        return class6(ip, in_first) if dst_hi >> 48 & 0xF == 2 else DropReason.ipv6_multicast
    if src_hi == 0 and src_lo == 0:
        # RFC 4291 2.5.2: the unspecified address is never forwarded; ND's own use of it is multicast
        return DropReason.ipv6_source
    # RFC 6890: an IPv4 address within a host's own API is none on the wire
    if (dst_hi == 0 and dst_lo <= 1) or mapped6(dst_hi, dst_lo):
        return DropReason.ipv6_destination
    if group:
        return DropReason.mac_mismatch
    if link_local6(dst_hi):
        return class6(ip, in_first)
    return VERDICT_OK


cdef inline uint16_t parse6(const uint8_t *ip, uint32_t in_first, uint32_t length, bint group) noexcept nogil:
    """One packet. in_first: bytes in the first segment; length: in all, both from the IP header on."""
    if in_first < IPV6_HEADER:
        return DropReason.ipv6_truncated
    if ip[0] >> 4 != 6:
        return DropReason.ipv6_version
    if <uint32_t>dr_get_be16(ip + 4) + IPV6_HEADER > length:
        return DropReason.ipv6_payload_length
    return addresses6(ip, in_first, group)


cdef inline void plain6(burst *b, uint32_t n, uint64_t mac) noexcept nogil:
    """plain4 for IPv6: first bytes 0, 0xfe and 0xff of an address have scopes and exceptions, which are parse6's.

    mac, start, hop: bytes 0, 12 and 16 of the frame, 8 each; hi6: the destination's first ones; as they lie in memory.
    """
    cdef uint32_t i
    cdef uint64_t start, hop, payload, src, dst, length, negative
    for i in range(n):
        start, hop, length = b.start[i], b.rx.hop[i], b.rx.length[i]
        payload = (hop >> 8 & 0xFF00) | (hop >> 24 & 0xFF)
        src = hop >> 48 & 0xFF
        dst = b.hi6[i] & 0xFF
        negative = ((<uint64_t><uint32_t>length - ETHER - IPV6_HEADER - payload)
                    | ((length >> 32 & 0xFFFF) - ETHER - IPV6_HEADER)
                    | (src - 1) | (253 - src) | (dst - 1) | (253 - dst))
        b.bad[i] = ((b.mac[i] ^ mac) << 16) | ((start & START6_MASK) ^ START6) | (negative >> 63)


cdef inline void hops6(burst *b) noexcept nogil:
    """p6.hop[i] with one hop less, and the destinations in host order."""
    cdef uint32_t i
    cdef lanes *v = b.p6
    for i in range(b.n6):
        v.hop[i] -= <uint64_t>1 << 40
        b.hi6[i] = dr_swap_64(b.hi6[i])
        b.lo6[i] = dr_swap_64(b.lo6[i])
