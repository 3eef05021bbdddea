"""`scripts/bench fib`: the route table, beside dpdk-test-fib with the same routes and addresses in the same run.

Each run times one pass over all addresses, ours and then each configuration of the peer, on one core and before
everything else that runs there. Our bursts follow each other as in the worker; the peer's are fenced apart by its own
timing, so ours is also taken like that (`fenced_cycles`). Every answer is compared with the model's before its time counts.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from benchlib import destinations, files, peer
from benchlib.destinations import Addresses
from benchlib.machine import alone, commit, last_core, machine
from benchlib.model import checksum, groups_of
from benchlib.report import Result, result
from benchlib.routes import U16, Routes, generate
from benchlib.segment import BenchError, load, lookups, segment, table_bytes, variant
from benchlib.updates import cover_withdraw, update_rate
from dpdkrouter.errors import DpdkrouterError
from dpdkrouter.fib import FibReader, Limits
from fastpath import probe

HUGE = 1 << 20
"""A file system with larger blocks is of hugepages."""

Maker = Callable[[Routes, int, int], Addresses]
"""destinations(routes, how many, seed)"""


@dataclass(slots=True)
class Set:
    """Destinations that are looked up, and what that gave so far."""

    name: str
    routes: Routes
    addresses: Addresses
    expected: U16
    routes_file: Path
    addresses_file: Path
    cycles: list[float] = field(default_factory=list)
    fenced: list[float] = field(default_factory=list)
    peer: dict[str, list[float]] = field(default_factory=dict)
    tbl8: int = 0


def parser() -> argparse.ArgumentParser:
    make = argparse.ArgumentParser(prog="scripts/bench fib", description=__doc__)
    make.add_argument("--json", action="store_true", help="one JSON object on standard output")
    make.add_argument(
        "--table", type=Path, metavar="FILE", help="routes: one prefix a line, or MRT (default: generated)"
    )
    make.add_argument(
        "--routes4", type=int, default=1_050_000, metavar="N", help="IPv4 routes to generate (%(default)s)"
    )
    make.add_argument("--routes6", type=int, default=235_000, metavar="N", help="IPv6 routes to generate (%(default)s)")
    make.add_argument(
        "--destinations", type=int, default=1_000_000, metavar="N", help="addresses looked up (%(default)s)"
    )
    make.add_argument("--updates", type=int, default=1_000_000, metavar="N", help="updates a run (%(default)s)")
    make.add_argument("--runs", type=int, default=5, metavar="N", help="times that each figure is taken (%(default)s)")
    make.add_argument("--seed", type=int, default=1, metavar="N", help="of everything random (%(default)s)")
    make.add_argument(
        "--simd", choices=probe.supported_variants(), default=probe.best_variant(), help="the lookups' variant"
    )
    make.add_argument("--core", type=int, default=last_core(), metavar="N", help="where both sides run (%(default)s)")
    make.add_argument("--no-peer", action="store_true", help="without dpdk-test-fib")
    make.add_argument(
        "--directory",
        type=Path,
        default=Path("/dev/hugepages"),
        help="for the segment; no hugepages there: none for the peer (%(default)s)",
    )
    return make


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    if options.runs < 1:
        parser().error("--runs: at least 1")
    try:
        if not options.no_peer and not peer.available():
            raise BenchError(f"{peer.NAME} is missing: apt-get install dpdk-dev, or use --no-peer")
        report = measure(options)
    except (BenchError, DpdkrouterError, files.TableFileError, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        json.dump(report, sys.stdout, indent=2)
        print()
    return 0


def say(options: argparse.Namespace, text: str) -> None:
    """Progress and figures for a reader; with --json on standard error."""
    print(text, file=sys.stderr if options.json else sys.stdout, flush=True)


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Everything, as the JSON object."""
    facts, version = machine() | {"simd": options.simd}, commit()
    say(options, f"machine: {', '.join(f'{key} {value}' for key, value in facts.items())}\ncommit: {version}")
    tables = _tables(options)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="bench-fib-") as folder:
        scratch = Path(folder)
        sets = _sets(options, tables, scratch)
        limits = Limits(
            max_ipv4_routes=max(1_500_000, len(tables[4]) * 5 // 4),
            max_ipv6_routes=max(400_000, len(tables[6]) * 5 // 4),
        )
        present = [routes for routes in tables.values() if len(routes)]
        loads = []
        for _ in range(options.runs - 1):
            with segment(options.directory, limits) as fib, alone(options.core):
                loads.append(load(fib, present))
        with segment(options.directory, limits) as fib:
            with alone(options.core):
                loads.append(load(fib, present))
            with FibReader.open(fib.mapping.path) as reader:
                for run in range(options.runs):
                    say(options, f"run {run + 1} of {options.runs}")
                    for chosen in sets:
                        _lookups(options, reader, chosen)
                results += [result(s.name, "cycles/lookup", s.cycles, s.peer) for s in sets]
                results.append(result("load_full_table", "s", loads))
                rates = update_rate(fib, present, options.updates, options.runs, options.seed, options.core, scratch)
                results.append(result("update_rate", "1/s", rates))
                seconds = cover_withdraw(fib, tables[4], options.runs, options.seed, options.core, scratch)
                results.append(result("cover_withdraw_slash8", "s", seconds))
                results += [_bytes(reader, family, sets) for family in (4, 6)]
    for one in results:
        say(options, "\n".join(one.lines()))
    for s in sets:
        say(options, f"{s.name}, each burst by itself as {peer.NAME} times it: {median(s.fenced):.1f} cycles/lookup")
    table = {f"ipv{family}_routes": len(routes) for family, routes in tables.items()} | {
        "source": str(options.table) if options.table else f"generated, seed {options.seed}",
        "destinations": options.destinations,
        "checksums": {s.name: checksum(s.expected) for s in sets},
        "fenced_cycles": {s.name: median(s.fenced) for s in sets},
    }
    return {"machine": facts, "commit": version, "table": table, "results": [one.json() for one in results]}


def _tables(options: argparse.Namespace) -> dict[int, Routes]:
    if options.table:
        return files.load(options.table, options.seed)
    return {4: generate(4, options.routes4, options.seed), 6: generate(6, options.routes6, options.seed)}


def _sets(options: argparse.Namespace, tables: dict[int, Routes], scratch: Path) -> list[Set]:
    """The destinations, written to the file that both sides read, and what the model answers."""
    makers: dict[str, tuple[int, Maker]] = {
        "ipv4_lookup_random": (4, destinations.random_hosts),
        "ipv4_lookup_zipf": (4, destinations.zipf),
        "ipv4_lookup_uniform": (4, destinations.uniform),
        "ipv6_lookup_random": (6, destinations.random_hosts),
    }
    sets = []
    for name, (family, make) in makers.items():
        routes = tables[family]
        if not len(routes):
            continue
        routes_file, addresses_file = scratch / f"routes{family}", scratch / name
        if not routes_file.exists():
            files.write_routes(routes_file, routes.take(np.lexsort((routes.lengths, routes.lo, routes.hi))))
        files.write_addresses(addresses_file, family, *make(routes, options.destinations, options.seed))
        addresses = files.read_addresses(addresses_file, family)
        sets.append(Set(name, routes, addresses, groups_of(routes, addresses), routes_file, addresses_file))
    return sets


def _lookups(options: argparse.Namespace, reader: FibReader, chosen: Set) -> None:
    """One pass of ours and one of each configuration of the peer."""
    family = chosen.routes.family
    timed = variant(options.simd)
    with alone(options.core):  # the fenced pass first: like the peer's, which has just loaded its table, ours is warm
        fenced, groups = lookups(timed, reader.mapping, family, chosen.addresses, fenced=True)
        _compare(chosen, groups)
        cycles, groups = lookups(timed, reader.mapping, family, chosen.addresses)
        _compare(chosen, groups)
    chosen.cycles.append(cycles)
    chosen.fenced.append(fenced)
    if options.no_peer:
        return
    place = peer.Place(options.core, huge=os.statvfs(options.directory).f_bsize > HUGE)
    if not chosen.tbl8:
        chosen.tbl8 = peer.needed_blocks(chosen.routes, chosen.routes_file, chosen.addresses_file, place)
    for what in peer.CONFIGURATIONS[family]:
        found = peer.run(what, chosen.routes_file, chosen.addresses_file, chosen.tbl8, place)
        if found is not None:
            chosen.peer.setdefault(what.name, []).append(found)


def _compare(chosen: Set, groups: U16) -> None:
    """BenchError unless every answer is the model's."""
    wrong = np.nonzero(groups != chosen.expected)[0]
    if len(wrong):
        i = wrong[0]
        raise BenchError(
            f"{chosen.name}: {len(wrong)} answers are not the model's, the first of address {i}: "
            f"{groups[i]}, not {chosen.expected[i]}"
        )


def _bytes(reader: FibReader, family: int, sets: list[Set]) -> Result:
    """What the table takes, and the peer's for the entry sizes that it was run with."""
    tbl8 = max((chosen.tbl8 for chosen in sets if chosen.routes.family == family), default=0)
    entries = {what.entry for what in peer.CONFIGURATIONS[family]} if tbl8 else set()
    theirs = {f"{peer.NAME} -e {entry}": [float(peer.memory(tbl8, entry))] for entry in sorted(entries)}
    return result(f"segment_bytes_ipv{family}", "bytes", [float(table_bytes(reader, family))], theirs)
