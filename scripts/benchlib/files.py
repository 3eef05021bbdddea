"""Tables from files, and the files that dpdk-test-fib reads.

A table's file has one prefix a line (`PREFIX/LENGTH`, anything after a blank is ignored, so is what follows #), or
is an MRT dump (RFC 6396, TABLE_DUMP_V2: RIB_IPV4_UNICAST, RIB_IPV6_UNICAST and their ADD-PATH forms of RFC 8050);
either may be compressed by gzip or bzip2. MRT begins with a binary header, so it is told by its first bytes.
"""

import bz2
import gzip
import struct
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from socket import inet_aton, inet_ntoa

import numpy as np

from benchlib.routes import GROUPS, U64, Routes, packed

TABLE_DUMP_V2 = 13
SUBTYPES = {2: 4, 8: 4, 4: 6, 10: 6}
"""RIB_IPV4_UNICAST, RIB_IPV6_UNICAST and with _ADDPATH: the family of their prefixes."""
HEADER = struct.Struct(">IHHI")

Prefix = tuple[int, int, int]
"""(family, the address as a number, length)"""


class TableFileError(Exception):
    """A table's file can't be used: where and why."""


def load(path: Path, seed: int = 1) -> dict[int, Routes]:
    """The routes of a file, by family, in random order; each prefix once."""
    data = _plain(path)
    prefixes = set(_mrt(path, data) if _is_mrt(data) else _lines(path, data))
    return {family: _columns(family, [p for p in prefixes if p[0] == family], seed) for family in (4, 6)}


def _plain(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        elif data[:3] == b"BZh":
            data = bz2.decompress(data)
    except (OSError, EOFError) as error:
        raise TableFileError(f"{path}: {error}") from error
    return data


def _is_mrt(data: bytes) -> bool:
    return len(data) >= HEADER.size and HEADER.unpack_from(data)[1] == TABLE_DUMP_V2


def _mrt(path: Path, data: bytes) -> Iterator[Prefix]:
    at = 0
    while at < len(data):
        if at + HEADER.size > len(data):
            raise TableFileError(f"{path}: cut short at byte {at}: {len(data) - at} bytes of a header")
        _, kind, subtype, length = HEADER.unpack_from(data, at)
        body = at + HEADER.size
        if body + length > len(data):
            raise TableFileError(f"{path}: cut short at byte {at}: a record of {length} bytes")
        family = SUBTYPES.get(subtype) if kind == TABLE_DUMP_V2 else None
        if family:
            width = 32 if family == 4 else 128
            bits = data[body + 4] if length > 4 else 255
            size = -(-bits // 8)
            if bits > width or 5 + size > length:
                raise TableFileError(f"{path}: record at byte {at}: prefix length {bits}: from 0 to {width}")
            number = int.from_bytes(data[body + 5 : body + 5 + size], "big") << (width - 8 * size)
            yield family, number >> (width - bits) << (width - bits), bits
        at = body + length


def _lines(path: Path, data: bytes) -> Iterator[Prefix]:
    for number, line in enumerate(data.split(b"\n"), 1):
        words = line.partition(b"#")[0].split()
        if words:
            try:
                network: IPv4Network | IPv6Network = ip_network(words[0].decode())
            except ValueError as error:
                raise TableFileError(f"{path}:{number}: {error}; one prefix a line, or MRT") from error
            yield network.version, int(network.network_address), network.prefixlen


def _columns(family: int, prefixes: list[Prefix], seed: int) -> Routes:
    rng = np.random.default_rng([seed, family])
    prefixes = sorted(prefixes)
    shift = 32 if family == 4 else 0
    half = (1 << 64) - 1
    hi = np.array([(n << shift) & half if family == 4 else n >> 64 for _, n, _ in prefixes], dtype=np.uint64)
    lo = np.array([0 if family == 4 else n & half for _, n, _ in prefixes], dtype=np.uint64)
    lengths = np.array([length for _, _, length in prefixes], dtype=np.uint8)
    groups = rng.integers(1, GROUPS + 1, size=len(hi), dtype=np.uint16)
    return Routes(family, hi, lo, lengths, groups).take(rng.permutation(len(hi)))


def texts(family: int, hi: U64, lo: U64) -> list[str]:
    """Addresses as text; IPv6 in full, as dpdk-test-fib wants it."""
    data = packed(family, hi, lo)
    if family == 4:
        return [inet_ntoa(data[i : i + 4]) for i in range(0, len(data), 4)]
    return [data[i : i + 16].hex(":", 2) for i in range(0, len(data), 16)]


def write_routes(path: Path, routes: Routes) -> None:
    """`PREFIX/LENGTH GROUP` lines, for dpdk-test-fib -f."""
    names = texts(routes.family, routes.hi, routes.lo)
    columns = zip(names, routes.lengths.tolist(), routes.groups.tolist(), strict=True)
    path.write_text("".join(f"{name}/{length} {group}\n" for name, length, group in columns))


def write_addresses(path: Path, family: int, hi: U64, lo: U64) -> None:
    """One address a line, for dpdk-test-fib -t."""
    path.write_text("\n".join(texts(family, hi, lo)) + "\n")


def read_addresses(path: Path, family: int) -> tuple[U64, U64]:
    """What write_addresses wrote: both sides look up what stands in one file."""
    lines = path.read_text().split()
    if family == 4:
        numbers = np.frombuffer(b"".join(map(inet_aton, lines)), dtype=">u4").astype(np.uint64)
        return numbers << np.uint64(32), np.zeros(len(numbers), dtype=np.uint64)
    halves = np.frombuffer(bytes.fromhex("".join(lines).replace(":", "")), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return np.ascontiguousarray(halves[:, 0]), np.ascontiguousarray(halves[:, 1])
