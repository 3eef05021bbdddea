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
    POLICY = 2            # kept out: refused by the import policy or a check before it (RFC 4271 9.1.1)
    AS_LOOP = 3           # kept out: our own AS is in the AS path (RFC 4271 9.1.2)
    ORIGINATOR_LOOP = 4   # kept out: ORIGINATOR_ID is ours (RFC 4456 8)
    CLUSTER_LOOP = 5      # kept out: CLUSTER_LIST holds our id (RFC 4456 8)
    NEXT_HOP = 6          # kept out: next hop not reachable (RFC 4271 9.1.2)
    SOURCE = 7            # another source is preferred
    LOCAL_PREF = 8
    AS_PATH = 9
    ORIGIN = 10
    MED = 11
    EBGP_OVER_IBGP = 12
    METRIC = 13
    ROUTER_ID = 14
    CLUSTER_LIST = 15
    PEER_ADDRESS = 16
    PATH_ID = 17          # one peer's paths under ADD-PATH (RFC 7911): the lowest path id


cpdef enum Verdict:
    UNFILTERED = 0        # the origin has no import filter
    NO_POLICY = 1         # refused: an eBGP peer without a policy (RFC 8212)
    FIRST_AS = 2          # refused: the path does not begin with the peer's AS (RFC 4271 6.3)
    BOGON = 3             # refused: special-purpose addresses (RFC 6890)
    OWN = 4               # refused: a prefix of our own ports, or within one
    TOO_LONG = 5          # refused: a prefix longer than those of the Internet's table
    SHORT_BLACKHOLE = 6   # refused: a blackhole for more than the peer may drop (RFC 7999 3.3)
    UNLISTED_BLACKHOLE = 7  # refused: a blackhole that no prefix list covers (RFC 7999 3.3)
    DEFAULT = 8           # no rule matched
    RULE = 9              # and above: the policy's first rule, second, ...
