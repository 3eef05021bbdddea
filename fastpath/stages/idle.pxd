"""Quiescence and idling. back_off() is the one place where a worker may make a system call.

QSBR: a worker stores the grace epoch it saw while it holds no reference into the route table. On x86-64 stores are
seen in order and later loads follow the load of the epoch, so no fence is needed while online; coming back from
DR_OFFLINE needs one, since the writer could see "offline" after this thread's first table loads.
"""
from libc.stdint cimport uint32_t, uint64_t
from fastpath.atomic cimport dr_fence, dr_load_acquire_32, dr_load_acquire_64, dr_store_release_64
from fastpath.dpdk.eal cimport rte_pause
from fastpath.layout cimport DR_OFFLINE, dr_route_header
from fastpath.state cimport worker
from fastpath.tables cimport tables_bind

cdef extern from "<unistd.h>" nogil:
    int usleep(unsigned int us) noexcept

cdef extern from "<sys/prctl.h>" nogil:
    int PR_SET_TIMERSLACK
    int prctl(int option, ...) noexcept

cdef enum:
    SPIN_POLLS = 2000            # empty polls before the first sleep
    SLEEP_STEP_US = 10
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


cdef inline void back_off(worker *w) noexcept nogil:
    """After an empty poll: spin for a while, then sleep a little longer each time, out of the writer's way."""
    if not w.router.sleep_when_idle or w.empty_polls < SPIN_POLLS:
        w.empty_polls += 1
        rte_pause()
        return
    if w.empty_polls < SPIN_POLLS + SLEEP_MAX_US // SLEEP_STEP_US:
        w.empty_polls += 1
    offline(w)
    usleep((w.empty_polls - SPIN_POLLS) * SLEEP_STEP_US)
    online(w)
