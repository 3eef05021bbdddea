"""Serves the metrics page, in the control process, on threads of its own.

Each scrape reads anew: the stats segment (absent or of a dead fast path: its series are left out), the route
segment, and the control process's own state, which is asked for in that process's loop; when the loop has no time
within CONTROL_S, its series are left out too. A gap in a graph is the truth then.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from concurrent.futures import CancelledError
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import Collector

from dpdkrouter import __version__
from dpdkrouter.errors import MetricsError, SegmentError
from dpdkrouter.fib.programmer import REFUSALS
from dpdkrouter.fib.reader import FibReader
from dpdkrouter.metrics import Page
from dpdkrouter.rib.enums import Source
from dpdkrouter.segment import StatsReader
from fastpath import _build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

    from prometheus_client.core import Metric

    from dpdkrouter.config.rules import Listen
    from dpdkrouter.segment import FilterState, LcoreState, PortState
    from dpdkrouter.timings import Timings

log = logging.getLogger("metrics")

CONTROL_S = 2.0
STOP_S = 0.1  # how long the end may take
CLIENT_S = 10.0
"""A client that is silent for so long is dropped."""

_T = TypeVar("_T")
_PORT_COUNTERS = {
    "dpdkrouter_port_received_packets_total": "rx_packets",
    "dpdkrouter_port_received_bytes_total": "rx_bytes",
    "dpdkrouter_port_transmitted_packets_total": "tx_packets",
    "dpdkrouter_port_transmitted_bytes_total": "tx_bytes",
    "dpdkrouter_port_transmit_drops_total": "tx_drops",
    "dpdkrouter_port_injected_packets_total": "injected",
    "dpdkrouter_port_originated_packets_total": "originated",
    "dpdkrouter_port_extra_fragments_total": "fragments",
    "dpdkrouter_port_receive_missed_packets_total": "rx_missed",
    "dpdkrouter_port_receive_errors_total": "rx_errors",
    "dpdkrouter_port_receive_no_mbuf_total": "rx_no_mbuf",
    "dpdkrouter_port_transmit_errors_total": "tx_errors",
    "dpdkrouter_port_link_up": "link_up",
    "dpdkrouter_port_link_changes_total": "link_changes",
}
_COLORS = ("green", "yellow", "red")
_RULES = 256
"""Lists of more rules have no series a rule."""
_LCORE_COUNTERS = {
    "dpdkrouter_lcore_received_packets_total": "rx_packets",
    "dpdkrouter_lcore_forwarded_packets_total": "forwarded",
    "dpdkrouter_lcore_punted_packets_total": "punted",
    "dpdkrouter_lcore_dropped_packets_total": "dropped",
}


class ControlView(Protocol):
    """What is read of the control process (api/methods.py has it); called in its loop, without parameters."""

    def route_summary(self, params: dict[str, Any], /) -> list[dict[str, Any]]:
        """Rows of source, family ("ipv4", "ipv6"), best; several rows may have the same source and family."""
        ...

    def audit_summary(self, params: dict[str, Any], /) -> dict[str, Any] | None:
        """differences and age_s of the last audit in the background; None: none has ended."""
        ...

    def bgp_summary(self, params: dict[str, Any], /) -> dict[str, Any]:
        """`peers`: rows of address, state ("up" or another), prefixes and rejected by family, announced, updates, flaps,
        treated_as_withdraw, load_s (None: no table was loaded yet).
        """
        ...

    def neighbour_counts(self) -> dict[str, tuple[int, int]]:
        """By port: neighbours with a MAC, and claims of others to our addresses."""
        ...

    def refused(self) -> dict[str, int]:
        """Routes that found no room, by reason."""
        ...

    def timings(self) -> tuple[Timings, tuple[int, int, float]]:
        """How long changes took; losses that were repaired, groups rewritten for them, the longest in seconds."""
        ...


class MetricsSettings(Protocol):
    """The configuration's [metrics]."""

    @property
    def listen(self) -> Listen | None: ...


class HasMetrics(Protocol):
    """The part of the configuration that is used."""

    @property
    def metrics(self) -> MetricsSettings: ...


class Segments(Protocol):
    """Where the segments are (config.InstancePaths)."""

    @property
    def stats(self) -> Path: ...

    @property
    def routes(self) -> Path: ...


