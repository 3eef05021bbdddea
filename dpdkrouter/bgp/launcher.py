"""What `dpdkrouter bgp` runs: pinned ExaBGP in the router's network namespace, supervised.

ExaBGP runs with the tap (tap.py), or, when its files are not those that the tap knows, as it is with its JSON feed.

Invariants: one instance a run directory (a lock that the kernel releases with the process); when this
process ends, for whatever reason, so do ExaBGP and its helper (parent-death signal, the helper's stdin,
child subreaper); nothing stays in the run directory. ExaBGP gets SIGTERM first and SIGKILL after
STOP_SECONDS.

SIGTERM and SIGINT are a planned stop: ExaBGP withdraws and sends a Cease (graceful.py), so peers keep nothing; without
the tap it says nothing, and only the control process can withdraw before. SIGHUP is a restart: ExaBGP is killed, and
peers with graceful restart keep our routes until the next one is there (RFC 4724 section 4.2), as they do when this
process itself is killed.

Signals are taken synchronously (sigtimedwait), in the main thread; no thread is started.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.metadata
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dpdkrouter.bgp import forwarding, frames, helper, tapcheck
from dpdkrouter.bgp.configuration import BgpSettings, render
from dpdkrouter.errors import AlreadyRunningError, BgpError, SegmentError
from dpdkrouter.fib.reader import FibReader
from dpdkrouter.fib.records import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

EXABGP_VERSION = "5.0.15"
STOP_SECONDS = 5.0
ANNOUNCED = "bgp-announced.json"  # as config/paths.py has it
NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# -P: the working directory is none of our path
RUN = ("-P", "-m", "dpdkrouter.bgp.nolookup")
PROGRAMS = {"tap": (*RUN, "dpdkrouter.bgp.tap"), "json": (*RUN, "exabgp")}
log = logging.getLogger("bgp")
_BGP_SOURCES = (Source.EBGP, Source.IBGP)
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class LaunchSettings:
    """Where and with what to run; `namespace` None stays in the present one (a lab that is in it already).

    hold_announcements: seconds without a control process after which what it announced is withdrawn; 0: never.
    connect_retry: seconds between attempts to connect, at most; 60 is ExaBGP's own, others need the tap.
    segment: the route segment, of which peers are told whether it was kept over a restart.
    """

    run_directory: Path
    namespace: str | None
    bgp: BgpSettings
    log_level: str = "WARNING"
    buffer_bytes: int = helper.BUFFER_LIMIT
    hold_announcements: int = 60
    connect_retry: int = 60
    segment: Path | None = None


def run(settings: LaunchSettings) -> int:
    """Run ExaBGP until a stop signal (returns 0); raises BgpError or AlreadyRunningError when it can't or
    when it ends.
    """
    check_version()
    unknown = tapcheck.difference()
    if unknown is not None:
        log.warning("no tap: %s; UPDATEs come by ExaBGP's JSON feed, which is slow", unknown)
        for peer in (peer for peer in settings.bgp.peers if peer.ttl_security is not None):
            log.warning("peer %s: no tap, so its ttl_security counts only for sessions that we open", peer.address)
    feed = "tap" if unknown is None else "json"
    settings.run_directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    with _lock(settings.run_directory / "bgp.lock"), _signals_held():
        if settings.namespace is not None:
            enter_namespace(settings.namespace)
        configuration = settings.run_directory / "bgp.conf"
        marker = settings.run_directory / "bgp.helper"
        try:
            marker.unlink(missing_ok=True)
            bgp = settings.bgp if feed == "tap" else without_claims(settings.bgp, kept_families(settings.segment))
            _write(configuration, render(bgp, helper_command(settings, feed)))
            return _supervise(configuration, environment(settings), feed)
        finally:
            configuration.unlink(missing_ok=True)
            marker.unlink(missing_ok=True)


def check_version() -> None:
    """Refuse any ExaBGP but the one whose JSON and faults are known here."""
    try:
        found = importlib.metadata.version("exabgp")
    except importlib.metadata.PackageNotFoundError:
        raise BgpError(f"exabgp is not installed for {sys.executable}: pip install exabgp=={EXABGP_VERSION}") from None
    if found != EXABGP_VERSION:
        raise BgpError(
            f"exabgp {found} is installed for {sys.executable}, {EXABGP_VERSION} is needed: "
            f"pip install exabgp=={EXABGP_VERSION}"
        )


def helper_command(settings: LaunchSettings, feed: str) -> tuple[str, ...]:
    """The command line of the process section; feed: "tap" or "json"."""
    limit = settings.buffer_bytes if feed == "json" else min(settings.buffer_bytes, helper.FRAME_LIMIT)
    return (
        sys.executable,
        "-I",
        "-S",
        str(Path(helper.__file__).resolve()),
        str((settings.run_directory / "bgp.sock").resolve()),
        str((settings.run_directory / "bgp.helper").resolve()),
        str(limit),
        feed,
        str((settings.run_directory / ANNOUNCED).resolve()),
        str(settings.hold_announcements),
    )


def enter_namespace(name: str) -> None:
    """Move this process into a named network namespace; os.setns needs Python 3.12."""
    path = NAMESPACES / name
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise BgpError(
            f"network namespace {name} can't be opened ({path}: {error.strerror}): start `dpdkrouter control` first"
        ) from None
    try:
        if _libc.setns(fd, _CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise BgpError(f"network namespace {name} can't be entered: {reason}; this needs root")
    finally:
        os.close(fd)


def kept_families(segment: Path | None) -> list[str]:
    """The families of which routes by BGP are in the segment before ExaBGP runs: somebody's who ran before."""
    if segment is None:
        return []
    try:
        with FibReader.open(segment) as reader:
            return [f"ipv{family}" for family in (4, 6) if any(s in _BGP_SOURCES for s, _ in reader.sources(family))]
    except SegmentError as error:
        log.info("no forwarding state was kept: %s", error)
        return []


