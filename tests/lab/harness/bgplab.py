"""The lab of the router's BGP tests: two BIRDs and a client.

west, AS 65001 ── eth0 ──── wan0  dpdkrouter  wan1 ──── eth0 ── east, AS 65002
192.0.2.9          192.0.2.1/24   AS 65000    198.51.100.1/24     198.51.100.9
2001:db8:1::9      2001:db8:1::1/64     2001:db8:2::1/64          2001:db8:2::9
                                    lan0 203.0.113.1/24, 2001:db8:100::1/64
                                      │
                                    client 203.0.113.9, 2001:db8:100::9

west has a session for each family, east sends both over its IPv4 session. Both have the service addresses, which
both announce; west has the lower BGP identifier, so it is preferred where all else is equal.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

from lab.harness.bird import Bird, BirdPeer
from lab.harness.namespace import Namespace
from lab.harness.router import Port, Router, port_veth
from lab.harness.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

WEST4, WEST6, EAST4, EAST6 = "192.0.2.9", "2001:db8:1::9", "198.51.100.9", "2001:db8:2::9"
SERVICE4, SERVICE6 = "198.18.0.53", "2001:db8:53::53"
ANNOUNCED = ("203.0.113.0/24", "2001:db8:100::/48")
UDP = 5353
RESTART_S = 30

EACH, COMMON = 150, 100  # generated routes of each peer and family; of these the same at both
RECURSIVE = "10.200.0.0/24"  # west's, by a next hop that is in another route of west's
FAR_HOP = "10.100.0.77"

_BODY = f"""
[bgp]
announce = ["{ANNOUNCED[0]}", "{ANNOUNCED[1]}"]
restart_time = {RESTART_S}
[[bgp.neighbor]]
address = "{WEST4}"
asn = 65001
import_policy = "accept"
export_policy = "accept"
accept_bogons = true
[[bgp.neighbor]]
address = "{WEST6}"
asn = 65001
import_policy = "accept"
export_policy = "accept"
accept_bogons = true
[[bgp.neighbor]]
address = "{EAST4}"
asn = 65002
import_policy = "accept"
export_policy = "accept"
accept_bogons = true
families = ["ipv4", "ipv6"]
"""


def routes(place: int) -> list[str]:
    """What west (0) or east (1) announces."""
    numbers = [*range(COMMON), *range(COMMON + place * (EACH - COMMON), COMMON + (place + 1) * (EACH - COMMON))]
    service = ["198.18.0.0/24", "2001:db8:53::/48"]
    own = [RECURSIVE] if place == 0 else []
    return [f"10.{n}.0.0/24" for n in numbers] + [f"2001:d00:{n:x}::/48" for n in numbers] + service + own


def distinct(*places: int) -> dict[str, int]:
    """How many prefixes of each family these announce together."""
    found = {route for place in places for route in routes(place)}
    return {family: sum((":" in route) == (family == "ipv6") for route in found) for family in ("ipv4", "ipv6")}


class BgpLab:
    """The namespaces, the BIRDs and the router; a context manager. Entered, all sessions are up and all is in.

    options: of the ports' devices. lcores: of the workers.
    """

    def __init__(self, directory: Path, name: str = "r", options: str = "", lcores: Sequence[int] = (0, 1)) -> None:
        self._directory = directory
        self._name = name
        self._options = options
        self._lcores = lcores
        self._stack = ExitStack()

    def __enter__(self) -> BgpLab:
        with ExitStack() as stack:
            enter = stack.enter_context
            self.metal, self.west, self.east, self.client = (
                enter(Namespace(f"{self._name}-{name}")) for name in ("metal", "west", "east", "client")
            )
            for port, host in (("wan0", self.west), ("wan1", self.east), ("lan0", self.client)):
                port_veth(self.metal, port, (host, "eth0"))
            self.west.address("eth0", f"{WEST4}/24", f"{WEST6}/64")
            self.east.address("eth0", f"{EAST4}/24", f"{EAST6}/64")
            self.client.address("eth0", "203.0.113.9/24", "2001:db8:100::9/64")
            for host, gateway4, gateway6 in (
                (self.west, "192.0.2.1", "2001:db8:1::1"),
                (self.east, "198.51.100.1", "2001:db8:2::1"),
                (self.client, "203.0.113.1", "2001:db8:100::1"),
            ):
                host.route("0.0.0.0/0", "via", gateway4)
                host.route("::/0", "via", gateway6)
            for host in (self.west, self.east):
                host.address("lo", f"{SERVICE4}/32", f"{SERVICE6}/128")
            self.birds = [enter(self._bird(place)) for place in (0, 1)]
            ports = [
                Port("wan0", "192.0.2.1/24", "2001:db8:1::1/64", options=self._options),
                Port("wan1", "198.51.100.1/24", "2001:db8:2::1/64", options=self._options),
                Port("lan0", "203.0.113.1/24", "2001:db8:100::1/64", options=self._options),
            ]
            self.router = enter(Router(self.metal, self._directory, ports, _BODY, self._name, self._lcores))
            self.whole()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _bird(self, place: int) -> Bird:
        peers = [
            BirdPeer("192.0.2.1", 65000, ("ipv4",), channel="next hop self ibgp;"),
            BirdPeer("2001:db8:1::1", 65000, ("ipv6",)),
        ]
        if place == 1:
            peers = [BirdPeer("198.51.100.1", 65000)]
        return Bird(
            (self.west, self.east)[place],
            self._directory,
            (WEST4, EAST4)[place],
            65001 + place,
            peers,
            routes(place),
            f"if net.type = NET_IP4 then {{ if net = {RECURSIVE} then bgp_next_hop = {FAR_HOP}; }}"
            if place == 0
            else "",
            name=f"{self._name}-{('west', 'east')[place]}",
        )

    # ---- conditions

    def whole(self) -> None:
        """Wait until all sessions are up, everything has been learnt, and nothing stale is left."""
        for bird in self.birds:
            wait_for(bird.established, 30, "the BIRDs' sessions")
        wait_for(lambda: self.router.call("bgp.summary")["feed"] == "tap", 10, "the tap in use")
        wait_for(self.learnt, 30, "the whole table")
        wait_for(lambda: self.router.stale() == 0, RESTART_S + 30, "no stale routes in the segment")
        for bird in self.birds:
            for prefix in ANNOUNCED:
                wait_for(lambda bird=bird, prefix=prefix: bird.has_route(prefix), 20, f"{prefix} at a BIRD")

    def ping(self, address: str) -> bool:
        """Whether an address answers the client."""
        return "1 received" in self.client.run("ping", "-n", "-c", "1", "-W", "1", address, check=False)

    def learnt(self, *places: int) -> bool:
        """Whether what the RIB has by BGP is what these (default both) announce."""
        found = self.best()
        assert found == distinct(*(places or (0, 1))), found
        return True

    def best(self) -> dict[str, int]:
        """Best paths of source eBGP, by family."""
        rows = [row for row in self.router.call("route.summary") if row["source"] == "ebgp"]
        return {family: sum(row["best"] for row in rows if row["family"] == family) for family in ("ipv4", "ipv6")}

    def exported(self, place: int) -> dict[str, int]:
        """What a BIRD says it has sent, by family."""
        found = {"ipv4": 0, "ipv6": 0}
        family = ""
        for line in self.birds[place].birdc("show protocols all").splitlines():
            if match := re.match(r"\s+Channel (ipv\d)", line):
                family = match[1]
            elif family and (match := re.match(r"\s+Routes:.* (\d+) exported", line)):
                found[family] += int(match[1])
        return found

    def received(self) -> dict[str, dict[str, int]]:
        """What the router says it has of each peer, by family."""
        return {peer["address"]: peer["prefixes"] for peer in self.router.call("bgp.summary")["peers"]}
