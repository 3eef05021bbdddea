"""How fast the table changes while a second process checks every answer: random updates, and a /8 that goes.

An update's address must have one answer before and one after, so those routes are updated which have no more specific
one inside: then no two updates concern the same address.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchlib.destinations import random_hosts
from benchlib.machine import alone
from benchlib.model import groups_of
from benchlib.routes import GROUPS, U16, U64, Routes, masks
from benchlib.segment import BenchError, apply
from benchlib.watcher import watching
from dpdkrouter.fib import Fib

BATCH = 1024
MORE_SPECIFICS = 60_000
SAMPLES = 20_000


def leaves(routes: Routes) -> Routes:
    """The routes, up to /64, inside which there is no other."""
    order = np.lexsort((routes.lengths, routes.lo, routes.hi))
    ordered = routes.take(order)
    high, _ = masks(ordered.lengths)
    inside = np.zeros(len(routes), dtype=np.bool_)
    inside[:-1] = ordered.hi[1:] <= (ordered.hi[:-1] | ~high[:-1])
    return ordered.take(~inside & (ordered.lengths <= 64))


class Changes:
    """A third of some routes is replaced, a third withdrawn, a third inserted; and back."""

    def __init__(self, routes: Routes, seed: int) -> None:
        rng = np.random.default_rng([seed, routes.family, 21])
        found = leaves(routes)
        chosen = found.take(rng.permutation(len(found))[: len(routes) // 4])
        third = len(chosen) // 3
        replaced, withdrawn = np.arange(len(chosen)) < third, np.arange(len(chosen)) >= 2 * third
        inserted = ~replaced & ~withdrawn
        other: U16 = (chosen.groups % GROUPS + 1).astype(np.uint16)
        none = np.zeros(len(chosen), dtype=np.uint16)
        self.before = chosen.with_groups(np.where(inserted, none, chosen.groups))
        self.after = chosen.with_groups(np.where(withdrawn, none, np.where(replaced, other, chosen.groups)))
        self.routes = routes
        self.rng = rng
        self.samples = random_hosts(chosen, min(SAMPLES, len(chosen)), seed)

    def answers(self, state: Routes) -> U16:
        """What the model says for the samples in a state."""
        keep = ~_among(self.routes, state)
        rest = self.routes.take(keep)
        there = state.take(state.groups != 0)
        whole = Routes(
            rest.family,
            np.concatenate((rest.hi, there.hi)),
            np.concatenate((rest.lo, there.lo)),
            np.concatenate((rest.lengths, there.lengths)),
            np.concatenate((rest.groups, there.groups)),
        )
        return groups_of(whole, self.samples)


def _among(routes: Routes, others: Routes) -> NDArray[np.bool_]:
    """Which of the routes have a prefix that stands in `others` too (up to /64)."""
    key = (routes.hi | routes.lengths.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    other = (others.hi | others.lengths.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    return np.isin(key, other) & (routes.lengths <= 64)


def update_rate(
    fib: Fib, tables: list[Routes], count: int, runs: int, seed: int, core: int, scratch: Path
) -> list[float]:
    """Updates a second in each of `runs` rounds of `count` updates, both families by their share."""
    rates: list[list[tuple[int, float]]] = [[] for _ in range(runs)]
    total = sum(len(routes) for routes in tables)
    for routes in tables:
        changes = Changes(routes, seed)
        apply(fib, changes.before)
        before, after = changes.answers(changes.before), changes.answers(changes.after)
        with watching(fib, scratch, routes.family, changes.samples, before, after):
            for rate in rates:
                rate.append(_round(fib, changes, max(1, count * len(routes) // total), core))
        apply(fib, changes.routes)
    return [sum(n for n, _ in rate) / sum(seconds for _, seconds in rate) for rate in rates]


def _round(fib: Fib, changes: Changes, count: int, core: int) -> tuple[int, float]:
    """At least `count` updates, there and back: (how many, seconds)."""
    done, seconds = 0, 0.0
    while done < count:
        for state in (changes.after, changes.before):
            state = state.take(changes.rng.permutation(len(state)))
            for start in range(0, len(state), BATCH):
                batch = state.take(slice(start, start + BATCH))
                with alone(core):
                    applied, took = apply(fib, batch)
                if applied.refused_count or applied.unchanged:
                    raise BenchError(
                        f"IPv{batch.family}: {applied.refused_count} updates refused, {applied.unchanged} in vain"
                    )
                done += len(batch)
                seconds += took
    return done, seconds


def cover_withdraw(fib: Fib, routes: Routes, runs: int, seed: int, core: int, scratch: Path) -> list[float]:
    """Seconds that withdrawing a /8 with 60,000 more specific routes inside takes, each time."""
    first = next(n for n in (10, *range(1, 224)) if not ((routes.hi >> np.uint64(56)) == n).any())
    rng = np.random.default_rng([seed, 22])
    base = np.uint64(first << 56)
    inside = np.sort(rng.permutation(1 << 16)[:MORE_SPECIFICS]).astype(np.uint64)
    count = len(inside)
    specifics = _same_length(base | (inside << np.uint64(40)), 24, rng.integers(1, GROUPS, count, dtype=np.uint16))
    cover = _same_length(np.array([base]), 8, np.array([GROUPS], dtype=np.uint16))
    gone = cover.with_groups(np.zeros(1, dtype=np.uint16))
    apply(fib, specifics)
    addresses = random_hosts(cover, SAMPLES, seed)
    without = groups_of(specifics, addresses)
    within = np.where(without == 0, np.uint16(GROUPS), without).astype(np.uint16)
    seconds = []
    with watching(fib, scratch, 4, addresses, without, within):
        for _ in range(runs):
            apply(fib, cover)
            with alone(core):
                seconds.append(apply(fib, gone)[1])
    apply(fib, specifics.with_groups(np.zeros(count, dtype=np.uint16)))
    return seconds


def _same_length(hi: U64, length: int, groups: U16) -> Routes:
    return Routes(4, hi, np.zeros(len(hi), dtype=np.uint64), np.full(len(hi), length, dtype=np.uint8), groups)
