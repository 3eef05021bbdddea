"""rte_eth_ring.h: a device made of rings."""
from fastpath.dpdk.ring cimport rte_ring

cdef extern from "rte_eth_ring.h" nogil:
    int rte_eth_from_rings(const char *name, rte_ring **rx_queues, unsigned int nb_rx_queues,
                           rte_ring **tx_queues, unsigned int nb_tx_queues, unsigned int numa_node) noexcept
