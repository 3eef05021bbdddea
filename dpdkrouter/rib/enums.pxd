"""Enumerations of the RIB that both the compiled code and Python show.

The numbers of Source are the order of preference between sources. Step names every step of the decision in
the order in which it is taken; a path's step says where it lost (RFC 4271 sections 9.1.2 and 9.1.2.2, RFC
4456 sections 8 and 9).
"""


cpdef enum Source:
    CONNECTED = 1
    STATIC = 2
    CLI = 3
    EBGP = 4
    KERNEL = 5
    IBGP = 6


cpdef enum Step:
    PENDING = 0           # not decided yet
    BEST = 1              # lost nowhere
    AS_LOOP = 2           # kept out: our own AS is in the AS path (RFC 4271 9.1.2)
    ORIGINATOR_LOOP = 3   # kept out: ORIGINATOR_ID is ours (RFC 4456 8)
    CLUSTER_LOOP = 4      # kept out: CLUSTER_LIST holds our id (RFC 4456 8)
    NEXT_HOP = 5          # kept out: next hop not reachable (RFC 4271 9.1.2)
    SOURCE = 6            # another source is preferred
    LOCAL_PREF = 7
    AS_PATH = 8
    ORIGIN = 9
    MED = 10
    EBGP_OVER_IBGP = 11
    METRIC = 12
    ROUTER_ID = 13
    CLUSTER_LIST = 14
    PEER_ADDRESS = 15
    PATH_ID = 16          # one peer's paths under ADD-PATH (RFC 7911): the lowest path id
