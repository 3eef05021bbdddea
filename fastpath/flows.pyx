"""Which bucket of a next-hop group a flow takes: the workers' own hash, for `dpdkrouter route hash` and tests.

The same inline code as in stage 3 (stages/flow.pxd), on a packet that the caller writes. Any thread, with the GIL.
"""
from libc.stdint cimport uint8_t, uint32_t
from fastpath.stages.flow cimport HASH_DEVICE, HASH_LABEL, flow_hash

BY_LABEL: int = HASH_LABEL
BY_DEVICE: int = HASH_DEVICE


def flow_bucket(const uint8_t[::1] packet not None, how: int = 0) -> int:
    """Bucket, 0 to 255, of a packet whose device gives no hash. packet: from its IP header on; how: BY_LABEL or 0."""
    cdef Py_ssize_t n = len(packet)
    if not (n >= 40 and packet[0] >> 4 == 6
            or n >= 20 and packet[0] >> 4 == 4 and 20 <= (packet[0] & 15) * 4 <= n):
        raise ValueError(f"a packet of {n} bytes: must hold a whole IPv4 or IPv6 header")
    return flow_hash(&packet[0], <uint32_t>n, how) >> 24
