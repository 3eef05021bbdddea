"""`scripts/bench bgp`: see scripts/bench. Its JSON is the kind of object that the other benches print."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

from bench_lab import full_feed, two_feeds
from benchlib.machine import commit, machine
from benchlib.report import Result


def parser() -> argparse.ArgumentParser:
    """The words after `scripts/bench`."""
    made = argparse.ArgumentParser(prog="scripts/bench")
    made.add_argument("what", choices=["bgp"])
    made.add_argument("--json", action="store_true", help="one JSON object on standard output")
    made.add_argument("--ipv4", type=int, default=1_050_000, help="IPv4 prefixes of a feed")
    made.add_argument("--ipv6", type=int, default=235_000, help="IPv6 prefixes of a feed")
    made.add_argument("--rounds", type=int, default=3, help="loads of each receiver, in turn")
    made.add_argument("--churn-seconds", type=int, default=60, help="how long 50,000 UPDATEs a second come")
    return made


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Everything, as the JSON object; progress and figures on standard error, for the labs' own output goes there."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="drbench-") as name:
        directory = Path(name)
        streams, found = full_feed.measure(directory, options.ipv4, options.ipv6, options.rounds)
        results += found
        for one in two_feeds.measure(directory, options.ipv4, options.ipv6, options.churn_seconds):
            print(f"bench: {one.name}: {one.value:.6g} {one.unit}", file=sys.stderr)
            results.append(one)
    return {"machine": machine(), "commit": commit(), "table": streams, "results": [one.json() for one in results]}


def main() -> int:
    """See scripts/bench."""
    options = parser().parse_args()
    if min(options.rounds, options.ipv4, options.ipv6) < 1 or options.churn_seconds < 2:
        parser().error("--rounds, --ipv4, --ipv6: at least 1; --churn-seconds: at least 2")
    with contextlib.redirect_stdout(sys.stderr):
        report = measure(options)
    if options.json:
        print(json.dumps(report, indent=2))
        return 0
    facts, found = report["machine"], report["results"]
    assert isinstance(facts, dict)
    assert isinstance(found, list)
    print(f"machine: {', '.join(f'{key} {value}' for key, value in facts.items())}\ncommit: {report['commit']}")
    for one in found:
        print("\n".join(Result(**one).lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
