"""The steps of the demo: each prints commands with their output and checks what is seen from the outside."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from subprocess import DEVNULL
from typing import TYPE_CHECKING, Any

from demo_lab import counters
from demo_lab.screen import CheckFailedError
from demo_lab.topology import ANNOUNCED, EAST, SERVICE4, SERVICE6, SITES, WEST, distinct
from lab.harness import ConditionNotMetError, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo_lab.router import Router
    from demo_lab.screen import Screen
    from demo_lab.topology import Lab, Site

SESSIONS_S = 20
ROUTES_S = 30
PINGS = 20


@dataclass(frozen=True, slots=True)
class Demo:
    """What every step needs."""

    screen: Screen
    lab: Lab
    router: Router

    def wait(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Wait for a condition; a check that fails when it does not come, or when the router has given up."""

        def holds() -> object:
            if not self.router.alive():
                raise CheckFailedError(f"{what}: dpdkrouter run has ended")
            return condition()

        try:
            wait_for(holds, seconds, what)
        except ConditionNotMetError as error:
            self.screen.check(False, what, str(error).partition(": ")[2])

    def json(self, *words: str) -> Any:
        """A show command of the router, shown without its output: a check that follows says what was read."""
        return json.loads(self.screen.run("dpdkrouter", *words, "--json", show=False))


def launch(demo: Demo) -> None:
    """The router is started."""
    demo.screen.heading("The router starts")
    demo.screen.command(*demo.router.command)
    demo.router.start()


def ready(demo: Demo) -> None:
    """Its ports are up, its workers forward."""
    screen = demo.screen
    demo.wait(lambda: demo.router.json("status")["fast_path"]["state"] == "forwarding", 30, "the fast path is ready")
    screen.run("dpdkrouter", "status")
    screen.run("dpdkrouter", "port", "show")
    state = demo.json("status")["fast_path"]
    screen.check(state["state"] == "forwarding", "the fast path runs", f"pid {state['pid']}, SIMD {state['simd']}")


def sessions(demo: Demo) -> None:
    """Both BGP sessions come up."""
    screen = demo.screen
    screen.heading("BGP sessions come up")
    for site in SITES:
        bird = demo.lab.birds[site.name]
        demo.wait(bird.established, SESSIONS_S, f"BGP session of {site.name} (AS {site.asn}), as birdc says")
        text = screen.run(*demo.lab.birdc(site, "show", "protocols", "peer0"))
        screen.check("Established" in text, f"BIRD of {site.name} says Established")
    demo.wait(lambda: demo.router.json("bgp", "summary")["feed"] == "tap", 10, "ExaBGP's feed")
    screen.run("dpdkrouter", "bgp", "summary")


def birdc_exported(demo: Demo, site: Site) -> tuple[int, int]:
    """How many routes of each family BIRD says it announces to the router."""
    text = demo.screen.run(*demo.lab.birdc(site, "show", "route", "export", "peer0", "count"))
    counts = dict(re.findall(r"(?m)^(\d+) of \d+ routes .*in table master([46])", text))
    by_family = {family: int(count) for count, family in counts.items()}
    return by_family.get("4", 0), by_family.get("6", 0)


def received(demo: Demo, site: Site) -> tuple[int, int]:
    """How many routes of each family `bgp summary` says came from a site."""
    peers = {peer["address"]: peer for peer in demo.router.json("bgp", "summary")["peers"]}
    prefixes = peers[site.peer4]["prefixes"]
    return prefixes.get("ipv4", 0), prefixes.get("ipv6", 0)


def best_routes(demo: Demo) -> dict[str, int]:
    """eBGP routes in the live table by family."""
    rows = demo.router.json("route", "summary")["routes"]
    return {row["family"]: row["routes"] for row in rows if row["source"] == "ebgp" and not row["stale"]}


def routes(demo: Demo) -> None:
    """Every announced route is in the table, every announcement of ours at the peers."""
    screen = demo.screen
    screen.heading("Routes: what BIRD announces is what the fast path looks up in")
    expected = {family: distinct(family) for family in ("ipv4", "ipv6")}
    demo.wait(lambda: best_routes(demo) == expected, ROUTES_S, "the table has every announced prefix")
    exported = {site.name: birdc_exported(demo, site) for site in SITES}
    screen.run("dpdkrouter", "bgp", "summary")
    for site in SITES:
        count = received(demo, site)
        screen.check(
            count == exported[site.name] and min(count) > 0,
            f"{site.name}: birdc and bgp summary agree on the IPv4 and IPv6 routes it announces",
            count,
        )
    screen.run("dpdkrouter", "route", "summary")
    screen.check(best_routes(demo) == expected, "route summary: the prefixes of both, the common ones once", expected)
    demo.wait(lambda: all(demo.lab.birds["west"].has_route(prefix) for prefix in ANNOUNCED), 10, "our announcements")
    text = screen.run(*demo.lab.birdc(WEST, "show", "route", "protocol", "peer0"))
    screen.check(all(one in text for one in ANNOUNCED), "BIRD has what the router announces", ", ".join(ANNOUNCED))


