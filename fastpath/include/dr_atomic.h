/* Loads and stores that other processes see whole and in order.
 * Why C: Cython has no atomics. On x86-64 all but the fence are plain moves. */
#ifndef DR_ATOMIC_H
#define DR_ATOMIC_H

#include <stdint.h>

#define DR_ATOMIC(bits)                                                                            \
    static inline uint##bits##_t dr_load_acquire_##bits(const volatile void *p) {                  \
        return __atomic_load_n((const uint##bits##_t *)p, __ATOMIC_ACQUIRE);                       \
    }                                                                                              \
    static inline uint##bits##_t dr_load_relaxed_##bits(const volatile void *p) {                  \
        return __atomic_load_n((const uint##bits##_t *)p, __ATOMIC_RELAXED);                       \
    }                                                                                              \
    static inline void dr_store_release_##bits(volatile void *p, uint##bits##_t v) {               \
        __atomic_store_n((uint##bits##_t *)p, v, __ATOMIC_RELEASE);                                \
    }                                                                                              \
    static inline void dr_store_relaxed_##bits(volatile void *p, uint##bits##_t v) {               \
        __atomic_store_n((uint##bits##_t *)p, v, __ATOMIC_RELAXED);                                \
    }
DR_ATOMIC(16)
DR_ATOMIC(32)
DR_ATOMIC(64)
#undef DR_ATOMIC

static inline void dr_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

#endif
