"""The audit: what the RIB says against what the segment has, and the segment against itself.

One audit is a generator of steps of about a millisecond each; between two of them the control process routes on. Each
step compares what is true at its moment: Loc-RIB, groups and segment change together, on this thread, so whatever
changes between steps is never a difference.

  segment   rules, what packets follow, groups (fib/audit.pyx)
  groups    of each hop set in use: the members that its next hops come down to
  RIB       each best route: is it in the segment, with its group and source?
  rules     each rule: is it in the RIB? Stale ones may be missing there, until they are swept.

With `repair` each difference is mended where it is found; a route by the same way by which it came. A route that was
refused for want of room is a difference, too, and repairing tries it again.
"""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

from dpdkrouter.fib.audit import SegmentAudit
from dpdkrouter.fib.compare import first_wrong
from dpdkrouter.fib.fib import WITHDRAW
from dpdkrouter.fib.mend import Mender
from dpdkrouter.fib.records import RouteChunk
from dpdkrouter.rib.best import best_of, best_routes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpdkrouter.fib.fib import Fib
    from dpdkrouter.fib.programmer import Programmer
    from dpdkrouter.rib.table import Rib

CHUNK = 4096  # routes a step
GROUPS = 25  # groups a step
LISTED = 100  # differences named; all are counted
_STALE = 0x80


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What an audit found. `first`: the first differences, in words; `ended`: time.monotonic()."""

    routes: int
    rules: int
    entries: int
    stale: int
    differences: int
    mended: int
    first: tuple[str, ...]
    seconds: float
    ended: float


class Audit:
    """One audit. `first` grows while it runs."""

    def __init__(self, rib: Rib, programmer: Programmer, fib: Fib, *, repair: bool = False) -> None:
        self._rib = rib
        self._programmer = programmer
        self._fib = fib
        self._repair = repair
        self._segment = SegmentAudit(fib.reader, Mender(fib) if repair else None)
        self._routes = self._stale = self._wrong = self._mended = 0
        self.first: list[str] = []
        self.shortages: dict[str, int] = {}  # routes that found no room, by reason

    @property
    def mended(self) -> int:
        """Routes and groups that were mended so far, those of the segment's own audit left out."""
        return self._mended

    def again(self) -> Iterator[None]:
        """Only what the RIB has and the segment has not: with `repair` all that was refused is tried again."""
        self._programmer.retry_groups()
        for family in (4, 6):
            yield from self._from_rib(family)

    def steps(self) -> Iterator[None]:
        """Go through everything; the work is done between the items."""
        self._begun = time.monotonic()
        while self._segment.step():
            self._name_segment()
            yield
        self._name_segment()
        yield from self._groups()
        for family in (4, 6):
            yield from self._from_rib(family)
            yield from self._from_segment(family)

    def result(self) -> AuditResult:
        """What it has found, when its steps have been taken."""
        now, segment = time.monotonic(), self._segment
        return AuditResult(
            self._routes,
            segment.rules,
            segment.entries,
            self._stale,
            self._wrong + segment.wrong,
            self._mended + segment.mended,
            tuple(self.first),
            now - self._begun,
            now,
        )

    # ---- differences

    def _name_segment(self) -> None:
        """The segment's audit lists what it finds at first; all of that is ours as well."""
        self.first[:] = map(str, self._segment.differences)

    def _note(self, what: str) -> None:
        self._wrong += 1
        if len(self.first) < LISTED:
            self.first.append(what)

    # ---- the steps

    def _groups(self) -> Iterator[None]:
        hopsets = self._programmer.hopsets()
        for start in range(0, len(hopsets), GROUPS):
            for hopset in hopsets[start : start + GROUPS]:
                if not self._programmer.group_is_right(hopset):
                    self._note(f"group {self._programmer.group_of(hopset)}: its members are not its next hops")
                    if self._repair:
                        self._programmer.mend_group(hopset)
                        self._mended += self._programmer.group_is_right(hopset)
            yield

    def _from_rib(self, family: int) -> Iterator[None]:
        after = 0
        while True:
            chunk, after = best_routes(self._rib, family, after, CHUNK)
            self._routes += len(chunk)
            wanted = self._programmer.groups_for(family, chunk.lengths, chunk.hopset)
            self._short("group", wanted.count(0))
            groups, sources = self._fib.reader.groups_of(family, chunk.prefixes, chunk.lengths)
            if groups != wanted.tobytes() or sources != chunk.source:
                found = memoryview(groups).cast("H")
                says = chunk.source
                wrong = [
                    i for i, group in enumerate(wanted) if (found[i], sources[i]) != (group, says[i] * (group != 0))
                ]
                for i in wrong:
                    self._note(f"{_text(family, chunk.prefixes, chunk.lengths, i)}: {_what(found[i], wanted[i])}")
                if self._repair and wrong:
                    self._apply(family, chunk.prefixes, chunk.lengths, wanted, chunk.source, wrong)
            yield
            if not after:
                return

    def _from_segment(self, family: int) -> Iterator[None]:
        after: int | None = None
        while True:
            chunk = _sound(family, self._fib.reader.routes(family, after, CHUNK))
            hopsets, _ = best_of(self._rib, family, chunk.prefixes, chunk.lengths)
            wrong = []
            for i, hopset in enumerate(hopsets):
                if hopset:
                    continue
                if chunk.sources[i] & _STALE:
                    self._stale += 1
                else:
                    wrong.append(i)
                    self._note(f"{_text(family, chunk.prefixes, chunk.lengths, i)}: in the segment, not in the RIB")
            if self._repair and wrong:
                nothing = array("H", [WITHDRAW]) * len(chunk)
                self._apply(family, chunk.prefixes, chunk.lengths, nothing, chunk.sources, wrong)
            yield
            after = chunk.after
            if after is None:
                return

    def _apply(
        self, family: int, prefixes: bytes, lengths: bytes, groups: array[int], sources: bytes, wrong: list[int]
    ) -> None:
        """Let the segment have what these elements of a chunk say."""
        size = 4 if family == 4 else 16
        done = self._fib.apply(
            family,
            b"".join(prefixes[i * size : (i + 1) * size] for i in wrong),
            bytes(lengths[i] for i in wrong),
            array("H", [groups[i] for i in wrong]),
            bytes(sources[i] for i in wrong),
        )
        self._mended += len(wrong) - done.refused_count
        for reason, _key, count in done.shortages:
            self._short(reason, count)

    def _short(self, reason: str, count: int) -> None:
        if count:
            self.shortages[reason] = self.shortages.get(reason, 0) + count


