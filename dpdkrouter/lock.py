"""One instance of each program a router: an flock on a file in the run directory, free again when its process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from dpdkrouter.errors import AlreadyRunningError


class InstanceLock:
    """Context manager: holds `path` locked, with our pid in it. AlreadyRunningError names who holds it."""

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what
        self._fd = -1

    def __enter__(self) -> InstanceLock:
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise AlreadyRunningError(f"{self._what} runs already (pid {holder}, {self._path}); end it first") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)  # the file stays: removing it would let two others hold two files of one name


def refuse_running(locks: dict[Path, str]) -> None:
    """AlreadyRunningError when somebody holds one of `locks` (paths, and what holds them); makes no file."""
    for path, what in locks.items():
        if path.exists():
            with InstanceLock(path, what):
                pass
