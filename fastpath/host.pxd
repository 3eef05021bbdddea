"""The host thread's state: punt rings to TAPs, TAPs to ports, host0 to the pipeline, parked packets."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastpath.dpdk.mbuf cimport rte_mbuf
from fastpath.state cimport PORTS, burst, router, worker

cdef enum:
    PARKS = 256                  # next hops being resolved at a time
    PARK_EACH = 4                # packets kept for each
    BOUNCE = 9728                # longest frame: MTU 9,600 and its headers

cdef struct park:
    uint8_t family               # 0: free
    uint8_t port
    uint8_t n
    uint8_t address[16]          # network order, IPv4 in the first 4
    uint16_t kind[PARK_EACH]
    rte_mbuf *pkt[PARK_EACH]
    uint64_t expires_tsc
    uint64_t request_tsc         # when to ask control again

cdef struct host:
    router *router
    worker *w
    int tap[PORTS]               # -1: none
    int host0
    uint32_t parked              # entries in use
    uint64_t tick_tsc            # next look at the parked ones
    uint64_t hz
    park parks[PARKS]
    burst b
    uint8_t bounce[BOUNCE]
