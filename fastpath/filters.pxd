"""What filters are to the workers: the lists and policers of all ports, and what a worker needs to go by them.

`filters` is written by the fast path process before the workers start; afterwards only list[] changes, by one store
each. An `acl` never changes once it is there: a replaced one is freed when every worker was quiescent. A `filter_work`
belongs to its worker alone: so a policer's rate holds for each worker.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.dpdk.acl cimport rte_acl_ctx
from fastpath.dpdk.meter cimport rte_meter_srtcm, rte_meter_srtcm_profile
from fastpath.layout cimport dr_filter_counter

cdef enum:
    MAX_LISTS = 64
    MAX_POLICERS = 64            # with MAX_LISTS: DR_FILTERS
    FILTERED_PORTS = 32          # state.pxd's PORTS, which includes this file
    FILTER_BURST = 64            # and BURST
    NONE = 255                   # no list, no policer
    CATEGORIES = 4               # of rte_acl, when a list has rules that only count: it takes one or four

# A rule's key: the first byte by itself, then groups of four, as rte_acl wants them; all in network order.
cdef enum:
    KEY_PROTOCOL = 0
    KEY_SOURCE = 4
    KEY4_DESTINATION = 8
    KEY4_PORTS = 12              # source, destination; zero without an upper header that has them
    KEY4_UPPER = 16              # TCP's flags, ICMP's type, STATE_...
    KEY4_BYTES = 20
    KEY6_DESTINATION = 20
    KEY6_PORTS = 36
    KEY6_UPPER = 40
    KEY6_BYTES = 44
    KEY_ROOM = 48
    STATE_LATER = 1              # a fragment other than the first
    STATE_UPPER = 2              # the upper header is there: ports, flags and type mean something
    STATE_BROKEN = 4             # it is not, though no later fragment (RFC 1858 3): none may pass unseen

# What a rule, or a list's default, does; dpdkrouter/filters/rules.py has the same.
cdef enum:
    ACTION_PERMIT = 0
    ACTION_DENY = 1
    ACTION_COUNT = 2
    ACTION_POLICE = 3

cdef struct acl:
    rte_acl_ctx *ipv4            # NULL: no rule is of that family
    rte_acl_ctx *ipv6
    uint32_t rules               # the default stands behind them
    uint32_t first               # of its counters
    uint32_t categories          # 1, or CATEGORIES
    uint32_t reserved
    uint8_t *action              # [rules + 1]
    uint8_t *policer             # [rules + 1]; NONE

cdef struct policer:
    rte_meter_srtcm_profile profile
    uint32_t first               # of its counters: green, yellow, red

cdef struct filters:
    acl *list[MAX_LISTS]
    policer policers[MAX_POLICERS]
    uint8_t list_of[FILTERED_PORTS]
    uint8_t policer_of[FILTERED_PORTS]

cdef struct filter_work:
    filters *all
    dr_filter_counter *counters  # this worker's, in the stats segment
    rte_meter_srtcm meter[MAX_POLICERS]
    uint32_t result[FILTER_BURST * CATEGORIES]
    const uint8_t *at[FILTER_BURST]
    uint8_t key[FILTER_BURST][KEY_ROOM]
