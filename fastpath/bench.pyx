"""The workers' burst lookups, timed: the same inline code with the same compiler flags, once per variant.

Used by scripts/bench only. As in a worker, root lines are asked for well before they are read: parse asks for a burst's
and its checks take about as long as memory does. Here there are no checks, so a burst's lines are asked for before the
burst ahead of it is read. Or, `fenced`, the counter is read around each burst as dpdk-test-fib does it, and each burst
asks and waits for its own. Any thread; the GIL is released, since others may want to change the table.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from fastpath.lookup4 cimport lookup4_burst, lookup4_fetched, lookup4_prefetch
from fastpath.lookup6 cimport LOOKUP6_BURST, lookup6_burst, lookup6_fetched, lookup6_prefetch
from fastpath.segment cimport Mapping
from fastpath.tables cimport tables, tables_bind

cdef extern from "dr_cycles.h" nogil:
    uint64_t dr_cycles() noexcept


def _check(Mapping mapping, Py_ssize_t addresses, Py_ssize_t groups, int burst) -> None:
    if addresses != groups or burst < 1:
        raise ValueError(f"{addresses} addresses, {groups} groups, burst {burst}: as many of each, burst at least 1")
    if mapping.base == NULL:
        raise ValueError(f"{mapping.path}: closed")


cdef inline int size_of(Py_ssize_t left, int burst) noexcept nogil:
    return burst if left > burst else <int>left


def lookups4(Mapping mapping not None, const uint32_t[::1] dst, uint16_t[::1] group, int burst, bint fenced) -> int:
    """Look dst (host order) up in bursts, write the groups, and return the cycles spent in the lookups."""
    _check(mapping, len(dst), len(group), burst)
    cdef tables t
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t n = len(dst)
    cdef int part, i, then
    cdef uint64_t start
    cdef uint64_t spent = 0
    tables_bind(&t, mapping.base)
    with nogil:
        start = dr_cycles()
        if not fenced:
            for i in range(size_of(n, burst)):
                lookup4_prefetch(&t, dst[i])
        while done < n:
            part = size_of(n - done, burst)
            if fenced:
                start = dr_cycles()
                lookup4_burst(&t, &dst[done], &group[done], part)
                spent += dr_cycles() - start
            else:
                then = size_of(n - done - part, burst)
                for i in range(then):
                    lookup4_prefetch(&t, dst[done + part + i])
                lookup4_fetched(&t, &dst[done], &group[done], part)
            done += part
        if not fenced:
            spent = dr_cycles() - start
    return spent


def lookups6(Mapping mapping not None, const uint64_t[::1] hi, const uint64_t[::1] lo, uint16_t[::1] group,
             int burst, bint fenced) -> int:
    """lookups4 for IPv6: the addresses' halves in host order."""
    _check(mapping, len(hi), len(group), burst)
    _check(mapping, len(lo), len(group), burst)
    cdef tables t
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t n = len(hi)
    cdef int part, i, then
    cdef uint64_t start
    cdef uint64_t spent = 0
    if burst > LOOKUP6_BURST:
        raise ValueError(f"burst {burst}: at most {LOOKUP6_BURST}, as a worker's")
    tables_bind(&t, mapping.base)
    with nogil:
        start = dr_cycles()
        if not fenced:
            for i in range(size_of(n, burst)):
                lookup6_prefetch(&t, hi[i])
        while done < n:
            part = size_of(n - done, burst)
            if fenced:
                start = dr_cycles()
                lookup6_burst(&t, &hi[done], &lo[done], &group[done], part)
                spent += dr_cycles() - start
            else:
                then = size_of(n - done - part, burst)
                for i in range(then):
                    lookup6_prefetch(&t, hi[done + part + i])
                lookup6_fetched(&t, &hi[done], &lo[done], &group[done], part)
            done += part
        if not fenced:
            spent = dr_cycles() - start
    return spent
