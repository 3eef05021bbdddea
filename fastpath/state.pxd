"""What the workers and the host thread hold: one `router`, one `worker` each, one `burst` on the way.

`router` is written before the workers start and by the host thread (link states, stop); workers read it.
A `worker` belongs to its thread alone; slot 0 is the host thread, which walks the same stages.
"""
from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.dpdk.eal cimport rte_epoll_event
from fastpath.dpdk.mbuf cimport rte_mbuf, rte_mempool
from fastpath.dpdk.ring cimport rte_ring
from fastpath.filters cimport filter_work
from fastpath.layout cimport dr_adjacency, dr_lcore_stats, dr_stats
from fastpath.tables cimport tables

cdef enum:
    BURST = 64
    MAX_RX = 64                  # (port, queue) pairs of one worker
    ICMP_SOURCES = 1024          # buckets of ICMP errors by the source's prefix
    MAX_ORIGIN = 16              # ICMP errors waiting in one iteration
    ETHER = 14                   # bytes of an Ethernet header
    HOP4 = 20                    # frame[20..27]: fragment offset, TTL, protocol, checksum, half the source
    HOP6 = 16                    # frame[16..23]: flow label's end, length, hop limit, the source's first bytes
    PORTS = 32                   # DR_MAX_PORTS
    VLANS = 4096
    CLASSES = 5                  # punt classes in use
    PUNT_RING = 1024             # frames a worker may have waiting for the host thread
    PUNT_RING_OTHERS = 768       # of these, for other classes than bgp
    SLOTS = 33                   # DR_MAX_LCORES: the host thread and the workers

# What a worker without packets does.
cdef enum:
    IDLE_POLL = 0
    IDLE_SLEEP = 1               # by a timer
    IDLE_INTERRUPT = 2           # until a device has something; a worker for which that is not enough sleeps by a timer

# Whether the source of what a port received must have a route (RFC 3704).
cdef enum:
    URPF_OFF = 0
    URPF_STRICT = 1
    URPF_LOOSE = 2

# What becomes of IPv4 packets with options.
cdef enum:
    OPTIONS_FORWARD = 0
    OPTIONS_PUNT = 1
    OPTIONS_DROP = 2

# Where a packet that walks the stages comes from: what is counted, and whether its hop is.
cdef enum:
    KIND_RECEIVED = 0            # from a port: TTL decremented, counted forwarded
    KIND_PARKED = 1              # received and punted earlier, its next hop is now resolved: counted injected
    KIND_INJECTED = 2            # from the host stack: TTL kept, counted injected
    KIND_ORIGINATED = 3          # an ICMP error of ours: TTL kept, counted originated

# A verdict is a drop reason, or a punt class with VERDICT_PUNT set.
cdef enum:
    VERDICT_PUNT = 0x100
    VERDICT_OK6 = 0xfffe         # of parse: fit for the IPv6 table; VERDICT_OK is IPv4's then
    VERDICT_SENT = 0xfffd        # of rewrite: it left in another shape
    VERDICT_OK = 0xffff

cdef struct rx_pair:
    uint16_t dev                 # DPDK's port id
    uint16_t queue
    uint16_t port                # our port number

cdef struct token_bucket:
    uint64_t tokens_tsc          # TSC cycles saved up
    uint64_t last_tsc
    uint64_t cost_tsc            # cycles a packet costs: hz / rate
    uint64_t depth_tsc           # most that can be saved up

# A configured BGP peer, in a table with open addressing; family 0: free.
cdef struct peer:
    uint64_t hi                  # its address, host order; IPv4 in lo
    uint64_t lo
    uint32_t family
    uint32_t least_hops          # that its packets must have left (RFC 5082)

cdef struct tx_buffer:
    int16_t queue                # own TX queue of the port; -1: hand over through the port's ring
    uint16_t n
    uint32_t bytes
    rte_mbuf *pkt[BURST + 1]     # one more: a branchless append writes before it knows

cdef struct port_info:
    uint16_t dev
    uint16_t present
    uint16_t tagged              # 1: it has sub-interfaces, so its bursts are sorted
    uint16_t parent              # of a sub-interface, whose device is its parent's; else PORTS
    uint64_t mac
    uint16_t mtu
    uint16_t owner               # worker slot that drains `handover`
    uint16_t tag_bytes           # of a sub-interface: of `tags` before each frame that it sends; 0: none, or
    uint16_t tag_by_device       # the VLAN of the tag that the device puts on
    rte_ring *handover           # frames of threads without a TX queue here; NULL: all have one

