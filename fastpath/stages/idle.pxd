"""Quiescence and idling. back_off() is the one place where a worker may make a system call.

A worker whose devices all have RX interrupts may wait for them: it switches them on, says that it is about to sleep,
and polls once more, so that nothing that came meanwhile is left lying; only then does it wait.

QSBR: a worker stores the grace epoch it saw while it holds no reference into the route table. On x86-64 stores are
seen in order and later loads follow the load of the epoch, so no fence is needed while online; coming back from
DR_OFFLINE needs one, since the writer could see "offline" after this thread's first table loads.
"""
from libc.stdint cimport uint32_t, uint64_t
from fastpath.atomic cimport (dr_fence, dr_load_acquire_32, dr_load_acquire_64, dr_store_release_32,
                              dr_store_release_64)
from fastpath.dpdk.eal cimport rte_epoll_event, rte_epoll_wait, rte_pause
from fastpath.dpdk.ethdev cimport rte_eth_dev_rx_intr_disable, rte_eth_dev_rx_intr_enable
from fastpath.layout cimport DR_OFFLINE, dr_route_header
from fastpath.state cimport IDLE_POLL, worker
from fastpath.tables cimport tables_bind

cdef extern from "<unistd.h>" nogil:
    int usleep(unsigned int us) noexcept
    long read(int fd, void *buf, size_t n) noexcept

cdef extern from "<sys/prctl.h>" nogil:
    int PR_SET_TIMERSLACK
    int prctl(int option, ...) noexcept

cdef enum:
    SPIN_POLLS = 2000            # empty polls before the first sleep
    SLEEP_STEP_US = 10
    WAIT_MS = 10                 # most between two looks at the stop word and the tables, which interrupt nobody
    WAKES = 8                    # events taken at once
    SLEEP_MAX_US = 80            # with waking up, what the first packet after silence waits: below 100 us


cdef inline void quiescent(worker *w) noexcept nogil:
    """Called with no table reference held."""
    cdef const dr_route_header *h
    if w.generation != dr_load_acquire_32(&w.router.generation):
        w.generation = dr_load_acquire_32(&w.router.generation)
        tables_bind(&w.t, w.router.base)
    h = <const dr_route_header *>w.router.base
    dr_store_release_64(&w.stats.quiescent, dr_load_acquire_64(&h.grace_epoch))


cdef inline void offline(worker *w) noexcept nogil:
    dr_store_release_64(&w.stats.quiescent, DR_OFFLINE)


cdef inline void online(worker *w) noexcept nogil:
    quiescent(w)
    dr_fence()


cdef inline void sleep_exactly() noexcept nogil:
    """Once, before the loop: without this the kernel adds 50 us to each sleep of the thread (prctl(2))."""
    prctl(PR_SET_TIMERSLACK, <unsigned long>1, 0, 0, 0)


cdef inline void disarm(worker *w) noexcept nogil:
    """RX interrupts off: the worker polls."""
    cdef uint32_t k
    for k in range(w.n_rx):
        rte_eth_dev_rx_intr_disable(w.rx[k].dev, w.rx[k].queue)
    w.armed = 0
    dr_store_release_32(&w.router.asleep[w.slot], 0)


cdef inline void arm(worker *w) noexcept nogil:
    """RX interrupts on, and others know that they have to wake this thread. Then one more look is due."""
    cdef uint32_t k
    for k in range(w.n_rx):
        rte_eth_dev_rx_intr_enable(w.rx[k].dev, w.rx[k].queue)    # a device that always tells cannot
    w.armed = 1
    dr_store_release_32(&w.router.asleep[w.slot], 1)
    dr_fence()


cdef inline void back_off(worker *w) noexcept nogil:
    """After an empty poll: spin for a while, then wait for the devices, or sleep a little longer each time; out of the
    writer's way."""
    cdef rte_epoll_event events[WAKES]
    cdef uint64_t woken
    if w.router.idle == IDLE_POLL or w.empty_polls < SPIN_POLLS:
        w.empty_polls += 1
        rte_pause()
        return
    if w.epoll >= 0 and not w.armed:
        arm(w)
        return
    offline(w)
    if w.epoll >= 0:
        rte_epoll_wait(w.epoll, events, WAKES, WAIT_MS)
        read(w.router.wake[w.slot], &woken, sizeof(woken))        # non-blocking
    else:
        if w.empty_polls < SPIN_POLLS + SLEEP_MAX_US // SLEEP_STEP_US:
            w.empty_polls += 1
        usleep((w.empty_polls - SPIN_POLLS) * SLEEP_STEP_US)
    online(w)
    if w.armed:
        disarm(w)
