"""rte_acl.h: what is used."""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t

cdef extern from "rte_acl.h" nogil:
    enum:
        RTE_ACL_FIELD_TYPE_MASK
        RTE_ACL_FIELD_TYPE_RANGE
        RTE_ACL_FIELD_TYPE_BITMASK
        RTE_ACL_MAX_PRIORITY
    union rte_acl_field_types:
        uint8_t u8
        uint16_t u16
        uint32_t u32
    struct rte_acl_field:
        rte_acl_field_types value
        rte_acl_field_types mask_range
    struct rte_acl_field_def:
        uint8_t type
        uint8_t size
        uint8_t field_index
        uint8_t input_index
        uint32_t offset
    struct rte_acl_rule_data:
        uint32_t category_mask
        int32_t priority
        uint32_t userdata
    struct rte_acl_rule:
        rte_acl_rule_data data
        rte_acl_field field[1]   # as many as RTE_ACL_RULE_SZ() was told
    size_t RTE_ACL_RULE_SZ(uint32_t fields)
    struct rte_acl_config:
        uint32_t num_categories
        uint32_t num_fields
        rte_acl_field_def defs[64]
        size_t max_size
    struct rte_acl_param:
        const char *name
        int socket_id
        uint32_t rule_size
        uint32_t max_rule_num
    struct rte_acl_ctx:
        pass
    rte_acl_ctx *rte_acl_create(const rte_acl_param *param) noexcept
    void rte_acl_free(rte_acl_ctx *ctx) noexcept
    int rte_acl_add_rules(rte_acl_ctx *ctx, const rte_acl_rule *rules, uint32_t num) noexcept
    int rte_acl_build(rte_acl_ctx *ctx, const rte_acl_config *cfg) noexcept
    int rte_acl_classify(const rte_acl_ctx *ctx, const uint8_t **data, uint32_t *results, uint32_t num,
                         uint32_t categories) noexcept
