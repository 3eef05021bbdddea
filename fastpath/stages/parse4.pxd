"""IPv4 header validation: RFC 1812 5.2.2 (1) to (5), martian addresses 5.3.7, multicast and broadcast."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.bytes cimport dr_fold, dr_get_be16, dr_get_be32, dr_sum
from fastpath.reasons cimport DropReason, PuntClass
from fastpath.stages.classify cimport class4
from fastpath.state cimport ETHER, VERDICT_OK, VERDICT_PUNT, burst, lanes

cdef enum:
    IPV4_HEADER = 20
    START4 = 0x450008            # frame[12..14]: IPv4, header of 20 bytes, as it lies in memory


cdef inline uint16_t addresses4(const uint8_t *ip, uint32_t in_first, bint group) noexcept nogil:
    """RFC 1812 5.3.7: no loopback, this-network, multicast or broadcast source; no loopback or class E destination."""
    cdef uint32_t src = dr_get_be32(ip + 12)
    cdef uint32_t dst = dr_get_be32(ip + 16)
    if src >> 28 >= 0xE or src >> 24 == 127 or src >> 24 == 0:
        # a DHCP client has no address yet: for the host stack, never forwarded
        if src == 0 and dst == <uint32_t>0xFFFFFFFF:
            return VERDICT_PUNT | PuntClass.local
        return DropReason.ipv4_source
    if dst >> 28 == 0xE:
        # 224.0.0.0/24 never leaves its link (RFC 5771 4): routing protocols and IGMP of ours
        return class4(ip, in_first) if dst >> 8 == 0xE00000 else DropReason.ipv4_multicast
    if dst == <uint32_t>0xFFFFFFFF:
        return class4(ip, in_first)
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
    return addresses4(ip, in_first, group)


cdef inline void plain4(burst *b, uint32_t n, uint64_t mac) noexcept nogil:
    """bad[i] = 0 for nearly every good IPv4 packet rx[i]: all of parse4 holds, without options; parse4 is for the rest.

    The same checks as there on 64-bit lanes, several packets at once. What must not be negative is ORed together: the
    top bit tells. mac, start, hop, rest: bytes 0, 12, 20 and 28 of the frame, 8 each, as they lie in memory.
    """
    cdef uint32_t i
    cdef uint64_t start, hop, rest, s, total, src, dst, length, negative
    for i in range(n):
        start, hop, rest, length = b.start[i], b.rx.hop[i], b.rest[i], b.rx.length[i]
        s = ((start >> 16 & 0xFFFF) + (start >> 32) + <uint64_t><uint32_t>hop + (hop >> 32)
             + <uint64_t><uint32_t>rest + (rest >> 32 & 0xFFFF))
        s = (s & 0xFFFF) + (s >> 16 & 0xFFFF) + (s >> 32)    # at most 0x20003: of these only 0xffff and 0x1fffe
        s = (s & 0xFFFF) + (s >> 16)                         # fold to 0xffff
        total = (start >> 24 & 0xFF00) | (start >> 40 & 0xFF)
        src = hop >> 48 & 0xFF
        dst = rest >> 16 & 0xFF
        negative = ((total - IPV4_HEADER) | (<uint64_t><uint32_t>length - ETHER - total)
                    | ((length >> 32 & 0xFFFF) - ETHER - IPV4_HEADER)
                    | (src - 1) | (223 - src) | ((src ^ 127) - 1) | (dst - 1) | (223 - dst) | ((dst ^ 127) - 1))
        b.bad[i] = ((b.mac[i] ^ mac) << 16) | ((start & 0xFFFFFF) ^ START4) | (s ^ 0xFFFF) | (negative >> 63)


cdef inline void hops4(burst *b) noexcept nogil:
    """p4.hop[i] with one hop less: RFC 1624 equation 3, as hop4 of rewrite has it. No hop left over or under: rewrite
    looks closely at 0 and 255."""
    cdef uint32_t i
    cdef uint64_t hop, old, s
    cdef lanes *v = b.p4
    for i in range(b.n4):
        hop = v.hop[i]
        old = hop >> 32 & 0xFFFF
        s = old + 1
        s += (0xFFFE - s) >> 63
        v.hop[i] = hop - 0x10000 + (((s & 0xFFFF) - old) << 32)
