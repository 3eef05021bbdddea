"""Token buckets in TSC cycles: time itself is the token, a packet costs hz/rate cycles. No division, no system call."""
from libc.stdint cimport uint64_t
from fastpath.state cimport token_bucket


cdef inline void bucket_init(token_bucket *t, uint64_t hz, uint64_t rate_pps, uint64_t depth_packets,
                             uint64_t now_tsc) noexcept nogil:
    t.cost_tsc = hz // rate_pps
    t.depth_tsc = t.cost_tsc * depth_packets
    t.tokens_tsc = t.depth_tsc
    t.last_tsc = now_tsc


cdef inline bint bucket_take(token_bucket *t, uint64_t now_tsc) noexcept nogil:
    """One packet: True when there is room in the rate."""
    t.tokens_tsc += now_tsc - t.last_tsc
    t.last_tsc = now_tsc
    if t.tokens_tsc > t.depth_tsc:
        t.tokens_tsc = t.depth_tsc
    if t.tokens_tsc < t.cost_tsc:
        return False
    t.tokens_tsc -= t.cost_tsc
    return True
