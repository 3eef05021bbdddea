"""The `dpdkrouter` command, and a router's files to point it at.

`run` calls the command's entry point in this process, for starting Python takes longer than most commands; `process`
is for what depends on the process, `on_terminal` for what depends on a terminal.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from dpdkrouter.cli import main
from dpdkrouter.config.paths import InstancePaths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

TIMEOUT_S = 60
COMMAND = (sys.executable, "-P", "-m", "dpdkrouter")


def environment() -> dict[str, str]:
    """Ours, without what would choose a router or a width."""
    return {name: value for name, value in os.environ.items() if name not in ("DPDKROUTER_NAME", "COLUMNS", "NO_COLOR")}


def run(*words: str, code: int = 0) -> tuple[str, str]:
    """(standard output, standard error) of a command, neither a terminal; it must end with `code`."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["dpdkrouter", *words]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
    assert (ended.value.code or 0) == code, f"{words}: {ended.value.code}\n{out.getvalue()}\n{err.getvalue()}"
    return out.getvalue(), err.getvalue()


def process(
    *words: str, code: int = 0, command: Sequence[str | Path] = COMMAND, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, its output in pipes. `more`: environment."""
    done = subprocess.run(
        [*command, *words],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={**environment(), **(more or {})},
    )
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def on_terminal(*words: str, columns: int = 80) -> str:
    """What a command shows on a terminal so wide; its colours stay in."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen([*COMMAND, *words], stdin=slave, stdout=slave, stderr=slave, env=environment())
    os.close(slave)
    shown = b""
    with suppress(OSError):  # EIO: the other end is closed
        while block := os.read(master, 65536):
            shown += block
    os.close(master)
    assert process.wait(TIMEOUT_S) == 0, shown.decode()
    return shown.decode().replace("\r\n", "\n")


@dataclass(frozen=True)
class Router:
    """A router's files, and commands about it."""

    paths: InstancePaths

    def run(self, *words: str, code: int = 0) -> str:
        """Standard output of a command in a pipe."""
        return run("-n", self.paths.name, *words, code=code)[0]

    def errors(self, *words: str, code: int = 0) -> str:
        """Standard error."""
        return run("-n", self.paths.name, *words, code=code)[1]

    def json(self, *words: str, code: int = 0) -> Any:
        """A show command's JSON."""
        return json.loads(self.run(*words, "--json", code=code))

    def terminal(self, *words: str, columns: int = 80) -> str:
        """What a terminal shows."""
        return on_terminal("-n", self.paths.name, *words, columns=columns)


@contextmanager
def router_files(tag: str) -> Iterator[Router]:
    """A router of this process's own, in shared memory, with a run directory and nothing that runs."""
    paths = InstancePaths.for_name(f"cli{tag}{os.getpid()}", hugepages=False)
    paths.run.mkdir(parents=True)
    try:
        yield Router(paths)
    finally:
        shutil.rmtree(paths.run, ignore_errors=True)
        paths.routes.unlink(missing_ok=True)
        paths.stats.unlink(missing_ok=True)
