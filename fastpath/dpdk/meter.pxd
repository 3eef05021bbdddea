"""rte_meter.h: what is used."""
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "rte_meter.h" nogil:
    enum rte_color:
        RTE_COLOR_GREEN
        RTE_COLOR_YELLOW
        RTE_COLOR_RED
        RTE_COLORS
    struct rte_meter_srtcm_params:
        uint64_t cir
        uint64_t cbs
        uint64_t ebs
    struct rte_meter_srtcm_profile:
        pass
    struct rte_meter_srtcm:
        pass
    int rte_meter_srtcm_profile_config(rte_meter_srtcm_profile *p, rte_meter_srtcm_params *params) noexcept
    int rte_meter_srtcm_config(rte_meter_srtcm *m, rte_meter_srtcm_profile *p) noexcept
    rte_color rte_meter_srtcm_color_blind_check(rte_meter_srtcm *m, rte_meter_srtcm_profile *p, uint64_t time,
                                                uint32_t pkt_len) noexcept
