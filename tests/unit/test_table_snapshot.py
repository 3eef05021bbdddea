"""Snapshots: written, read back, compared; every damaged one is refused with the place."""

from __future__ import annotations

import random
import struct
import zlib
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from dpdkrouter.errors import SnapshotError
from dpdkrouter.fib import Action, Adjacency, Fib, Interface, Source
from dpdkrouter.fib.compare import differences, first_wrong
from dpdkrouter.fib.snapshot import compare, live_table, read_snapshot, words, write_snapshot
from table_model import SMALL, apply, pack, segment_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOPS = [bytes([192, 0, 2, 1 + i]) for i in range(4)]
HEADER = 44
SECTION = struct.Struct("<4sIQQI")


@pytest.fixture
def fib() -> Iterator[Fib]:
    path = segment_path("/dev/shm", "snapshot")
    fib = Fib.create(path, SMALL, "pop1")
    fib.interface_set(1, Interface("wan0", 1500))
    for number, hop in enumerate(HOPS):
        fib.adjacency_create(Adjacency(Action.FORWARD, 1, bytes([2, 0, 0, 0, 0, number]), next_hop=hop))
    hole = fib.adjacency_create(Adjacency(Action.BLACKHOLE))
    for members in ([(1, 1)], [(2, 1)], [(1, 1), (2, 3)], [(hole, 1)]):
        fib.group_create(members)
    yield fib
    fib.close()
    path.unlink()


@pytest.fixture
def filled(fib: Fib) -> Fib:
    choose = random.Random(3)
    apply(fib, 4, [(0, 0, 1), *((i << 12, 20 + i % 5, 1 + i % 4) for i in range(1, 900))])
    apply(fib, 6, [(0x2001 << 112 | choose.getrandbits(60) << 52, 76, 1 + i % 4) for i in range(500)], Source.STATIC)
    fib.mark_stale(Source.STATIC)
    return fib


def test_a_snapshot_reads_back_as_the_table_is(filled: Fib, tmp_path: Path) -> None:
    file = tmp_path / "table.snapshot"
    assert write_snapshot(file, filled.reader) == {4: 900, 6: 500}
    assert [one.name for one in tmp_path.iterdir()] == ["table.snapshot"]
    read, live = read_snapshot(file), live_table(filled.reader)
    assert (read.name, read.routes(4), read.routes(6)) == ("pop1", 900, 500)
    assert (read.prefixes, read.lengths, read.numbers, read.uses) == (
        live.prefixes,
        live.lengths,
        live.numbers,
        live.uses,
    )
    assert [words(use) for use in read.uses] == [
        "192.0.2.1 on wan0",
        "192.0.2.2 on wan0",
        "192.0.2.1 on wan0, 192.0.2.2 on wan0 weight 3",
        "blackhole",
    ]
    assert compare(live, read) == []


def test_compare_says_how_many_and_where_they_would_go(filled: Fib, tmp_path: Path) -> None:
    file = tmp_path / "table.snapshot"
    write_snapshot(file, filled.reader)
    apply(filled, 4, [(4 << 12, 24, 2), (8 << 12, 23, 2), (0, 0, 0), (0xC0 << 24, 8, 4)])
    now, then = live_table(filled.reader), read_snapshot(file)
    found = compare(now, then)
    assert [(one.family, words(one.now), words(one.then), one.prefixes, one.examples) for one in found] == [
        (4, "192.0.2.2 on wan0", "192.0.2.1 on wan0", 2, ("0.0.64.0/24", "0.0.128.0/23")),
        (4, "no such route", "192.0.2.1 on wan0", 1, ("0.0.0.0/0",)),
        (4, "blackhole", "no such route", 1, ("192.0.0.0/8",)),
    ]
    assert sum(one.prefixes for one in compare(then, now)) == 4


