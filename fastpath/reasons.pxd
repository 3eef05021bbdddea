"""Names of dispositions: a name here is the metric's label, the CLI's word and the test's name."""

cpdef enum DropReason:
    # link layer
    frame_truncated = 0
    mac_mismatch = 1
    ethertype_unsupported = 2
    # IPv4, RFC 1812 5.2.2 and 5.3.7
    ipv4_truncated = 3
    ipv4_version = 4
    ipv4_header_length = 5
    ipv4_checksum = 6
    ipv4_total_length = 7
    ipv4_source = 8
    ipv4_destination = 9
    ipv4_multicast = 10
    # IPv6, RFC 8200 and RFC 4291 2.5 to 2.8
    ipv6_truncated = 11
    ipv6_version = 12
    ipv6_payload_length = 13
    ipv6_source = 14
    ipv6_destination = 15
    ipv6_multicast = 16
    ipv6_link_local = 17
    # forwarding
    ttl_expired = 18
    no_route = 19
    blackhole = 20
    unreachable = 21
    prohibited = 22
    directed_broadcast = 23
    mtu_exceeded = 24
    port_down = 25
    fragmentation_failed = 26
    # a tag that none of the port's sub-interfaces has
    vlan_unknown = 27
    # a port's checks: of its sources (RFC 3704), of IPv4 options
    urpf_strict = 28
    urpf_loose = 29
    ipv4_options = 30
    # by the port's list, and by its policer or a rule's
    acl_deny = 31
    policed = 32
    # on the link of a port that has as many neighbours as it may
    neighbors_full = 33
    # punts
    punt_policed = 34
    punt_ring_full = 35
    # below: not dispositions of received packets, so outside rx = forwarded + punted + dropped.
    # What a worker has punted or the kernel has sent, counted by the host thread; ICMP errors of ours.
    park_full = 36
    next_hop_unresolved = 37
    tap_full = 38
    inject_loop = 39
    inject_invalid = 40
    originate_failed = 41
    originate_policed = 42

cpdef enum PuntClass:
    bgp = 0         # from configured peers
    neighbor = 1    # ARP and ND
    echo = 2        # ICMP and ICMPv6 echo
    resolve = 3     # waits for its next hop's MAC
    local = 4       # the rest
