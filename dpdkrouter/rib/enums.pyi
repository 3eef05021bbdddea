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
    POLICY = 2
    AS_LOOP = 3
    ORIGINATOR_LOOP = 4
    CLUSTER_LOOP = 5
    NEXT_HOP = 6
    SOURCE = 7
    LOCAL_PREF = 8
    AS_PATH = 9
    ORIGIN = 10
    MED = 11
    EBGP_OVER_IBGP = 12
    METRIC = 13
    ROUTER_ID = 14
    CLUSTER_LIST = 15
    PEER_ADDRESS = 16
    PATH_ID = 17

class Verdict(IntFlag):
    UNFILTERED = 0
    NO_POLICY = 1
    FIRST_AS = 2
    BOGON = 3
    OWN = 4
    TOO_LONG = 5
    SHORT_BLACKHOLE = 6
    UNLISTED_BLACKHOLE = 7
    DEFAULT = 8
    RULE = 9
