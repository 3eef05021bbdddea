"""VLAN tags, IEEE 802.1Q-2018 9.3 to 9.6: taken off after reception, put on before transmission.

A sub-interface is a port of its own on its parent's device. A parent's burst is sorted once: what is tagged leaves it,
and is routed afterwards, a sub-interface's packets at a time, as a burst that this one received. Either tag may have
either EtherType, for devices that take a tag off tell its contents only. VLAN 0 says nothing but a priority: 6.9.3.
Ports without sub-interfaces never come here but for frames that no other check takes (parse, take_others).
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove
from fastpath.bytes cimport dr_get_be16
from fastpath.dpdk.mbuf cimport (RTE_MBUF_F_RX_VLAN, RTE_MBUF_F_RX_VLAN_STRIPPED, RTE_MBUF_F_TX_VLAN, dr_data,
                                 rte_mbuf, rte_pktmbuf_adj, rte_pktmbuf_free, rte_pktmbuf_prepend)
from fastpath.layout cimport dr_port_counters
from fastpath.reasons cimport DropReason
from fastpath.state cimport ETHER, KIND_RECEIVED, VERDICT_OK, VLANS, burst, count_drop, router, worker

cdef enum:
    TYPE_CUSTOMER = 0x8100
    TYPE_SERVICE = 0x88A8
    MACS = 12                    # bytes before the first tag
    TAG = 4
    MOST_TAG_BYTES = 16          # read of one frame

cdef struct frame_tags:
    uint32_t vlans               # tags that name one
    uint32_t outer
    uint32_t inner               # 0: only one tag names a VLAN
    uint32_t octets              # bytes of tags that are in the frame


cdef inline bint begins_tag(const uint8_t *frame) noexcept nogil:
    cdef uint16_t ether_type = dr_get_be16(frame + MACS)
    return ether_type == TYPE_CUSTOMER or ether_type == TYPE_SERVICE


cdef inline void note_tag(frame_tags *t, uint16_t tci) noexcept nogil:
    cdef uint32_t vlan = tci & (VLANS - 1)
    if vlan == 0:
        return
    if t.vlans == 0:
        t.outer = vlan
    else:
        t.inner = vlan
    t.vlans += 1


cdef inline bint read_tags(const rte_mbuf *m, const uint8_t *frame, frame_tags *t) noexcept nogil:
    """All tags, outermost first: the device's, then the frame's. False when the frame ends within one."""
    t.vlans = t.outer = t.inner = t.octets = 0
    if m.ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED:
        note_tag(t, m.vlan_tci)
    while begins_tag(frame + t.octets):
        if m.data_len < ETHER + t.octets + TAG or t.octets == MOST_TAG_BYTES:
            return False
        note_tag(t, dr_get_be16(frame + t.octets + ETHER))
        t.octets += TAG
    return True


cdef inline void take_off(rte_mbuf *m, uint32_t octets) noexcept nogil:
    """The frame without its tags, which lie in its first segment."""
    cdef uint8_t *frame = dr_data(m)
    m.ol_flags &= ~(RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED)
    memmove(frame + octets, frame, MACS)
    rte_pktmbuf_adj(m, <uint16_t>octets)


cdef inline uint16_t untag(rte_mbuf *m) noexcept nogil:
    """A frame that begins with a tag, on a port that has no sub-interface for it: fit to be looked at as an untagged
    one, or what is wrong."""
    cdef frame_tags t
    if not read_tags(m, dr_data(m), &t):
        return DropReason.frame_truncated
    if t.vlans:
        return DropReason.vlan_unknown
    take_off(m, t.octets)
    return VERDICT_OK


cdef inline uint32_t sub_interface(const router *r, uint32_t parent, const frame_tags *t) noexcept nogil:
    """The port that a frame's tags name; 0: none, since a parent comes before its sub-interfaces."""
    cdef const uint8_t *by_vlan = r.vlans[parent]
    cdef uint32_t table
    if t.vlans == 1:
        return by_vlan[t.outer]
    table = by_vlan[VLANS + t.outer] if t.vlans == 2 else 0
    return r.inner_vlans[table][t.inner] if table else 0


