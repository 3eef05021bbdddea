"""Two peers with the same table: memory, what a lost link and a lost session cost, and a minute of churn.

    namespace one (AS 65001)   sender.py  eth0 192.0.2.9    ---- wan0 \
                                                                       the router (AS 65000) in namespace metal
    namespace two (AS 65002)   sender.py  eth0 198.51.100.9 ---- wan1 /

Paths by one are the better ones. Repaired: a lookup by the fast path's own code, in this process, ends at wan1 for all
samples; the clock starts when the kernel's RTM_NEWLINK is in this process's socket. Converged, after a session's end:
all samples end at wan1 in the table itself, with one's routes gone from the RIB.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

from bench_lab.churn import churn_of
from bench_lab.full_feed import LOAD_S, TABLE, begun, children, resident, sending
from bench_lab.stream import build
from benchlib.report import Result, result
from dpdkrouter.fib.reader import FibReader
from dpdkrouter.host.namespace import run_in
from dpdkrouter.segment import StatsReader
from lab.harness import Namespace, wait_for
from lab.harness.flood import Flood, first
from lab.harness.router import Port, Router, port_veth

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from bench_lab.stream import Stream

PEERS = (("192.0.2.9", "2001:db8:1::9", 65001), ("198.51.100.9", "2001:db8:2::9", 65002))
BODY = "[bgp]\n" + "".join(
    f"""
[[bgp.neighbor]]
address = "{address}"
asn = {asn}
families = ["ipv4", "ipv6"]
passive = true
import_policy = "accept"
accept_bogons = true
"""
    for address, _, asn in PEERS
)
LOSSES = 5  # of the link, one after the other
REPAIR_S = 5
SETTLE_S = 60
CHURN_RATE = 50_000
PACKETS = 5_000  # a second, meanwhile
PACKET_PORT = 5000
FAST_PATH = -20  # its workers' priority: on a router they have cores of their own


@dataclass
class Bench:
    """The router with both tables in it."""

    router: Router
    reader: FibReader
    counters: StatsReader
    metal: Namespace
    hosts: list[Namespace]
    stream: Stream
    senders: list[subprocess.Popen[str]]

    def port(self, group: int) -> set[int]:
        """The ports that a group's packets leave by."""
        adjacencies = self.reader.adjacencies()
        found = set(self.reader.bucket_adjacencies(group))
        return {adjacencies[one].port for one in found if one in adjacencies}  # else it was released meanwhile

    def groups(self) -> set[int]:
        """The groups that the samples end at."""
        found = (self.reader.table_groups(4, self.stream.samples4), self.reader.table_groups(6, self.stream.samples6))
        return {group for part in found for group in memoryview(part).cast("H")}

    def all_by(self, port: int) -> bool:
        """Whether all samples leave by this port."""
        groups = self.groups()
        return 0 not in groups and all(self.port(group) == {port} for group in groups)

    def link(self) -> bool:
        """Whether the fast path says that the first port's link is up."""
        return self.counters.ports()[0].link_up

    def flood(self) -> Flood:
        """Numbered packets from the first peer's namespace to a prefix of the second's."""
        target = str(ip_address(self.stream.samples4[:4]))
        self.hosts[1].address("lo", f"{target}/32")
        self.hosts[0].route(f"{target}/32", "via", "192.0.2.1")
        first(self.router.pid("fastpath"), FAST_PATH)
        return Flood(self.hosts[0], self.hosts[1], [target], PACKET_PORT, PACKETS)

    def decided_for(self, peer: int) -> bool:
        """Whether the RIB has decided for this peer. It answers between decisions only, their routes written."""
        prefix = self.reader.lookup(ip_address(self.stream.samples4[:4])).prefix
        paths = self.router.rows("bgp.best", prefix=str(prefix))
        return any(path["best"] and path["peer"] == PEERS[peer][0] for path in paths) and self.all_by(peer)


@contextlib.contextmanager
def running(directory: Path, ipv4: int, ipv6: int) -> Iterator[Bench]:
    """Load both tables."""
    streams, files = [], []
    for address4, address6, asn in PEERS:
        stream = build(ipv4, ipv6, ip_address(address4).packed, ip_address(address6).packed, asn, longer=asn - 65001)
        file = directory / f"stream-{asn}"
        file.write_bytes(stream.data)
        streams.append(stream)
        files.append(file)
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        hosts = [enter(Namespace(f"bench-{name}")) for name in ("one", "two")]
        metal = enter(Namespace("bench-metal"))
        for number, (host, (address4, address6, _)) in enumerate(zip(hosts, PEERS, strict=True)):
            port_veth(metal, f"wan{number}", (host, "eth0"))
            host.address("eth0", f"{address4}/24", f"{address6}/64")
        ports = [
            Port("wan0", "192.0.2.1/24", "2001:db8:1::1/64"),
            Port("wan1", "198.51.100.1/24", "2001:db8:2::1/64"),
        ]
        router = enter(Router(metal, directory, ports, BODY, "bench2", table=TABLE))
        assert wait_for(lambda: router.call("bgp.summary")["feed"] == "tap", 20, "the tap")
        reader = enter(FibReader.open(router.paths.routes))
        senders: list[subprocess.Popen[str]] = []
        counters = enter(StatsReader(router.paths.stats))
        bench = Bench(router, reader, counters, metal, hosts, streams[0], senders)
        for number, (host, (address, _, asn)) in enumerate(zip(hosts, PEERS, strict=True)):
            local = ("192.0.2.1", "198.51.100.1")[number]
            senders.append(enter(sending(host, address, local, files[number], asn)))
            begun(senders[-1])
            wait_for(partial(_has, router, (number + 1) * (ipv4 + ipv6)), LOAD_S, "a table in the RIB", 0.1)
            begun(senders[-1])  # and sent: from here on the sender prints what churn asks for
        wait_for(lambda: bench.all_by(0), LOAD_S, "all by the first", 0.05)
        yield bench


