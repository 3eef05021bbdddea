"""The faults of --break. Each leaves the lab as it is and makes one check fail.

A broken program must stay broken, so `dpdkrouter run`, which would start it again, is stopped first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from demo_lab.topology import EAST
from lab.harness import wait_for

if TYPE_CHECKING:
    from demo_lab.steps import Demo

KINDS = ("route", "fastpath", "bgp")


def before_sessions(demo: Demo, kind: str | None) -> None:
    """`bgp`: ExaBGP is killed for good before a session is up."""
    if kind == "bgp":
        demo.screen.heading("--break bgp: ExaBGP dies and stays dead")
        _kill_for_good(demo, "bgp")


def before_traffic(demo: Demo, kind: str | None) -> None:
    """`route`: a blackhole over the path of the first ping. `fastpath`: it is killed for good."""
    if kind == "route":
        demo.screen.heading("--break route: a blackhole over the way to host-east")
        demo.screen.run("dpdkrouter", "route", "add", f"{EAST.host4}/32", "--type", "blackhole")
    elif kind == "fastpath":
        demo.screen.heading("--break fastpath: it dies and stays dead")
        _kill_for_good(demo, "fastpath")


def _kill_for_good(demo: Demo, program: str) -> None:
    pid = wait_for(lambda: demo.router.program_pid(program), 10, f"dpdkrouter {program}")
    demo.screen.run("kill", "-STOP", str(demo.router.pid))
    demo.screen.run("kill", "-9", str(pid))
