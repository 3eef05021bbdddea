/* The memory that processes share: every struct with a size or offset promise.
 *
 * Two files, each with one writer process:
 *   route segment   written by the control process, mapped read-only by the fast path
 *   stats segment   written by the fast path, mapped read-only by everybody else
 * Zero bytes are a valid empty segment: entry 0 = group 0 = adjacency 0 = DR_ACTION_NO_ROUTE.
 * Why C: Cython has no static asserts, no aligned structs and no offsetof checks.
 */
#ifndef DR_LAYOUT_H
#define DR_LAYOUT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define DR_ROUTE_MAGIC 0x3154554f52445244ULL /* "DRDROUT1" in memory order */
#define DR_STATS_MAGIC 0x3154415453445244ULL /* "DRDSTAT1" */
#define DR_ROUTE_VERSION 3u
#define DR_STATS_VERSION 7u

#define DR_LINE 64
#define DR_MAX_PORTS 32
#define DR_MAX_LCORES 33   /* slot 0: the host thread; 1..32: workers */
#define DR_MAX_GROUPS 32768 /* 15 bits; group 0 = no route */
#define DR_BUCKETS 256      /* of a multi-member group */
#define DR_MAX_MEMBERS 64
#define DR_NAME 16
#define DR_RX_SLOTS 32
#define DR_BOND_MEMBERS 8
#define DR_NO_NUMA 0xffff   /* a device on no NUMA node */
#define DR_REASONS 64       /* room for drop reasons; fastpath/reasons.pxd names them */
#define DR_CLASSES 8        /* room for punt classes */
#define DR_STAGES 14        /* room for stages of the pipeline; fastpath/stages/profile.pxd names them */
#define DR_RESOLVE_RING 256
#define DR_FILTERS 128      /* room for ACLs and policers */
#define DR_FILTER_NAME 32

#define DR_OFFLINE UINT64_MAX /* quiescent value of an lcore that sleeps or has ended */

/* ---- route segment: readers' part ---------------------------------------------------------- */

struct dr_part { uint64_t offset; uint64_t bytes; }; /* from the start of the file */

/* Written by control only. Page 0. */
struct dr_route_header {
    uint64_t magic;
    uint32_t version;
    uint32_t header_bytes;
    uint64_t segment_bytes;   /* whole file */
    uint64_t readers_bytes;   /* the readers' part: what the fast path maps */
    uint64_t layout_id;       /* hash of the maxima below: another layout is another file */
    /* as configured; ids and indices run from 1 to max_groups and max_adjacencies, so those parts hold one more */
    uint32_t max_ipv4_routes, max_ipv6_routes, max_groups, max_adjacencies, max_ecmp_groups, max_ipv4_extended;
    uint64_t ipv6_trie_bytes;
    /* readers' part */
    struct dr_part interfaces, adjacencies, groups, buckets, ipv4_root, ipv4_extended, ipv6_root, ipv6_trie;
    /* writer's part: never mapped by the fast path */
    struct dr_part ipv4_rules, ipv6_rules, ipv4_depth, ipv4_extended_depth, group_keys, journal;
    char name[DR_NAME];
    uint64_t created_ns;      /* CLOCK_REALTIME */
    /* changing words, each on its own line so that readers of one are not disturbed by another */
    _Alignas(DR_LINE) uint64_t grace_epoch;   /* raised by the writer when it retires memory */
    _Alignas(DR_LINE) uint64_t generation;    /* odd while a batch is applied (seqlock for CLI and audit) */
    uint64_t ipv4_routes, ipv6_routes; /* these and used_*: for status, as of the last batch */
    uint32_t used_groups, used_adjacencies, used_ecmp_groups, used_ipv4_extended;
    uint64_t used_ipv6_trie_bytes;
    _Alignas(DR_LINE) uint64_t heartbeat_ns;  /* CLOCK_MONOTONIC, about once a second */
    uint64_t writer_pid, writer_start;        /* start time in clock ticks, /proc/PID/stat field 22 */
    uint64_t superseded;                      /* 1: another file has this one's name; attach that */
    _Alignas(DR_LINE) uint32_t default_group[2]; /* IPv4, IPv6: the group that the default route alone has; 0: none */
};
static_assert(sizeof(struct dr_route_header) <= 4096, "the header fits its page");

