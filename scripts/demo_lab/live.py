"""The summary until Ctrl-C: some commands again and again, over light traffic; and lines for a second terminal."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from demo_lab.router import BIN
from demo_lab.topology import EAST, SERVICE4, WEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo_lab.steps import Demo

EVERY_S = 2.0
SHOWN = (("status",), ("bgp", "summary"), ("drops",))


def second_terminal(demo: Demo) -> None:
    """What to paste into another terminal."""
    screen, lab = demo.screen, demo.lab
    screen.line()
    screen.line(screen.paint("1", "  To look for yourself, paste into a second terminal (as root):"))
    for line in (
        f"export PATH={BIN}:$PATH DPDKROUTER_NAME={demo.router.name}",
        f"dpdkrouter route lookup {EAST.host4}",
        "dpdkrouter bgp routes 10.0.0.0/24",
        "dpdkrouter port stats",
        " ".join(lab.inside(WEST.host, "traceroute", "-n", EAST.host4)),
        " ".join(lab.inside("client", "ping", SERVICE4)),
        " ".join(lab.birdc(WEST, "show", "route", "count")),
        f"dpdkrouter route add {EAST.host4}/32 --type blackhole   # and: dpdkrouter route del {EAST.host4}/32",
        f"kill -9 $(pgrep -f 'dpdkrouter fastpath {demo.router.config}')   # packets go on within a second or two",
        f"curl -s {demo.router.metrics_url}",
        f"tail -f {demo.router.log}",
    ):
        screen.line(f"    {line}")


@contextmanager
def _traffic(demo: Demo) -> Iterator[None]:
    """Pings in the background, so that counters move."""
    flows = [
        subprocess.Popen(
            demo.lab.inside(source, "ping", "-q", "-i", "0.1", target),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for source, target in ((WEST.host, EAST.host4), (WEST.host, EAST.host6), ("client", SERVICE4))
    ]
    try:
        yield
    finally:
        for flow in flows:
            flow.kill()
            flow.wait()


def show(demo: Demo) -> None:
    """Until a signal ends it, or the router ends."""
    screen = demo.screen
    drawn = 0  # lines of the last summary: the next one takes their place, and what stands above stays
    with _traffic(demo):
        while demo.router.alive():
            text = "\n".join(f"$ dpdkrouter {' '.join(words)}\n{_output(words)}" for words in SHOWN)
            if screen.terminal:
                size = os.get_terminal_size()
                title = f"── live, every {EVERY_S:.0f} s; Ctrl-C ends the demo ──"
                lines = ["", screen.paint("1;36", title), *text.splitlines()][: size.lines - 2]
                print(f"\x1b[{drawn}A\x1b[J" if drawn else "", end="")
                print("\n".join(line.rstrip()[: size.columns] for line in lines), flush=True)
                drawn = len(lines)
            else:
                screen.line(text)
            time.sleep(EVERY_S if screen.terminal else EVERY_S * 5)
    screen.check(False, "dpdkrouter run goes on")


def _output(words: tuple[str, ...]) -> str:
    done = subprocess.run(["dpdkrouter", *words], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr
