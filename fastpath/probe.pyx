"""Which of the worker's compiled variants this CPU can run.

Uses CPUID (and XGETBV: the operating system must save the registers too) by way of the compiler's own
`__builtin_cpu_supports`. Links no DPDK, so that `dpdkrouter version` and the choice of the worker module
work before EAL is loaded. The names are those of the configuration's `fastpath.simd`.
"""


cdef extern from "dr_cpu.h" nogil:
    bint dr_cpu_x86() noexcept
    bint dr_cpu_v2() noexcept
    bint dr_cpu_v3() noexcept
    bint dr_cpu_v4() noexcept
    bint dr_cpu_vpopcnt() noexcept


def supported_variants() -> tuple[str, ...]:
    """The variants that this CPU can run, the best last; empty on an x86-64 CPU below x86-64-v2."""
    if not dr_cpu_x86():
        return ("native",)
    names = []
    if dr_cpu_v2():
        names.append("x86-64-v2")
    if dr_cpu_v3():
        names.append("x86-64-v3")
    if dr_cpu_v4():
        names.append("x86-64-v4")
        if dr_cpu_vpopcnt():
            names.append("x86-64-v4-vpopcnt")
    return tuple(names)


def best_variant() -> str:
    """The best variant that this CPU can run; RuntimeError when it can run none."""
    names = supported_variants()
    if not names:
        raise RuntimeError("this CPU lacks x86-64-v2 (SSE4.2, POPCNT), which every worker variant needs")
    return names[len(names) - 1]   # the build's wraparound=False: no negative indices
