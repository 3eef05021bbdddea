"""The workers' burst lookups, timed: the same inline code with the same compiler flags, once per variant.

Used by scripts/bench only. Bursts follow each other as they do in a worker that has packets, so one's memory accesses
overlap the next one's; or, `fenced`, the counter is read around each burst as dpdk-test-fib does it, and each burst
waits for its own. Any thread; the GIL is released, since others may want to change the table.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from fastpath.lookup4 cimport lookup4_burst
from fastpath.lookup6 cimport lookup6_burst
from fastpath.segment cimport Mapping
from fastpath.tables cimport tables, tables_bind

cdef extern from "dr_cycles.h" nogil:
    uint64_t dr_cycles() noexcept


def _check(Mapping mapping, Py_ssize_t addresses, Py_ssize_t groups, int burst) -> None:
    if addresses != groups or burst < 1:
        raise ValueError(f"{addresses} addresses, {groups} groups, burst {burst}: as many of each, burst at least 1")
    if mapping.base == NULL:
        raise ValueError(f"{mapping.path}: closed")


def lookups4(Mapping mapping not None, const uint32_t[::1] dst, uint16_t[::1] group, int burst, bint fenced) -> int:
    """Look dst (host order) up in bursts, write the groups, and return the cycles spent in the lookups."""
    _check(mapping, len(dst), len(group), burst)
    cdef tables t
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t n = len(dst)
    cdef int part
    cdef uint64_t start
    cdef uint64_t spent = 0
    tables_bind(&t, mapping.base)
    with nogil:
        start = dr_cycles()
        while done < n:
            part = burst if n - done > burst else <int>(n - done)
            if fenced:
                start = dr_cycles()
            lookup4_burst(&t, &dst[done], &group[done], part)
            if fenced:
                spent += dr_cycles() - start
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
    cdef int part
    cdef uint64_t start
    cdef uint64_t spent = 0
    tables_bind(&t, mapping.base)
    with nogil:
        start = dr_cycles()
        while done < n:
            part = burst if n - done > burst else <int>(n - done)
            if fenced:
                start = dr_cycles()
            lookup6_burst(&t, &hi[done], &lo[done], &group[done], part)
            if fenced:
                spent += dr_cycles() - start
            done += part
        if not fenced:
            spent = dr_cycles() - start
    return spent