enum dr_action {      /* what an adjacency does with a packet */
    DR_ACTION_NO_ROUTE = 0,
    DR_ACTION_FORWARD = 1,     /* rewrite and transmit */
    DR_ACTION_GLEAN = 2,       /* the packet's own destination is on the link of `port`: resolve it */
    DR_ACTION_RESOLVE = 3,     /* `nexthop` on `port` has no MAC yet: resolve it */
    DR_ACTION_LOCAL = 4,       /* an address of the router: to the host stack */
    DR_ACTION_BLACKHOLE = 5,   /* drop silently */
    DR_ACTION_UNREACHABLE = 6, /* drop, answer host unreachable */
    DR_ACTION_BROADCAST = 7,   /* directed broadcast of a connected prefix: drop (RFC 2644) */
    DR_ACTION_PROHIBIT = 8,    /* drop, answer administratively prohibited */
};

/* One next hop, resolved or not. Both 8-byte words are published by one store each, so a MAC move, a
 * resolution or a link loss never shows half an address. Written by control, read by every worker. */
struct dr_adjacency {
    uint64_t dst;        /* bits 0-47 destination MAC in memory order, 48-55 port, 56-63 action */
    uint64_t src;        /* bits 0-47 source MAC in memory order, 48-63 zero (VLAN later) */
    uint16_t mtu;        /* of the port, L3 bytes */
    uint8_t family;      /* 4 or 6: family of nexthop; 0: none */
    uint8_t in_use;      /* 1: taken (writer's bookkeeping, recovered on attach) */
    uint32_t reserved;
    uint8_t nexthop[16]; /* network order, IPv4 in the first 4 bytes */
    uint8_t pad[24];
};
static_assert(sizeof(struct dr_adjacency) == DR_LINE, "an adjacency is one cache line");
#define DR_MAC_MASK 0x0000ffffffffffffULL
#define DR_PORT_SHIFT 48
#define DR_ACTION_SHIFT 56

/* groups: uint32 word[max_groups + 1]: 0..65535 = adjacency index; bit 31 set = bucket block index (low 31 bits).
 * buckets: uint16 adjacency[max_ecmp_groups][DR_BUCKETS], immutable once published. */
#define DR_GROUP_MULTI 0x80000000u

/* ipv4_root: uint16[2^24]; bit 15 set: low 15 bits = block of ipv4_extended (uint16[n][256]); else group id. */
#define DR_IPV4_EXTENDED 0x8000u
#define DR_IPV4_ROOT_BITS 24

/* ipv6_root: uint32 entries: 2^21 by the first 24 bits of an address in 2000::/3, then 2^12 by the first 12 of any other
 * (those of 2000::/3 are there, and are not read); ipv6_trie: nodes in 16-byte units.
 * entry: bit 31 clear: leaf, bits 0-14 group id, bit 15 clear, bits 16-23 prefix length of its owner (0 with group 0: none).
 *        bit 31 set: child node, bits 0-30 offset in 16-byte units (unit 0 is never used).
 * node: uint64 starts (bit i: a new run starts at slot i; bit 0 always set), then uint32 entry[popcount(starts)].
 * A child's entry is a run of its own. Slots: 6 bits of the address below the root's 24 or 12; of the deepest node, which
 * has two bits left, those and four that are zero. */
#define DR_IPV6_ROOT_BITS 24
#define DR_IPV6_OTHER_BITS 12
#define DR_IPV6_GLOBAL (1u << 21) /* entries for 2000::/3 */
#define DR_IPV6_ROOT (DR_IPV6_GLOBAL + (1u << DR_IPV6_OTHER_BITS))
#define DR_IPV6_STRIDE 6
#define DR_IPV6_CHILD 0x80000000u
#define DR_IPV6_UNIT 16

#define DR_IF_CONFIGURED 1u
#define DR_IF_NEIGHBORS_FULL 2u /* as many neighbours as the port may have: no other one is resolved */
/* One port as control configured it. Written by control; the index is the port number everywhere. */
struct dr_interface {
    char name[DR_NAME];
    uint32_t flags;
    uint16_t mtu;
    uint16_t reserved;
    uint32_t ipv4_be;         /* source of ICMP errors; 0: none */
    uint8_t ipv6[16];         /* source of ICMPv6 errors; zero: none */
    uint8_t ipv6_link_local[16];
    uint8_t pad[68];
};
static_assert(sizeof(struct dr_interface) == 128, "two cache lines");

/* ---- route segment: writer's part ---------------------------------------------------------- */

/* ipv4_depth: uint8[2^24], ipv4_extended_depth: uint8[max_ipv4_extended][256]: the length of the rule that an entry
 * shows; of an extended root entry: unused. Which blocks and nodes are free is never stored: a walk finds it. */