def test_new_macs_and_new_group_numbers_are_no_difference(filled: Fib, tmp_path: Path) -> None:
    file = tmp_path / "table.snapshot"
    write_snapshot(file, filled.reader)
    filled.adjacency_set(1, Adjacency(Action.RESOLVE, 1, next_hop=HOPS[0]))
    group = filled.group_create([(2, 1)])
    apply(filled, 4, [(1 << 12, 21, group)])
    assert compare(live_table(filled.reader), read_snapshot(file)) == []
    filled.group_update(2, [(3, 1)])  # a group that points elsewhere is one, for each prefix that uses it
    (four, six) = compare(live_table(filled.reader), read_snapshot(file))
    assert (words(four.now), four.prefixes, six.prefixes) == ("192.0.2.3 on wan0", 224, 125)


def rewrite(data: bytes, index: int, *, head: tuple[object, ...] | None = None, body: bytes | None = None) -> bytes:
    """A snapshot with one section's header or data replaced, all checksums right."""
    at, out = HEADER, data[:HEADER]
    for number in range(100):
        if at == len(data):
            break
        tag, records, length, packed, crc = SECTION.unpack_from(data, at)
        plain = zlib.decompress(data[at + SECTION.size + 4 : at + SECTION.size + 4 + packed])
        at += SECTION.size + 4 + packed
        if number == index:
            plain = plain if body is None else body
            length, crc = len(plain), zlib.crc32(plain)
        compressed = zlib.compress(plain)
        fields: list[Any] = [tag, records, length, len(compressed), crc]
        if number == index and head is not None:
            fields = [old if new is None else new for new, old in zip(head, fields, strict=True)]
        packed_head = SECTION.pack(*fields)
        out += packed_head + struct.pack("<I", zlib.crc32(packed_head)) + compressed
    return out


@pytest.mark.parametrize(
    ("index", "head", "body", "says"),
    [
        (0, (b"IP4R", None, None, None, None), None, "says it has"),
        (0, (None, 5, None, None, None), None, "4 uses, 5 were to be there"),
        (0, None, b"[[", "what groups do"),
        (0, None, b"[[1]]", "what groups do"),
        (0, None, b"[[[1]]]", "what groups do"),
        (1, (b"WHAT", None, None, None, None), None, "found section b'WHAT': unknown"),
        (1, (None, 1 << 30, None, None, None), None, "says it has"),
        (1, (None, None, 1 << 60, None, None), None, "says it has"),
        (1, (None, None, None, 1 << 60, None), None, "cut short"),
        (1, (None, None, None, None, 7), None, "is not what its length and checksum say"),
        (1, None, b"\xc0\0\0\1" + b"\x18" + b"\1\0" + b"\4", "says it has"),
        (-1, (None, 7, None, None, None), None, ""),
    ],
)
def test_a_section_that_lies_is_refused(
    filled: Fib, tmp_path: Path, index: int, head: tuple[object, ...] | None, body: bytes | None, says: str
) -> None:
    file = tmp_path / "table.snapshot"
    write_snapshot(file, filled.reader)
    sections = 4
    file.write_bytes(rewrite(file.read_bytes(), index % sections, head=head, body=body))
    with pytest.raises(SnapshotError, match=r"at byte \d+: .*" + (says or "the end does not fit")):
        read_snapshot(file)


@pytest.mark.parametrize(
    ("prefix", "length", "use", "says"),
    [
        (b"\xc0\0\2\1", 24, 1, "route 1: c0000201/24 is no prefix of IPv4"),
        (b"\xc0\0\2\0", 33, 1, "route 1: c0000200/33 is no prefix of IPv4"),
        (b"\xc0\0\2\0", 24, 5, "route 1: use 5, there are 4"),
        (b"\xc0\0\2\0", 24, 0, "route 1: use 0, there are 4"),
    ],
)
def test_a_route_that_cannot_be_is_refused(
    fib: Fib, tmp_path: Path, prefix: bytes, length: int, use: int, says: str
) -> None:
    apply(fib, 4, [(0, 0, 1), (1 << 24, 8, 2)])
    file = tmp_path / "table.snapshot"
    write_snapshot(file, fib.reader)
    body = bytes(4) + prefix + bytes([0, length]) + array("H", [1, use]).tobytes() + bytes([4, 4])
    file.write_bytes(rewrite(file.read_bytes(), 1, body=body))
    with pytest.raises(SnapshotError, match=says):
        read_snapshot(file)