class RouterCollector(Collector):
    """Makes one page from what is known now. Any thread; `ask` runs a function where control state is read."""

    def __init__(
        self,
        paths: Segments,
        control: ControlView,
        ask: Callable[[Callable[[], Any]], Any] = lambda read: read(),
    ) -> None:
        self._paths = paths
        self._control = control
        self._ask = ask

    def collect(self) -> Iterable[Metric]:
        """All series that are known now."""
        page = Page()
        self._fast_path(page)
        self._table(page)
        self._control_state(page)
        return page.families()

    # ---- the stats segment

    def _fast_path(self, page: Page) -> None:
        try:
            with StatsReader(self._paths.stats) as stats:
                header = stats.header()
                page.add("dpdkrouter_fastpath_up", header.alive and header.ready)
                if header.alive:
                    _build_info(page, header.build_id, header.dpdk, header.simd)
                    _ports(page, stats.ports())
                    _lcores(page, stats.lcores())
                    for reason, packets in stats.drops().items():
                        page.add("dpdkrouter_dropped_packets_total", packets, reason=reason)
                    for name, packets in stats.punts().items():
                        page.add("dpdkrouter_punted_packets_total", packets, **{"class": name})
                    for name, packets in stats.policed().items():
                        page.add("dpdkrouter_punt_policed_packets_total", packets, **{"class": name})
                    _filters(page, stats.filters())
                    return
        except SegmentError as error:
            log.debug("no counters: %s", error)
            page.add("dpdkrouter_fastpath_up", 0)
        _build_info(page, _build.BUILD_ID, _build.DPDK_VERSION, "")

    # ---- the route segment

    def _table(self, page: Page) -> None:
        try:
            reader = FibReader.open(self._paths.routes)
        except SegmentError as error:
            log.debug("no table use: %s", error)
            return
        with reader:
            for part, use in reader.use().items():
                page.add("dpdkrouter_table_used", use.used, part=part)
                page.add("dpdkrouter_table_max", use.maximum, part=part)
            if reader.heartbeat_ns:
                age = (time.monotonic_ns() - reader.heartbeat_ns) / 1e9
                page.add("dpdkrouter_writer_heartbeat_age_seconds", max(0.0, age))

    # ---- the control process

    def _control_state(self, page: Page) -> None:
        def read() -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any] | None]:
            control = self._control
            return control.route_summary({}), control.bgp_summary({}), control.audit_summary({})

        try:
            routes, bgp, audit = self._ask(read)
        except (TimeoutError, CancelledError, RuntimeError) as error:
            log.warning("the control process has no time for a scrape, its series are left out: %r", error)
            return
        counts = {(family, source.lower()): 0 for family in ("ipv4", "ipv6") for source in Source.__members__}
        for row in routes:
            counts[row["family"], row["source"]] += row["best"]
        for (family, source), best in counts.items():
            page.add("dpdkrouter_routes", best, family=family, source=source)
        for port, (neighbours, duplicates) in self._control.neighbour_counts().items():
            page.add("dpdkrouter_neighbors", neighbours, port=port)
            page.add("dpdkrouter_duplicate_addresses_total", duplicates, port=port)
        refused = self._control.refused()
        for reason in REFUSALS:
            page.add("dpdkrouter_routes_refused", refused.get(reason, 0), reason=reason)
        if audit is not None:
            page.add("dpdkrouter_table_audit_differences", audit["differences"])
            page.add("dpdkrouter_table_audit_age_seconds", audit["age_s"])
        timings, (repairs, groups, longest) = self._control.timings()
        page.add_histogram("dpdkrouter_update_to_fib_seconds", timings.update_to_fib)
        page.add_histogram("dpdkrouter_convergence_seconds", timings.convergence)
        page.add("dpdkrouter_control_longest_hold_seconds", timings.longest_hold)
        page.add("dpdkrouter_repairs_total", repairs)
        page.add("dpdkrouter_repaired_groups_total", groups)
        page.add("dpdkrouter_repair_longest_seconds", longest)
        page.add("dpdkrouter_bgp_feed_tap", bgp["feed"] == "tap")
        for row in bgp["peers"]:
            peer = row["address"]
            page.add("dpdkrouter_bgp_session_up", row["state"] == "up", peer=peer)
            page.add("dpdkrouter_bgp_updates_total", row["updates"], peer=peer)
            page.add("dpdkrouter_bgp_prefixes_announced", row["announced"], peer=peer)
            page.add("dpdkrouter_bgp_treat_as_withdraw_total", row["treated_as_withdraw"], peer=peer)
            page.add("dpdkrouter_bgp_flaps_total", row["flaps"], peer=peer)
            if row["load_s"] is not None:
                page.add("dpdkrouter_bgp_load_seconds", row["load_s"], peer=peer)
            for family, prefixes in row["prefixes"].items():
                page.add("dpdkrouter_bgp_prefixes_received", prefixes, peer=peer, family=family)
                page.add("dpdkrouter_bgp_prefixes_rejected", row["rejected"][family], peer=peer, family=family)