def without_claims(bgp: BgpSettings, kept: list[str]) -> BgpSettings:
    """For ExaBGP by itself, which tells every peer that the forwarding state of all families was kept (RFC 4724 section
    3): no graceful restart with peers of whose families that is not so. After a restart that kept the table it is."""
    peers = tuple(peer if set(peer.families) <= set(kept) else replace(peer, restart_time=0) for peer in bgp.peers)
    for before, after in zip(bgp.peers, peers, strict=True):
        if before.restart_time and not after.restart_time:
            log.info(
                "peer %s: no graceful restart: ExaBGP would say that its forwarding state was kept", before.address
            )
    return replace(bgp, peers=peers)


def environment(settings: LaunchSettings) -> dict[str, str]:
    """ExaBGP's environment: ours, without any setting of its own that we didn't choose; and words for graceful.py."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().startswith("exabgp")}
    chosen = {
        "api_ack": "false",
        "api_cli": "false",
        "api_respawn": "true",
        "daemon_daemonize": "false",
        "daemon_user": "root",
        "daemon_drop": "false",
        "log_destination": "stderr",
        "log_enable": "true",
        "log_level": settings.log_level,
        "log_short": "false",
        # Wildcards: the router's addresses may come later than this process, and the namespace is the
        # router's own.
        "tcp_bind": "0.0.0.0 ::",
    }
    told = {
        frames.RETRY: str(settings.connect_retry),
        forwarding.SEGMENT: str(settings.segment or ""),
        forwarding.KEPT: " ".join(kept_families(settings.segment)),
    }
    return kept | {f"exabgp_{name}": value for name, value in chosen.items()} | told


def _write(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, encoding="ascii")
    new.chmod(0o640)
    new.rename(path)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the instance's lock; the file goes with it."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise AlreadyRunningError(f"dpdkrouter bgp runs already (pid {pid}, lock {path}): stop it first") from None
        # The one before may have removed the file between our open and our lock: then the lock is on a dead
        # file.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(fd).st_ino == path.stat().st_ino:
                break
        os.close(fd)
    try:
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Block the signals that _supervise waits for."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOP_SIGNALS, signal.SIGCHLD})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_child(parent_pid: int) -> None:
    """Between fork and exec: die with the parent, take signals again."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def _supervise(configuration: Path, variables: dict[str, str], feed: str) -> int:
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent_pid = os.getpid()
    child = subprocess.Popen(
        [sys.executable, *PROGRAMS[feed], "server", str(configuration)],
        env=variables,
        stdin=subprocess.DEVNULL,
        # A session of its own: Ctrl-C in a terminal reaches this process only, which then stops ExaBGP in
        # order.
        start_new_session=True,
        preexec_fn=lambda: _in_child(parent_pid),
    )
    try:
        stopped = _wait(child)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        _reap_orphans()
    if stopped:
        return 0
    raise BgpError(f"ExaBGP ended by itself ({_ending(child.returncode)}): its last lines above say why")


def _wait(child: subprocess.Popen[bytes]) -> bool:
    """True when we were told to stop (ExaBGP has ended then, or its time is over), False when ExaBGP
    ended.
    """
    deadline: float | None = None
    while child.poll() is None:
        left = 60.0 if deadline is None else deadline - time.monotonic()
        if left <= 0:
            return True
        info = signal.sigtimedwait({*_STOP_SIGNALS, signal.SIGCHLD}, left)
        if info is not None and info.si_signo != signal.SIGCHLD and deadline is None:
            child.send_signal(signal.SIGKILL if info.si_signo == signal.SIGHUP else signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
    return deadline is not None


def _reap_orphans(seconds: float = 2.0) -> None:
    """ExaBGP's helper ends with its stdin; it became our child when ExaBGP died. See it end, or end it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            continue
        if time.monotonic() > deadline:
            for orphan in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(orphan), signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, 0.05)


def _ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
