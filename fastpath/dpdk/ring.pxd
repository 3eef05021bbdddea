"""rte_ring.h: what is used."""

cdef extern from "rte_ring.h" nogil:
    enum:
        RING_F_SP_ENQ
        RING_F_SC_DEQ
    struct rte_ring:
        pass
    rte_ring *rte_ring_create(const char *name, unsigned int count, int socket_id, unsigned int flags) noexcept
    rte_ring *rte_ring_lookup(const char *name) noexcept
    unsigned int rte_ring_enqueue_burst(rte_ring *r, void *const *obj, unsigned int n, unsigned int *free) noexcept
    unsigned int rte_ring_dequeue_burst(rte_ring *r, void **obj, unsigned int n, unsigned int *left) noexcept
    unsigned int rte_ring_count(const rte_ring *r) noexcept
