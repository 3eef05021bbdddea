"""The control process: `dpdkrouter control`. One asyncio loop, one task group, one writer of the route segment.

    sources/ (connected, static, CLI, BGP) -> rib -> decision, next hops -> fib/programmer.py -> route segment
    stats segment -> links, resolve requests, metrics        host/ <-> TAPs and neighbours of the router's namespace

Whatever ends it, packets go on. On return it adopts the segment's groups and adjacencies, marks all routes stale, and
sweeps those of a source when that source has said everything again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

from dpdkrouter.api.methods import Methods
from dpdkrouter.api.server import ApiServer
from dpdkrouter.audit import Audit
from dpdkrouter.bgp.commands import ALIVE
from dpdkrouter.bgp.exports import Exports
from dpdkrouter.bgp.policies import decision_options, export_policies, peer_rules
from dpdkrouter.bgp.session import Sessions
from dpdkrouter.bgp.settings import announced, next_hops, settings_of
from dpdkrouter.config.paths import InstancePaths, need_hugetlbfs
from dpdkrouter.errors import DpdkrouterError, RequestError, SegmentError
from dpdkrouter.fib.fib import Fib
from dpdkrouter.fib.limits import Limits
from dpdkrouter.fib.programmer import Programmer
from dpdkrouter.hoststack import HostStack
from dpdkrouter.lock import InstanceLock
from dpdkrouter.metrics_server import MetricsServer
from dpdkrouter.repairs import Repairs
from dpdkrouter.retries import Retries
from dpdkrouter.rib.enums import Source
from dpdkrouter.rib.nexthops import CHUNK, NextHops
from dpdkrouter.rib.table import Rib
from dpdkrouter.segment import StatsReader
from dpdkrouter.sources import originated, static
from dpdkrouter.sources.batch import Origin
from dpdkrouter.sources.bgp import BgpSource
from dpdkrouter.sources.connected import neighbour_routes, port_routes
from dpdkrouter.sources.feed_server import FeedServer
from dpdkrouter.sources.originated import Originated
from dpdkrouter.timings import Timings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpdkrouter.audit import AuditResult
    from dpdkrouter.config.schema import Config
    from dpdkrouter.rib.attributes import Attributes
    from dpdkrouter.sources.batch import Network

log = logging.getLogger("control")

COALESCE_S = 0.005  # what arrives within this time is decided together
TICK_S = 0.5
STATS_S = 0.005  # how often resolve requests are looked for; a load of one word
LINKS_S = 0.1
DEFER_S = 60.0  # at most so long BGP's first decision after a restart waits for the peers
AUDIT_EVERY_S = 300.0  # from the end of one audit to the start of the next
AUDIT_REST_S = 0.02  # after each of its steps, of a millisecond or so
RETRY_S = 0.5  # how often refused routes are looked at
RETRY_REST_S = 0.005  # after each step of a try
_BGP_SOURCES = (Source.EBGP, Source.IBGP)
_LOCAL_SOURCES = (Source.CONNECTED, Source.STATIC, Source.CLI)


class Control:
    """One run of the process."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.paths = InstancePaths.of(config)
        self.started = time.monotonic()
        self.fib = Fib.open(
            self.paths.routes, Limits(**config.table.model_dump()), config.router.name, str(self.paths.stats)
        )
        stale = {source: self.fib.mark_stale(source) for source in Source.__members__.values()}
        # RFC 4724 section 4.1: after a restart the decision waits until the peers have said everything again, so that
        # packets stay on the paths that the segment has instead of following whichever peer is heard first.
        self._defer_until = self.started + DEFER_S if any(stale[source] for source in _BGP_SOURCES) else 0.0
        self.rib = Rib(asn=config.router.asn or 0, router_id=int(config.router.id or 0), **decision_options(config))
        self.next_hops = NextHops(self.rib)
        self.programmer = Programmer(self.fib, self.next_hops)
        self.connected = Origin(self.rib, self.rib.add_origin(Source.CONNECTED))
        self.neighbours = Origin(self.rib, self.rib.add_origin(Source.CONNECTED))
        self.static = Origin(self.rib, self.rib.add_origin(Source.STATIC))
        self.cli = Origin(self.rib, self.rib.add_origin(Source.CLI))
        settings = settings_of(config)
        self.sessions = Sessions(settings.peers, self.started)
        asked, told = originated.load(self.paths.announced)
        self.exports = Exports(settings.peers, export_policies(config), next_hops(config), told)
        self.originated = Originated(self.rib, announced(config), self._redistributed(), asked)
        self.bgp = BgpSource(
            self.rib,
            settings.peers,
            self.exports,
            self.sessions,
            self.started,
            peer_rules(config),
        )
        self.host = HostStack(config, self.programmer)
        self.repairs = Repairs(config, self.fib, self.programmer)
        self.retries = Retries(self.rib, self.programmer, self.fib)
        self.timings = Timings()
        self.stats: StatsReader | None = None
        self.audited: AuditResult | None = None  # the last one that ran in the background
        self._links: dict[int, bool] = {}
        self._dirty = asyncio.Event()
        self._swept_bgp = False
        self._exported: tuple[dict[Network, str], set[Network]] | None = None
        self._requests = 0

    # ---- sources

    def changed(self) -> None:
        """Something new is in the RIB: decide soon."""
        self._dirty.set()

    def bgp_changed(self) -> None:
        """As `changed`, for what peers say: while they are being heard for the first time the decision waits for them.

        It does not wait when anything else changes: then what they have said so far takes part.
        """
        self.timings.heard(time.monotonic())
        if not self._defer_until:
            self._dirty.set()

    def refresh_connected(self) -> None:
        """Connected routes from the ports' addresses and links; a port never heard of counts as up."""
        routes = {}
        for number, port in enumerate(self.config.ports):
            routes.update(port_routes(number, port.addresses, self._links.get(number, True)))
        if self.connected.replace(routes):
            self.changed()

    def refresh_neighbours(self) -> None:
        """Host routes from the neighbours that have a MAC, on ports whose link is up: the kernel keeps some others."""
        there = {key: mac for key, mac in self.host.neighbours.items() if self._links.get(key[0], True)}
        if self.neighbours.replace(neighbour_routes(there)):
            self.changed()

    def set_cli_routes(self, routes: dict[Network, Attributes]) -> None:
        """The CLI's routes, whole; kept for a restart."""
        static.save(self.paths.cli_routes, routes.items())
        self.cli.replace(routes)
        self.converge()

    def _redistributed(self) -> list[tuple[str, Origin]]:
        names = self.config.bgp.redistribute if self.config.bgp else ()
        return [(name, {"connected": self.connected, "static": self.static, "cli": self.cli}[name]) for name in names]

    def announce(self, prefix: Network, *, wanted: bool) -> None:
        """Announce a prefix, or no longer, as the CLI asks; kept for a restart."""
        (self.originated.asked.add if wanted else self.originated.asked.discard)(prefix)
        self.export()

    def export(self) -> None:
        """Tell the peers what we announce now."""
        known = (self.originated.prefixes(), self.originated.asked.copy())
        if known == self._exported:
            return
        self._exported = known
        before = self.exports.state()
        lines = self.exports.update(known[0])
        # Before ExaBGP hears of it, and what it had too: what it may have must never be more than what is written.
        told = {peer: sorted({*before[peer], *now}) for peer, now in self.exports.state().items()}
        originated.save(self.paths.announced, known[1], told, self.exports.withdrawals(told))
        if lines:
            self.feed.send(lines)

    def converge(self) -> None:
        """Decide, resolve next hops, program the segment, tell the peers."""
        for _ in self._converging():
            pass

    def _converging(self) -> Iterator[None]:
        """As `converge`, with a rest after each part of what there is to decide; the RIB may change meanwhile."""
        self.timings.begun(time.monotonic())
        changed = False
        for round_ in self.next_hops.converge():
            self.programmer.apply(round_)
            changed = True
            if self.rib.undecided:
                yield
        self.timings.done(time.monotonic(), changed=changed)
        self.host.keep_resolved(self.next_hops)
        self.export()

    def _first_routes(self) -> None:
        """All that is known without asking anybody, then sweep what these sources no longer have."""
        self.refresh_connected()
        self.refresh_neighbours()
        self.static.replace(static.configured(self.config))
        try:
            self.cli.replace(static.load(self.paths.cli_routes))
        except (ValueError, KeyError, TypeError, RequestError) as error:
            log.error("%s: damaged, its routes are lost: %s", self.paths.cli_routes, error)
        self.converge()
        swept = self.programmer.sweep(_LOCAL_SOURCES)
        use = self.fib.reader.use()
        log.info(
            "route segment %s: %d IPv4, %d IPv6 routes, %d stale ones swept",
            self.paths.routes,
            use["ipv4_routes"].used,
            use["ipv6_routes"].used,
            swept,
        )

    # ---- tasks

    async def run(self) -> int:
        """Until SIGTERM or SIGINT."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with AsyncExitStack() as stack:
            await self.host.start(stack)
            self._first_routes()
            await self.repairs.start(stack)
            self.feed = await stack.enter_async_context(FeedServer(self.paths.bgp_socket, self.bgp, self.bgp_changed))
            methods = Methods(self)
            await stack.enter_async_context(ApiServer(self.paths.api_socket, self.config.api.group, methods.table()))
            stack.enter_context(MetricsServer(self.config, self.paths, methods))
            log.info("ready")
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(task())
                    for task in (
                        self._converge_task,
                        self._stats_task,
                        self._neighbour_task,
                        self._tick_task,
                        self._audit_task,
                        self._retry_task,
                    )
                ]
                await stop.wait()
                log.info("stopping")
                for task in running:
                    task.cancel()
        self.fib.close()
        return 0

    async def _converge_task(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(COALESCE_S)
            self._dirty.clear()
            for _ in self._converging():
                await asyncio.sleep(0)

    async def _neighbour_task(self) -> None:
        while True:
            await self.host.changes()
            self.refresh_neighbours()

    async def _tick_task(self) -> None:
        while True:
            self.fib.heartbeat(time.monotonic_ns())
            now = time.monotonic()
            if self.bgp.tick(now):
                self.bgp_changed()
            self.feed.send([*self.bgp.take_lines(), ALIVE])
            if self._defer_until and (self.bgp.settled or now >= self._defer_until):
                self._defer_until = 0.0
                self.changed()
            if not self._swept_bgp and self.bgp.settled and self.rib.undecided <= CHUNK:
                await self._sweep_bgp()
            await asyncio.sleep(TICK_S)

    def audit(self, *, repair: bool = False) -> Audit:
        """A new audit, to be run in steps on this thread."""
        return Audit(self.rib, self.programmer, self.fib, repair=repair)

    async def _audit_task(self) -> None:
        """Audit again and again at a low rate; differences are logged and exported, not mended."""
        while True:
            await asyncio.sleep(AUDIT_EVERY_S)
            audit = self.audit()
            for _ in audit.steps():
                await asyncio.sleep(AUDIT_REST_S)
            self.audited = audit.result()
            if self.audited.differences:
                log.error(
                    "the segment is not what the RIB says: %d differences, the first: %s; "
                    "`dpdkrouter route audit` names them, with --repair it mends them",
                    self.audited.differences,
                    self.audited.first[0],
                )

    async def _retry_task(self) -> None:
        """Try refused routes again when there is room."""
        while True:
            await asyncio.sleep(RETRY_S)
            now = time.monotonic()
            if self.retries.due(now):
                for _ in self.retries.steps(now):
                    await asyncio.sleep(RETRY_REST_S)

    async def _sweep_bgp(self) -> None:
        """The peers have said everything since the restart: what is still stale is gone."""
        self.converge()
        swept = 0
        for part in self.programmer.sweeping((*_BGP_SOURCES, Source.KERNEL)):
            swept += part
            await asyncio.sleep(0)
        if swept:
            log.info("%d routes that no peer has announced again were swept", swept)
        self.programmer.release_orphans()
        self.host.routes_settled()
        self._swept_bgp = True

    async def _stats_task(self) -> None:
        """Follow the fast path: its coming and going, its links, its requests."""
        due = 0.0
        while True:
            if time.monotonic() >= due:
                due = time.monotonic() + LINKS_S
                await self._follow_fast_path()
            if self.stats is not None:
                self._requests, requests = self.stats.resolve_requests(self._requests)
                for _family, port, address in requests:
                    self.host.resolve(port, ip_address(address))
            slept = time.monotonic()
            await asyncio.sleep(STATS_S)
            self.timings.rested(time.monotonic() - slept - STATS_S)

    async def _follow_fast_path(self) -> None:
        if self.stats is None:
            with suppress(SegmentError):
                self.stats = StatsReader(self.paths.stats)
        if self.stats is None:
            return
        if self.stats.reopen_if_replaced():
            self._requests = 0
        header = self.stats.header()
        if not header.alive:
            self.host.fast_path_gone()
            self.repairs.fast_path_gone()
            return
        if self.host.pid != header.pid:
            log.info("fast path: pid %d, SIMD %s", header.pid, header.simd)
            await self.host.fast_path_up(header.pid, self.stats.ports())
            self.repairs.fast_path_up(self.paths.stats, self.host.taps())
            self.refresh_neighbours()
        self._follow_links()

    def _follow_links(self) -> None:
        if self.stats is None:
            return
        changed = False
        for number, port in enumerate(self.stats.ports()):
            if self._links.get(number) != port.link_up:
                self._links[number] = port.link_up
                self.host.link(number, port.link_up)
                changed = True
            if port.members:
                self.host.members(number, port.members)
        if changed:
            self.refresh_connected()
            self.refresh_neighbours()


def main(config: Config) -> int:
    """Run the control process for `config`. Returns the exit code."""
    need_hugetlbfs(config)
    paths = InstancePaths.of(config)
    with InstanceLock(paths.pid_file("control"), "dpdkrouter control"):
        os.umask(0o027)
        return asyncio.run(_run(config))


async def _run(config: Config) -> int:
    try:
        return await Control(config).run()
    except BaseExceptionGroup as group:
        # Of several tasks' errors the first is the cause; the CLI shows it as one line. No `except*`: it would put what
        # is raised in it into a group again.
        first: BaseException | None = group.subgroup(DpdkrouterError)
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if first is None:
            raise
        raise first from None
