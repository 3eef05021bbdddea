"""The host's end of the command channel: commands run in the guest, their output lands in the log directory."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rehearsal.machine import Machine

HERE = Path(__file__).resolve().parent
BOOT_S = 400  # 15 s on a quiet machine
COMMAND_S = 240  # a Python takes seconds to start in an emulated machine
TICK_S = 0.5


class GuestError(Exception):
    """The guest does not answer, or a command in it failed; the text says which."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did."""

    command: str
    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as JSON."""
        try:
            return json.loads(self.out)
        except ValueError:
            raise GuestError(f"{self.command}: no JSON: {self.out!r} {self.err!r}") from None


class Guest:
    """Runs commands in the guest, one at a time. Logs are numbered in their order: 3.out and 3.err are the third's."""

    def __init__(self, machine: Machine, logs: Path) -> None:
        self._machine = machine
        self._logs = logs
        self._numbers = itertools.count(1)
        self._pending = b""

    @staticmethod
    def prepare(logs: Path) -> None:
        """Put into the log directory what the guest reads there when it starts."""
        shutil.copy(HERE / "guest.sh", logs)
        (logs / "path").write_text(f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin\n")

    def wait_for_boot(self) -> None:
        """Until the guest reads commands."""
        self._answer(0, time.monotonic() + BOOT_S, "the boot")

    def run(self, command: str, *, ok: tuple[int, ...] | None = (0,), timeout_s: float = COMMAND_S) -> Result:
        """Run a line of bash in the guest. ok: exit codes that are none of an error; None: all."""
        number = next(self._numbers)
        (self._logs / f"{number}.command").write_text(command + "\n")
        self._machine.channel.sendall(f"{number} {command}\n".encode())
        code = self._answer(number, time.monotonic() + timeout_s, command)
        out, err = ((self._logs / f"{number}.{name}").read_text(errors="replace") for name in ("out", "err"))
        if ok is not None and code not in ok:
            raise GuestError(f"{command}: exit code {code}: {(err or out).strip()}")
        return Result(command, code, out, err)

    def _answer(self, number: int, deadline: float, what: str) -> int:
        """Wait for the end of command `number`."""
        while True:
            line, found, rest = self._pending.partition(b"\n")
            if found:
                self._pending = rest
                ended, code = map(int, line.split())
                if ended == number:
                    return code
                continue  # of a command that took longer than we waited
            self._machine.check_alive()
            if time.monotonic() > deadline:
                raise GuestError(f"{what}: has not ended in time")
            with contextlib.suppress(BlockingIOError, ConnectionResetError):
                if select.select([self._machine.channel], [], [], TICK_S)[0]:
                    self._pending += os.read(self._machine.channel.fileno(), 4096)
