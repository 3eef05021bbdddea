"""What the workers and the host thread hold: one `router`, one `worker` each, one `burst` on the way.

`router` is written before the workers start and by the host thread (link states, stop); workers read it.
A `worker` belongs to its thread alone; slot 0 is the host thread, which walks the same stages.
"""
from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.dpdk.mbuf cimport rte_mbuf, rte_mempool
from fastpath.dpdk.ring cimport rte_ring
from fastpath.layout cimport dr_adjacency, dr_lcore_stats, dr_stats
from fastpath.tables cimport tables

cdef enum:
    BURST = 64
    MAX_RX = 64                  # (port, queue) pairs of one worker
    ICMP_SOURCES = 1024          # buckets of ICMP errors by the source's prefix
    MAX_ORIGIN = 16              # ICMP errors waiting in one iteration
    ETHER = 14                   # bytes of an Ethernet header
    PORTS = 32                   # DR_MAX_PORTS
    CLASSES = 4                  # punt classes in use

# Where a packet that walks the stages comes from: what is counted, and whether its hop is.
cdef enum:
    KIND_RECEIVED = 0            # from a port: TTL decremented, counted forwarded
    KIND_PARKED = 1              # received and punted earlier, its next hop is now resolved: counted injected
    KIND_INJECTED = 2            # from the host stack: TTL kept, counted injected
    KIND_ORIGINATED = 3          # an ICMP error of ours: TTL kept, counted originated

# A verdict is a drop reason, or a punt class with VERDICT_PUNT set.
cdef enum:
    VERDICT_PUNT = 0x100
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

cdef struct tx_buffer:
    int16_t queue                # own TX queue of the port; -1: hand over through the port's ring
    uint16_t n
    uint32_t bytes
    rte_mbuf *pkt[BURST]

cdef struct port_info:
    uint16_t dev
    uint16_t present
    uint32_t link_up             # written by the host thread
    uint64_t mac
    uint16_t mtu
    uint16_t owner               # worker slot that drains `handover`
    rte_ring *handover           # frames of threads without a TX queue here; NULL: all have one

cdef struct router:
    uint32_t ports
    uint32_t workers             # slots 1..workers
    uint32_t stop
    uint32_t sleep_when_idle
    uint32_t generation          # raised when `base` changes: workers then bind their tables anew
    const void *base             # readers' part of the route segment
    rte_mempool *pool
    dr_stats *stats
    port_info port[PORTS]
    rte_ring *punt[33]           # one a worker, by slot

cdef struct worker:
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
    uint16_t ip_id
    token_bucket classes[CLASSES]
    token_bucket icmp[PORTS]     # ICMP errors about what the port received
    token_bucket icmp_source[ICMP_SOURCES]
    uint32_t n_origin
    rte_mbuf *origin[MAX_ORIGIN]
    tx_buffer tx[PORTS]

cdef struct burst:
    uint16_t n
    uint16_t port                # received on; PORTS: none
    uint16_t kind
    uint16_t n4
    uint16_t n6
    uint16_t n_slow
    rte_mbuf *rx[BURST]
    rte_mbuf *pkt4[BURST]
    rte_mbuf *pkt6[BURST]
    rte_mbuf *slow[BURST]
    uint32_t dst4[BURST]
    uint64_t hi6[BURST]
    uint64_t lo6[BURST]
    uint16_t group[BURST]
    const dr_adjacency *adjacency[BURST]
    uint16_t verdict[BURST]      # of slow[i]
    uint16_t mtu[BURST]          # of slow[i], when its verdict is mtu_exceeded


cdef inline void to_slow(burst *b, rte_mbuf *m, uint16_t verdict) noexcept nogil:
    b.slow[b.n_slow] = m
    b.verdict[b.n_slow] = verdict
    b.n_slow += 1


cdef inline void count_drop(worker *w, uint16_t reason) noexcept nogil:
    w.stats.drops[reason] += 1
