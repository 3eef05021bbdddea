"""An ACL of the port that a case's packets come in by: many rules, each about some of them but for one field.

So no rule matches, every packet is looked up in all of them, and passes by the list's default.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network

import numpy as np

from benchlib.frames import SOURCE4
from benchlib.rig import COUNTERS, Rig
from benchlib.routes import Routes
from dpdkrouter.filters.rules import FilterRule, pack
from dpdkrouter.filters.values import PROTOCOLS, Range
from fastpath.filters import Filters, build


def rules(routes: Routes, count: int, seed: int) -> list[FilterRule]:
    """Destinations are routes' prefixes; by turns the protocol is not the packets' or the source is not theirs."""
    random = np.random.default_rng([seed, count])
    picked = random.integers(0, len(routes.hi), size=count)
    sources = random.integers(1 << 24, 100 << 24, size=count)
    ports = random.integers(1, 1024, size=count)
    own = int.from_bytes(SOURCE4, "big") >> 8
    made = []
    for i, at in enumerate(picked):
        to = IPv4Network((int(routes.hi[at]) >> 32, int(routes.lengths[at])))
        if i % 2:
            port = int(ports[i])
            made.append(
                FilterRule("deny", destination=to, protocol=PROTOCOLS["tcp"], destination_port=Range(port, port))
            )
        else:
            source = int(sources[i]) >> 8
            made.append(FilterRule("deny", IPv4Network(((source + (source == own)) << 8, 24)), to, PROTOCOLS["udp"]))
    return made


class PortFilter:
    """Rules for a rig's first port."""

    def __init__(self, rig: Rig, listed: list[FilterRule]) -> None:
        workers = [rig.router.worker_address(slot) for slot in range(rig.workers + 1)]
        self._filters = Filters(rig.router.address(), workers, rig.stats, COUNTERS)
        self._number = self._filters.add_list("bench")
        packed = pack(listed, "permit", {})
        self._filters.install(self._number, build("bench", packed.actions, packed.policers, packed.ipv4, packed.ipv6))

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """The port's packets are filtered meanwhile."""
        self._filters.bind(0, self._number, None)
        try:
            yield
        finally:
            self._filters.bind(0, None, None)

    def close(self) -> None:
        self._filters.close()
