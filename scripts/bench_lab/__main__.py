"""`scripts/bench bgp`: see scripts/bench."""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
from pathlib import Path

from bench_lab import full_feed, two_feeds


def bgp(ipv4: int, ipv6: int, rounds: int, churn_s: int) -> dict[str, object]:
    """The figures, by name."""
    seconds: dict[str, list[float]] = {}
    found: dict[str, object] = {}
    # What the labs print is of no use in the result.
    with tempfile.TemporaryDirectory(prefix="drbench-") as directory, contextlib.redirect_stdout(sys.stderr):
        for receiver, load, memory in full_feed.measure(Path(directory), ipv4, ipv6, rounds):
            print(f"bench: {receiver}: {load.seconds:.2f} s, sent within {load.sent_s:.2f} s {memory}", file=sys.stderr)
            seconds.setdefault(receiver, []).append(load.seconds)
            found |= {f"{name}_rss": {"value": value, "unit": "bytes"} for name, value in memory.items()}
        for name, figure in two_feeds.measure(Path(directory), ipv4, ipv6, churn_s):
            print(f"bench: {name}: {figure}", file=sys.stderr)
            found[name] = figure
    median = {receiver: round(statistics.median(values), 3) for receiver, values in seconds.items()}
    own = median.pop("dpdkrouter")
    found["full_feed_to_fib"] = {"value": own, "unit": "s", "rounds": seconds["dpdkrouter"], "peers": median}
    return found


def main() -> int:
    """See scripts/bench."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("what", choices=["bgp"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ipv4", type=int, default=1_050_000)
    parser.add_argument("--ipv6", type=int, default=235_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--churn-seconds", type=int, default=60)
    chosen = parser.parse_args()
    found = bgp(chosen.ipv4, chosen.ipv6, chosen.rounds, chosen.churn_seconds)
    if chosen.json:
        print(json.dumps(found))
        return 0
    for name, figure in found.items():
        print(f"{name}: {figure}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