def _sound(family: int, chunk: RouteChunk) -> RouteChunk:
    """A chunk without the rules that are no prefixes: the segment's audit has named those."""
    if first_wrong(family, chunk.prefixes, chunk.lengths) < 0:
        return chunk
    size = 4 if family == 4 else 16
    prefixes = [chunk.prefixes[i * size : (i + 1) * size] for i in range(len(chunk))]
    keep = [i for i, prefix in enumerate(prefixes) if first_wrong(family, prefix, chunk.lengths[i : i + 1]) < 0]
    return RouteChunk(
        b"".join(prefixes[i] for i in keep),
        bytes(chunk.lengths[i] for i in keep),
        b"".join(chunk.groups[2 * i : 2 * i + 2] for i in keep),
        bytes(chunk.sources[i] for i in keep),
        chunk.after,
    )


def _text(family: int, prefixes: bytes, lengths: bytes, i: int) -> str:
    size = 4 if family == 4 else 16
    return str(ip_network((prefixes[i * size : (i + 1) * size], lengths[i])))


def _what(found: int, wanted: int) -> str:
    if not found:
        return "in the RIB, not in the segment"
    if not wanted:
        return "in the segment, but its hop set has no group"
    return f"group {found}, the RIB says {wanted}" if found != wanted else "of another source than in the RIB"
