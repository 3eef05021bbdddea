"""A router that waits for its device's interrupts: nearly no CPU time while nothing comes, and nothing waits for long.

metal ── it0 192.0.2.9/24, the kernel's side of net_tap ── fast path ── TAP twin wan0 192.0.2.1/24

net_tap has one TX queue, the worker's: what the router's own kernel answers goes by the host thread's ring, so a worker
that slept on would hold it for as long as it waits at most, 10 ms.
"""

from __future__ import annotations

import re
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.harness import Namespace, wait_for
from lab.harness.router import TABLE, Port, Router

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("hugepages")

PINGS = 40


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[tuple[Namespace, Router]]:
    port = Port("wan0", "192.0.2.1/24", "2001:db8:1::1/64")
    port.device = "net_tap0,iface=it0"
    with Namespace("idle") as metal:
        table = 'idle = "interrupt"\n' + TABLE
        with Router(metal, tmp_path, [port], name="idle", lcores=(0,), table=table) as router:
            # its end has the port's own MAC
            metal.run("ip", "link", "set", "it0", "address", "02:00:00:00:00:09")
            metal.address("it0", "192.0.2.9/24", "2001:db8:1::9/64")
            yield metal, router


def times(metal: Namespace, address: str) -> list[float]:
    """Round trips in ms, one every 50 ms: each meets a router that has fallen asleep."""
    said = metal.run("ping", "-n", "-c", str(PINGS), "-i", "0.05", "-W", "5", address)
    return [float(found) for found in re.findall(r"time=([0-9.]+) ms", said)]


def worker_seconds(router: Router) -> float:
    """CPU time of the worker's thread."""
    for task in Path(f"/proc/{router.pid('fastpath')}/task").iterdir():
        if (task / "comm").read_text().strip() == "rte-worker-1":
            return int((task / "schedstat").read_text().split()[0]) / 1e9
    raise LookupError("the fast path has no worker")


def test_an_idle_worker_waits_and_is_woken(waiting: tuple[Namespace, Router]) -> None:
    metal, router = waiting
    for address in ("192.0.2.1", "2001:db8:1::1"):
        wait_for(lambda address=address: times(metal, address), 20, f"answers of {address}")
        found = times(metal, address)
        assert len(found) == PINGS
        assert statistics.median(found) < 5, found
    before, begun = worker_seconds(router), time.monotonic()
    time.sleep(2)  # so long nothing is asked of it
    share = (worker_seconds(router) - before) / (time.monotonic() - begun)
    assert share < 0.05
