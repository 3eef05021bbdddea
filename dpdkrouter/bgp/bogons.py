"""Special-purpose prefixes that no peer on the Internet announces: martians.

The registries of RFC 6890 (updated by RFC 8190; IANA's tables as of 2025) hold more: here are the prefixes that are not
globally reachable, whole, where no reachable part is within them, and multicast (RFC 5771, RFC 4291 section 2.7).
192.0.0.0/24 and 2001::/23 have parts that are reachable, so of these only the others are here. A default route is none.
"""

from __future__ import annotations

from ipaddress import ip_network

BOGONS = tuple(
    ip_network(prefix)
    for prefix in (
        "0.0.0.0/8",  # this network, RFC 791
        "10.0.0.0/8",  # private use, RFC 1918
        "100.64.0.0/10",  # shared address space, RFC 6598
        "127.0.0.0/8",  # loopback, RFC 1122
        "169.254.0.0/16",  # link local, RFC 3927
        "172.16.0.0/12",  # private use, RFC 1918
        "192.0.0.0/29",  # IPv4 service continuity, RFC 7335
        "192.0.0.8/32",  # dummy address, RFC 7600
        "192.0.0.170/31",  # NAT64 discovery, RFC 7050
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.168.0.0/16",  # private use, RFC 1918
        "198.18.0.0/15",  # benchmarking, RFC 2544
        "198.51.100.0/24",  # documentation, RFC 5737
        "203.0.113.0/24",  # documentation, RFC 5737
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, RFC 1112
        "::/96",  # unspecified, loopback, IPv4-compatible, RFC 4291
        "::ffff:0:0/96",  # IPv4-mapped, RFC 4291
        "64:ff9b:1::/48",  # local-use translation, RFC 8215
        "100::/64",  # discard-only, RFC 6666
        "2001:2::/48",  # benchmarking, RFC 5180
        "2001:10::/28",  # ORCHID, RFC 4843
        "2001:db8::/32",  # documentation, RFC 3849
        "3fff::/20",  # documentation, RFC 9637
        "5f00::/16",  # segment routing SIDs, RFC 9602
        "fc00::/7",  # unique local, RFC 4193
        "fe80::/10",  # link local, RFC 4291
        "fec0::/10",  # site local, RFC 3879
        "ff00::/8",  # multicast
    )
)
