"""The flow that a packet belongs to, as a hash whose high byte chooses a bucket of a next-hop group.

Addresses, protocol, and TCP's or UDP's ports. Of tunnels (IP in IP, GRE: RFC 2003, 2473, 2784, 2890, 4213) those of
the packet within. Fragments, first ones too, by their addresses alone: all of a packet go one way. ICMP errors by the
packet that they quote, backwards, so that they take the way of the flow that they report about (RFC 7690); a first
fragment is quoted with ports, and they are taken. With HASH_LABEL an IPv6 flow label that is not 0 stands for protocol
and ports (RFC 6437 3, RFC 6438 3): the quote of an error has the other direction's, so that there the 5-tuple counts.

Reads at most MOST_LAYERS headers and MOST_EXTENSIONS extension headers of each, all in the first segment; where that
ends, or makes no sense, the last whole header decides. choose.pxd does the same for usual packets on lanes.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.bytes cimport dr_get_be16, dr_get_be32, dr_get_be64

cdef enum:
    PROTO_HOP_BY_HOP = 0
    PROTO_ICMP = 1
    PROTO_IPV4 = 4
    PROTO_TCP = 6
    PROTO_UDP = 17
    PROTO_IPV6 = 41
    PROTO_ROUTING = 43
    PROTO_FRAGMENT = 44
    PROTO_GRE = 47
    PROTO_ICMPV6 = 58
    PROTO_DESTINATION = 60
    GRE_IPV4 = 0x0800
    GRE_IPV6 = 0x86DD
    ICMP_HEADER = 8
    MOST_LAYERS = 4
    MOST_EXTENSIONS = 4

# What else decides; bits. The fast path's own setting, also in its stats segment.
cdef enum:
    HASH_LABEL = 1               # the flow label of IPv6
    HASH_DEVICE = 2              # the device's hash, where it gives one

# Of a packet.
cdef enum:
    WHOLE = 0
    FIRST_FRAGMENT = 1
    LATER_FRAGMENT = 2

# One IP header, of `room` bytes that are there.
cdef struct layer:
    const uint8_t *ip
    uint32_t room
    uint32_t payload             # where what it carries begins; may lie beyond room
    uint32_t protocol
    uint32_t fragment
    uint32_t back                # 1: quoted by an ICMP error, so that it goes the other way


cdef inline uint32_t mix(uint64_t a, uint64_t b) noexcept nogil:
    """Two multiplications (the finaliser of a 64-bit multiply-xorshift hash): the high byte chooses the bucket."""
    cdef uint64_t h = (a ^ <uint64_t>0x9E3779B97F4A7C15) * <uint64_t>0xBF58476D1CE4E5B9
    h = (h ^ (h >> 29) ^ b) * <uint64_t>0x94D049BB133111EB
    return <uint32_t>(h >> 32)


cdef inline uint32_t mix6(const uint8_t *source, const uint8_t *destination, uint64_t b) noexcept nogil:
    cdef uint64_t src = dr_get_be64(source) ^ (dr_get_be64(source + 8) * <uint64_t>0xD6E8FEB86659FD93)
    cdef uint64_t dst = dr_get_be64(destination) ^ (dr_get_be64(destination + 8) * <uint64_t>0xA0761D6478BD642F)
    return mix(src ^ (dst << 1 | dst >> 63), b)


cdef inline bint has_ports(uint32_t protocol) noexcept nogil:
    return protocol == PROTO_TCP or protocol == PROTO_UDP


cdef inline uint32_t fragment_kind(uint32_t offset, bint more) noexcept nogil:
    if offset:
        return LATER_FRAGMENT
    return FIRST_FRAGMENT if more else WHOLE


cdef inline bint read4(layer *l) noexcept nogil:
    cdef uint16_t fragment
    l.payload = (l.ip[0] & 15) * 4
    if l.payload < 20 or l.payload > l.room:
        return False
    fragment = dr_get_be16(l.ip + 6)
    l.protocol = l.ip[9]
    l.fragment = fragment_kind(fragment & 0x1FFF, (fragment & 0x2000) != 0)
    return True


cdef inline bint read6(layer *l) noexcept nogil:
    """With a fragment header it is a fragment, even an atomic one (RFC 6946): all of a packet look alike."""
    cdef uint32_t _
    cdef const uint8_t *header
    l.payload = 40
    l.protocol = l.ip[6]
    l.fragment = WHOLE
    for _ in range(MOST_EXTENSIONS):
        if (l.protocol != PROTO_HOP_BY_HOP and l.protocol != PROTO_ROUTING and l.protocol != PROTO_DESTINATION
                and l.protocol != PROTO_FRAGMENT):
            break
        if l.payload + 8 > l.room:
            if l.protocol == PROTO_FRAGMENT:
                l.fragment = LATER_FRAGMENT
            break
        header = l.ip + l.payload
        if l.protocol == PROTO_FRAGMENT:
            l.fragment = fragment_kind(dr_get_be16(header + 2) & 0xFFF8, True)
            l.payload += 8
        else:
            l.payload += 8 + header[1] * 8
        l.protocol = header[0]
        if l.fragment == LATER_FRAGMENT:
            break
    return True


cdef inline bint read_layer(layer *l) noexcept nogil:
    """False: no whole IP header."""
    if l.room >= 20 and l.ip[0] >> 4 == 4:
        return read4(l)
    return l.room >= 40 and l.ip[0] >> 4 == 6 and read6(l)


cdef inline bint addresses_alone(const layer *l) noexcept nogil:
    return l.fragment == LATER_FRAGMENT or (l.fragment == FIRST_FRAGMENT and not l.back)


cdef inline uint32_t label_of(const layer *l, uint32_t how) noexcept nogil:
    if how & HASH_LABEL and l.ip[0] >> 4 == 6 and not l.back:
        return dr_get_be32(l.ip) & 0xFFFFF
    return 0


cdef inline uint32_t layer_hash(const layer *l, uint32_t how) noexcept nogil:
    cdef uint32_t ports, label = label_of(l, how)
    cdef uint64_t addresses, rest = 0
    if label:
        rest = <uint64_t>label << 8
    elif not addresses_alone(l):
        rest = l.protocol
        if has_ports(l.protocol) and l.payload + 4 <= l.room:
            ports = dr_get_be32(l.ip + l.payload)
            if l.back:
                ports = ports << 16 | ports >> 16
            rest |= <uint64_t>ports << 8
    if l.ip[0] >> 4 == 6:
        return mix6(l.ip + 24, l.ip + 8, rest) if l.back else mix6(l.ip + 8, l.ip + 24, rest)
    addresses = dr_get_be64(l.ip + 12)
    return mix(addresses << 32 | addresses >> 32 if l.back else addresses, rest)


cdef inline uint32_t within_gre(const uint8_t *gre, uint32_t room) noexcept nogil:
    """Where the packet within begins; 0: none of IP, or in a shape of GRE that RFC 2784 and 2890 don't know."""
    cdef uint16_t flags, carried
    if room < 4:
        return 0
    flags = dr_get_be16(gre)
    carried = dr_get_be16(gre + 2)
    if flags & 0x4FFF or (carried != GRE_IPV4 and carried != GRE_IPV6):
        return 0
    return 4 + 4 * (flags >> 15) + 4 * (flags >> 13 & 1) + 4 * (flags >> 12 & 1)


