"""Opening and watching DPDK ports; see port.pyx."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from fastpath.dpdk.ethdev cimport rte_ether_addr
from fastpath.dpdk.mbuf cimport rte_mempool

cdef struct opened:
    uint16_t dev
    uint16_t rx_queues
    uint16_t tx_queues
    uint64_t rss                 # headers whose hash spreads packets over queues: RTE_ETH_RSS_ bits
    uint64_t rx_offloads
    uint64_t tx_offloads
    int socket                   # NUMA node; below 0: none, as of virtual devices
    rte_ether_addr own_mac       # the device's, whatever port.mac says

cdef int open_device(str name, str device, list members, uint32_t mtu, bytes mac, uint32_t threads, uint32_t pollers,
                     bint interrupts, bint tagged, rte_mempool *pool, opened *out) except -1
cdef object missing_device(str name, str device)
cdef str rss_names(uint64_t functions)
cdef str offload_names(const opened *o)
cdef void close_device(uint16_t dev, rte_ether_addr *own_mac) noexcept
