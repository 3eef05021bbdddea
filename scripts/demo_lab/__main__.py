"""The demo's order: sweep, topology, router, steps, live view; then everything goes, whatever happened.

Exit codes: 0 all checks hold; 1 one does not, or the demo itself failed; 130 and 143 on Ctrl-C and SIGTERM, but 0 when
Ctrl-C ends the live view, which follows all checks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from demo_lab import breaks, failover, live, observe, steps
from demo_lab.router import BIN, Router
from demo_lab.screen import CheckFailedError, Screen
from demo_lab.sweep import directory, sweep
from demo_lab.topology import DRAWING, Lab

if TYPE_CHECKING:
    from types import FrameType

LOG_LINES = 40


class Ended(BaseException):
    """A signal asked us to end; no handler of errors on the way takes it for one."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.exit_code = 128 + number


def _on_signal(number: int, _frame: FrameType | None) -> None:
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)  # cleaning up is not interrupted
    if number == signal.SIGHUP:  # the terminal has gone: what is said while cleaning up must not fail on it
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    raise Ended(number)


def demonstrate(screen: Screen, stack: ExitStack, once: bool, kind: str | None) -> None:
    """All of it; raises CheckFailedError at the first check that does not hold."""
    for line in sweep():
        screen.say(f"left by an earlier demo, removed: {line}")
    place = directory(os.getpid())
    place.mkdir()
    stack.callback(shutil.rmtree, place)
    screen.line(screen.paint("36", DRAWING))
    screen.say("namespaces, veths and two BIRDs are being made")
    lab = stack.enter_context(Lab(place))
    router = stack.enter_context(Router(lab))
    os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
    os.environ["DPDKROUTER_NAME"] = router.name
    screen.say(f"below, PATH begins with {BIN}, and DPDKROUTER_NAME={router.name}")
    demo = steps.Demo(screen, lab, router)
    try:
        steps.launch(demo)
        breaks.before_sessions(demo, kind)
        steps.ready(demo)
        steps.sessions(demo)
        steps.routes(demo)
        steps.lookup(demo)
        breaks.before_traffic(demo, kind)
        for step in (steps.traffic, steps.traceroute, failover.failover, failover.comes_back):
            step(demo)
        observe.metrics(demo)
        observe.drops(demo)
        screen.line()
        screen.line(screen.paint("1;32", f"{screen.checks} checks hold, {screen.elapsed_s:.0f} s."))
        screen.all_hold = True
        if not once:
            live.second_terminal(demo)
            live.show(demo)
    except Exception:
        show_log(screen, router)
        raise


def show_log(screen: Screen, router: Router) -> None:
    """The end of the router's log."""
    if router.log.exists():
        screen.line()
        screen.run("tail", "-n", str(LOG_LINES), str(router.log))


def main() -> int:
    """Run the demo. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/demo")
    parser.add_argument("--once", action="store_true", help="end after the checks")
    parser.add_argument("--break", dest="kind", choices=breaks.KINDS, help="break the router on purpose")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)
    screen = Screen()
    try:
        with ExitStack() as stack:
            demonstrate(screen, stack, options.once or options.kind is not None, options.kind)
    except CheckFailedError as error:
        screen.line()
        screen.line(screen.paint("1;31", f"demo failed: {error}"))
        return 1
    except Ended as end:
        screen.line()
        screen.line("ended; everything is removed")
        return 0 if screen.all_hold and end.number == signal.SIGINT else end.exit_code
    return 0


sys.exit(main())
