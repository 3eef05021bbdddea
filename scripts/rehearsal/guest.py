"""The host's end of the command channel: commands run in the guest, their output lands in the log directory."""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rehearsal.machine import Machine

HERE = Path(__file__).resolve().parent
BOOT_S = 600  # 15 s on a quiet machine
COMMAND_S = 900  # a Python takes ten seconds to start in an emulated machine, and minutes on a busy one
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
    """Runs commands in the guest. Logs are numbered in their order: 3.out and 3.err are the third's."""

    def __init__(self, machine: Machine, logs: Path) -> None:
        self._machine = machine
        self._logs = logs
        self._numbers = itertools.count(1)
        self._pending = b""
        self._codes: dict[int, int] = {}  # exit codes of commands that have ended, by number

    @staticmethod
    def prepare(logs: Path) -> None:
        """Put into the log directory what the guest reads there when it starts."""
        shutil.copy(HERE / "guest.sh", logs)
        (logs / "path").write_text(f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin\n")

    def wait_for_boot(self) -> None:
        """Until the guest reads commands."""
        self._wait(0, time.monotonic() + BOOT_S, "the boot")

    def run(self, command: str, *, ok: tuple[int, ...] | None = (0,), timeout_s: float = COMMAND_S) -> Result:
        """Run a line of bash. ok: exit codes that are none of an error; None: all."""
        (result,) = self.run_together([command], timeout_s=timeout_s)
        if ok is not None and result.code not in ok:
            raise GuestError(f"{command}: exit code {result.code}: {(result.err or result.out).strip()}")
        return result

    def run_together(self, commands: Sequence[str], *, timeout_s: float = COMMAND_S) -> list[Result]:
        """Run lines of bash at the same time, and wait for all."""
        numbers = [self._start(command) for command in commands]
        deadline = time.monotonic() + timeout_s
        return [self._end(number, command, deadline) for number, command in zip(numbers, commands, strict=True)]

    def _start(self, command: str) -> int:
        number = next(self._numbers)
        (self._logs / f"{number}.command").write_text(command + "\n")
        self._machine.channel.sendall(f"{number} {command}\n".encode())
        return number

    def _end(self, number: int, command: str, deadline: float) -> Result:
        code = self._wait(number, deadline, command)
        out, err = ((self._logs / f"{number}.{name}").read_text(errors="replace") for name in ("out", "err"))
        return Result(command, code, out, err)

    def _wait(self, number: int, deadline: float, what: str) -> int:
        """The exit code of command `number`, when it has ended."""
        while number not in self._codes:
            self._machine.check_alive()
            if time.monotonic() > deadline:
                raise GuestError(f"{what}: has not ended in time")
            if select.select([self._machine.channel], [], [], TICK_S)[0]:
                with contextlib.suppress(ConnectionResetError):  # QEMU's end is seen above
                    self._pending += self._machine.channel.recv(4096)
            *lines, self._pending = self._pending.split(b"\n")
            for line in lines:
                ended, code = line.split()
                self._codes[int(ended)] = int(code)
        return self._codes[number]