cdef struct router:
    uint32_t ports
    uint32_t workers             # slots 1..workers
    uint32_t stop
    uint32_t idle                # IDLE_...
    uint32_t hashing             # HASH_..., of stages/flow.pxd
    uint32_t links_up            # bit p: port p; written by the host thread
    uint32_t lacp                # bit p: port p's device is a bond with LACP
    uint32_t links_dead          # bit p: no link whatever the driver says; the host thread's
    uint32_t generation          # raised when `base` changes: workers then bind their tables anew
    const void *base             # readers' part of the route segment
    rte_mempool *pool
    dr_stats *stats
    port_info port[PORTS]
    uint64_t tags[PORTS]         # of a sub-interface: as they lie in a frame
    uint8_t *vlans[PORTS]        # of a parent: by VLAN its port, behind that by outer VLAN which of inner_vlans
    uint8_t *inner_vlans[PORTS]  # by inner VLAN the port; 0, in all of these: none
    const peer *peers            # peers_mask + 1 of them, a power of two; NULL: none
    uint64_t peers_mask
    rte_ring *punt[33]           # one a worker, by slot
    uint32_t asleep[SLOTS]       # by slot: waits for its devices, or is about to; the worker's
    int wake[SLOTS]              # an eventfd that ends its waiting, for who gives it something in a ring; -1: none
    uint64_t filtered            # bit p: port p has ingress filters
    uint64_t checked             # bit p: those, or one of the two below that is not 0; PORTS and above: never
    uint8_t urpf[PORTS]          # URPF_...
    uint8_t options[PORTS]       # OPTIONS_...: IPv4 packets with options

# One family's packets on their way: parallel arrays, so that a compiler can work on several packets at once.
cdef struct lanes:
    rte_mbuf *pkt[BURST]
    uint8_t *frame[BURST]        # where each begins
    uint64_t length[BURST]       # low half: of the packet; above it: of its first segment
    uint64_t hop[BURST]          # the 8 bytes with the hop count (HOP4, HOP6), as they will leave; 0: look closely

# Arrays of 512 bytes first: they start at cache lines where the burst does, as a worker's does.
cdef struct burst:
    lanes rx                     # as received; a burst of one usual kind stays here
    lanes v4                     # what was sorted out, of mixed ones
    lanes v6
    uint64_t mac[BURST]          # of rx[i]: the destination MAC's 8 bytes, then what else parse needs
    uint64_t start[BURST]
    uint64_t rest[BURST]
    uint64_t bad[BURST]          # 0: all checks of the stage hold
    uint64_t word[BURST]         # an adjacency's first word, loaded once
    uint64_t way[BURST]          # the port that it names
    uint64_t room[BURST]         # an adjacency's MTU
    uint64_t hi6[BURST]
    uint64_t lo6[BURST]
    const dr_adjacency *adjacency[BURST]
    rte_mbuf *slow[BURST]
    uint32_t dst4[BURST]
    uint32_t hop_word[BURST]     # a group's word: an adjacency, or a block of buckets
    uint16_t group[BURST]
    uint16_t verdict[BURST]      # of slow[i]
    uint16_t mtu[BURST]          # of slow[i], when its verdict is mtu_exceeded
    lanes *p4                    # the n4 IPv4 packets: rx or v4
    lanes *p6
    uint32_t n
    uint32_t n4
    uint32_t n6
    uint32_t n_slow
    uint16_t port                # received on; PORTS: none
    uint16_t kind

cdef struct worker:
    burst b                      # first, for its alignment
    router *router
    dr_lcore_stats *stats
    tables t
    uint32_t slot
    uint32_t generation
    uint32_t n_rx
    uint32_t n_drain             # ports whose handover ring this worker drains
    rx_pair rx[MAX_RX]
    uint16_t drain[PORTS]
    uint32_t empty_polls
    uint32_t armed               # 1: its devices' RX interrupts are on
    rte_epoll_event woken        # what epoll has of the eventfd
    int epoll                    # of its RX queues and its eventfd; -1: it does not wait for them
    uint32_t sampling            # 1: this poll's stages are timed
    uint64_t last_tsc            # end of the last poll
    uint64_t mark_tsc            # of a sampled poll: end of the stage before
    uint16_t ip_id
    token_bucket classes[CLASSES]
    token_bucket neighbor[PORTS]  # of class neighbor, by the port that received
    token_bucket icmp[PORTS]     # ICMP errors about what the port received
    token_bucket icmp_source[ICMP_SOURCES]
    uint32_t n_origin
    rte_mbuf *origin[MAX_ORIGIN]
    tx_buffer tx[PORTS]
    uint32_t n_tagged
    uint8_t tagged_port[BURST]   # of tagged[i]: the sub-interface
    rte_mbuf *tagged[BURST]      # taken out of a parent's burst, tags off
    filter_work *filters         # NULL: no port has any
    uint32_t n_lacp              # bonds with LACP that this worker owns
    uint16_t lacp[PORTS]

ctypedef uint32_t (*turn_function)(worker *w) noexcept nogil


cdef inline void to_slow(burst *b, rte_mbuf *m, uint16_t verdict) noexcept nogil:
    b.slow[b.n_slow] = m
    b.verdict[b.n_slow] = verdict
    b.n_slow += 1


cdef inline void note_checks(router *r, uint32_t port) noexcept nogil:
    """Have `checked` say what the port has. No worker runs meanwhile."""
    cdef uint64_t bit = <uint64_t>1 << port
    r.checked &= ~bit
    if r.filtered & bit or r.urpf[port] or r.options[port]:
        r.checked |= bit


cdef inline void count_drop(worker *w, uint16_t reason) noexcept nogil:
    w.stats.drops[reason] += 1
