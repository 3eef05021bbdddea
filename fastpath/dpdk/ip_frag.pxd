"""rte_ip_frag.h: what is used."""
from libc.stdint cimport int32_t, uint16_t
from fastpath.dpdk.mbuf cimport rte_mbuf, rte_mempool

cdef extern from "rte_ip_frag.h" nogil:
    int32_t rte_ipv4_fragment_copy_nonseg_packet(rte_mbuf *pkt_in, rte_mbuf **pkts_out, uint16_t nb_pkts_out,
                                                 uint16_t mtu_size, rte_mempool *pool_direct) noexcept
