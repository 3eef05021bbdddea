"""IPv4 header validation: RFC 1812 5.2.2 (1) to (5), martian addresses 5.3.7, multicast and broadcast."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from fastpath.bytes cimport dr_fold, dr_get_be16, dr_get_be32, dr_sum
from fastpath.reasons cimport DropReason, PuntClass
from fastpath.state cimport VERDICT_OK, VERDICT_PUNT

cdef enum:
    IPV4_HEADER = 20


cdef inline uint16_t addresses4(uint32_t src, uint32_t dst, bint group) noexcept nogil:
    """RFC 1812 5.3.7: no loopback, this-network, multicast or broadcast source; no loopback or class E destination."""
    if src >> 28 >= 0xE or src >> 24 == 127 or src >> 24 == 0:
        # a DHCP client has no address yet: for the host stack, never forwarded
        if src == 0 and dst == <uint32_t>0xFFFFFFFF:
            return VERDICT_PUNT | PuntClass.local
        return DropReason.ipv4_source
    if dst >> 28 == 0xE:
        # 224.0.0.0/24 never leaves its link (RFC 5771 4): routing protocols and IGMP of ours
        return VERDICT_PUNT | PuntClass.local if dst >> 8 == 0xE00000 else DropReason.ipv4_multicast
    if dst == <uint32_t>0xFFFFFFFF:
        return VERDICT_PUNT | PuntClass.local
    if dst >> 28 == 0xF or dst >> 24 == 127 or dst >> 24 == 0:
        return DropReason.ipv4_destination
    # RFC 1812 5.3.4: a unicast packet in a link-layer broadcast is not forwarded
    return DropReason.mac_mismatch if group else VERDICT_OK


cdef inline uint16_t parse4(const uint8_t *ip, uint32_t in_first, uint32_t length, bint group) noexcept nogil:
    """One packet. in_first: bytes in the first segment; length: in all, both from the IP header on."""
    cdef uint32_t header, total
    if in_first < IPV4_HEADER:
        return DropReason.ipv4_truncated
    if ip[0] >> 4 != 4:
        return DropReason.ipv4_version
    header = (ip[0] & 15) * 4
    if header < IPV4_HEADER or header > in_first:
        return DropReason.ipv4_header_length
    if dr_fold(dr_sum(ip, header, 0)) != 0xFFFF:
        return DropReason.ipv4_checksum
    total = dr_get_be16(ip + 2)
    if total < header or total > length:
        return DropReason.ipv4_total_length
    return addresses4(dr_get_be32(ip + 12), dr_get_be32(ip + 16), group)
