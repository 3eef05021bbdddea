from enum import IntFlag

# Cython makes a `cpdef enum` an IntFlag: iterate over __members__, not over the class.

class Source(IntFlag):
    CONNECTED = 1
    STATIC = 2
    CLI = 3
    EBGP = 4
    KERNEL = 5
    IBGP = 6

class Step(IntFlag):
    PENDING = 0
    BEST = 1
    AS_LOOP = 2
    ORIGINATOR_LOOP = 3
    CLUSTER_LOOP = 4
    NEXT_HOP = 5
    SOURCE = 6
    LOCAL_PREF = 7
    AS_PATH = 8
    ORIGIN = 9
    MED = 10
    EBGP_OVER_IBGP = 11
    METRIC = 12
    ROUTER_ID = 13
    CLUSTER_LIST = 14
    PEER_ADDRESS = 15
    PATH_ID = 16
