"""`route audit`, `route snapshot`, `route diff`: the whole table at once."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from dpdkrouter.cli import render
from dpdkrouter.cli.instance import AsJson, chosen, control_note
from dpdkrouter.errors import ControlUnreachableError
from dpdkrouter.fib.audit import SegmentAudit
from dpdkrouter.fib.snapshot import Change, compare, live_table, read_snapshot, words, write_snapshot

DIFFERENT = 5
_AUDIT_S = 60.0  # the control process may be that long between two differences
_SHOWN = 50

File = Annotated[Path, typer.Argument(help="The snapshot's file.", metavar="FILE")]


def audit(
    repair: Annotated[bool, typer.Option("--repair", help="Make right what differs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the RIB and the table that packets follow, completely; exit code 5 when they differ."""
    try:
        found = _whole(repair)
    except ControlUnreachableError:
        if repair:
            raise
        found = _segment_alone()
    if as_json:
        render.as_json(found)
    else:
        _print_audit(found)
    if found["differences"] > found["mended"]:
        raise typer.Exit(DIFFERENT)


def _whole(repair: bool) -> dict[str, Any]:
    """By the control process, between its other work."""
    named, result = chosen.api(_AUDIT_S).all("route.audit", repair=repair)
    return {**result, "first": named, "rib": True}


def _segment_alone() -> dict[str, Any]:
    """Without a control process: the segment's rules against what packets follow."""
    begun = time.monotonic()
    with chosen.table() as table:
        render.note(f"{control_note(table)}; the segment alone is checked")
        walk = SegmentAudit(table)
        while walk.step():
            pass
    return {
        "routes": 0,
        "rules": walk.rules,
        "entries": walk.entries,
        "stale": 0,
        "differences": walk.wrong,
        "mended": 0,
        "seconds": time.monotonic() - begun,
        "first": [str(one) for one in walk.differences],
        "rib": False,
    }


def _print_audit(found: dict[str, Any]) -> None:
    for one in found["first"]:
        render.line(one)
    if len(found["first"]) < found["differences"]:
        render.line(f"... and {found['differences'] - len(found['first'])} more")
    rib = f"{found['routes']} routes of the RIB, " if found["rib"] else ""
    stale = f", {found['stale']} stale" if found["stale"] else ""
    mended = f", {found['mended']} mended" if found["mended"] else ""
    render.line(
        f"{rib}{found['rules']} in the segment{stale}, {found['entries']} table entries, {found['seconds']:.1f} s: "
        f"{found['differences'] or 'no'} difference{'' if found['differences'] == 1 else 's'}{mended}"
    )


def snapshot(file: File, as_json: AsJson = False) -> None:
    """Write the whole table to a file."""
    with chosen.table() as table:
        counts = write_snapshot(file, table)
    found = {"file": str(file), "ipv4": counts[4], "ipv6": counts[6], "bytes": file.stat().st_size}
    if as_json:
        render.as_json(found)
    else:
        render.line(f"{file}: {counts[4]} IPv4, {counts[6]} IPv6 routes, {found['bytes']} bytes")


def diff(file: File, as_json: AsJson = False) -> None:
    """Say what would change if the table were as in a snapshot; exit code 5 when anything would. Nothing is loaded."""
    then = read_snapshot(file)
    with chosen.table() as table:
        now = live_table(table)
    if now.name != then.name:
        render.note(f"{file} is of router {then.name!r}, this one is {now.name!r}")
    changes = compare(now, then)
    total = sum(change.prefixes for change in changes)
    if as_json:
        ways = [_as_json(change) for change in changes]
        render.as_json({"file": str(file), "taken": _taken(then.created_ns), "prefixes": total, "changes": ways})
    else:
        render.rows(
            ("prefixes", "now", "in the snapshot", "such as"),
            [(one.prefixes, words(one.now), words(one.then), " ".join(one.examples)) for one in changes[:_SHOWN]],
            numbers=("prefixes",),
        )
        more = sum(change.prefixes for change in changes[_SHOWN:])
        if more:
            render.line(f"... and {more} prefixes in {len(changes) - _SHOWN} more ways; --json lists all")
        counts = f"{then.routes(4)} IPv4 and {then.routes(6)} IPv6 routes of {_taken(then.created_ns)}"
        render.line(f"{total} prefixes differ from {file}: {counts}")
    if changes:
        raise typer.Exit(DIFFERENT)


def _taken(created_ns: int) -> str:
    return datetime.fromtimestamp(created_ns / 1e9, UTC).isoformat(timespec="seconds")


def _as_json(change: Change) -> dict[str, Any]:
    """A change as JSON has it."""
    return {
        "family": f"ipv{change.family}",
        "prefixes": change.prefixes,
        "now": None if change.now is None else [hop._asdict() for hop in change.now],
        "then": None if change.then is None else [hop._asdict() for hop in change.then],
        "examples": list(change.examples),
    }
