/* The cycle counter, read as DPDK's rte_rdtsc_precise reads it, so that figures compare.
 * Why C: Cython has neither the fence nor the counter. */
#ifndef DR_CYCLES_H
#define DR_CYCLES_H

#include <stdint.h>

#if defined(__x86_64__)
#include <x86intrin.h>
static inline uint64_t dr_cycles(void) {
    _mm_mfence();
    return __rdtsc();
}
#elif defined(__aarch64__)
static inline uint64_t dr_cycles(void) {
    uint64_t count;
    __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(count)::"memory");
    return count;
}
#else
#include <time.h>
static inline uint64_t dr_cycles(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
#endif

#endif
