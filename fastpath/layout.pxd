"""The memory that processes share, as include/dr_layout.h declares it (the comments are there)."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "dr_layout.h" nogil:
    enum:
        DR_MAX_PORTS
        DR_MAX_LCORES
        DR_MAX_GROUPS
        DR_BUCKETS
        DR_MAX_MEMBERS
        DR_NAME
        DR_REASONS
        DR_CLASSES
        DR_RX_SLOTS
        DR_BOND_MEMBERS
        DR_NO_NUMA
        DR_MEMBER_LINK
        DR_MEMBER_ACTIVE
        DR_MEMBER_COLLECTING
        DR_MEMBER_DISTRIBUTING
        DR_STAGES
        DR_RESOLVE_RING
        DR_FILTERS
        DR_FILTER_NAME
        DR_FILTER_NONE
        DR_FILTER_ACL
        DR_FILTER_POLICER
        DR_BURST_BUCKETS
        DR_PORT_SHIFT
        DR_ACTION_SHIFT
        DR_IPV4_EXTENDED
        DR_IPV4_ROOT_BITS
        DR_IPV6_ROOT_BITS
        DR_IPV6_OTHER_BITS
        DR_IPV6_GLOBAL
        DR_IPV6_ROOT
        DR_IPV6_STRIDE
        DR_IPV6_UNIT
        DR_IF_CONFIGURED
        DR_IF_NEIGHBORS_FULL
        DR_SOURCE_STALE
    const uint64_t DR_ROUTE_MAGIC
    const uint64_t DR_STATS_MAGIC
    const uint32_t DR_ROUTE_VERSION
    const uint32_t DR_STATS_VERSION
    const uint64_t DR_OFFLINE
    const uint64_t DR_MAC_MASK
    const uint32_t DR_GROUP_MULTI
    const uint32_t DR_IPV6_CHILD

    enum:
        DR_ACTION_NO_ROUTE
        DR_ACTION_FORWARD
        DR_ACTION_GLEAN
        DR_ACTION_RESOLVE
        DR_ACTION_LOCAL
        DR_ACTION_BLACKHOLE
        DR_ACTION_UNREACHABLE
        DR_ACTION_PROHIBIT
        DR_ACTION_BROADCAST

    enum:
        DR_JOURNAL_NONE
        DR_JOURNAL_INSERT
        DR_JOURNAL_WITHDRAW
        DR_JOURNAL_GROUP

    struct dr_part:
        uint64_t offset
        uint64_t bytes

    struct dr_route_header:
        uint64_t magic
        uint32_t version
        uint32_t header_bytes
        uint64_t segment_bytes
        uint64_t readers_bytes
        uint64_t layout_id
        uint32_t max_ipv4_routes
        uint32_t max_ipv6_routes
        uint32_t max_groups
        uint32_t max_adjacencies
        uint32_t max_ecmp_groups
        uint32_t max_ipv4_extended
        uint64_t ipv6_trie_bytes
        dr_part interfaces
        dr_part adjacencies
        dr_part groups
        dr_part buckets
        dr_part ipv4_root
        dr_part ipv4_extended
        dr_part ipv6_root
        dr_part ipv6_trie
        dr_part ipv4_rules
        dr_part ipv6_rules
        dr_part ipv4_depth
        dr_part ipv4_extended_depth
        dr_part group_keys
        dr_part journal
        char name[16]
        uint64_t created_ns
        uint64_t grace_epoch
        uint64_t generation
        uint64_t ipv4_routes
        uint64_t ipv6_routes
        uint32_t used_groups
        uint32_t used_adjacencies
        uint32_t used_ecmp_groups
        uint32_t used_ipv4_extended
        uint64_t used_ipv6_trie_bytes
        uint64_t heartbeat_ns
        uint64_t writer_pid
        uint64_t writer_start
        uint64_t superseded
        uint32_t default_group[2]

    struct dr_adjacency:
        uint64_t dst
        uint64_t src
        uint16_t mtu
        uint8_t family
        uint8_t in_use
        uint32_t reserved
        uint8_t nexthop[16]

    struct dr_interface:
        char name[16]
        uint32_t flags
        uint16_t mtu
        uint32_t ipv4_be
        uint8_t ipv6[16]
        uint8_t ipv6_link_local[16]

    struct dr_rule4:
        uint32_t prefix
        uint8_t length_plus1
        uint8_t source
        uint16_t group

    struct dr_rule6:
        uint8_t prefix[16]
        uint8_t length_plus1
        uint8_t source
        uint16_t group
        uint32_t reserved
        uint64_t pad

    struct dr_group_member:
        uint16_t adjacency
        uint16_t weight

    struct dr_group_key:
        uint16_t members
        dr_group_member member[64]

    struct dr_journal:
        uint32_t op
        uint8_t family
        uint8_t length
        uint8_t source
        uint16_t group
        uint16_t old_group
        uint32_t word
        uint64_t hole
        uint64_t hi
        uint64_t lo
        dr_group_key next

    struct dr_port_counters:
        uint64_t rx_packets
        uint64_t rx_bytes
        uint64_t tx_packets
        uint64_t tx_bytes
        uint64_t tx_drops
        uint64_t injected
        uint64_t originated
        uint64_t fragments

    struct dr_lcore_stats:
        uint64_t quiescent
        uint32_t online
        uint32_t cpu
        uint64_t polls
        uint64_t cycles_busy
        uint64_t cycles_idle
        uint64_t rx_packets
        uint64_t forwarded
        uint64_t punted
        uint64_t dropped
        uint64_t originated
        uint64_t injected
        uint64_t bursts[8]
        uint64_t drops[64]
        uint64_t punts[8]
        uint64_t policed[8]
        uint64_t stage_cycles[14]
        uint64_t sampled_polls
        uint64_t sampled_packets
        dr_port_counters port[32]

    struct dr_bond_member:
        char device[40]
        uint32_t speed_mbps
        uint32_t link_changes
        uint32_t flags
        uint8_t partner[6]

    struct dr_port_state:
        char name[16]
        char driver[32]
        uint8_t mac[6]
        uint8_t present
        uint8_t link_up
        uint32_t speed_mbps
        uint32_t link_changes
        uint16_t rx_queues
        uint16_t tx_queues
        uint16_t mtu
        uint16_t numa
        uint64_t rx_missed
        uint64_t rx_errors
        uint64_t rx_no_mbuf
        uint64_t tx_errors
        char rss[24]
        char offloads[64]
        uint8_t rx_slot[32]
        uint16_t parent
        uint16_t vlan
        uint16_t outer_vlan
        uint16_t members
        dr_bond_member member[8]

    struct dr_resolve_request:
        uint64_t seq
        uint8_t family
        uint8_t port
        uint8_t address[16]

    struct dr_resolve_ring:
        uint64_t head
        dr_resolve_request slot[256]

    struct dr_filter_counter:
        uint64_t packets
        uint64_t bytes

    struct dr_filter:
        char name[32]
        uint32_t kind
        uint32_t first
        uint32_t count

    struct dr_stats_header:
        uint64_t magic
        uint32_t version
        uint32_t header_bytes
        uint64_t segment_bytes
        uint64_t pid
        uint64_t pid_start
        uint64_t tsc_hz
        uint64_t started_ns
        uint32_t lcores
        uint32_t ports
        char name[16]
        char simd[32]
        char dpdk[64]
        char build_id[64]
        uint32_t punt_pps[8]
        uint64_t heartbeat_ns
        uint64_t ready
        uint64_t filter_generation
        uint32_t filter_counters
        uint32_t hashing

    struct dr_stats:
        dr_stats_header header
        dr_port_state port[32]
        dr_resolve_ring resolve
        dr_filter filter[128]
        dr_lcore_stats lcore[33]