def lookup(demo: Demo) -> None:
    """A lookup in the live table names the next hop that is really there."""
    screen = demo.screen
    screen.heading("A lookup in the live table")
    for address in (EAST.host4, EAST.host6):
        screen.run("dpdkrouter", "route", "lookup", address)
        link = json.loads(screen.run(*demo.lab.inside("east", "ip", "-j", "link", "show", "eth0"), show=False))
        mac = link[0]["address"]

        def resolved(address: str = address, mac: str = mac) -> bool:
            members = demo.router.json("route", "lookup", address)["members"]
            return [(m["port"], m["mac"]) for m in members] == [("wan1", mac)]

        demo.wait(resolved, 10, f"{address} leads out of wan1 to east's MAC {mac}")
        screen.check(resolved(), f"{address} leads out of wan1 to east's MAC", mac)


def ping(demo: Demo, source: str, target: str, count: int = PINGS, interval_s: float = 0.05) -> None:
    """Ping from a host, none lost."""
    words = demo.lab.inside(source, "ping", "-n", "-q", "-c", str(count), "-i", str(interval_s), "-W", "2", target)
    text = demo.screen.run(*words, ok=(0, 1))
    got = re.search(r"(\d+) received", text)
    demo.screen.check(
        got is not None and int(got[1]) == count, f"ping {source} -> {target}", f"{got[1] if got else 0} of {count}"
    )


def traffic(demo: Demo) -> None:
    """Pings and a UDP flow; hosts' and workers' counts agree."""
    screen = demo.screen
    screen.heading("Packets: ping in both families, then a UDP flow")
    before = counters.take(demo.lab, demo.router)
    for target in (EAST.host4, EAST.host6):
        ping(demo, WEST.host, target)
    for target in (SERVICE4, SERVICE6):
        ping(demo, "client", target)
    ping(demo, WEST.host, EAST.host6, count=1000, interval_s=0.002)
    udp_flow(demo, EAST.host4)
    counters.check(screen, demo.lab, demo.router, before)


def udp_flow(demo: Demo, target: str) -> None:
    """Two seconds of iperf3 from host-west; hardly any datagram lost."""
    lab = demo.lab
    server = lab.namespaces[EAST.host].start("iperf3", "-s", "-1", "-B", target, stdout=DEVNULL, stderr=DEVNULL)
    try:
        wait_for(lambda: ":5201" in lab.namespaces[EAST.host].run("ss", "-Hltn"), 5, "iperf3 -s")
        words = ("iperf3", "-c", target, "-u", "-b", "16M", "-l", "1000", "-t", "2", "-i", "0")
        text = demo.screen.run(*lab.inside(WEST.host, *words), ok=(0, 1))
    finally:
        server.kill()
        server.wait()
    found = re.search(r"(\d+)/(\d+) \([^)]*\)\s+receiver", text)
    lost, sent = (int(found[1]), int(found[2])) if found else (0, 0)
    demo.screen.check(
        sent > 1000 and lost * 100 <= sent, f"UDP {WEST.host} -> {target}: at most 1 % lost", f"{lost} of {sent}"
    )


def traceroute(demo: Demo) -> None:
    """The router is a hop: its fast path answers when TTL or hop limit ends."""
    demo.screen.heading("Traceroute: the fast path answers for its hop")
    for target, router in ((EAST.host4, WEST.router4), (EAST.host6, WEST.router6)):
        words = ("traceroute", "-6" if ":" in target else "-4", "-n", "-q", "1", "-w", "2", "-m", "8", target)
        text = demo.screen.run(*demo.lab.inside(WEST.host, *words))
        hops = re.findall(r"(?m)^\s*\d+\s+(\S+)", text)
        demo.screen.check(
            len(hops) == 4 and hops[1] == router and hops[3] == target, f"hop 2 of 4 is the router, {router}"
        )
