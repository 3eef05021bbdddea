/* What this CPU can run. C, because __builtin_cpu_supports takes literals only and exists on x86 only. */
#ifndef DR_CPU_H
#define DR_CPU_H

#if defined(__x86_64__)
static inline int dr_cpu_v2(void) { __builtin_cpu_init(); return __builtin_cpu_supports("x86-64-v2") != 0; }
static inline int dr_cpu_v3(void) { __builtin_cpu_init(); return __builtin_cpu_supports("x86-64-v3") != 0; }
static inline int dr_cpu_v4(void) { __builtin_cpu_init(); return __builtin_cpu_supports("x86-64-v4") != 0; }
static inline int dr_cpu_vpopcnt(void) { __builtin_cpu_init(); return __builtin_cpu_supports("avx512vpopcntdq") != 0; }
static inline int dr_cpu_x86(void) { return 1; }
#else
static inline int dr_cpu_v2(void) { return 0; }
static inline int dr_cpu_v3(void) { return 0; }
static inline int dr_cpu_v4(void) { return 0; }
static inline int dr_cpu_vpopcnt(void) { return 0; }
static inline int dr_cpu_x86(void) { return 0; }
#endif

#endif
