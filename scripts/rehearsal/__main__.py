"""The rehearsal's order: image, hosts, machine, steps; then everything goes, whatever happened.

Exit codes: 0 all checks hold; 1 one does not, or the rehearsal itself failed; 130 and 143 on Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from demo_lab.screen import CheckFailedError, Screen
from dpdkrouter.errors import DpdkrouterError
from lab.harness.namespace import sweep
from rehearsal import DRAWING, image
from rehearsal.guest import Guest, GuestError
from rehearsal.hosts import PREFIX, Host
from rehearsal.machine import Machine, MachineError, Nic
from rehearsal.steps import STEPS, Rehearsal

if TYPE_CHECKING:
    from types import FrameType

MODELS = {"e1000e": "e1000e", "e1000": "e1000", "vmxnet3": "vmxnet3", "virtio": "virtio-net-pci"}
WANTED = re.compile(rf"({'|'.join(MODELS)})(?::([1-8]))?")
DEFAULT = "e1000e,e1000e,virtio:2,virtio:3"
LOG_LINES = 40


class Ended(BaseException):
    """A signal asked us to end; no handler of errors on the way takes it for one."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def _on_signal(number: int, _frame: FrameType | None) -> None:
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)  # cleaning up is not interrupted
    raise Ended(number)


def wanted_nics(text: str) -> list[tuple[str, int]]:
    """QEMU's model and the cable's queues of each NIC: an even number of those known."""
    found = [WANTED.fullmatch(one) for one in text.split(",")]
    wanted = [(match[1], int(match[2] or 1)) for match in found if match is not None]
    if len(found) % 2 or len(wanted) < len(found) or any(n > 1 and model != "virtio" for model, n in wanted):
        known = ", ".join(MODELS)
        raise argparse.ArgumentTypeError(
            f"found {text!r}: an even number of {known}, with commas; virtio:N has N queues"
        )
    return [(MODELS[model], queues) for model, queues in wanted]


def rehearse(screen: Screen, wanted: list[tuple[str, int]], logs: Path) -> None:
    """All of it; raises at the first check that does not hold."""
    for name in sweep(PREFIX):
        screen.say(f"left by an earlier rehearsal, removed: namespace {name}")
    screen.line(screen.paint("36", DRAWING))
    screen.say("the guest's kernel is Debian's; it is fetched once and kept below build/")
    picture = image.prepare()
    with ExitStack() as stack:
        hosts = [stack.enter_context(Host(number, queues)) for number, (_, queues) in enumerate(wanted)]
        nics = [Nic(wanted[h.number][0], f"52:54:00:00:00:{h.number:02x}", h.cable) for h in hosts]
        Guest.prepare(logs)
        machine = stack.enter_context(Machine(picture, nics, logs))
        screen.say(f"QEMU runs as pid {machine.pid}, kernel {picture.version}")
        it = Rehearsal(screen, machine, Guest(machine, logs), hosts, nics, logs)
        for step in STEPS:
            step(it)
        screen.line()
        spent = f"{screen.elapsed_s:.0f} s, {machine.cpu_s:.0f} s of CPU for QEMU"
        screen.line(screen.paint("1;32", f"{screen.checks} checks hold; {spent}."))


def show_logs(screen: Screen, logs: Path) -> None:
    """The ends of what was written, and what the last commands in the guest said."""
    numbered = sorted((path for path in logs.glob("*.err")), key=lambda path: int(path.stem))
    for path in [*(logs / name for name in ("qemu.log", "console.log", "router.log")), *numbered[-2:]]:
        text = path.read_text(errors="replace") if path.exists() else ""
        if text.strip():
            screen.line(f"---- the end of {path.name}")
            screen.output("\n".join(text.splitlines()[-LOG_LINES:]), LOG_LINES)


def perform(screen: Screen, wanted: list[tuple[str, int]], logs: Path) -> int:
    """Rehearse; returns the exit code."""
    try:
        rehearse(screen, wanted, logs)
    except (CheckFailedError, GuestError, MachineError, image.ImageError, DpdkrouterError, AssertionError) as error:
        screen.line()
        show_logs(screen, logs)
        screen.line(screen.paint("1;31", f"rehearsal failed: {error}"))
        return 1
    except Ended as end:
        screen.line()
        screen.line("ended; everything is removed")
        return end.exit_code
    return 0


def main() -> int:
    """Parse the options and rehearse. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/rehearse")
    parser.add_argument("--nics", type=wanted_nics, default=DEFAULT, metavar="MODEL,...", help=f"default {DEFAULT}")
    parser.add_argument("--keep-logs", type=Path, metavar="DIR", help="write all logs there, and keep them")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)
    screen = Screen()
    logs = options.keep_logs
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
        if any(logs.iterdir()):
            parser.error(f"--keep-logs: {logs} is not empty")
        return perform(screen, options.nics, logs.resolve())
    temporary = Path(tempfile.mkdtemp(prefix=f"dpdkrouter-rehearse-{os.getpid()}-"))
    code = perform(screen, options.nics, temporary)
    if code == 1:
        screen.line(f"all logs are kept in {temporary}")
    else:
        shutil.rmtree(temporary)
    return code


sys.exit(main())
