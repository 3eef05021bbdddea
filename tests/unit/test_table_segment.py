"""Segment files: reserved, published, checked, mapped read-only; and a Fib's life as one."""

import os
import signal
import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from dpdkrouter.errors import (
    AlreadyRunningError,
    SegmentError,
    SegmentMissingError,
    SegmentSpaceError,
    SegmentVersionError,
)
from dpdkrouter.fib import Action, Adjacency, Fib, FibReader, Interface, Limits, Source, segment_bytes
from dpdkrouter.fib.limits import layout
from fastpath import segment
from table_model import SMALL, answers, apply, fill_groups, routes, segment_path

FOLDERS = ["/dev/shm", "/dev/hugepages"]


@pytest.fixture(params=FOLDERS)
def path(request: pytest.FixtureRequest, hugepages: object) -> Iterator[Path]:
    path = segment_path(request.param, "segment")
    yield path
    path.unlink(missing_ok=True)
    assert list(path.parent.glob(f".{path.name}*")) == []  # no temporary file is left behind


@pytest.fixture
def fib(path: Path) -> Iterator[Fib]:
    fib = Fib.create(path, SMALL, "pop1")
    yield fib
    fib.close()


def free_hugepages() -> int:
    pool = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
    return int((pool / "free_hugepages").read_text())


def test_every_page_is_there_from_the_start(path: Path) -> None:
    mapping = segment.create(path, 5 << 20)
    assert not path.exists()
    mapping.publish()
    status = path.stat()
    assert (mapping.bytes, status.st_size, status.st_mode & 0o777) == (6 << 20, 6 << 20, 0o644)
    if path.parent.name == "shm":
        assert status.st_blocks * 512 == 6 << 20
    assert mapping.is_current()
    path.unlink()
    assert not mapping.is_current()
    mapping.close()


def test_an_unpublished_file_goes_with_its_mapping(path: Path) -> None:
    mapping = segment.create(path, 1)
    mapping.close()
    assert list(path.parent.glob(f"*{path.name}*")) == []


@pytest.mark.parametrize(
    ("folder", "says"), [("/dev/shm", "make /dev/shm larger"), ("/dev/hugepages", "raise vm.nr_hugepages by")]
)
def test_a_full_pool_is_an_error_that_counts_the_missing_pages(folder: str, says: str, hugepages: object) -> None:
    path = segment_path(folder, "toolarge")
    before = free_hugepages()
    with pytest.raises(SegmentSpaceError, match=rf"needs \d+ .*, \d+ missing; {says}"):
        segment.create(path, 1 << 44)
    assert list(path.parent.glob(f"*{path.name}*")) == []
    assert free_hugepages() >= before - 200  # others use the pool too; what was tried for was given back


def test_no_directory_is_said_so() -> None:
    with pytest.raises(SegmentError, match="mount hugetlbfs on /dev/nowhere"):
        segment.create("/dev/nowhere/routes", 1)


def test_a_missing_segment_names_who_makes_it(path: Path) -> None:
    with pytest.raises(SegmentMissingError, match="the control process makes it"):
        Fib.attach(path)
    with pytest.raises(SegmentMissingError, match="the fast path makes it"):
        segment.attach(path, segment.STATS)


def test_readers_map_the_readers_part_and_cannot_write(fib: Fib, path: Path) -> None:
    mapping = segment.attach(path, segment.ROUTE)
    assert mapping.bytes == layout(SMALL).readers_bytes < mapping.file_bytes == segment_bytes(SMALL)
    lines = [
        line.split() for line in Path("/proc/self/maps").read_text().splitlines() if f"{mapping.address:x}-" in line
    ]
    assert [line[1] for line in lines] == ["r--s"]
    assert mapping.view().readonly
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        import ctypes
        import faulthandler

        faulthandler.disable()
        ctypes.memset(mapping.address + 4096, 1, 1)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGSEGV
    mapping.close()
    assert mapping.address == 0
    with pytest.raises(ValueError, match="not mapped"):
        mapping.view()


def write(path: Path, offset: int, data: bytes) -> None:
    """Change bytes of a segment's file (hugetlbfs has no write(2))."""
    import mmap

    with path.open("r+b") as file, mmap.mmap(file.fileno(), segment.ALIGNMENT) as whole:
        whole[offset : offset + len(data)] = data


