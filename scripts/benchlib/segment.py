"""A table in a route segment, by the FIB's public interface; lookups timed in it by the workers' own code."""

import importlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from benchlib.destinations import Addresses
from benchlib.routes import GROUPS, U16, Routes, packed
from dpdkrouter.fib import Action, Adjacency, Applied, Fib, FibReader, Limits, Source
from dpdkrouter.fib.limits import layout
from fastpath import _build
from fastpath.segment import Mapping

BURST = 64
"""Packets that a worker takes at once; dpdk-test-fib's burst too."""


class BenchError(Exception):
    """A measurement can't be made, or an answer was wrong."""


class Timed(Protocol):
    """fastpath/bench.pyi, which every variant has."""

    def lookups4(self, mapping: Mapping, dst: memoryview, group: memoryview, burst: int, fenced: bool) -> int: ...

    def lookups6(
        self, mapping: Mapping, hi: memoryview, lo: memoryview, group: memoryview, burst: int, fenced: bool
    ) -> int: ...


@contextmanager
def segment(directory: Path, limits: Limits) -> Iterator[Fib]:
    """An empty segment with GROUPS groups of one adjacency each; gone afterwards."""
    path = directory / f"bench-fib-{os.getpid()}.routes"
    fib = Fib.create(path, limits)
    try:
        for group in range(1, GROUPS + 1):
            mac = bytes([2, 0, 0, 0, group >> 8, group & 255])
            adjacency = fib.adjacency_create(Adjacency(Action.FORWARD, group % 32, mac))
            if fib.group_create([(adjacency, 1)]) != group:
                raise BenchError(f"{path}: group {group} got another number")
        yield fib
    finally:
        path.unlink(missing_ok=True)
        fib.close()


def apply(fib: Fib, routes: Routes) -> tuple[Applied, float]:
    """Apply routes (group 0: withdraw) as one batch; also the seconds it took."""
    prefixes = packed(routes.family, routes.hi, routes.lo)
    lengths, groups = routes.lengths.tobytes(), routes.groups.tobytes()
    sources = bytes([Source.EBGP]) * len(routes)
    start = time.perf_counter()
    done = fib.apply(routes.family, prefixes, lengths, groups, sources)
    return done, time.perf_counter() - start


def load(fib: Fib, tables: list[Routes]) -> float:
    """Put whole tables in, each as one batch: the seconds. BenchError when a route does not fit."""
    seconds = 0.0
    for routes in tables:
        done, took = apply(fib, routes)
        seconds += took
        if done.refused_count:
            reason = done.refused[0]
            raise BenchError(f"{done.refused_count} IPv{routes.family} routes refused: raise table.{reason.key}")
    return seconds


def table_bytes(reader: FibReader, family: int) -> int:
    """What a family's table takes of the memory that lookups read: the root, and what is used below it."""
    parts, use = layout(reader.limits).parts, reader.use()
    if family == 4:
        return parts["ipv4_root"].bytes + 512 * use["ipv4_extended"].used
    return parts["ipv6_root"].bytes + use["ipv6_trie"].used


def variant(name: str) -> Timed:
    """The timed lookups of a micro-architecture level."""
    return cast(Timed, importlib.import_module(_build.VARIANTS[name].replace("worker", "bench")))


def lookups(
    timed: Timed, mapping: Mapping, family: int, addresses: Addresses, *, fenced: bool = False
) -> tuple[float, U16]:
    """One pass over all addresses: cycles a lookup, and the groups. fenced: each burst by itself."""
    hi, lo = addresses
    groups: NDArray[np.uint16] = np.ones(len(hi), dtype=np.uint16)  # touched: no page fault is timed
    if family == 4:
        dst = (hi >> np.uint64(32)).astype(np.uint32)
        cycles = timed.lookups4(mapping, dst.data, groups.data, BURST, fenced)
    else:
        cycles = timed.lookups6(mapping, hi.data, lo.data, groups.data, BURST, fenced)
    return cycles / len(hi), groups
