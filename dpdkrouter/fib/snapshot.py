"""A snapshot of the table as a file: docs/snapshot.md is the format, this module its only writer and reader.

Nothing of a file is believed: every length is checked against what there is before it is used, every section has a
checksum, and decompression stops at the length that the section's record count allows. An error names the file and the
byte. What a group does (a *use*) is written in words, so that a snapshot means the same after group numbers and
neighbours' MACs have changed. Any process that may read the segment; nothing is written to it.
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from array import array
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dpdkrouter.errors import SnapshotError
from dpdkrouter.fib.compare import differences, first_wrong
from dpdkrouter.fib.records import Action

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from dpdkrouter.fib.reader import FibReader

MAGIC = b"DRSNAP\r\n"
VERSION = 1
_HEADER = struct.Struct("<8sIIQ16s")  # magic, version, length of this header, created (ns), router's name
_SECTION = struct.Struct("<4sIQQI")  # tag, records, bytes, bytes compressed, CRC-32 of the bytes before compression
_CRC = struct.Struct("<I")
_USES, _END = b"USES", b"END "
_TAGS = {b"IP4R": 4, b"IP6R": 6}
_ROUTE_BYTES = {4: 4 + 1 + 2 + 1, 6: 16 + 1 + 2 + 1}
_MAX_RECORDS = 1 << 20
_MAX_USES_BYTES = 64 << 20
_LEVEL = 6


class Hop(NamedTuple):
    """One member of a use. A next hop that waits for its MAC is the same as one that has it."""

    action: str
    port: str | None
    next_hop: str | None
    weight: int

    def __str__(self) -> str:
        where = " ".join(x for x in (self.next_hop, f"on {self.port}" if self.port else None) if x)
        what = where if self.action == "forward" else f"{self.action} {where}".rstrip()
        return what if self.weight == 1 else f"{what} weight {self.weight}"


Use = tuple[Hop, ...]
Columns = tuple[bytes, bytes, bytes]
"""prefixes (network order), lengths, uses (uint16, host order; numbers from 1)."""


def words(use: Use | None) -> str:
    """A use for people; None: no such route."""
    return "no such route" if use is None else ", ".join(map(str, use))


@dataclass(slots=True)
class Table:
    """A whole table: use i of `uses` has the number i + 1."""

    name: str
    created_ns: int
    uses: list[Use]
    prefixes: dict[int, bytearray] = field(default_factory=lambda: {4: bytearray(), 6: bytearray()})
    lengths: dict[int, bytearray] = field(default_factory=lambda: {4: bytearray(), 6: bytearray()})
    numbers: dict[int, array[int]] = field(default_factory=lambda: {4: array("H"), 6: array("H")})

    def routes(self, family: int) -> int:
        """How many routes of a family there are."""
        return len(self.lengths[family])


class Change(NamedTuple):
    """Prefixes that would go elsewhere. None: no such route."""

    family: int
    now: Use | None
    then: Use | None
    prefixes: int
    examples: tuple[str, ...]


# ---- uses


def live_uses(reader: FibReader) -> tuple[list[Use], array[int]]:
    """(the uses of all groups, each once; the number of each group's, by group)."""
    names = {port: interface.name for port, interface in reader.interfaces().items()}
    numbers: dict[Use, int] = {}
    by_group = array("H", bytes(2 * (reader.limits.max_groups + 1)))
    for group in reader.groups():
        use = tuple(sorted(_hop(adjacency, member.weight, names) for member, adjacency in reader.group(group)))
        by_group[group] = numbers.setdefault(use, len(numbers) + 1)
    return list(numbers), by_group


def _hop(adjacency: Any, weight: int, names: dict[int, str]) -> Hop:
    action = Action.FORWARD if adjacency.action == Action.RESOLVE else adjacency.action
    port = None
    if action in (Action.FORWARD, Action.GLEAN):
        port = names.get(adjacency.port, str(adjacency.port))
    next_hop = str(ip_address(adjacency.next_hop)) if adjacency.next_hop else None
    return Hop(action.name.lower(), port, next_hop, weight)


def _live_chunks(reader: FibReader, family: int, by_group: array[int]) -> Iterator[tuple[Columns, bytes]]:
    """((prefixes, lengths, uses), sources), chunk by chunk; what is there during the whole walk is seen once."""
    after: int | None = None
    while True:
        chunk = reader.routes(family, after)
        numbers = array("H", [by_group[group] for group in memoryview(chunk.groups).cast("H")])
        yield (chunk.prefixes, chunk.lengths, numbers.tobytes()), chunk.sources
        after = chunk.after
        if after is None:
            return


def live_table(reader: FibReader) -> Table:
    """The table as it is now, from a segment."""
    uses, by_group = live_uses(reader)
    table = Table(reader.name, time.time_ns(), uses)
    for family in (4, 6):
        for (prefixes, lengths, numbers), _ in _live_chunks(reader, family, by_group):
            table.prefixes[family] += prefixes
            table.lengths[family] += lengths
            table.numbers[family].frombytes(numbers)
    return table


# ---- writing


def write_snapshot(path: Path, reader: FibReader) -> dict[int, int]:
    """Write the table of a segment; the file appears when it is whole. Routes written, by family."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with temporary.open("wb") as file:
            counts = _write(file, reader)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        raise SnapshotError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return counts


def _write(file: BinaryIO, reader: FibReader) -> dict[int, int]:
    uses, by_group = live_uses(reader)
    _put(file, _HEADER.pack(MAGIC, VERSION, _HEADER.size + _CRC.size, time.time_ns(), reader.name.encode()))
    _section(file, _USES, len(uses), json.dumps(uses, separators=(",", ":")).encode())
    counts = {4: 0, 6: 0}
    for tag, family in _TAGS.items():
        for columns, sources in _live_chunks(reader, family, by_group):
            if sources:
                _section(file, tag, len(sources), b"".join(columns) + sources)
                counts[family] += len(sources)
    _section(file, _END, sum(counts.values()) & 0xFFFFFFFF, b"")
    return counts


def _put(file: BinaryIO, head: bytes) -> None:
    file.write(head + _CRC.pack(zlib.crc32(head)))


def _section(file: BinaryIO, tag: bytes, records: int, data: bytes) -> None:
    packed = zlib.compress(data, _LEVEL)
    _put(file, _SECTION.pack(tag, records, len(data), len(packed), zlib.crc32(data)))
    file.write(packed)


# ---- reading


def read_snapshot(path: Path) -> Table:
    """A snapshot, every part of it checked. SnapshotError says what is wrong and where."""
    try:
        with path.open("rb") as file:
            return _Reader(path, file, os.fstat(file.fileno()).st_size).read()
    except OSError as error:
        raise SnapshotError(f"{path}: cannot be read: {error.strerror}") from error


class _Reader:
    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self._path, self._file, self._size = path, file, size
        self._start = 0  # of what is being read

    def _wrong(self, what: str) -> SnapshotError:
        return SnapshotError(f"{self._path}: at byte {self._start}: {what}")

    def _take(self, count: int, what: str) -> bytes:
        """The next bytes of the file; `count` is not believed."""
        at = self._file.tell()
        if count > self._size - at:
            raise self._wrong(f"cut short: {what} needs {count} bytes, the file has {self._size - at} more")
        return self._file.read(count)

    def _head(self, form: struct.Struct, what: str) -> tuple[Any, ...]:
        self._start = self._file.tell()
        head = self._take(form.size, what)
        if _CRC.unpack(self._take(_CRC.size, what)) != (zlib.crc32(head),):
            raise self._wrong(f"damaged: wrong checksum of {what}")
        return form.unpack(head)

    def read(self) -> Table:
        """The whole file."""
        if self._size < len(MAGIC) or self._take(len(MAGIC), "the header") != MAGIC:
            raise self._wrong("not a snapshot of dpdkrouter")
        self._file.seek(0)
        _, version, length, created, name = self._head(_HEADER, "the header")
        if version != VERSION or length != _HEADER.size + _CRC.size:
            raise self._wrong(f"a snapshot of version {version}; this program reads version {VERSION}")
        tag, records, data = self._section()
        if tag != _USES:
            raise self._wrong(f"found section {tag!r} where {_USES!r} must be")
        table = Table(name.rstrip(b"\0").decode("utf-8", "replace"), created, self._uses(data, records))
        while True:
            tag, records, data = self._section()
            if tag == _END:
                break
            if tag not in _TAGS:
                raise self._wrong(f"found section {tag!r}: unknown")
            self._routes(table, _TAGS[tag], records, data)
        if records != (table.routes(4) + table.routes(6)) & 0xFFFFFFFF or self._file.tell() != self._size:
            raise self._wrong("damaged: the end does not fit what is before it")
        return table

    def _section(self) -> tuple[bytes, int, bytes]:
        tag, records, length, packed_length, crc = self._head(_SECTION, "a section")
        each = _ROUTE_BYTES.get(_TAGS.get(tag, 0), 0)
        if (records > _MAX_RECORDS and tag != _END) or length > _MAX_USES_BYTES or (each and length != records * each):
            raise self._wrong(f"damaged: section {tag!r} of {records} records says it has {length} bytes")
        packed = self._take(packed_length, f"section {tag!r}")
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(packed, length + 1)
        except zlib.error as error:
            raise self._wrong(f"damaged: section {tag!r}: {error}") from None
        if len(data) != length or not unpacker.eof or unpacker.unused_data or zlib.crc32(data) != crc:
            raise self._wrong(f"damaged: section {tag!r} is not what its length and checksum say")
        return tag, records, data

    def _uses(self, data: bytes, records: int) -> list[Use]:
        try:
            found = [tuple(Hop(*hop) for hop in use) for use in json.loads(data)]
        except (ValueError, TypeError) as error:
            raise self._wrong(f"damaged: what groups do: {error}") from None
        if len(found) != records or records > 0x7FFF:
            raise self._wrong(f"damaged: {len(found)} uses, {records} were to be there")
        return found

    def _routes(self, table: Table, family: int, records: int, data: bytes) -> None:
        width = 4 if family == 4 else 16
        prefixes = data[: records * width]
        lengths = data[records * width : records * (width + 1)]
        numbers = array("H")
        numbers.frombytes(data[records * (width + 1) : records * (width + 3)])
        bad = first_wrong(family, prefixes, lengths)
        if bad >= 0:
            shown = prefixes[bad * width : (bad + 1) * width].hex()
            raise self._wrong(f"damaged: route {bad}: {shown}/{lengths[bad]} is no prefix of IPv{family}")
        if records and not 0 < min(numbers) <= max(numbers) <= len(table.uses):
            bad = next(i for i, number in enumerate(numbers) if not 0 < number <= len(table.uses))
            raise self._wrong(f"damaged: route {bad}: use {numbers[bad]}, there are {len(table.uses)}")
        table.prefixes[family] += prefixes
        table.lengths[family] += lengths
        table.numbers[family] += numbers


# ---- comparing


def compare(now: Table, then: Table) -> list[Change]:
    """What would change for which prefixes if `now` became `then`; the most first."""
    numbers: dict[Use, int] = {}
    for table in (now, then):
        for use in table.uses:
            numbers.setdefault(use, len(numbers) + 1)
    uses: list[Use | None] = [None, *numbers]
    found = []
    for family in (4, 6):
        sides = [_common(table, family, numbers) for table in (now, then)]
        for (was, will), (count, examples) in differences(family, sides[0], sides[1]).items():
            texts = tuple(str(ip_network((prefix, length), strict=False)) for prefix, length in examples)
            found.append(Change(family, uses[was], uses[will], count, texts))
    return sorted(found, key=lambda change: (-change.prefixes, change.family, change.examples))


def _common(table: Table, family: int, numbers: dict[Use, int]) -> tuple[bytearray, bytearray, array[int]]:
    """A table's columns with the numbers of both tables."""
    by_number = [0, *(numbers[use] for use in table.uses)]
    return table.prefixes[family], table.lengths[family], array("H", [by_number[n] for n in table.numbers[family]])
