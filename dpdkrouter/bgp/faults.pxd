"""What can be wrong with an UPDATE. The order has no meaning; a name is the metric's label."""


cpdef enum Fault:
    NONE = 0
    # treated as withdrawal (RFC 7606 section 2)
    ATTRIBUTE_LENGTH = 1      # an attribute ends beyond the attributes (RFC 7606 4)
    FLAGS = 2                 # Optional or Transitive contradicts the type (RFC 7606 3 c)
    MISSING = 3               # a mandatory attribute is not there (RFC 7606 3 d)
    ORIGIN = 4                # 7.1
    AS_PATH = 5               # 7.2, RFC 7607, RFC 5065
    NEXT_HOP = 6              # 7.3
    MED = 7                   # 7.4
    LOCAL_PREF = 8            # 7.5
    COMMUNITY = 9             # 7.8
    ORIGINATOR_ID = 10        # 7.9
    CLUSTER_LIST = 11         # 7.10
    EXTENDED_COMMUNITY = 12   # 7.14, 7.15
    LARGE_COMMUNITY = 13      # RFC 8092 section 6
    UNUSABLE_NEXT_HOP = 14    # RFC 4271 6.3: no address to send to, or our own
    # attribute discard
    ATOMIC_AGGREGATE = 20     # 7.6
    AGGREGATOR = 21           # 7.7, RFC 7607
    AS4 = 22                  # AS4_PATH or AS4_AGGREGATOR (RFC 6793 section 6)
    DUPLICATE = 23            # RFC 7606 3 g
    NOT_INTERNAL = 24         # LOCAL_PREF, ORIGINATOR_ID or CLUSTER_LIST of an external peer (7.5, 7.9, 7.10)
    # a prefix ignored
    PREFIX = 30               # multicast or link-local (RFC 4271 6.3)
    FAMILY = 31               # of a family that was not negotiated
    # session reset
    MARKER = 40               # RFC 4271 6.1
    MESSAGE_LENGTH = 41       # RFC 4271 6.1
    UPDATE_LENGTH = 42        # withdrawn routes or attributes end beyond the message (RFC 4271 6.3)
    UNKNOWN_WELL_KNOWN = 43   # RFC 4271 6.3
    MP_TWICE = 44             # RFC 7606 3 g
    MP_ATTRIBUTE = 45         # RFC 7606 5.3, 7.11, 7.12
    NETWORK_FIELD = 46        # RFC 7606 5.3
    NOT_UPDATE = 47           # a message of another type
