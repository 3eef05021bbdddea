"""The kernel settings of the router's namespace, each with its reason.

/proc/sys/net shows the namespace of the thread that opens it, so these functions are called inside
(`run_in`). `all` is written before `default`, because writing all/forwarding also writes default and every
device; a port's own values are written again whenever it is set up, so that a device that was there before
has them too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dpdkrouter.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path("/proc/sys/net")

# What holds for the namespace, for devices to come, and for each port.
IPV4_CONF: Mapping[str, int] = {
    "forwarding": 0,  # transit is the fast path's; with 1 the kernel answers with unreachables of its own
    "rp_filter": 0,  # the way back may be any port: asymmetric paths are normal for a router
    # ARP flux: an address belongs to its port. Answer only for addresses of the port asked on (1, not 2: a
    # neighbour may ask from another prefix on the same link), and ask only with an address of that port
    # (RFC 1122 3.3.4.2's strong host for ARP alone: the kernel still takes BGP and ping for any of its
    # addresses on any port).
    "arp_ignore": 1,
    "arp_announce": 2,
    "arp_notify": 1,  # a gratuitous ARP when a port comes up or its MAC changes
    "arp_evict_nocarrier": 0,  # neighbours outlive a link flap; they are verified at link up
    "promote_secondaries": 1,  # removing a port's first address must not take the others of its prefix along
    "proxy_arp": 0,  # a router answers for its own addresses alone
    "accept_redirects": 0,
    "send_redirects": 0,
    "accept_source_route": 0,
}
IPV6_CONF: Mapping[str, int] = {
    "accept_ra": 0,
    "proxy_ndp": 0,
    "accept_redirects": 0,
    "autoconf": 0,
    "router_solicitations": 0,
    "addr_gen_mode": 1,  # none: the link-local address is ours to set, from the MAC, once, known beforehand
    # No duplicate address detection: a tentative address cannot be bound, so BGP would wait after each
    # start; a probe sent while the fast path is absent would prove nothing; and a router's addresses are an
    # operator's decision.
    "accept_dad": 0,
    "dad_transmits": 0,
    "ndisc_notify": 1,
    "ndisc_evict_nocarrier": 0,
}
# The router flag of a neighbour advertisement (RFC 4861 4.4) follows the port's own `forwarding`; whether
# the kernel forwards follows `all`. So ports have 1 and all has 0: the flag, and never a packet forwarded
# by the kernel.
_IPV6_ALL: Mapping[str, int] = {"forwarding": 0}
_IPV6_PORT: Mapping[str, int] = {"forwarding": 1}


def write(path: str, value: int) -> None:
    """Set one value, `path` below /proc/sys/net, unless it has it already."""
    file = ROOT / path
    try:
        if file.read_text().strip() != str(value):
            file.write_text(str(value))
    except FileNotFoundError as error:
        hint = "Linux 5.16 or newer with IPv6 is needed"
        raise HostError(f"sysctl net/{path}: this kernel has none; {hint}") from error
    except OSError as error:
        raise HostError(f"sysctl net/{path} = {value}: {error.strerror}") from error


def apply_base() -> None:
    """Write the namespace's own settings; inside the namespace."""
    write("ipv4/ip_forward", 0)
    for name, value in IPV4_CONF.items():
        write(f"ipv4/conf/all/{name}", value)
        write(f"ipv4/conf/default/{name}", value)
    for name, value in {**_IPV6_ALL, **IPV6_CONF}.items():
        # all/addr_gen_mode would be written to every device too, lo included: harmless and wanted
        write(f"ipv6/conf/all/{name}", value)
    for name, value in {**IPV6_CONF, **_IPV6_PORT}.items():
        write(f"ipv6/conf/default/{name}", value)


def apply_port(device: str) -> None:
    """Write one device's settings; inside the namespace."""
    for name, value in IPV4_CONF.items():
        write(f"ipv4/conf/{device}/{name}", value)
    for name, value in {**IPV6_CONF, **_IPV6_PORT}.items():
        write(f"ipv6/conf/{device}/{name}", value)


def neighbour_limits() -> dict[int, int]:
    """gc_thresh3 (the most entries, of all namespaces of the host together) by address version.

    Only the first namespace shows it: call it outside. Where it is not shown (a container) the kernel's
    default counts.
    """
    limits = {}
    for version in (4, 6):
        try:
            limits[version] = int((ROOT / f"ipv{version}/neigh/default/gc_thresh3").read_text())
        except (OSError, ValueError):
            limits[version] = 1024
    return limits