/* ipv4_rules: struct dr_rule4[2^n], open addressing, linear probing. One 8-byte store publishes a rule.
 * length 0xff = empty would cost zero-is-empty; so length is stored + 1: 0 = empty slot. */
struct dr_rule4 { uint32_t prefix; uint8_t length_plus1; uint8_t source; uint16_t group; }; /* prefix: host order */
static_assert(sizeof(struct dr_rule4) == 8, "published by one store");
struct dr_rule6 { uint8_t prefix[16]; uint8_t length_plus1; uint8_t source; uint16_t group; uint32_t reserved; uint64_t pad; };
static_assert(sizeof(struct dr_rule6) == 32, "two a line"); /* bytes 16-23 are stored last, by one store */
#define DR_SOURCE_STALE 0x80u /* ORed into source: to be relearned or swept */

enum dr_source { DR_SOURCE_NONE = 0, DR_SOURCE_CONNECTED = 1, DR_SOURCE_STATIC = 2, DR_SOURCE_CLI = 3,
                 DR_SOURCE_EBGP = 4, DR_SOURCE_KERNEL = 5, DR_SOURCE_IBGP = 6 };

/* What a group is made of, so that a returning control process knows its groups. Written by control. */
struct dr_group_key {
    uint16_t members;             /* 0: free */
    uint16_t reserved;
    uint32_t refs_hint;
    struct dr_group_member { uint16_t adjacency; uint16_t weight; } member[DR_MAX_MEMBERS];
    uint8_t pad[56];
};
static_assert(sizeof(struct dr_group_key) == 320, "five lines");

/* The one operation in progress: filled in, then `op` is stored; 0 again when it is whole; redone on attach.
 * `next` is a group's key and `word` its groups[] entry to be, complete before op names the group. */
enum dr_journal_op { DR_JOURNAL_NONE = 0, DR_JOURNAL_INSERT = 1, DR_JOURNAL_WITHDRAW = 2, DR_JOURNAL_GROUP = 3 };
struct dr_journal {
    uint32_t op;
    uint8_t family, length;
    uint8_t source, reserved;
    uint16_t group, old_group;    /* old_group: of the rule that an insert replaces; 0: none, it may need memory */
    uint32_t word;
    uint64_t hole;                /* withdraw: 1 + the slot of the rules that is being closed; 0: not begun */
    uint64_t hi, lo;              /* prefix, host order; IPv4 in lo */
    uint8_t pad[24];
    struct dr_group_key next;
};
static_assert(offsetof(struct dr_journal, next) == DR_LINE, "one line, then the key");

/* ---- stats segment: written by the fast path ------------------------------------------------- */

struct dr_port_counters { /* of one lcore on one port */
    uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, tx_drops, injected, originated, fragments;
};
static_assert(sizeof(struct dr_port_counters) == DR_LINE, "one line");

#define DR_BURST_BUCKETS 8 /* 0, 1, 2-3, 4-7, 8-15, 16-31, 32-63, 64 */
struct dr_lcore_stats { /* owner: this lcore; nobody else writes its lines */
    _Alignas(DR_LINE) uint64_t quiescent;  /* last grace_epoch seen with no table reference held; DR_OFFLINE */
    uint32_t online;                       /* 1: this slot is used */
    uint32_t cpu;
    _Alignas(DR_LINE) uint64_t polls;
    uint64_t cycles_busy, cycles_idle;     /* TSC */
    uint64_t rx_packets, forwarded, punted, dropped, originated, injected;
    _Alignas(DR_LINE) uint64_t bursts[DR_BURST_BUCKETS];
    _Alignas(DR_LINE) uint64_t drops[DR_REASONS];
    _Alignas(DR_LINE) uint64_t punts[DR_CLASSES];
    _Alignas(DR_LINE) uint64_t policed[DR_CLASSES];     /* packets of a punt class beyond its rate */
    _Alignas(DR_LINE) uint64_t stage_cycles[DR_STAGES]; /* TSC, of the sampled polls only */
    uint64_t sampled_polls, sampled_packets;            /* polls that moved packets, and how many */
    _Alignas(DR_LINE) struct dr_port_counters port[DR_MAX_PORTS];
};
static_assert(sizeof(struct dr_lcore_stats) % DR_LINE == 0, "no line is shared by two lcores");
static_assert(offsetof(struct dr_lcore_stats, polls) == DR_LINE, "the writer reads quiescent; counters stay away from it");

