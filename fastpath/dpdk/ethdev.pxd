"""rte_ethdev.h: what is used."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.dpdk.mbuf cimport rte_mbuf, rte_mempool

cdef extern from "rte_ether.h" nogil:
    struct rte_ether_addr:
        uint8_t addr_bytes[6]

cdef extern from "rte_ethdev.h" nogil:
    enum:
        RTE_ETH_MQ_RX_NONE
        RTE_ETH_MQ_RX_RSS
    const uint64_t RTE_ETH_RSS_IP
    const uint64_t RTE_ETH_RSS_IPV4
    const uint64_t RTE_ETH_RSS_IPV6
    const uint64_t RTE_ETH_RSS_TCP
    const uint64_t RTE_ETH_RSS_UDP
    const uint64_t RTE_ETH_RX_OFFLOAD_RSS_HASH
    const uint64_t RTE_ETH_RX_OFFLOAD_VLAN_STRIP
    const uint64_t RTE_ETH_TX_OFFLOAD_MULTI_SEGS
    const uint64_t RTE_ETH_TX_OFFLOAD_VLAN_INSERT
    const uint32_t RTE_ETH_SPEED_NUM_UNKNOWN
    struct rte_eth_rxmode:
        int mq_mode
        uint32_t mtu
        uint64_t offloads
    struct rte_eth_txmode:
        uint64_t offloads
    struct rte_eth_intr_conf:
        uint32_t rxq
    struct rte_eth_conf:
        rte_eth_intr_conf intr_conf
        rte_eth_rxmode rxmode
        rte_eth_txmode txmode
    struct rte_eth_dev_info:
        const char *driver_name
        uint16_t min_mtu
        uint16_t max_mtu
        uint16_t max_rx_queues
        uint16_t max_tx_queues
        uint64_t rx_offload_capa
        uint64_t tx_offload_capa
        uint64_t flow_type_rss_offloads
    struct rte_eth_link:
        uint32_t link_speed
        uint16_t link_status
    struct rte_eth_stats:
        uint64_t imissed
        uint64_t ierrors
        uint64_t oerrors
        uint64_t rx_nombuf
    int rte_eth_dev_get_port_by_name(const char *name, uint16_t *port) noexcept
    int rte_eth_dev_info_get(uint16_t port, rte_eth_dev_info *info) noexcept
    int rte_eth_dev_configure(uint16_t port, uint16_t rxq, uint16_t txq, const rte_eth_conf *conf) noexcept
    int rte_eth_dev_adjust_nb_rx_tx_desc(uint16_t port, uint16_t *rx, uint16_t *tx) noexcept
    int rte_eth_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t n, unsigned int socket, const void *conf,
                               rte_mempool *pool) noexcept
    int rte_eth_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t n, unsigned int socket,
                               const void *conf) noexcept
    int rte_eth_dev_start(uint16_t port) noexcept
    int rte_eth_dev_stop(uint16_t port) noexcept
    int rte_eth_dev_close(uint16_t port) noexcept
    int rte_eth_dev_set_mtu(uint16_t port, uint16_t mtu) noexcept
    int rte_eth_dev_get_mtu(uint16_t port, uint16_t *mtu) noexcept
    int rte_eth_dev_default_mac_addr_set(uint16_t port, rte_ether_addr *mac) noexcept
    int rte_eth_dev_socket_id(uint16_t port) noexcept
    int rte_eth_dev_rx_intr_enable(uint16_t port, uint16_t queue) noexcept
    int rte_eth_dev_rx_intr_disable(uint16_t port, uint16_t queue) noexcept
    int rte_eth_dev_rx_intr_ctl_q(uint16_t port, uint16_t queue, int epfd, int op, void *data) noexcept
    int rte_eth_dev_rx_intr_ctl_q_get_fd(uint16_t port, uint16_t queue) noexcept
    int rte_eth_allmulticast_enable(uint16_t port) noexcept
    int rte_eth_promiscuous_enable(uint16_t port) noexcept
    int rte_eth_promiscuous_disable(uint16_t port) noexcept
    int rte_eth_macaddr_get(uint16_t port, rte_ether_addr *mac) noexcept
    int rte_eth_link_get_nowait(uint16_t port, rte_eth_link *link) noexcept
    int rte_eth_stats_get(uint16_t port, rte_eth_stats *stats) noexcept
    uint16_t rte_eth_rx_burst(uint16_t port, uint16_t queue, rte_mbuf **pkts, uint16_t n) noexcept
    uint16_t rte_eth_tx_burst(uint16_t port, uint16_t queue, rte_mbuf **pkts, uint16_t n) noexcept

cdef extern from "dr_port.h" nogil:
    void dr_deny_link_interrupt(const rte_eth_dev_info *info) noexcept
    void dr_set_rss_functions(rte_eth_conf *conf, uint64_t functions) noexcept
