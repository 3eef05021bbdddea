"""The keys by which ACLs judge packets: one a packet, of fixed size, built from what parse has validated.

IPv6's upper header is looked for behind at most EXTENSIONS extension headers of the first segment (RFC 8200 4.1).
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from fastpath.bytes cimport dr_get_be16
from fastpath.filters cimport (KEY4_BYTES, KEY4_PORTS, KEY4_UPPER, KEY6_BYTES, KEY6_PORTS, KEY6_UPPER, KEY_PROTOCOL,
                               KEY_SOURCE, STATE_BROKEN, STATE_LATER, STATE_UPPER)
from fastpath.stages.icmp cimport EXTENSIONS
from fastpath.stages.parse cimport ip_length

cdef enum:
    UPPER_ICMP = 1
    UPPER_TCP = 6
    UPPER_UDP = 17
    UPPER_DCCP = 33
    UPPER_ICMPV6 = 58
    UPPER_SCTP = 132
    UPPER_UDPLITE = 136
    HOP_BY_HOP = 0
    ROUTING = 43
    FRAGMENT = 44
    AUTHENTICATION = 51
    DESTINATION = 60
    TCP_READ = 14                # bytes of TCP's header up to its flags
    TCP_FLAGS = 13


cdef inline uint8_t upper_state(uint8_t protocol, const uint8_t *upper, uint32_t size, uint8_t *ports,
                                uint8_t *rest) noexcept nogil:
    """Copies what rules may ask for from `size` bytes of an upper header: to ports[0..4), flags and type to rest."""
    if protocol == UPPER_TCP:
        if size < TCP_READ:
            return STATE_BROKEN
        memcpy(ports, upper, 4)
        rest[0] = upper[TCP_FLAGS]
    elif (protocol == UPPER_UDP or protocol == UPPER_SCTP or protocol == UPPER_DCCP or protocol == UPPER_UDPLITE):
        if size < 4:
            return STATE_BROKEN
        memcpy(ports, upper, 4)
    elif protocol == UPPER_ICMP or protocol == UPPER_ICMPV6:
        if size < 1:
            return STATE_BROKEN
        rest[1] = upper[0]
    else:
        return 0
    return STATE_UPPER


cdef inline uint8_t later_state(uint8_t protocol, uint32_t offset) noexcept nogil:
    """A fragment that begins so many 8 bytes behind the first: RFC 1858 3.2, one may not overwrite TCP's flags."""
    return STATE_LATER | STATE_BROKEN if protocol == UPPER_TCP and offset == 1 else STATE_LATER


cdef inline void key4(uint8_t *key, const uint8_t *ip, uint32_t in_first) noexcept nogil:
    """in_first: bytes in the first segment from the IP header on; parse4 has found the header whole."""
    cdef uint32_t header = (ip[0] & 15) * 4, end = ip_length(ip, False)
    cdef uint32_t offset = dr_get_be16(ip + 6) & 0x1FFF
    memset(key, 0, KEY4_BYTES)
    key[KEY_PROTOCOL] = ip[9]
    memcpy(key + KEY_SOURCE, ip + 12, 8)
    if offset:
        key[KEY4_UPPER + 2] = later_state(ip[9], offset)
        return
    if end > in_first:
        end = in_first
    key[KEY4_UPPER + 2] = upper_state(ip[9], ip + header, end - header, key + KEY4_PORTS, key + KEY4_UPPER)


cdef inline void key6(uint8_t *key, const uint8_t *ip, uint32_t in_first) noexcept nogil:
    cdef uint32_t end = ip_length(ip, True), at = 40
    cdef uint32_t offset
    cdef uint8_t header = ip[6]
    cdef int _i
    if end > in_first:
        end = in_first
    memset(key, 0, KEY6_BYTES)
    memcpy(key + KEY_SOURCE, ip + 8, 32)
    for _i in range(EXTENSIONS):
        if (header != HOP_BY_HOP and header != ROUTING and header != FRAGMENT and header != AUTHENTICATION
                and header != DESTINATION):
            break
        if at + 8 > end:
            break
        if header == FRAGMENT:
            offset = dr_get_be16(ip + at + 2) >> 3
            if offset:
                key[KEY_PROTOCOL] = ip[at]
                key[KEY6_UPPER + 2] = later_state(ip[at], offset)
                return
            offset = 8
        elif header == AUTHENTICATION:
            offset = (ip[at + 1] + 2) * 4
        else:
            offset = (ip[at + 1] + 1) * 8
        header = ip[at]
        at += offset
    key[KEY_PROTOCOL] = header
    if (header == HOP_BY_HOP or header == ROUTING or header == FRAGMENT or header == AUTHENTICATION
            or header == DESTINATION):
        key[KEY6_UPPER + 2] = STATE_BROKEN                 # what is behind it nobody can say
        return
    key[KEY6_UPPER + 2] = upper_state(header, ip + at, end - at if at < end else 0, key + KEY6_PORTS,
                                      key + KEY6_UPPER)