def _build_info(page: Page, build_id: str, dpdk: str, simd: str) -> None:
    page.add("dpdkrouter_build_info", 1, version=__version__, build_id=build_id, dpdk=dpdk, simd=simd)


def _ports(page: Page, ports: Iterable[PortState]) -> None:
    for port in ports:
        for name, field in _PORT_COUNTERS.items():
            page.add(name, getattr(port, field), port=port.name)
        for member in port.members:
            page.add("dpdkrouter_bond_member_link_up", member.link_up, port=port.name, member=member.device)
            page.add("dpdkrouter_bond_member_active", member.active, port=port.name, member=member.device)


def _lcores(page: Page, lcores: Iterable[LcoreState]) -> None:
    """The workers, by slot; the host thread (slot 0) receives nothing and polls no port."""
    for lcore in lcores:
        if lcore.slot == 0:
            continue
        label = str(lcore.cpu)  # what the configuration's fastpath.lcores says
        for name, field in _LCORE_COUNTERS.items():
            page.add(name, getattr(lcore, field), lcore=label)
        page.add("dpdkrouter_lcore_cycles_total", lcore.cycles_busy, lcore=label, state="busy")
        page.add("dpdkrouter_lcore_cycles_total", lcore.cycles_idle, lcore=label, state="idle")


def _filters(page: Page, found: Iterable[FilterState]) -> None:
    """ACLs as a whole, those with few rules by rule too, and policers."""
    for one in found:
        if one.policer:
            for color, (packets, octets) in zip(_COLORS, one.counts, strict=True):
                page.add("dpdkrouter_policer_packets_total", packets, policer=one.name, color=color)
                page.add("dpdkrouter_policer_bytes_total", octets, policer=one.name, color=color)
            continue
        page.add("dpdkrouter_acl_packets_total", sum(packets for packets, _ in one.counts), acl=one.name)
        page.add("dpdkrouter_acl_bytes_total", sum(octets for _, octets in one.counts), acl=one.name)
        rules = [*map(str, range(1, len(one.counts))), "default"]
        for rule, (packets, octets) in zip(rules, one.counts, strict=True) if len(rules) <= _RULES + 1 else ():
            page.add("dpdkrouter_acl_rule_packets_total", packets, acl=one.name, rule=rule)
            page.add("dpdkrouter_acl_rule_bytes_total", octets, acl=one.name, rule=rule)


class _RequestHandler(WSGIRequestHandler):
    """Drops silent clients; the access log is for debugging."""

    timeout = CLIENT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        log.debug(format, *args)


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a client, none of which keeps the process from ending."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking the resolver for our name, as the base class would."""
        TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class MetricsServer:
    """The metrics page at `config.metrics.listen` (None: off), while the context lasts.

    Entered in the control process's loop, its state is read in that loop; else in the scrape's thread.
    """

    def __init__(self, config: HasMetrics, paths: Segments, control: ControlView) -> None:
        self._listen = config.metrics.listen
        self._collector = RouterCollector(paths, control, self._ask)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._listen is None:
            return self
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self._collector)
        try:
            self._server = make_server(
                str(self._listen.address),
                self._listen.port,
                make_wsgi_app(registry),
                _Server6 if self._listen.address.version == 6 else _Server,
                _RequestHandler,
            )
        except OSError as error:
            raise MetricsError(
                f"metrics.listen: found {str(self._listen)!r}: {error.strerror}; "
                'name a free address and port, or "" for no metrics'
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(STOP_S,), name="metrics", daemon=True)
        self._thread.start()
        log.info("metrics on http://%s/metrics", self._listen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = self._thread = None

    def _ask(self, read: Callable[[], _T]) -> _T:
        """read() in the control process's loop, or TimeoutError."""
        if self._loop is None:
            return read()

        async def inside() -> _T:
            return read()

        work = inside()
        try:
            answer = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop has ended
            work.close()
            raise
        try:
            return answer.result(CONTROL_S)
        finally:
            answer.cancel()