cdef inline bint reports(const layer *l) noexcept nogil:
    """Whether it is an ICMP error, of which a whole header is there: it quotes a packet."""
    cdef uint8_t kind
    if l.payload + ICMP_HEADER > l.room:
        return False
    kind = l.ip[l.payload]
    if l.ip[0] >> 4 == 6:
        return l.protocol == PROTO_ICMPV6 and kind < 128
    return l.protocol == PROTO_ICMP and (kind == 3 or kind == 4 or kind == 5 or kind == 11 or kind == 12)


cdef inline bint enter(layer *l, uint32_t how) noexcept nogil:
    """To the packet that decides instead of this one; False: there is none."""
    cdef uint32_t inner
    if addresses_alone(l) or l.payload >= l.room:
        return False
    if reports(l):
        if l.back:
            return False                                   # never sent: an error about an error
        l.back = True
        inner = l.payload + ICMP_HEADER
    elif label_of(l, how):
        return False                                       # RFC 6438: a tunnel's entry puts its flows into the label
    elif l.protocol == PROTO_IPV4 or l.protocol == PROTO_IPV6:
        inner = l.payload
    elif l.protocol == PROTO_GRE:
        inner = within_gre(l.ip + l.payload, l.room - l.payload)
        if inner == 0:
            return False
        inner += l.payload
    else:
        return False
    if inner >= l.room:
        return False
    l.ip += inner
    l.room -= inner
    return True


cdef inline uint32_t flow_hash(const uint8_t *ip, uint32_t in_first, uint32_t how) noexcept nogil:
    """Any packet that parse let through. in_first: bytes in the first segment, from its IP header on."""
    cdef uint32_t _, h = 0
    cdef layer l
    l.ip = ip
    l.room = in_first
    l.back = False
    for _ in range(MOST_LAYERS):
        if not read_layer(&l):
            break
        h = layer_hash(&l, how)
        if not enter(&l, how):
            break
    return h


cdef inline uint32_t flow_hash6(const uint8_t *ip, uint32_t in_first) noexcept nogil:
    """flow_hash of an IPv6 packet by its 5-tuple: the usual kind at once."""
    if has_ports(ip[6]) and in_first >= 44:
        return mix6(ip + 8, ip + 24, ip[6] | <uint64_t>dr_get_be32(ip + 40) << 8)
    return flow_hash(ip, in_first, 0)


cdef inline bint usual(const uint8_t *ip) noexcept nogil:
    """An unfragmented packet of TCP or UDP, which a device hashes as we would."""
    if ip[0] >> 4 == 6:
        return has_ports(ip[6])
    return has_ports(ip[9]) and (dr_get_be16(ip + 6) & 0x3FFF) == 0
