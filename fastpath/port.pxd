"""Opening and watching DPDK ports; see port.pyx."""
from libc.stdint cimport uint16_t, uint32_t
from fastpath.dpdk.ethdev cimport rte_ether_addr
from fastpath.dpdk.mbuf cimport rte_mempool

cdef struct opened:
    uint16_t dev
    uint16_t rx_queues
    uint16_t tx_queues
    rte_ether_addr own_mac       # the device's, whatever port.mac says

cdef int open_device(str name, str device, uint32_t mtu, bytes mac, uint32_t threads, rte_mempool *pool,
                     opened *out) except -1
cdef void close_device(uint16_t dev, rte_ether_addr *own_mac) noexcept
