"""Ordered loads and stores on shared memory (include/dr_atomic.h)."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef extern from "dr_atomic.h" nogil:
    uint16_t dr_load_acquire_16(const void *p) noexcept
    uint32_t dr_load_acquire_32(const void *p) noexcept
    uint64_t dr_load_acquire_64(const void *p) noexcept
    uint16_t dr_load_relaxed_16(const void *p) noexcept
    uint32_t dr_load_relaxed_32(const void *p) noexcept
    uint64_t dr_load_relaxed_64(const void *p) noexcept
    void dr_store_release_16(void *p, uint16_t v) noexcept
    void dr_store_release_32(void *p, uint32_t v) noexcept
    void dr_store_release_64(void *p, uint64_t v) noexcept
    void dr_store_relaxed_16(void *p, uint16_t v) noexcept
    void dr_store_relaxed_32(void *p, uint32_t v) noexcept
    void dr_store_relaxed_64(void *p, uint64_t v) noexcept
    void dr_fence() noexcept
