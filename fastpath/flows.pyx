"""Which bucket of a next-hop group a flow takes: the workers' own hash, for `dpdkrouter route hash` and tests.

The same inline code as in stage 3 (stages/choose.pxd), on a packet that the caller writes. Any thread, with the GIL.
"""
from libc.stdint cimport uint8_t
from fastpath.stages.choose cimport flow_hash4, flow_hash6


def flow_bucket(const uint8_t[::1] packet not None) -> int:
    """Bucket, 0 to 255, of a packet whose device gives no hash. packet: from its IP header on."""
    cdef Py_ssize_t n = len(packet)
    if n >= 40 and packet[0] >> 4 == 6:
        return flow_hash6(&packet[0], <unsigned int>n) >> 24
    if n < 20 or packet[0] >> 4 != 4 or (packet[0] & 15) * 4 > n:
        raise ValueError(f"a packet of {n} bytes: must hold a whole IPv4 or IPv6 header")
    return flow_hash4(&packet[0], <unsigned int>n) >> 24
