"""The fast path: DPDK worker loops in Cython, and what starts them."""
