"""The worker: placeholder until the loop is here; it shows that each variant is compiled and links DPDK."""

cdef extern from *:
    const char *DR_VARIANT


cdef extern from "rte_version.h" nogil:
    const char *rte_version() noexcept


def variant() -> str:
    """The SIMD level that this module was compiled for."""
    return DR_VARIANT.decode()


def dpdk_version() -> str:
    """The version of the DPDK library that is loaded."""
    return rte_version().decode()
