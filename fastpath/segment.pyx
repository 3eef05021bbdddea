"""Segment files: made whole, published by rename, checked before they are trusted, mapped.

Two kinds share this code: the route segment (written by the control process) and the stats segment (written by
the fast path). A segment is a file on hugetlbfs or, without huge pages, on /dev/shm; the caller names it.
What holds:
  * every page is reserved when the file is made, so a full pool is an error then and never a SIGBUS later;
  * a file appears under its name only when its maker has filled it in (`publish`), and is never truncated:
    a new layout is a new file;
  * nothing is mapped before magic, version and sizes agree with the file's real length;
  * a reader's descriptor is O_RDONLY, so it cannot map the segment writable, even by mistake.
Used by control, fast path, CLI and metrics, each for itself; a Mapping belongs to the process that made it.
"""
import contextlib
import errno
import fcntl
import os
import struct
from pathlib import Path

from libc.errno cimport errno as c_errno
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap

from dpdkrouter.errors import (AlreadyRunningError, SegmentError, SegmentMissingError, SegmentSpaceError,
                               SegmentVersionError)

from fastpath cimport layout

ROUTE = "route"
STATS = "stats"
READERS = "readers"
WHOLE = "whole"
WRITE = "write"
ALIGNMENT = 2 << 20
"""Segments are whole huge pages, on /dev/shm too, so that both have one layout."""

_NO_ROOM = (errno.ENOSPC, errno.ENOMEM)
_HEADER = struct.Struct("=QIIQQ")    # magic, version, header_bytes, segment_bytes, readers_bytes (route only)
_KINDS = {
    ROUTE: (layout.DR_ROUTE_MAGIC, layout.DR_ROUTE_VERSION, sizeof(layout.dr_route_header)),
    STATS: (layout.DR_STATS_MAGIC, layout.DR_STATS_VERSION, sizeof(layout.dr_stats_header)),
}
# sizeof is unsigned: the usual negation trick would wrap
STATS_BYTES = (sizeof(layout.dr_stats) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


cdef class Mapping:
    """One mapped segment file. `base` is for other compiled modules; the mapping ends with close() or the object."""

    def __cinit__(self):
        self.fd = -1
        self.base = NULL
        self.temporary = ""

    def __init__(self, path, int fd, size_t file_bytes, size_t bytes, bint writable, str temporary=""):
        self.path = str(path)
        self.fd = fd
        self.file_bytes = file_bytes
        self.writable = writable
        self.temporary = temporary
        self.map(bytes)

    cdef int map(self, size_t bytes) except -1:
        cdef int protection = PROT_READ | PROT_WRITE if self.writable else PROT_READ
        cdef void *at = mmap(NULL, bytes, protection, MAP_SHARED, self.fd, 0)
        if at == MAP_FAILED:
            raise SegmentError(f"{self.path}: mmap of {bytes} bytes: {os.strerror(c_errno)}")
        self.base = <uint8_t *>at
        self.bytes = bytes
        return 0

    @property
    def address(self) -> int:
        """Where the segment is mapped; 0 once closed."""
        return <size_t>self.base

    def view(self, size_t offset=0, size=None) -> memoryview:
        """The mapped bytes, writable only when the mapping is. Do not keep it beyond close()."""
        cdef size_t length = self.bytes - offset if size is None else size
        if self.base == NULL or offset > self.bytes or length > self.bytes - offset:
            raise ValueError(f"{self.path}: bytes {offset} to {offset + length} are not mapped")
        if self.writable:
            return memoryview(<uint8_t[:length]>(self.base + offset)).cast("B")
        return memoryview(<uint8_t[:length]>(self.base + offset)).cast("B").toreadonly()

    def lock(self) -> None:
        """Become the segment's only writer, for as long as this mapping lives; AlreadyRunningError else."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(f"{self.path}: another process writes this segment; end it first") from None

    def is_current(self) -> bool:
        """False when another file (or none) has taken the segment's name."""
        try:
            there, here = os.stat(self.path), os.fstat(self.fd)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def publish(self) -> None:
        """Give the finished file its name, in place of what had it."""
        os.rename(self.temporary, self.path)
        self.temporary = ""

    def close(self) -> None:
        """Unmap and close; an unpublished file is removed. A second call does nothing."""
        if self.base != NULL:
            munmap(self.base, self.bytes)
            self.base = NULL
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self.temporary:
            Path(self.temporary).unlink(missing_ok=True)
            self.temporary = ""

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.bytes)

    def __del__(self):
        self.close()


