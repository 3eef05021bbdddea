"""`python -m benchlib.scrape STATS SEGMENT RATE`: reads all that a metrics page shows of the segments, so often a second.

Says "ready", runs until standard input ends, and says as JSON how many pages it read in how many seconds.
"""

import json
import select
import sys
import time

from dpdkrouter.fib import FibReader
from dpdkrouter.segment import StatsReader


def main(argv: list[str]) -> int:
    stats, segment, rate = argv[0], argv[1], float(argv[2])
    print("ready", flush=True)
    start = time.monotonic()
    pages = 0
    while not select.select([sys.stdin], [], [], max(0.0, start + pages / rate - time.monotonic()))[0]:
        with StatsReader(stats) as reader, FibReader.open(segment) as table:
            reader.header(), reader.lcores(), reader.ports(), reader.drops(), reader.punts(), table.use()
        pages += 1
    print(json.dumps({"pages": pages, "seconds": time.monotonic() - start}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
