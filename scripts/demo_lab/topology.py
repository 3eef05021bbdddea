"""The lab: its drawing, its addresses, its routes, and how it is made of namespaces, veths and BIRD.

    AS 65001                           AS 65000                          AS 65002
    host-west ──── west ──────── wan0 dpdkrouter wan1 ──────── east ──── host-east
                  (BIRD)                 lan0                 (BIRD)
                                          │
                                        client

west and east each announce thousands of generated routes, many of them the same, and the network of the host behind
them. Both hosts also have the same service address, as anycast DNS servers do: east announces it with a longer AS path,
so the client's queries go to host-west while west lives.

The router's ends of its three veths stay in the host's namespace, where its fast path opens them as ports; there the
kernel is kept off them. Everything is named demo-PID-..., so that a later start finds what a killed demo left.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.harness import Bird, BirdPeer, Namespace, veth_pair

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "demo"
ASN = 65000
ROUTER_ID = "192.0.2.1"
CLIENT4, CLIENT6 = "203.0.113.10", "2001:db8:100::10"
ANNOUNCED = ("203.0.113.0/24", "2001:db8:100::/48")
SERVICE4, SERVICE6 = "198.18.0.53", "2001:db8:53::53"
SERVICE_PREFIXES = ["198.18.0.0/24", "2001:db8:53::/48"]
EACH4, COMMON4 = 2000, 1000  # generated routes of each peer; of these the same at both
EACH6, COMMON6 = 1000, 500

DRAWING = r"""
     AS 65001                              AS 65000                              AS 65002

  host-west ───── west ──────────── wan0 ┌────────────┐ wan1 ──────────── east ───── host-east
  198.51.100.10  (BIRD)                  │ dpdkrouter │                  (BIRD)  198.51.100.138
  2001:db8:a::10    .2   192.0.2.0/30 .1 └────────────┘ .5 192.0.2.4/30  .6      2001:db8:b::10
  + service         ::2  2001:db8:1::    lan0  │ .1     ::1 2001:db8:2:: ::2     + service
                                               │
                           203.0.113.0/24      │ .10          service: 198.18.0.53, 2001:db8:53::53
                           2001:db8:100::/64   client                  on both hosts, anycast
"""


@dataclass(frozen=True, slots=True)
class Site:
    """One peer and the host behind it."""

    name: str
    port: str
    asn: int
    router4: str  # the link between router and peer
    router6: str
    peer4: str
    peer6: str
    gateway4: str  # the link between peer and host
    gateway6: str
    host4: str
    host6: str
    networks: tuple[str, ...]  # announced for the host
    first: int  # of the generated routes

    @property
    def host(self) -> str:
        """Name of the host's namespace in the lab."""
        return f"host-{self.name}"


WEST = Site(
    "west", "wan0", 65001, "192.0.2.1", "2001:db8:1::1", "192.0.2.2", "2001:db8:1::2",
    "198.51.100.1", "2001:db8:a::1", "198.51.100.10", "2001:db8:a::10", ("198.51.100.0/25", "2001:db8:a::/48"), 0,
)  # fmt: skip
EAST = Site(
    "east", "wan1", 65002, "192.0.2.5", "2001:db8:2::1", "192.0.2.6", "2001:db8:2::2",
    "198.51.100.129", "2001:db8:b::1", "198.51.100.138", "2001:db8:b::10", ("198.51.100.128/25", "2001:db8:b::/48"), 1,
)  # fmt: skip
SITES = (WEST, EAST)


def generated(site: Site) -> list[str]:
    """The routes a site announces for networks that are not there: /24s of 10.0.0.0/8 and /48s of 2001:d00::/24."""
    routes = [f"10.{i >> 8}.{i & 255}.0/24" for i in _numbers(site.first, EACH4, COMMON4)]
    return routes + [f"2001:d00:{i:x}::/48" for i in _numbers(site.first, EACH6, COMMON6)]


def _numbers(place: int, each: int, common: int) -> list[int]:
    own = each - common
    return [*range(common), *range(common + place * own, common + (place + 1) * own)]


def announced(site: Site) -> list[str]:
    """All that a site's BIRD announces."""
    return [*generated(site), *site.networks, *SERVICE_PREFIXES]


def distinct(family: str) -> int:
    """Number of prefixes of a family that at least one site announces."""
    everything = {route for site in SITES for route in announced(site)}
    return sum((":" in route) == (family == "ipv6") for route in everything)


