"""DPDK's environment abstraction layer: started once a process, by the fast path process's main thread."""
from libc.stdlib cimport malloc

import contextlib
import os

from dpdkrouter.errors import FastPathError
from fastpath.dpdk.eal cimport (rte_eal_cleanup, rte_eal_get_runtime_dir, rte_eal_init, rte_errno, rte_get_tsc_hz,
                                rte_strerror, rte_version)

_arguments = []                   # EAL keeps pointers into them for as long as the process lives
_ENDING = ("-h", "--help", "-v", "--version")


def init(args: list[str]) -> None:
    """rte_eal_init. args: as on a command line, without the program's name. Raises FastPathError with EAL's reason."""
    cdef char **argv
    cdef int argc = len(args) + 1, rc, i
    for word in args:
        if word in _ENDING:
            raise FastPathError(f"fastpath.eal_args: found {word!r}: EAL would print and end the process; remove it")
    _arguments.extend(a.encode() + b"\0" for a in ["dpdkrouter", *args])
    argv = <char **>malloc(sizeof(char *) * (argc + 1))
    for i in range(argc):
        argv[i] = _arguments[i]
    argv[argc] = NULL
    with nogil:
        rc = rte_eal_init(argc, argv)
    if rc < 0:
        raise FastPathError(f"EAL did not start: {rte_strerror(rte_errno).decode()} (arguments: {' '.join(args)}); "
                            "its own lines above say more")


def cleanup() -> None:
    """rte_eal_cleanup: gives back what EAL reserved."""
    with nogil:
        rte_eal_cleanup()


def remove_runtime_directory() -> None:
    """EAL makes one, empty with --in-memory or --no-shconf, and leaves it behind, also when it does not start."""
    cdef const char *path = rte_eal_get_runtime_dir()
    if path != NULL and path[0]:
        with contextlib.suppress(OSError):
            os.rmdir(path)


def tsc_hz() -> int:
    """Cycles of the time-stamp counter a second."""
    return rte_get_tsc_hz()


def version() -> str:
    """The version of the DPDK library that is loaded."""
    return rte_version().decode()
