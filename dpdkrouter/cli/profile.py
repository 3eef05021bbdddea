"""`profile`: where the workers' cycles go, by stage of the pipeline, from what they sample of themselves.

A worker reads the cycle counter between its stages in one poll of 64 that moves packets (fastpath/stages/profile.pxd).
Reading the samples costs it nothing, so this works on a router under load.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpdkrouter.cli import render
from dpdkrouter.cli.instance import AsJson, counters
from dpdkrouter.segment import STAGES

if TYPE_CHECKING:
    from dpdkrouter.segment import LcoreState

BURSTS = ("0", "1", "2-3", "4-7", "8-15", "16-31", "32-63", "64")
"""Packets that a poll of a queue found; the buckets of the stats segment."""


def _profile(before: LcoreState, after: LcoreState, tsc_hz: int) -> dict[str, Any]:
    """One worker between two readings. Cycles a packet are None while nothing was sampled."""
    packets = after.sampled_packets - before.sampled_packets
    stages = {name: after.stage_cycles[name] - before.stage_cycles[name] for name in STAGES}
    bursts = [b - a for a, b in zip(before.bursts, after.bursts, strict=True)]
    busy = after.cycles_busy - before.cycles_busy
    cycles = busy + after.cycles_idle - before.cycles_idle
    rx = after.rx_packets - before.rx_packets
    polls = sum(bursts[1:])
    return {
        "lcore": after.cpu,
        "rx_packets": rx,
        "rx_pps": round(rx * tsc_hz / cycles) if cycles else 0,
        "busy_percent": round(100 * busy / cycles, 1) if cycles else 0.0,
        "sampled_packets": packets,
        "cycles_per_packet": round(sum(stages.values()) / packets, 1) if packets else None,
        "stages": {name: round(value / packets, 2) if packets else None for name, value in stages.items()},
        "packets_per_burst": round(rx / polls, 1) if polls else None,
        "bursts": dict(zip(BURSTS, bursts, strict=True)),
    }


def profile(
    as_json: AsJson = False,
    seconds: Annotated[float, typer.Option(help="How long to watch; 0: since the fast path started.", min=0.0)] = 1.0,
) -> None:
    """Show cycles a packet by stage, and how full bursts are, from the live workers."""
    with counters() as stats:
        tsc_hz = stats.header().tsc_hz
        before = {one.slot: one for one in stats.lcores() if one.slot}
        time.sleep(seconds)
        after = [one for one in stats.lcores() if one.slot]
    pairs = [(before[one.slot] if seconds else _start(one), one) for one in after]
    found = [_profile(first, last, tsc_hz) for first, last in pairs]
    if as_json:
        render.as_json(found)
        return
    facts = ("lcore", "rx_pps", "busy_percent", "cycles_per_packet", "packets_per_burst", "sampled_packets")
    _show(facts, [[_cell(one[name]) for name in facts] for one in found])
    render.line("")
    _show(("lcore", *STAGES), [[one["lcore"], *map(_cell, one["stages"].values())] for one in found])
    render.line("")
    _show(("lcore", *BURSTS), [[one["lcore"], *one["bursts"].values()] for one in found])


def _start(lcore: LcoreState) -> LcoreState:
    """The same worker when it had done nothing."""
    return replace(
        lcore, cycles_busy=0, cycles_idle=0, rx_packets=0, sampled_packets=0,
        bursts=(0,) * len(BURSTS), stage_cycles=dict.fromkeys(STAGES, 0),
    )  # fmt: skip


def _cell(value: float | None) -> str | float:
    return "-" if value is None else value


def _show(columns: tuple[str, ...], values: list[list[Any]]) -> None:
    names = [name.replace("_percent", " %") for name in columns]
    render.rows(names, values, numbers=names)