def test_another_version_is_refused_and_both_are_named(fib: Fib, path: Path) -> None:
    fib.close()
    write(path, 8, struct.pack("=I", 7))
    for attach in (Fib.attach, FibReader.open):
        with pytest.raises(SegmentVersionError, match="layout version 7, this program has version 3"):
            attach(path)


@pytest.mark.parametrize(
    ("offset", "data", "says"),
    [
        (0, b"\0", "not a route segment"),
        (12, struct.pack("=I", 8), "damaged or cut short"),
        (16, struct.pack("=Q", 1 << 40), "damaged or cut short"),
        (24, struct.pack("=Q", 1 << 40), "damaged or cut short"),
        (24, struct.pack("=Q", 12345), "damaged or cut short"),
        (40, struct.pack("=I", 1 << 30), "damaged: part ipv4_rules"),
        (72, struct.pack("=Q", 1 << 50), "damaged: part interfaces"),
        (72 + 4 * 16, struct.pack("=Q", (1 << 64) - 4096), "damaged: part ipv4_root"),
        (72 + 7 * 16 + 8, struct.pack("=Q", 0), "damaged: part ipv6_trie"),
    ],
)
def test_a_damaged_header_is_refused(fib: Fib, path: Path, offset: int, data: bytes, says: str) -> None:
    fib.close()
    write(path, offset, data)
    for attach in (Fib.attach, FibReader.open, lambda path: segment.attach(path, segment.ROUTE)):
        with pytest.raises(SegmentError, match=says):
            attach(path)


def test_a_cut_file_is_refused(path: Path) -> None:
    path.touch()
    with pytest.raises(SegmentError, match="0 bytes, too short"):
        Fib.attach(path)


def test_a_segment_that_was_cut_short_is_refused(fib: Fib, path: Path) -> None:
    fib.close()
    length = path.stat().st_size
    os.truncate(path, length - segment.ALIGNMENT)
    for attach in (Fib.attach, FibReader.open):
        with pytest.raises(SegmentError, match=rf"damaged or cut short: the header says {length} bytes"):
            attach(path)


@pytest.mark.parametrize(("maximum", "says"), [(0, "table.max_groups: found 0"), (7, "made for other maxima")])
def test_maxima_that_the_segment_was_not_made_for_are_refused(fib: Fib, path: Path, maximum: int, says: str) -> None:
    fib.mapping.view(48, 4)[:] = struct.pack("<I", maximum)
    fib.close()
    for _ in range(2):  # the refusal lets go of the lock
        with pytest.raises(SegmentError, match=f"{path}: damaged: {says}.*remove the file"):
            Fib.open(path, SMALL)


def test_a_damaged_trie_is_mended_by_whoever_attaches(fib: Fib, path: Path) -> None:
    (group,) = fill_groups(fib, 1)
    apply(fib, 6, [(0x2001 << 112, 64, group)])
    part = layout(SMALL).parts["ipv6_root"]
    entry = part.offset + (0x000100 << 2)
    fib.mapping.view(entry, 4)[:] = struct.pack("=I", 0x80000000 | 65535)
    fib.close()
    fib = Fib.attach(path)
    assert answers(fib.reader, 6, [0x2001 << 112, 0x2001 << 112 | 1 << 64]) == [group, 0]
    fib.close()


def test_there_is_one_writer(fib: Fib, path: Path) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: Fib.attach(path),
        lambda: Fib.open(path, SMALL),
        lambda: Fib.create(path, SMALL),
    ]
    for second in attempts:
        with pytest.raises(AlreadyRunningError, match="another process writes this segment"):
            second()
    assert fib.mapping.is_current()
    fib.close()
    with pytest.raises(SegmentError, match="closed"):
        apply(fib, 4, [(0, 0, 0)])
    Fib.attach(path).close()


