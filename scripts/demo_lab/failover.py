"""One peer dies while a client uses the service that both announce; then it comes back."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from demo_lab import counters
from demo_lab.steps import best_routes, ping
from demo_lab.topology import EAST, SERVICE4, SERVICE6, SITES, WEST, distinct

if TYPE_CHECKING:
    from demo_lab.steps import Demo
    from demo_lab.topology import Site

INTERVAL_S = 0.02
LOST = 25  # half a second


def echoes(demo: Demo, site: Site) -> int:
    """Echo requests that a host has received."""
    return counters.parse_nstat(demo.lab.namespaces[site.host].run("nstat", "-asz", "IcmpInEchos"))["IcmpInEchos"]


def show_echoes(demo: Demo) -> dict[str, int]:
    """The same of both hosts, on the screen."""
    return {
        site.name: counters.parse_nstat(demo.screen.run(*demo.lab.inside(site.host, "nstat", "-asz", "IcmpInEchos")))[
            "IcmpInEchos"
        ]
        for site in SITES
    }


def bird_pid(demo: Demo, site: Site) -> int:
    """The pid of a site's BIRD."""
    pids = demo.lab.namespaces[site.name].pids()
    return next(pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == "bird")


def port_of(demo: Demo, address: str) -> list[str]:
    """The ports that a lookup leads to."""
    return [member["port"] for member in demo.router.json("route", "lookup", address)["members"]]


def failover(demo: Demo) -> None:
    """West's BIRD is killed: the client's packets go to host-east, few or none lost."""
    screen = demo.screen
    screen.heading("One peer dies: the service moves to the other")
    before = counters.take(demo.lab, demo.router)
    screen.run("dpdkrouter", "route", "lookup", SERVICE4)
    screen.check(port_of(demo, SERVICE4) == ["wan0"], f"{SERVICE4} leads to west")
    output = demo.lab.directory / "ping.log"
    words = demo.lab.inside("client", "ping", "-n", "-q", "-i", str(INTERVAL_S), SERVICE4)
    screen.command(*words)
    screen.say("(left running; its output stands below)")
    first = {site.name: echoes(demo, site) for site in SITES}
    with output.open("wb") as log:
        client = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        demo.wait(lambda: echoes(demo, WEST) > first["west"] + 20, 5, "host-west receives the client's pings")
        seen = show_echoes(demo)
        screen.check(seen["east"] == first["east"], "all of them go to host-west")
        screen.run("kill", "-9", str(bird_pid(demo, WEST)))
        demo.wait(lambda: echoes(demo, EAST) > seen["east"] + 50, 20, "host-east receives the client's pings")
        moved = show_echoes(demo)
        demo.wait(lambda: echoes(demo, EAST) > moved["east"] + 20, 5, "host-east goes on receiving")
        screen.check(echoes(demo, WEST) == moved["west"], "all of them go to host-east now")
    finally:
        client.send_signal(signal.SIGINT)
        client.wait(10)
    demo.lab.birds[WEST.name].kill()  # takes its exit code
    screen.command("cat", str(output))
    text = output.read_text()
    screen.output(text)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", text)
    lost = int(found[1]) - int(found[2]) if found else -1
    screen.check(0 <= lost <= LOST, f"at most {LOST} of the client's pings were lost", lost)
    screen.run("dpdkrouter", "route", "lookup", SERVICE4)
    screen.run("dpdkrouter", "bgp", "summary")
    for address in (SERVICE4, SERVICE6):
        screen.check(port_of(demo, address) == ["wan1"], f"{address} leads to east")
    ping(demo, "client", SERVICE6)
    counters.check(screen, demo.lab, demo.router, before)


def comes_back(demo: Demo) -> None:
    """West's BIRD starts again: its routes return."""
    screen = demo.screen
    screen.heading("The peer comes back")
    bird = demo.lab.birds[WEST.name]
    screen.say("bird is started again in west")
    bird.start()
    demo.wait(bird.established, 30, "BGP session of west")
    demo.wait(lambda: port_of(demo, SERVICE4) == port_of(demo, SERVICE6) == ["wan0"], 20, "the service leads to west")
    screen.run("dpdkrouter", "bgp", "summary")
    screen.run("dpdkrouter", "route", "summary")
    expected = {family: distinct(family) for family in ("ipv4", "ipv6")}
    demo.wait(lambda: best_routes(demo) == expected, 20, "all routes are back")
    ping(demo, "client", SERVICE4)