def create(path, size, int mode=0o644) -> Mapping:
    """Make a zeroed, fully reserved segment of `size` bytes, mapped writable; publish() gives it its name."""
    target = Path(path)
    size = (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        _remove_unfinished(target)
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        raise SegmentError(f"{target}: cannot be made: {error.strerror}; {_directory_hint(target)}") from error
    try:
        os.fchmod(fd, mode)
        _reserve(fd, target, size)
        return Mapping(target, fd, size, size, True, str(temporary))
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)    # a failed reservation keeps the pages that it got until this
        os.close(fd)
        temporary.unlink(missing_ok=True)
        raise


def _remove_unfinished(target: Path) -> None:
    """Segments of this name whose makers died before they published them: each keeps its pages."""
    for left in target.parent.glob(f".{target.name}.*.new"):
        pid = left.name.removesuffix(".new").rpartition(".")[2]
        if pid == str(os.getpid()) or not Path("/proc", pid).exists():
            left.unlink(missing_ok=True)


def attach(path, str kind, str access=READERS, bint lock=False) -> Mapping:
    """Map a published segment.

    kind: ROUTE or STATS. access: READERS (what the fast path maps of the route segment; all of a stats segment),
    WHOLE (read only), WRITE. `lock`: be its only writer. Raises SegmentMissingError, SegmentVersionError,
    SegmentError (not a segment, or sizes that the file does not have), AlreadyRunningError.
    """
    target = Path(path)
    flags = os.O_RDWR if access == WRITE else os.O_RDONLY
    try:
        fd = os.open(target, flags | os.O_CLOEXEC)
    except FileNotFoundError:
        owner = "control process" if kind == ROUTE else "fast path"
        raise SegmentMissingError(f"{target}: no {kind} segment; the {owner} makes it when it starts") from None
    except OSError as error:
        raise SegmentError(f"{target}: cannot be opened: {error.strerror}") from error
    try:
        length, readers = _check(fd, target, kind)
        mapping = Mapping(target, fd, length, readers if access == READERS else length, access == WRITE)
    except BaseException:
        os.close(fd)
        raise
    try:
        if kind == ROUTE:
            _check_parts(mapping)
        if lock:
            mapping.lock()
    except (SegmentError, AlreadyRunningError):
        mapping.close()
        raise
    return mapping


def _check(fd: int, target: Path, kind: str) -> tuple[int, int]:
    """(length, readers' part in bytes) of a segment whose header agrees with its file; raises otherwise."""
    magic, version, header_bytes = _KINDS[kind]
    length = os.fstat(fd).st_size
    head = os.pread(fd, _HEADER.size, 0) if length >= _HEADER.size else b""
    if len(head) < _HEADER.size:
        raise SegmentError(f"{target}: {length} bytes, too short for a {kind} segment; remove it")
    found = _HEADER.unpack(head)
    if found[0] != magic:
        raise SegmentError(f"{target}: not a {kind} segment (magic {found[0]:#018x}, not {magic:#018x}); remove it")
    if found[1] != version:
        raise SegmentVersionError(
            f"{target}: {kind} segment of layout version {found[1]}, this program has version {version}; "
            f"run programs of one release, or remove the file and start again")
    readers = found[4] if kind == ROUTE else found[3]
    if found[2] != header_bytes or found[3] != length or not header_bytes <= readers <= length or readers % ALIGNMENT:
        raise SegmentError(
            f"{target}: damaged or cut short: the header says {found[3]} bytes ({readers} for readers, header "
            f"{found[2]}), the file has {length} (header {header_bytes}); remove it")
    return length, readers


