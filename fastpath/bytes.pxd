"""Unaligned network-order loads and stores, MACs and RFC 1071 sums (include/dr_bytes.h)."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "dr_bytes.h" nogil:
    uint16_t dr_get_be16(const uint8_t *p) noexcept
    uint32_t dr_get_be32(const uint8_t *p) noexcept
    uint64_t dr_get_be64(const uint8_t *p) noexcept
    void dr_put_be16(uint8_t *p, uint16_t v) noexcept
    void dr_put_be32(uint8_t *p, uint32_t v) noexcept
    uint32_t dr_get_32(const uint8_t *p) noexcept
    uint64_t dr_get_64(const uint8_t *p) noexcept
    void dr_put_64(uint8_t *p, uint64_t v) noexcept
    uint32_t dr_swap_32(uint32_t v) noexcept
    uint64_t dr_swap_64(uint64_t v) noexcept
    void dr_put_32(uint8_t *p, uint32_t v) noexcept
    uint64_t dr_get_mac(const uint8_t *p) noexcept
    void dr_put_ether(uint8_t *p, uint64_t dst, uint64_t src, uint64_t type) noexcept
    uint32_t dr_sum(const uint8_t *p, uint32_t length, uint32_t sum) noexcept
    uint16_t dr_fold(uint32_t sum) noexcept
