"""What the hosts received and what the workers did, before and after some traffic.

The hosts' side is the kernel's own (`nstat` in each host); the router's is `dpdkrouter status`. Whatever a host
receives has crossed the router once, so over IPv4 and pings between hosts the workers' forwarded count rises by what
the hosts' counts rise together; but for the first packets to a host that was not resolved yet, which the workers punted
(class `resolve`) and which were parked until its MAC was there. IPv6's own count holds ND, which stays on its link: of
IPv6 only pings are counted.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.harness import ConditionNotMetError, wait_for

if TYPE_CHECKING:
    from demo_lab.router import Router
    from demo_lab.screen import Screen
    from demo_lab.topology import Lab

HOSTS = ("host-west", "host-east", "client")
RECEIVED = ("IpInReceives", "Icmp6InEchos", "Icmp6InEchoReplies")
STRAY = 3  # a late datagram of a step before
RESOLVES = 8  # packets parked while the host they go to is resolved
LOCALS = 0  # nobody talks to the router itself but BGP, ARP and ND, which have classes of their own


@dataclass(frozen=True, slots=True)
class Counts:
    """Packets received by all hosts, forwarded by the workers, and punted by class."""

    received: int
    forwarded: int
    punts: dict[str, int]

    def __sub__(self, other: Counts) -> Counts:
        punts = {name: count - other.punts[name] for name, count in self.punts.items()}
        return Counts(self.received - other.received, self.forwarded - other.forwarded, punts)


def nstat(lab: Lab, host: str) -> tuple[str, ...]:
    """The command that shows a host's counts."""
    return lab.inside(host, "nstat", "-asz", *RECEIVED)


def parse_nstat(text: str) -> dict[str, int]:
    """Counters by name."""
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {row[0]: int(row[1]) for row in rows if len(row) >= 2}


def take(lab: Lab, router: Router) -> Counts:
    """All counts now, without showing anything."""
    received = sum(sum(parse_nstat(lab.namespaces[host].run("nstat", "-asz", *RECEIVED)).values()) for host in HOSTS)
    lcores = router.json("status")["fast_path"].get("lcores", [])
    return Counts(received, sum(one["forwarded"] for one in lcores), router.json("drops")["punts"])


def check(screen: Screen, lab: Lab, router: Router, before: Counts) -> None:
    """Show the counts and check that the workers forwarded what the hosts received."""
    for host in HOSTS:
        screen.run(*nstat(lab, host))

    def agree() -> bool:
        rise = take(lab, router) - before
        assert 0 <= rise.forwarded + rise.punts["resolve"] - rise.received <= STRAY, rise
        return True

    with suppress(ConditionNotMetError):  # the check below says it
        wait_for(agree, 3, "hosts and workers agree")
    screen.run("dpdkrouter", "status")
    screen.run("dpdkrouter", "drops")
    rise = take(lab, router) - before
    screen.check(
        rise.received > 0 and 0 <= rise.forwarded + rise.punts["resolve"] - rise.received <= STRAY,
        "since the step began: the workers' forwarded count rose by what the hosts received",
        f"{rise.received} received = {rise.forwarded} forwarded + {rise.punts['resolve']} parked until resolved",
    )
    screen.check(rise.punts["resolve"] <= RESOLVES, f"at most {RESOLVES} of them", rise.punts["resolve"])
    local = rise.punts["local"]
    screen.check(local <= LOCALS, "no transit packet entered the host stack: punts of class local", local)
