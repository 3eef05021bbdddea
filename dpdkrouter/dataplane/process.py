"""`dpdkrouter fastpath`: EAL, ports, workers; then the main thread is the host thread until SIGTERM.

The process writes the stats segment and nothing else that lives longer than itself: it maps the route segment
read-only, opens further queues of TAPs that the control process made, and needs neither to be there yet when it
starts: ports come up first, workers when the route segment is there, host stack when the TAPs are.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from dpdkrouter.config.filterchecks import all_rules
from dpdkrouter.config.numa import nodes_of
from dpdkrouter.config.paths import InstancePaths, need_hugetlbfs
from dpdkrouter.config.runtime import Machine
from dpdkrouter.config.size import stats_segment_bytes
from dpdkrouter.dataplane.arguments import (
    bgp_peers,
    data_room_bytes,
    eal_arguments,
    frame_mtu,
    hashing,
    idle,
    mbuf_count,
    memory_node,
    polling_slots,
    punt_rates,
)
from dpdkrouter.dataplane.filters import IngressFilters
from dpdkrouter.dataplane.links import KernelLinks
from dpdkrouter.dataplane.orders import OrderServer
from dpdkrouter.errors import FastPathError, HostError, SegmentMissingError
from dpdkrouter.host.tun import HOST_DEVICE, Kind, open_queue
from dpdkrouter.lock import InstanceLock
from fastpath import eal, probe, segment
from fastpath._build import BUILD_ID, VARIANTS
from fastpath.bond import Bond
from fastpath.router import Router

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dpdkrouter.config.schema import Config, Port

log = logging.getLogger("fastpath")

POLL_MS = 20  # between two looks at signals
LINKS_S = 0.2  # between two looks at the kernel's links and the devices' counters; drivers' links: fastpath/router.pyx
SEGMENT_S = 0.5
QUEUES_S = 0.2


def choose_variant(wanted: str) -> str:
    """The SIMD level to run: the best that this machine has, or the one asked for. Raises FastPathError."""
    supported = probe.supported_variants()
    if wanted == "auto":
        return probe.best_variant()
    if wanted not in supported:
        raise FastPathError(f"fastpath.simd: found {wanted!r}: this machine runs {', '.join(supported)}")
    return wanted


def orders(filters: IngressFilters) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """What the process's socket takes."""
    return {"acl_show": filters.show, "acl_replace": filters.replace, "acl_reload": filters.reload}


