"""Where a worker's cycles go: one poll in HOUSEKEEPING reads the cycle counter between its stages.

The counter is read without a fence, so neighbouring stages overlap by what the CPU reorders; sums are right. A sampled
poll costs about ten reads, 0.2 % of all cycles at full bursts; any other poll a predicted branch a stage. Polls that
moved nothing are not counted. Runs on the worker's thread; slot 0, the host thread, never samples.
"""
from libc.stdint cimport uint32_t, uint64_t
from fastpath.dpdk.eal cimport rte_rdtsc
from fastpath.state cimport worker

# In the order of the pipeline; their names stand in dpdkrouter/segment/states.py.
cdef enum:
    STAGE_RECEIVE = 0
    STAGE_PARSE = 1
    STAGE_FILTER = 2
    STAGE_LOOKUP4 = 3
    STAGE_LOOKUP6 = 4
    STAGE_CHOOSE = 5
    STAGE_REWRITE = 6
    STAGE_DISPOSE = 7
    STAGE_TRANSMIT = 8
    STAGES = 9


cdef inline void begin(worker *w) noexcept nogil:
    """At the start of a poll that is to be timed."""
    if w.sampling:
        w.mark_tsc = rte_rdtsc()


cdef inline void lap(worker *w, int stage) noexcept nogil:
    """At the end of a stage: what passed since the one before is this one's."""
    cdef uint64_t now
    if w.sampling:
        now = rte_rdtsc()
        w.stats.stage_cycles[stage] += now - w.mark_tsc
        w.mark_tsc = now