def test_a_cut_or_changed_file_is_refused_wherever_it_is(filled: Fib, tmp_path: Path) -> None:
    file = tmp_path / "table.snapshot"
    write_snapshot(file, filled.reader)
    whole = file.read_bytes()
    for cut in [*range(100), *range(100, len(whole), 131), len(whole) - 1]:
        file.write_bytes(whole[:cut])
        with pytest.raises(SnapshotError, match="at byte"):
            read_snapshot(file)
    for at in [*range(120), *range(120, len(whole), 97), len(whole) - 1]:
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        with pytest.raises(SnapshotError, match="at byte"):
            read_snapshot(file)
    file.write_bytes(whole + b"\0")
    with pytest.raises(SnapshotError, match="the end does not fit"):
        read_snapshot(file)


def test_what_is_no_snapshot_and_what_cannot_be_written(fib: Fib, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello, this is not one")
    with pytest.raises(SnapshotError, match="not a snapshot of dpdkrouter"):
        read_snapshot(tmp_path / "text")
    with pytest.raises(SnapshotError, match="cannot be read: No such file"):
        read_snapshot(tmp_path / "absent")
    with pytest.raises(SnapshotError, match="cannot be written: No such file"):
        write_snapshot(tmp_path / "nowhere" / "file", fib.reader)
    (tmp_path / "header").write_bytes(b"DRSNAP\r\n" + struct.pack("<IIQ16s", 2, HEADER, 0, b"x"))
    data = (tmp_path / "header").read_bytes()
    (tmp_path / "header").write_bytes(data + struct.pack("<I", zlib.crc32(data)))
    with pytest.raises(SnapshotError, match="version 2; this program reads version 1"):
        read_snapshot(tmp_path / "header")


@pytest.mark.parametrize("family", [4, 6])
def test_differences_are_those_of_a_dictionary(family: int) -> None:
    choose = random.Random(family)
    width = 32 if family == 4 else 128

    def table() -> dict[tuple[int, int], int]:
        lengths = [8, 20, 24, 32] if family == 4 else [20, 48, 64, 65, 128]
        keys = [(choose.getrandbits(6) << (width - 20), choose.choice(lengths[1:])) for _ in range(150)]
        return {key: choose.randrange(1, 4) for key in keys}

    def columns(routes: dict[tuple[int, int], int]) -> tuple[bytes, bytes, array[int]]:
        keys = list(routes)
        return pack(family, [key[0] for key in keys]), bytes(key[1] for key in keys), array("H", routes.values())

    left, right = table(), table()
    found = differences(family, columns(left), columns(right), examples=10_000)
    expected: dict[tuple[int, int], set[tuple[bytes, int]]] = {}
    for key in left.keys() | right.keys():
        pair = left.get(key, 0), right.get(key, 0)
        if pair[0] != pair[1]:
            expected.setdefault(pair, set()).add((pack(family, [key[0]]), key[1]))
    assert {pair: (count, set(examples)) for pair, (count, examples) in found.items()} == {
        pair: (len(keys), keys) for pair, keys in expected.items()
    }
    assert differences(family, columns(left), columns(left)) == {}
    assert differences(family, columns({}), columns({})) == {}
    with pytest.raises(ValueError, match="do not go together"):
        differences(family, (b"1", b"12", b""), columns({}))


def test_first_wrong_finds_lengths_and_host_bits() -> None:
    assert first_wrong(4, pack(4, [0, 1 << 24]), bytes([0, 8])) == -1
    assert first_wrong(4, pack(4, [0, 1]), bytes([0, 31])) == 1
    assert first_wrong(4, pack(4, [0]), bytes([33])) == 0
    assert first_wrong(6, pack(6, [1, 1 << 64]), bytes([128, 63])) == 1
    assert first_wrong(6, pack(6, [1 << 64, 0]), bytes([64, 129])) == 1
    with pytest.raises(ValueError, match="do not go together"):
        first_wrong(6, bytes(4), bytes(1))