cdef inline void keep(burst *b, uint32_t k, rte_mbuf *m) noexcept nogil:
    b.rx.pkt[k] = m
    b.rx.frame[k] = dr_data(m)
    b.rx.length[k] = <uint64_t>m.data_len << 32 | m.pkt_len


cdef inline void to_sub_interface(worker *w, uint32_t port, rte_mbuf *m) noexcept nogil:
    """Counted where it belongs, without its tags, as what that port sends."""
    w.stats.port[port].rx_packets += 1
    w.stats.port[port].rx_bytes += m.pkt_len
    w.tagged[w.n_tagged] = m
    w.tagged_port[w.n_tagged] = <uint8_t>port
    w.n_tagged += 1


cdef inline void drop_unknown(worker *w, uint32_t port, rte_mbuf *m) noexcept nogil:
    cdef dr_port_counters *c = &w.stats.port[port]
    c.rx_packets += 1
    c.rx_bytes += m.pkt_len
    w.stats.dropped += 1
    count_drop(w, DropReason.vlan_unknown)
    rte_pktmbuf_free(m)


cdef inline uint32_t sort_out(worker *w, burst *b) noexcept nogil:
    """A parent's rx[0..n), gathered: untagged frames stay, the others go to their sub-interfaces' packets or nowhere.
    Returns how many stay, which the caller counts."""
    cdef uint32_t i, port, left = 0
    cdef rte_mbuf *m
    cdef frame_tags t
    for i in range(b.n):
        m = b.rx.pkt[i]
        if not (m.ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED or begins_tag(b.rx.frame[i])):
            keep(b, left, m)
            left += 1
        elif m.data_len < ETHER or not read_tags(m, b.rx.frame[i], &t):
            keep(b, left, m)                               # parse says what is wrong with it
            left += 1
        elif t.vlans == 0:
            take_off(m, t.octets)
            keep(b, left, m)
            left += 1
        else:
            port = sub_interface(w.router, b.port, &t)
            if port == 0:
                drop_unknown(w, b.port, m)
                continue
            take_off(m, t.octets)
            to_sub_interface(w, port, m)
    b.n = left
    return left


cdef inline void next_sub_interface(worker *w, burst *b) noexcept nogil:
    """All that waits for one sub-interface to rx, as received there; the caller gathers. Something waits."""
    cdef uint32_t i, left = 0
    cdef uint8_t port = w.tagged_port[0]
    b.n = 0
    for i in range(w.n_tagged):
        if w.tagged_port[i] == port:
            b.rx.pkt[b.n] = w.tagged[i]
            b.n += 1
        else:
            w.tagged[left] = w.tagged[i]
            w.tagged_port[left] = w.tagged_port[i]
            left += 1
    w.n_tagged = left
    b.port = port
    b.kind = KIND_RECEIVED


cdef inline uint32_t put_on(const router *r, uint32_t port, rte_mbuf **pkt, uint32_t n) noexcept nogil:
    """A sub-interface's tags on each of pkt[0..n), which nobody else holds. Returns how many have them; those without
    room for them, of which no driver and no stage makes any, go to the end and are not to be sent."""
    cdef uint32_t i = 0, octets = r.port[port].tag_bytes
    cdef uint8_t *frame
    cdef rte_mbuf *m
    while i < n:
        m = pkt[i]
        if r.port[port].tag_by_device:
            m.vlan_tci = r.port[port].tag_by_device
            m.ol_flags |= RTE_MBUF_F_TX_VLAN
            i += 1
            continue
        frame = <uint8_t *>rte_pktmbuf_prepend(m, <uint16_t>octets)
        if frame is NULL:
            n -= 1
            pkt[i] = pkt[n]
            pkt[n] = m
            continue
        memmove(frame, frame + octets, MACS)
        memcpy(frame + MACS, &r.tags[port], octets)
        i += 1
    return n