class Lab:
    """Namespaces by their short names, and the sites' BIRDs; everything is made on entering and gone on leaving."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.namespaces: dict[str, Namespace] = {}
        self.birds: dict[str, Bird] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Lab:
        with ExitStack() as stack:
            for site in SITES:
                self._make_site(stack, site)
            self._make_client(stack)
            for site in SITES:
                self.birds[site.name] = stack.enter_context(self._bird(site))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def name(self, short: str) -> str:
        """A namespace's real name."""
        return self.namespaces[short].name

    @property
    def router_namespace(self) -> str:
        """The name the router's own namespace gets; the router makes it."""
        return f"{PREFIX}-{os.getpid()}-router"

    def inside(self, short: str, *words: str) -> tuple[str, ...]:
        """The command line that runs `words` in a namespace."""
        return ("ip", "netns", "exec", self.name(short), *words)

    def birdc(self, site: Site, *words: str) -> tuple[str, ...]:
        """The command line that asks a site's BIRD."""
        return ("birdc", "-s", str(self.directory / f"{site.name}.ctl"), *words)

    def device(self, port: str) -> str:
        """The interface in the host's namespace that a port opens."""
        return f"{PREFIX}{os.getpid()}{port[0]}{port[-1]}"

    def _namespace(self, stack: ExitStack, short: str) -> Namespace:
        self.namespaces[short] = namespace = stack.enter_context(Namespace(short, PREFIX))
        return namespace

    def _make_site(self, stack: ExitStack, site: Site) -> None:
        peer, host = self._namespace(stack, site.name), self._namespace(stack, site.host)
        self._port_veth(stack, peer, site.port)
        veth_pair((peer, "lan"), (host, "eth0"))
        peer.address("eth0", f"{site.peer4}/30", f"{site.peer6}/64")
        peer.address("lan", f"{site.gateway4}/25", f"{site.gateway6}/64")
        host.address("eth0", f"{site.host4}/25", f"{site.host6}/64")
        host.address("lo", f"{SERVICE4}/32", f"{SERVICE6}/128")
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            peer.sysctl(key, 1)
        for service, via_host, via_router, via_peer in (
            (f"{SERVICE4}/32", site.host4, site.router4, site.gateway4),
            (f"{SERVICE6}/128", site.host6, site.router6, site.gateway6),
        ):
            default = "::/0" if ":" in service else "0.0.0.0/0"
            peer.route(service, "via", via_host)
            peer.route(default, "via", via_router)
            host.route(default, "via", via_peer)

    def _make_client(self, stack: ExitStack) -> None:
        client = self._namespace(stack, "client")
        self._port_veth(stack, client, "lan0")
        client.address("eth0", f"{CLIENT4}/24", f"{CLIENT6}/64")
        client.route("0.0.0.0/0", "via", "203.0.113.1")
        client.route("::/0", "via", "2001:db8:100::1")

    def _port_veth(self, stack: ExitStack, namespace: Namespace, port: str) -> None:
        """A veth from a namespace's eth0 to the host's namespace, where its end is left to the router's fast path."""
        device = self.device(port)
        _run("ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", namespace.name)
        # A namespace takes its veths with it, but some time after its deletion.
        stack.callback(subprocess.run, ["ip", "link", "delete", device], capture_output=True, check=False)
        for family, key, value in (
            ("ipv6", "disable_ipv6", 1),
            ("ipv4", "forwarding", 0),
            ("ipv4", "arp_ignore", 8),  # answers no ARP at all
        ):
            _run("sysctl", "-qw", f"net.{family}.conf.{device}.{key}={value}")
        # The port would see checksums that the kernel has left to the device, and segments merged.
        features = [word for name in ("rx", "tx", "gro", "gso", "tso") for word in (name, "off")]
        _run("ethtool", "-K", device, *features)
        namespace.run("ethtool", "-K", "eth0", *features)
        namespace.run("ip", "link", "set", "eth0", "up")
        _run("ip", "link", "set", device, "up")

    def _bird(self, site: Site) -> Bird:
        return Bird(
            self.namespaces[site.name],
            self.directory,
            site.peer4,
            site.asn,
            [BirdPeer(site.router4, ASN)],
            announced(site),
            # the longer path: the service is reached through west while west is there
            attributes="" if site is WEST else _prepend(site),
            name=site.name,
        )


def _prepend(site: Site) -> str:
    prefixes4 = ", ".join(prefix for prefix in SERVICE_PREFIXES if ":" not in prefix)
    prefixes6 = ", ".join(prefix for prefix in SERVICE_PREFIXES if ":" in prefix)
    longer = f"{{ bgp_path.prepend({site.asn}); bgp_path.prepend({site.asn}); }}"
    return (
        f"if net.type = NET_IP4 then {{ if net ~ [ {prefixes4} ] then {longer} }}"
        f" if net.type = NET_IP6 then {{ if net ~ [ {prefixes6} ] then {longer} }}"
    )


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr.strip()}")
