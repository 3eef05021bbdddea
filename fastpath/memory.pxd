"""Memory of EAL's for what the workers read: made by the main thread before they run, or beside what they read."""
from fastpath.dpdk.eal cimport rte_zmalloc


cdef inline void *allocate(size_t size, str what) except NULL:
    """Zeroed, on cache lines of its own; FastPathError says for what there was no room."""
    cdef void *p = rte_zmalloc(NULL, size, 64)
    if p == NULL:
        from dpdkrouter.errors import FastPathError
        raise FastPathError(f"no memory for {what} ({size} bytes): raise fastpath.memory_mib")
    return p
