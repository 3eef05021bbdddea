"""rte_eal.h, rte_lcore.h, rte_launch.h, rte_cycles.h, rte_prefetch.h, rte_errno.h: what is used."""
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "rte_eal.h" nogil:
    int rte_eal_init(int argc, char **argv) noexcept
    int rte_eal_cleanup() noexcept
    const char *rte_eal_get_runtime_dir() noexcept

cdef extern from "rte_errno.h" nogil:
    int rte_errno
    const char *rte_strerror(int errnum) noexcept

cdef extern from "rte_version.h" nogil:
    const char *rte_version() noexcept

# rte_launch.h's lcore_function_t is a function type; this is a pointer to it
ctypedef int (*lcore_function)(void *arg) noexcept nogil

cdef extern from "rte_launch.h" nogil:
    int rte_eal_remote_launch(lcore_function f, void *arg, unsigned int lcore) noexcept
    int rte_eal_wait_lcore(unsigned int lcore) noexcept

cdef extern from "rte_cycles.h" nogil:
    uint64_t rte_rdtsc() noexcept
    uint64_t rte_get_tsc_hz() noexcept

cdef extern from "rte_prefetch.h" nogil:
    void rte_prefetch0(const void *p) noexcept

cdef extern from "rte_interrupts.h" nogil:
    enum:
        RTE_INTR_EVENT_ADD
    struct rte_epoll_data:
        uint32_t event
    struct rte_epoll_event:
        rte_epoll_data epdata
    int rte_epoll_wait(int epfd, rte_epoll_event *events, int maxevents, int timeout) noexcept
    int rte_epoll_ctl(int epfd, int op, int fd, rte_epoll_event *event) noexcept

cdef extern from "rte_pause.h" nogil:
    void rte_pause() noexcept

cdef extern from "rte_malloc.h" nogil:
    void *rte_zmalloc(const char *type, size_t size, unsigned int align) noexcept
    void rte_free(void *p) noexcept
