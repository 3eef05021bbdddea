"""How large a configuration's segments are at most, from the maxima of [table] and the layout.

The writer knows exactly; this bound is for checks where the writer's code is not loaded. Figures from
dr_layout.h.
"""

from dpdkrouter.config.schema import Config

MIB = 1 << 20
IPV4_ROOT_BYTES = 2 << 24
IPV4_DEPTH_BYTES = 1 << 24  # writer's: the prefix length behind each root entry
IPV6_ROOT_BYTES = 4 * ((1 << 21) + (1 << 12))
BLOCK_BYTES = 256 * (2 + 1) + 8  # an extended block: entries, depths, owner
BUCKETS_BYTES = 256 * 2
ADJACENCY_BYTES = 64
GROUP_BYTES = 4 + 128 + 4 * 64  # word, key and members
IPV4_RULE_BYTES = 16
IPV6_RULE_BYTES = 32
SPARE = 2  # hash tables of rules are at most half full
FIXED_BYTES = 4 * MIB  # header, interfaces, journal, alignment of parts to pages


def route_segment_bytes(config: Config) -> int:
    """An upper bound of the route segment's size in bytes."""
    table = config.table
    return (
        FIXED_BYTES
        + IPV4_ROOT_BYTES
        + IPV4_DEPTH_BYTES
        + IPV6_ROOT_BYTES
        + table.max_ipv4_extended * BLOCK_BYTES
        + table.ipv6_trie_mib * MIB
        + table.max_groups * GROUP_BYTES
        + table.max_ecmp_groups * BUCKETS_BYTES
        + table.max_adjacencies * ADJACENCY_BYTES
        + table.max_ipv4_routes * IPV4_RULE_BYTES * SPARE
        + table.max_ipv6_routes * IPV6_RULE_BYTES * SPARE
    )


PAGE_BYTES = 2 * MIB
STATS_FIXED_BYTES = MIB // 4  # more than struct dr_stats has
FILTER_COUNTER_BYTES = 16


def stats_segment_bytes(config: Config) -> int:
    """The stats segment's size in bytes: whole pages."""
    lcores = len(config.fastpath.lcores) + 1
    counters = config.fastpath.filter_counters * FILTER_COUNTER_BYTES * lcores
    return -(-(STATS_FIXED_BYTES + counters) // PAGE_BYTES) * PAGE_BYTES