def _has(router: Router, paths: int) -> bool:
    return sum(sum(peer["prefixes"].values()) for peer in router.call("bgp.summary")["peers"]) == paths


def link_losses(bench: Bench) -> list[float]:
    """Seconds from the kernel's event to all traffic on the other link, several times."""
    found = []
    for _ in range(LOSSES):
        found.append(_lose(bench))
        wait_for(lambda: not bench.link(), SETTLE_S, "the fast path's word of the lost link", 0.02)
        wait_for(lambda: bench.decided_for(1), SETTLE_S, "the RIB behind the loss", 0.1)
        bench.metal.run("ip", "link", "set", "wan0", "up")
        wait_for(lambda: bench.decided_for(0), SETTLE_S, "the first link again", 0.1)
    return found


def _lose(bench: Bench) -> float:
    def events() -> socket.socket:
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        kernel.bind((0, 1))  # RTMGRP_LINK
        return kernel

    groups = bench.groups()
    with run_in(bench.metal.name, events) as kernel, bench.metal.start("ip", "link", "set", "wan0", "down") as change:
        kernel.recv(65536)
        event = time.monotonic()
        while any(0 in bench.port(group) for group in groups):
            assert time.monotonic() < event + REPAIR_S, "traffic was not repaired"
        repaired = time.monotonic()
        change.wait()
    return repaired - event


def session_loss(bench: Bench) -> float:
    """Seconds from the end of the first sender to all prefixes on the other."""
    bench.senders[0].kill()
    lost = time.monotonic()
    wait_for(lambda: bench.all_by(1), LOAD_S, "all by the second", 0.01)
    return time.monotonic() - lost


@dataclass(frozen=True)
class Churned:
    """lags: of each second's last UPDATE, in s; rate: UPDATEs a second; packets that were forwarded meanwhile."""

    lags: list[float]
    rate: float
    stream: Flood


def churn(bench: Bench, directory: Path, seconds: int) -> Churned:
    """UPDATEs of the second sender, which is alone then, while packets go to one of its prefixes."""
    file = directory / "churn"
    changes = churn_of(bench.stream, ip_address(PEERS[1][0]).packed, PEERS[1][2], CHURN_RATE, seconds)
    file.write_bytes(changes.data)
    sender = bench.senders[1]
    assert sender.stdin is not None
    ends = [message.hex() for _, message in changes.markers]
    lags, begin, sent = [], 0.0, 0.0
    with bench.flood() as flood:
        sender.stdin.write(json.dumps({"file": str(file), "sizes": changes.sizes, "ends": ends}) + "\n")
        sender.stdin.flush()
        for marker, _ in changes.markers:
            sent = begun(sender)
            begin = begin or sent
            wait_for(partial(_known, bench.reader, marker), LOAD_S, "a second's last UPDATE", 0.005)
            lags.append(max(0.0, time.monotonic() - sent))
    print(f"bench: during churn: {flood}", file=sys.stderr)
    return Churned(lags, CHURN_RATE * (seconds - 1) / (sent - begin), flood)


def _known(reader: FibReader, address: bytes) -> bool:
    (group,) = memoryview(reader.table_groups(4, address)).cast("H")
    return group != 0


def measure(directory: Path, ipv4: int, ipv6: int, churn_s: int) -> Iterator[Result]:
    """Everything that needs two peers."""
    for name, count4, count6 in (("10k", 8_000, 2_000), ("100k", 80_000, 20_000), ("1m", ipv4, ipv6)):
        with running(directory, count4, count6) as bench:
            if name == "1m":
                yield result("control_rss_two_feeds", "bytes", [resident(bench.router.pid("control"))])
                exabgp = sum(resident(pid) for pid in children(bench.router.pid("bgp")))
                yield result("exabgp_rss", "bytes", [exabgp])
            yield result(f"nexthop_loss_repaired_{name}", "s", link_losses(bench))
            if name == "1m":
                yield result("session_loss_converged", "s", [session_loss(bench)])
                found = churn(bench, directory, churn_s)
                yield result("churn_50k_lag", "s", found.lags)
                yield result("churn_50k_lag_end", "s", found.lags[-(churn_s // 2) :])
                yield result("churn_50k_rate", "updates/s", [found.rate])
                yield result("churn_50k_packets", "packets", [found.stream.sent])
                yield result("churn_50k_packets_lost", "packets", [found.stream.lost])