cdef tuple _PARTS = (    # in the order of the header; the first eight are the readers'
    "interfaces", "adjacencies", "groups", "buckets", "ipv4_root", "ipv4_extended", "ipv6_root", "ipv6_trie",
    "ipv4_rules", "ipv6_rules", "ipv4_depth", "ipv4_extended_depth", "group_keys", "journal")


cdef void _needs(const layout.dr_route_header *h, uint64_t *need) noexcept:
    """How large each part must be for the header's maxima. need: uint64[14]."""
    cdef uint64_t one = 1
    need[0] = layout.DR_MAX_PORTS * sizeof(layout.dr_interface)
    need[1] = (h.max_adjacencies + one) * sizeof(layout.dr_adjacency)
    need[2] = (h.max_groups + one) * sizeof(uint32_t)
    need[3] = h.max_ecmp_groups * one * layout.DR_BUCKETS * sizeof(uint16_t)
    need[4] = (one << layout.DR_IPV4_ROOT_BITS) * sizeof(uint16_t)
    need[5] = h.max_ipv4_extended * one * 256 * sizeof(uint16_t)
    need[6] = layout.DR_IPV6_ROOT * sizeof(uint32_t)
    need[7] = h.ipv6_trie_bytes
    need[8] = (h.max_ipv4_routes + one) * sizeof(layout.dr_rule4)
    need[9] = (h.max_ipv6_routes + one) * sizeof(layout.dr_rule6)
    need[10] = one << layout.DR_IPV4_ROOT_BITS
    need[11] = h.max_ipv4_extended * one * 256
    need[12] = (h.max_groups + one) * sizeof(layout.dr_group_key)
    need[13] = sizeof(layout.dr_journal)


def _check_parts(Mapping mapping) -> None:
    """Raise unless every part of a route segment lies where it may and is as large as its maximum needs."""
    cdef const layout.dr_route_header *h = <const layout.dr_route_header *>mapping.base
    cdef const layout.dr_part *part = &h.interfaces
    cdef uint64_t need[14]
    cdef uint64_t at, size, end
    cdef int i
    _needs(h, need)
    for i in range(14):
        at, size = part[i].offset, part[i].bytes
        end = h.readers_bytes if i < 8 else h.segment_bytes
        if (at < 4096 or at % 4096 or size < need[i] or at > end or size > end - at
                or (8 <= i < 10 and size & (size - 1))):
            raise SegmentError(f"{mapping.path}: damaged: part {_PARTS[i]} at {at} has {size} bytes, needs {need[i]} "
                               f"before {end}; remove the file")


def _reserve(fd: int, target: Path, size: int) -> None:
    """Reserve every page of the file, or say how many are missing."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise SegmentError(f"{target}: cannot reserve {size} bytes: {error.strerror}") from error
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
        page, free = _page_and_free(target)
        need = -(-size // page)
        missing = max(1, need - free)
        unit = f"{page >> 20} MiB huge pages" if page >= 1 << 20 else f"{page >> 10} KiB pages of shared memory"
        hint = f"raise vm.nr_hugepages by {missing}" if page >= 1 << 20 else f"make {target.parent} larger"
        raise SegmentSpaceError(
            f"{target}: needs {need} {unit}, {free} are free, {missing} missing; {hint}, or lower [table] maxima"
        ) from error


def _page_and_free(target: Path) -> tuple[int, int]:
    """Page size of the target's file system and how many pages a new file can get."""
    usage = os.statvfs(target.parent)
    pool = Path(f"/sys/kernel/mm/hugepages/hugepages-{usage.f_bsize >> 10}kB")
    if not pool.is_dir():
        return usage.f_bsize, usage.f_bavail
    free = int((pool / "free_hugepages").read_text()) - int((pool / "resv_hugepages").read_text())
    if usage.f_blocks:    # a mount with a size of its own
        free = min(free, usage.f_bavail)
    return usage.f_bsize, free


def _directory_hint(target: Path) -> str:
    if not target.parent.is_dir():
        return f"mount hugetlbfs on {target.parent}, or set fastpath.hugepages = false"
    return f"it must be possible to write {target.parent}"