#define DR_MEMBER_LINK 1u
#define DR_MEMBER_ACTIVE 2u       /* packets leave by it */
#define DR_MEMBER_COLLECTING 4u   /* as LACP has it: takes packets */
#define DR_MEMBER_DISTRIBUTING 8u /* as LACP has it: so does the other side */
struct dr_bond_member {
    char device[40];              /* its name for EAL, cut to fit */
    uint32_t speed_mbps;          /* 0: down, or unknown to the driver */
    uint32_t link_changes;
    uint32_t flags;               /* DR_MEMBER_... */
    uint8_t partner[6];           /* the system that LACPDUs came from; zero: none came */
    uint8_t pad[6];
};
static_assert(sizeof(struct dr_bond_member) == DR_LINE, "one line");

struct dr_port_state { /* owner: host thread, a few times a second */
    _Alignas(DR_LINE) char name[DR_NAME];
    char driver[32];
    uint8_t mac[6];
    uint8_t present, link_up;
    uint32_t speed_mbps;            /* 0: down, or unknown to the driver */
    uint32_t link_changes;
    uint16_t rx_queues, tx_queues, mtu, numa;
    uint64_t rx_missed, rx_errors, rx_no_mbuf, tx_errors; /* the device's own counts */
    char rss[24], offloads[64];     /* what the device does: the headers that it hashes, the offloads in use */
    uint8_t rx_slot[DR_RX_SLOTS];   /* of the first RX queues: the worker that polls it */
    uint16_t parent;                /* of a sub-interface: 1 + the port whose device it shares; 0: it has its own */
    uint16_t vlan, outer_vlan;      /* of a sub-interface; outer_vlan 0: one tag */
    uint16_t members;               /* of a bond; 0: it is none */
    struct dr_bond_member member[DR_BOND_MEMBERS];
};

struct dr_resolve_request { uint64_t seq; uint8_t family; uint8_t port; uint8_t reserved[6]; uint8_t address[16]; };
static_assert(sizeof(struct dr_resolve_request) == 32, "two a line");

/* Host thread -> control: next hops to resolve. Lossy: the writer overwrites; seq = position + 1, stored last. */
struct dr_resolve_ring {
    _Alignas(DR_LINE) uint64_t head;
    _Alignas(DR_LINE) struct dr_resolve_request slot[DR_RESOLVE_RING];
};

/* What filters count. An ACL: of each rule in its order, then of its default. A policer: green, yellow, red.
 * A replaced ACL counts in another place, so that nobody's count is taken for another rule's. */
enum dr_filter_kind { DR_FILTER_NONE = 0, DR_FILTER_ACL = 1, DR_FILTER_POLICER = 2 };
struct dr_filter_counter { uint64_t packets, bytes; };
struct dr_filter { /* owner: host process, any of its threads with the GIL; generation is odd while it writes */
    char name[DR_FILTER_NAME];
    uint32_t kind;
    uint32_t first, count;          /* of the counters that each lcore has */
    uint32_t reserved;
};
static_assert(sizeof(struct dr_filter) == 48, "no padding");

struct dr_stats_header {
    uint64_t magic;
    uint32_t version;
    uint32_t header_bytes;
    uint64_t segment_bytes;
    uint64_t pid, pid_start;      /* start time in clock ticks */
    uint64_t tsc_hz;
    uint64_t started_ns;          /* CLOCK_REALTIME */
    uint32_t lcores, ports;       /* used slots: lcores includes slot 0 */
    char name[DR_NAME];
    char simd[32], dpdk[64], build_id[64];
    uint32_t punt_pps[DR_CLASSES];                      /* rate of each punt class, a worker */
    _Alignas(DR_LINE) uint64_t heartbeat_ns; /* host thread, CLOCK_MONOTONIC */
    uint64_t ready;                          /* 1: ports are up and workers run */
    uint64_t filter_generation;              /* odd while filter[] changes */
    uint32_t filter_counters;                /* dr_filter_counter of each lcore, behind struct dr_stats; a multiple of 4 */
    uint32_t hashing;                        /* of flows: HASH_ bits of fastpath/stages/flow.pxd */
};
static_assert(sizeof(struct dr_stats_header) <= 4096, "the header fits its page");

struct dr_stats {
    union { struct dr_stats_header header; uint8_t page[4096]; };
    struct dr_port_state port[DR_MAX_PORTS];
    struct dr_resolve_ring resolve;
    struct dr_filter filter[DR_FILTERS];
    struct dr_lcore_stats lcore[DR_MAX_LCORES];
};
/* then: struct dr_filter_counter [lcores][filter_counters], each lcore's written by it alone */
static_assert(offsetof(struct dr_stats, port) == 4096, "the header is page 0");
static_assert(sizeof(struct dr_stats) <= 2 * 1024 * 1024, "one huge page");

#endif
