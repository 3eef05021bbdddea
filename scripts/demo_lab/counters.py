"""What the hosts received and what the workers did, before and after some traffic.

The hosts' side is the kernel's own (`nstat` in each host); the router's is `dpdkrouter status`. Whatever a host
receives has crossed the router once, so over any traffic between hosts the workers' forwarded count rises by exactly
what the hosts' counts rise together. ND is not counted: it stays on its link.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.harness import ConditionNotMetError, wait_for

if TYPE_CHECKING:
    from demo_lab.router import Router
    from demo_lab.screen import Screen
    from demo_lab.topology import Lab

HOSTS = ("host-west", "host-east", "client")
RECEIVED = ("IpInReceives", "Icmp6InEchos", "Icmp6InEchoReplies", "Udp6InDatagrams")
STRAY = 3  # a late datagram of a step before
PUNTS = 12  # a neighbour's refresh, keepalives, ARP and ND of the links while a step runs


@dataclass(frozen=True, slots=True)
class Counts:
    """Packets received by each host, and forwarded and punted by the workers."""

    received: dict[str, int]
    forwarded: int
    punted: int


def nstat(lab: Lab, host: str) -> tuple[str, ...]:
    """The command that shows a host's counts."""
    return lab.inside(host, "nstat", "-asz", *RECEIVED)


def parse_nstat(text: str) -> dict[str, int]:
    """Counters by name."""
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {row[0]: int(row[1]) for row in rows if len(row) >= 2}


def workers(router: Router) -> tuple[int, int]:
    """(forwarded, punted) of all workers."""
    lcores = router.json("status")["fast_path"].get("lcores", [])
    return sum(one["forwarded"] for one in lcores), sum(one["punted"] for one in lcores)


def take(lab: Lab, router: Router) -> Counts:
    """All counts now, without showing anything."""
    received = {
        host: sum(parse_nstat(lab.namespaces[host].run("nstat", "-asz", *RECEIVED)).values()) for host in HOSTS
    }
    return Counts(received, *workers(router))


def check(screen: Screen, lab: Lab, router: Router, before: Counts) -> Counts:
    """Show the counts and check that the workers forwarded what the hosts received; returns the counts."""
    for host in HOSTS:
        screen.run(*nstat(lab, host))

    def agree() -> Counts:
        now = take(lab, router)
        received = sum(now.received.values()) - sum(before.received.values())
        forwarded = now.forwarded - before.forwarded
        assert 0 <= forwarded - received <= STRAY, f"hosts received {received} packets, workers forwarded {forwarded}"
        return now

    try:
        now = wait_for(agree, 3, "counts")
    except ConditionNotMetError as error:
        screen.run("dpdkrouter", "status")
        screen.check(False, "workers forwarded what the hosts received", error)
        raise
    screen.run("dpdkrouter", "status")
    received = sum(now.received.values()) - sum(before.received.values())
    screen.check(
        received > 0,
        "the workers' forwarded count rose by what the hosts received",
        f"{received} received, {now.forwarded - before.forwarded} forwarded",
    )
    punted = now.punted - before.punted
    screen.check(punted <= PUNTS, f"punts rose by no more than neighbours and keepalives need (at most {PUNTS})", punted)
    return now
