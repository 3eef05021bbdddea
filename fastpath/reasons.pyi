"""Drop reasons and punt classes for Python. Nothing else: importing this loads no DPDK library."""

from enum import IntEnum

class DropReason(IntEnum):
    frame_truncated = 0
    mac_mismatch = 1
    ethertype_unsupported = 2
    ipv4_truncated = 3
    ipv4_version = 4
    ipv4_header_length = 5
    ipv4_checksum = 6
    ipv4_total_length = 7
    ipv4_source = 8
    ipv4_destination = 9
    ipv4_multicast = 10
    ipv6_truncated = 11
    ipv6_version = 12
    ipv6_payload_length = 13
    ipv6_source = 14
    ipv6_destination = 15
    ipv6_multicast = 16
    ipv6_link_local = 17
    ttl_expired = 18
    no_route = 19
    blackhole = 20
    unreachable = 21
    prohibited = 22
    directed_broadcast = 23
    mtu_exceeded = 24
    port_down = 25
    fragmentation_failed = 26
    vlan_unknown = 27
    urpf_strict = 28
    urpf_loose = 29
    ipv4_options = 30
    acl_deny = 31
    policed = 32
    neighbors_full = 33
    punt_policed = 34
    punt_ring_full = 35
    park_full = 36
    next_hop_unresolved = 37
    tap_full = 38
    inject_loop = 39
    inject_invalid = 40
    originate_failed = 41
    originate_policed = 42

class PuntClass(IntEnum):
    bgp = 0
    neighbor = 1
    echo = 2
    resolve = 3
    local = 4
