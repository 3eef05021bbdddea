"""Packed attribute sets: the bytes by which the RIB interns them, equal for equal sets.

    PackedHead | next hops (PackedHop) | AS path | communities | extended | large communities | cluster list

The AS path is as on the wire with 4-byte ASNs (RFC 4271 section 4.3, RFC 6793), the lists as on the wire
too; fields of the head are in native order and 0 when absent. Made by Attributes.pack (rib/attributes.py,
which has the same layout as struct formats) and by the UPDATE decoder (bgp/update.pyx); read by Interns.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t


cdef enum:
    # PackedHead.present
    HAS_MED = 1
    HAS_LOCAL_PREF = 2
    HAS_ORIGINATOR = 4
    HAS_AGGREGATOR = 8
    ATOMIC_AGGREGATE = 16
    # segment types
    AS_SET = 1
    AS_SEQUENCE = 2
    CONFED_SET = 4


ctypedef struct PackedHead:
    uint8_t kind
    uint8_t origin
    uint8_t present
    uint8_t zero
    uint32_t med
    uint32_t local_pref
    uint32_t originator_id
    uint32_t aggregator_as
    uint32_t aggregator_id
    uint32_t path_bytes
    uint16_t hops
    uint16_t communities
    uint16_t extended
    uint16_t large
    uint16_t clusters
    uint16_t zeros


ctypedef struct PackedHop:
    uint8_t family         # 4, 6, or 0: no address
    uint8_t on_port
    uint16_t weight
    uint32_t port
    uint8_t address[16]    # network order; of IPv4 the first 4 bytes
