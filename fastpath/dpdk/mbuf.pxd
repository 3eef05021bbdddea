"""rte_mbuf.h and rte_mempool.h: the members and calls that are used."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "rte_mempool.h" nogil:
    struct rte_mempool:
        pass
    rte_mempool *rte_mempool_lookup(const char *name) noexcept
    unsigned int rte_mempool_avail_count(const rte_mempool *pool) noexcept

cdef extern from "rte_mbuf.h" nogil:
    const uint64_t RTE_MBUF_F_RX_RSS_HASH
    const uint64_t RTE_MBUF_F_RX_VLAN
    const uint64_t RTE_MBUF_F_RX_VLAN_STRIPPED
    const uint64_t RTE_MBUF_F_TX_VLAN
    enum:
        RTE_MBUF_DEFAULT_BUF_SIZE
        RTE_PKTMBUF_HEADROOM
    struct rte_mbuf:
        uint16_t port
        uint16_t data_off
        uint16_t data_len
        uint16_t nb_segs
        uint32_t pkt_len
        uint64_t ol_flags
        uint16_t vlan_tci
        void *buf_addr
        rte_mbuf *next
    rte_mempool *rte_pktmbuf_pool_create(const char *name, unsigned int n, unsigned int cache_size,
                                         uint16_t priv_size, uint16_t data_room_size, int socket_id) noexcept
    rte_mbuf *rte_pktmbuf_alloc(rte_mempool *pool) noexcept
    void rte_pktmbuf_free(rte_mbuf *m) noexcept
    void rte_pktmbuf_free_bulk(rte_mbuf **mbufs, unsigned int count) noexcept
    rte_mbuf *rte_pktmbuf_copy(const rte_mbuf *m, rte_mempool *pool, uint32_t offset, uint32_t length) noexcept
    char *rte_pktmbuf_adj(rte_mbuf *m, uint16_t length) noexcept
    char *rte_pktmbuf_prepend(rte_mbuf *m, uint16_t length) noexcept
    char *rte_pktmbuf_append(rte_mbuf *m, uint16_t length) noexcept
    uint16_t rte_pktmbuf_data_room_size(rte_mempool *pool) noexcept
    int rte_pktmbuf_trim(rte_mbuf *m, uint16_t length) noexcept
    uint16_t rte_pktmbuf_tailroom(const rte_mbuf *m) noexcept
    const void *rte_pktmbuf_read(const rte_mbuf *m, uint32_t offset, uint32_t length, void *buffer) noexcept

cdef extern from "dr_mbuf.h" nogil:
    uint8_t *dr_data(const rte_mbuf *m) noexcept
    uint64_t dr_lengths(const rte_mbuf *m) noexcept
    uint32_t dr_rss(const rte_mbuf *m) noexcept
    uint32_t dr_note(const rte_mbuf *m) noexcept
    void dr_set_note(rte_mbuf *m, uint32_t v) noexcept
