"""`dpdkrouter run`: the three programs in the foreground, for labs and demos; systemd does this in production.

Each is a process of its own, started again when it ends, none a child of another of the three. When this process is
told to stop, it stops them (BGP first, control last) and removes what a lab should not leave: namespace, segments, run
directory. It neither starts beside programs of the same router that somebody else runs nor takes their files away.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpdkrouter.api.client import ApiClient
from dpdkrouter.config.paths import InstancePaths
from dpdkrouter.errors import AlreadyRunningError, DpdkrouterError
from dpdkrouter.host import namespace
from dpdkrouter.lock import InstanceLock, refuse_running

if TYPE_CHECKING:
    from pathlib import Path

    from dpdkrouter.config.schema import Config

log = logging.getLogger("run")

POLL_S = 0.1
STOP_S = 8.0
WITHDRAW_S = 1.0  # ExaBGP sends what it was told within this time
RESTART_S = 1.0  # a program that ends at once is started this often
GIVE_UP_S = 2.0  # a program that never ran this long will not run: its error stands in the log
GIVE_UP_ERROR_S = 15.0  # the same for one that ended with an error: on a busy machine it takes long to find it
GIVE_UP_AFTER = 3
CONFIG_EXIT = 2


@dataclass(slots=True)
class Program:
    """One of the three."""

    name: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    short_lives: int = 0


class Supervisor:
    """Starts, restarts and stops the programs of one configuration."""

    def __init__(self, config: Config, path: Path) -> None:
        self._config = config
        self._path = path
        names = ["control", "fastpath"] + (["bgp"] if config.bgp and config.bgp.neighbors else [])
        self._programs = [Program(name) for name in names]
        self._stop = False

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or until a program cannot run; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        code = 0
        try:
            while not self._stop and code == 0:
                for program in self._programs:
                    code = code or self._tend(program)
                time.sleep(POLL_S)
        finally:
            self._withdraw()
            for program in reversed(self._programs):
                self._end(program)
        return code

    def _withdraw(self) -> None:
        """Have peers forget our prefixes: with graceful restart they would keep them when the sessions end."""
        bgp = self._programs[-1]
        if bgp.name != "bgp" or bgp.process is None or bgp.process.poll() is not None:
            return
        with suppress(DpdkrouterError):  # a control process that does not answer cannot withdraw
            if ApiClient(InstancePaths.of(self._config).api_socket, WITHDRAW_S).call("bgp.withdraw")["peers"]:
                time.sleep(WITHDRAW_S)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._stop = True

    def _tend(self, program: Program) -> int:
        """Start what does not run. Returns an exit code when it never will."""
        if program.process is None:
            # ExaBGP runs inside the namespace, which the control process makes
            if program.name != "bgp" or namespace.exists(self._config.router.namespace):
                self._start(program)
            return 0
        code = program.process.poll()
        if code is None:
            return 0
        lived = time.monotonic() - program.started
        if lived < RESTART_S and code != CONFIG_EXIT:
            return 0
        # ExaBGP's death is an error of `bgp`, at any time: that one is judged by the short time alone
        soon = GIVE_UP_ERROR_S if code > 0 and program.name != "bgp" else GIVE_UP_S
        program.short_lives = program.short_lives + 1 if lived < soon else 0
        if code == CONFIG_EXIT or program.short_lives >= GIVE_UP_AFTER:
            log.error("%s ended with %d after %.1f s: giving up; its reason stands above", program.name, code, lived)
            return code if code > 0 else 1
        log.warning("%s (pid %d) ended with %d: starting it again", program.name, program.process.pid, code)
        self._start(program)
        return 0

    def _start(self, program: Program) -> None:
        # A session of its own: Ctrl-C reaches only us, and we end them in order.
        verb = ["bgp", "run"] if program.name == "bgp" else [program.name]
        # -P: the installed package, also when the working directory is a source tree, whose modules are not compiled.
        command = [sys.executable, "-P", "-m", "dpdkrouter", *verb, str(self._path.resolve())]
        program.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        program.started = time.monotonic()
        log.info("%s: pid %d", program.name, program.process.pid)

    def _end(self, program: Program) -> None:
        process = program.process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            log.warning("%s (pid %d) does not end: killed", program.name, process.pid)
            process.kill()
            process.wait()


def _program_locks(paths: InstancePaths) -> dict[Path, str]:
    return {paths.pid_file(name): f"dpdkrouter {name}" for name in ("control", "fastpath", "bgp")}


def clean_up(config: Config, paths: InstancePaths, *, remove_namespace: bool) -> None:
    """Remove what the programs keep for their next start; a namespace that was there before us stays.

    Nothing is removed while a program runs that is not ours: it was started beside us.
    """
    try:
        refuse_running(_program_locks(paths))
    except AlreadyRunningError as error:
        log.warning("%s; its files and namespace %s stay", error, config.router.namespace)
        return
    if remove_namespace:
        namespace.remove(config.router.namespace)
    paths.routes.unlink(missing_ok=True)
    paths.stats.unlink(missing_ok=True)
    shutil.rmtree(paths.eal, ignore_errors=True)
    shutil.rmtree(paths.run, ignore_errors=True)


def main(config: Config, path: Path) -> int:
    """Run the router of `config`, read from `path`. Returns the exit code."""
    paths = InstancePaths.of(config)
    with InstanceLock(paths.run / "run.lock", "dpdkrouter run"):
        refuse_running(_program_locks(paths))
        made = paths.run / "namespace-made"
        if not namespace.exists(config.router.namespace):
            made.touch()  # also after a crash of ours the next run knows that it may remove it
        log.info(
            "router %s, namespace %s, pid %d; Ctrl-C ends it",
            config.router.name,
            config.router.namespace,
            os.getpid(),
        )
        code = Supervisor(config, path).run()
        clean_up(config, paths, remove_namespace=made.exists())
    return code