def test_a_returning_writer_finds_everything(fib: Fib, path: Path) -> None:
    one, two = fill_groups(fib, 2)
    both = fib.group_create([(1, 1), (2, 3)])
    fib.interface_set(2, Interface("wan0", 1500))
    apply(fib, 4, [(10 << 24, 8, one), (10 << 24 | 1, 32, both)], Source.CONNECTED)
    apply(fib, 6, [(0x2001 << 112, 61, two)], Source.STATIC)
    fib.mark_stale(Source.STATIC)
    fib.heartbeat(123)
    before = (routes(fib.reader, 4), routes(fib.reader, 6), fib.groups(), fib.adjacencies(), fib.reader.use(),
              fib.reader.interfaces(), fib.reader.bucket_adjacencies(both))  # fmt: skip
    fib.close()
    with FibReader.open(path) as reader:
        assert (reader.name, reader.heartbeat_ns, reader.writer_pid, reader.limits) == ("pop1", 123, 0, SMALL)
        found = reader.lookup(ip_address("2001::1"))
        assert (found.source, found.stale, found.group, found.table_group) == (Source.STATIC, True, two, two)
    fib = Fib.attach(path)
    assert fib.reader.writer_pid == os.getpid()
    after = (routes(fib.reader, 4), routes(fib.reader, 6), fib.groups(), fib.adjacencies(), fib.reader.use(),
             fib.reader.interfaces(), fib.reader.bucket_adjacencies(both))  # fmt: skip
    assert after == before
    assert [fib.group_routes(group) for group in (one, two, both)] == [1, 1, 1]
    fib.close()


def test_other_limits_carry_everything_over_into_a_new_file(fib: Fib, path: Path) -> None:
    groups = fill_groups(fib, 3)
    both = fib.group_create([(1, 1), (3, 3)])
    fib.interface_set(2, Interface("wan0", 1500))
    apply(fib, 4, [(i << 20, 12, groups[i % 3]) for i in range(40)] + [(0, 0, both), (77, 32, both)])
    apply(fib, 6, [(0x2001 << 112 | i << 80, 48, groups[i % 3]) for i in range(30)], Source.STATIC)
    fib.mark_stale(Source.STATIC)
    before = (routes(fib.reader, 4), routes(fib.reader, 6), fib.groups(), fib.adjacencies(), fib.reader.interfaces(),
              fib.reader.bucket_adjacencies(both), fib.reader.sources(6))  # fmt: skip
    fib.close()
    old = FibReader.open(path)
    same = Fib.open(path, SMALL)
    assert not old.superseded
    same.close()
    larger = Limits(9000, 9000, 400, 400, 12, 40, 2)
    fib = Fib.open(path, larger, "pop1")
    assert old.superseded
    assert fib.reader.limits == larger
    assert fib.carried_refused == 0
    assert fib.reader.grace_epoch > old.grace_epoch
    after = (routes(fib.reader, 4), routes(fib.reader, 6), fib.groups(), fib.adjacencies(), fib.reader.interfaces(),
             fib.reader.bucket_adjacencies(both), fib.reader.sources(6))  # fmt: skip
    assert after == before
    assert answers(fib.reader, 4, [77, 5 << 20, 0xFFFFFFFF]) == [both, groups[2], both]
    fib.close()
    smaller = Fib.open(path, Limits(10, 10, 4, 3, 1, 1, 1))
    assert smaller.counts() == (10, 10)
    assert smaller.carried_refused == 52
    smaller.close()
    with pytest.raises(ValueError, match=r"table\.max_groups must be at least that"):
        Fib.open(path, Limits(10, 10, 3, 3, 1, 1, 1))
    Fib.attach(path).close()  # the old one is as it was
    old.close()


def test_the_default_layout_has_a_known_size() -> None:
    assert layout(Limits()).readers_bytes == 60 << 20
    assert segment_bytes(Limits()) == 120 << 20


def test_an_adjacency_of_the_largest_index_is_inside_its_part() -> None:
    path = segment_path("/dev/shm", "edges")
    fib = Fib.create(path, Limits(10, 10, 2, 2, 1, 1, 1))
    try:
        assert [fib.adjacency_create(Adjacency(Action.GLEAN, i)) for i in range(2)] == [1, 2]
        assert [fib.group_create([(2, 1)]) for _ in range(2)] == [1, 2]
        assert fib.reader.bucket_adjacencies(2) == [2] * 256
    finally:
        fib.close()
        path.unlink()