class FastPath:
    """One run of the process. Everything happens on the calling thread."""

    def __init__(self, config: Config, simd: str) -> None:
        self._config = config
        self._simd = simd
        self._paths = InstancePaths.of(config)
        self._stop = False
        self._filters: IngressFilters | None = None
        self._next: dict[str, float] = {}
        self._links = KernelLinks({number: config.stands_on(port) for number, port in enumerate(config.ports)})

    def run(self) -> int:
        """Until SIGTERM or SIGINT. Returns the exit code; raises DpdkrouterError when it cannot start."""
        with ExitStack() as stack:
            stack.enter_context(InstanceLock(self._paths.pid_file("fastpath"), "dpdkrouter fastpath"))
            stack.callback(self._links.close)
            stack.callback(eal.remove_runtime_directory)
            variant = choose_variant(self._simd)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
            rules = all_rules(self._config)
            stats = segment.create(self._paths.stats, stats_segment_bytes(self._config))
            stack.callback(stats.close)
            self._start_router(stats)
            stack.callback(self._stop_router)
            if self._config.acls or self._config.policers:
                self._filters = IngressFilters(self._config, self._router, stats, rules)
                stack.enter_context(OrderServer(self._paths.fastpath_socket, orders(self._filters)))
            self._router.describe(self._config.router.name, variant, eal.version(), BUILD_ID)
            stats.publish()
            stack.callback(self._paths.stats.unlink, missing_ok=True)
            if self._await_routes():
                worker = importlib.import_module(VARIANTS[variant])
                self._router.start(worker.entry())
                log.info("ready: %d workers, SIMD %s", len(self._config.fastpath.lcores), variant)
                self._serve()
            log.info("stopping")
        eal.cleanup()
        return 0

    def _stop_router(self) -> None:
        self._router.stop()
        if self._filters is not None:
            self._filters.close()

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._stop = True

    def _start_router(self, stats: segment.Mapping) -> None:
        config = self._config
        if not config.fastpath.hugepages:
            log.warning("fastpath.hugepages = false: lookups will miss the TLB, expect half the packet rate")
        node = memory_node(config, Machine.here().page_bytes)
        if node is not None:
            log.info("memory from NUMA node %d, where the workers are", node)
        eal.init(eal_arguments(config, os.sched_getaffinity(0), node))
        self._router = Router(
            stats,
            list(config.fastpath.lcores),
            mbuf_count(config),
            data_room_bytes(config),
            idle(config),
        )
        self._router.hash_flows(hashing(config))
        self._router.police_punts(punt_rates(config))
        self._router.set_peers(bgp_peers(config))
        nodes = nodes_of(config.fastpath.lcores)
        numbers: dict[str, int] = {}
        for port in config.ports:
            if port.parent is not None:
                numbers[port.name] = self._open_sub_interface(port, numbers)
            else:
                numbers[port.name] = self._open_port(port, nodes)
            self._router.set_checks(numbers[port.name], port.urpf, port.ip_options)

    def _open_port(self, port: Port, nodes: Mapping[int, int]) -> int:
        names = [device.name for device in port.devices]
        frames = frame_mtu(self._config, port)
        mac = bytes.fromhex((port.mac or "").replace(":", ""))
        bond = None
        if port.bond:
            primary = port.bond_primary.name if port.bond_primary else ""
            bond = Bond(port.name, names, port.bond_mode, port.bond_policy, primary, max(port.mtu, frames), mac)
        number = self._router.open_port(
            port.name,
            bond.device if bond else names[0],
            port.mtu,
            b"" if bond else mac,
            polling_slots(port.lcores, self._config.fastpath.lcores, nodes, self._router.device_node(names[0])),
            bool(port.lcores),
            frames,
            bond,
        )
        what = " and ".join(map(str, port.devices)) + (f", {port.bond_mode} bond," if bond else "")
        log.info("port %s: %s is open as port %d, MAC %s", port.name, what, number, self._router.mac(number).hex(":"))
        return number

    def _open_sub_interface(self, port: Port, numbers: Mapping[str, int]) -> int:
        assert port.parent is not None
        assert port.vlan is not None
        number = self._router.open_sub_interface(
            port.name, numbers[port.parent], port.vlan, port.outer_vlan or 0, port.mtu
        )
        within = f" within VLAN {port.outer_vlan}" if port.outer_vlan else ""
        log.info("port %s: VLAN %d%s of %s is open as port %d", port.name, port.vlan, within, port.parent, number)
        return number

    def _await_routes(self) -> bool:
        """Bind the route segment; waits for the control process to make it. False when asked to stop."""
        waiting = False
        while not self._stop:
            try:
                self._table = segment.attach(self._paths.routes, segment.ROUTE)
            except SegmentMissingError as error:
                if not waiting:
                    log.info("waiting: %s", error)
                waiting = True
                self._router.update_links(self._links.dead())
                time.sleep(0.05)
            else:
                self._router.bind(self._table)
                return True
        return False

    def _serve(self) -> None:
        while not self._stop:
            moved = self._router.poll(POLL_MS)
            if self._due("links", LINKS_S) or moved:
                for port, up in self._router.update_links(self._links.dead()):
                    log.info("port %s: link %s", self._config.ports[port].name, "up" if up else "down")
            if self._due("queues", QUEUES_S):
                self._open_queues()
            if self._due("segment", SEGMENT_S):
                self._follow_segment()

    def _due(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._next.get(what, 0.0):
            return False
        self._next[what] = now + every_s
        return True

    def _open_queues(self) -> None:
        """Open what is missing: a TAP that the control process has not made yet, or made anew."""
        namespace = self._config.router.namespace
        for port in self._router.missing_taps():
            name = self._config.ports[port].name
            try:
                self._router.set_tap(port, open_queue(namespace, name, Kind.TAP))
                log.info("port %s: twin opened in namespace %s", name, namespace)
            except HostError as error:
                log.debug("port %s: %s", name, error)
        if self._router.host0_missing():
            try:
                self._router.set_host0(open_queue(namespace, HOST_DEVICE, Kind.TUN))
            except HostError as error:
                log.debug("%s: %s", HOST_DEVICE, error)

    def _follow_segment(self) -> None:
        """Another layout is another file under the same name: look up in it from now on."""
        if self._table.is_current():
            return
        try:
            table = segment.attach(self._paths.routes, segment.ROUTE)
        except SegmentMissingError:
            return  # between two control processes: what is mapped stays good
        self._router.bind(table)
        self._table = table
        log.info("route segment replaced: bound to the new one")


def main(config: Config, simd: str | None = None) -> int:
    """Run the fast path process for `config`; `simd` stands above its key. Returns the exit code."""
    need_hugetlbfs(config)
    return FastPath(config, simd or config.fastpath.simd).run()
