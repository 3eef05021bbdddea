"""The router's named network namespace: make it, enter it, remove it.

A named namespace is a bind mount of a thread's `ns/net` on /run/netns/NAME, below a directory that is a
shared mount, exactly as `ip netns add` makes it: every mount namespace of the host sees it, `ip netns`
lists it and `ip netns del` removes it. It outlives its maker.

A thread's namespace is a property of the thread, so whatever must happen inside runs in a throw-away thread
that never returns to the outside (`run_in`): no other thread is ever in a wrong namespace, even when the
callable raises. A descriptor that the callable opens (socket, TUN queue) stays in the namespace it was
opened in. Debian's Python 3.11 has no os.setns, so setns(2), unshare(2), mount(2) and umount2(2) come
through ctypes.

Called by the control process and by the fast path process, from any thread; blocks for some milliseconds at
most.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from dpdkrouter.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

DIRECTORY = Path("/run/netns")

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_OWN_NETWORK = "/proc/thread-self/ns/net"
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x100000
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
_libc.setns.argtypes = [ctypes.c_int, ctypes.c_int]
_libc.unshare.argtypes = [ctypes.c_int]


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


class _Call(threading.Thread, Generic[T]):
    """A thread that runs one callable and keeps what it returned or raised."""

    def __init__(self, function: Callable[[], T], name: str) -> None:
        super().__init__(name=name)
        self._function = function
        self._value: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._value.append(self._function())
        except BaseException as error:  # handed to the caller, whatever it is
            self._error = error

    def result(self) -> T:
        """Start the thread, wait for its end, and return or raise what the callable did."""
        self.start()
        self.join()
        if self._error is not None:
            raise self._error
        return self._value[0]


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace that exists; `created` says whether `ensure` made it or found it."""

    name: str
    created: bool

    def run(self, function: Callable[[], T]) -> T:
        """Run `function` inside and return its result."""
        return run_in(self.name, function)

    def remove(self, *, found_too: bool = False) -> bool:
        """Remove it if `ensure` made it (or anyway, when `found_too`); says whether it was removed.

        Labs and `dpdkrouter run` call this; in production the namespace stays, so that TAPs, TCP sessions
        and neighbours outlive a restart. Devices inside go when the last process and descriptor that uses
        it goes.
        """
        if not (self.created or found_too):
            return False
        remove(self.name)
        return True


def path_of(name: str) -> Path:
    """The path of namespace `name`; a name that could leave /run/netns is a HostError."""
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise HostError(f"namespace {name!r}: a name is 1 to 63 of A-Z a-z 0-9 _ . - and neither . nor ..")
    return DIRECTORY / name


def exists(name: str) -> bool:
    """Whether /run/netns/NAME is a mounted namespace, not the plain file of a maker that died."""
    try:
        return path_of(name).stat().st_dev == Path("/proc/self/ns/net").stat().st_dev
    except FileNotFoundError:
        return False


def run_in(name: str, function: Callable[[], T]) -> T:
    """Run `function` in a throw-away thread inside namespace `name` and return its result.

    Raises HostError when there is no such namespace or it may not be entered, and whatever `function` raises.
    """
    path = path_of(name)

    def inside() -> T:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _check(_libc.setns(fd, _CLONE_NEWNET), "setns")
            finally:
                os.close(fd)
        except OSError as error:
            raise HostError(_why_not_entered(name, error)) from error
        return function()

    return _Call(inside, f"netns-{name}").result()


def _why_not_entered(name: str, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return f"namespace {name}: {path_of(name)} does not exist; start the control process, which makes it"
        case errno.EPERM | errno.EACCES:
            return f"namespace {name}: entering it needs root (CAP_SYS_ADMIN): {error.strerror}"
        case errno.EINVAL:
            return f"namespace {name}: {path_of(name)} is no network namespace: ip netns del {name}"
        case _:
            return f"namespace {name}: cannot be entered: {error.strerror}"


def ensure(name: str) -> Namespace:
    """Return namespace `name`, made when it does not exist. Needs root; two processes may call it at once."""
    path = path_of(name)
    try:
        DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _locked():
            if exists(name):
                return Namespace(name, created=False)
            _share_directory()
            # An empty file that is no mount is left by a maker that died in between; under the lock nobody
            # else is at it.
            if path.exists() and path.stat().st_size == 0:
                path.unlink()
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
            try:
                _Call(lambda: _mount_new(path), f"netns-new-{name}").result()
            except OSError:
                path.unlink()
                raise
    except OSError as error:
        hint = "; this needs root (CAP_SYS_ADMIN)" if error.errno in {errno.EPERM, errno.EACCES} else ""
        raise HostError(f"namespace {name}: cannot be made at {path}: {error.strerror}{hint}") from error
    return Namespace(name, created=True)


def remove(name: str) -> None:
    """Unmount and delete the name, as `ip netns del` does; one that does not exist is no error."""
    path = path_of(name)
    try:
        if exists(name):
            _check(_libc.umount2(os.fsencode(path), _MNT_DETACH), "umount")
        path.unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f"namespace {name}: cannot be removed: {error.strerror}") from error


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """The lock that iproute2 (6.x) takes on the directory while it makes a namespace."""
    fd = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _share_directory() -> None:
    """Make /run/netns a shared mount: what is mounted below it reaches systemd's units too."""
    target = os.fsencode(DIRECTORY)
    if _libc.mount(b"", target, b"none", _MS_SHARED | _MS_REC, None) == 0:
        return
    if ctypes.get_errno() != errno.EINVAL:  # EINVAL: not a mount point yet
        _check(-1, "mount --make-rshared")
    _check(_libc.mount(target, target, b"none", _MS_BIND | _MS_REC, None), "mount --bind")
    _check(_libc.mount(b"", target, b"none", _MS_SHARED | _MS_REC, None), "mount --make-rshared")


def _mount_new(path: Path) -> None:
    """In a thread of its own, which ends in the new namespace."""
    _check(_libc.unshare(_CLONE_NEWNET), "unshare")
    _check(_libc.mount(os.fsencode(_OWN_NETWORK), os.fsencode(path), b"none", _MS_BIND, None), "mount --bind")
