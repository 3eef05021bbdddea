"""From a peer's first UPDATE to the last route that packets can use; BIRD and FRR's bgpd with the same stream beside it.

    namespace sender (AS 65001)              namespace metal                   namespace of the router (AS 65000)
    sender.py  eth0 192.0.2.9/24 ---- veth --- wan0 = the fast path's port --- TAP twin wan0 192.0.2.1/24, ExaBGP

    another sender with the same addresses ---- veth --- eth0 192.0.2.1/24 of a namespace with BIRD, then with bgpd

Usable: random prefixes of the stream are looked up in the route segment, by the fast path's own code, from this
process; all must have a group, and the segment as many routes as were sent. BIRD's end: all routes
in its RIB; bgpd's: all received.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from bench_lab import frr
from bench_lab.stream import Stream, build
from benchlib.report import Result, result
from dpdkrouter.fib.reader import FibReader
from lab.harness import Bird, BirdPeer, Namespace, veth_pair, wait_for
from lab.harness.router import Port, Router, port_veth

if TYPE_CHECKING:
    from collections.abc import Iterator

LOAD_S = 120
FRR_S = 600
SENDER = str(Path(__file__).with_name("sender.py"))
HOP4, HOP6 = "192.0.2.9", "2001:db8:1::9"
TABLE = """\
[table]
max_ipv4_routes = 1300000
max_ipv6_routes = 300000
max_groups = 2000
max_adjacencies = 2000
ipv6_trie_mib = 16
"""
BODY = f"""
[bgp]
[[bgp.neighbor]]
address = "{HOP4}"
asn = 65001
families = ["ipv4", "ipv6"]
passive = true
import_policy = "accept"
accept_bogons = true
"""


@dataclass(frozen=True)
class Load:
    """One receiver's load. seconds: first UPDATE to the end; sent_s: until TCP had taken the last byte."""

    seconds: float
    sent_s: float


@contextlib.contextmanager
def sending(
    namespace: Namespace, local: str, peer: str, file: Path, asn: int = 65001
) -> Iterator[subprocess.Popen[str]]:
    """The sender, until the block ends."""
    paths = os.pathsep.join(path for path in sys.path if path)
    with subprocess.Popen(
        namespace.command("env", f"PYTHONPATH={paths}", sys.executable, "-P", SENDER, local, peer, str(asn), str(file)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def begun(process: subprocess.Popen[str]) -> float:
    """A time that the sender prints."""
    assert process.stdout is not None
    return float(process.stdout.readline())


def usable(reader: FibReader, stream: Stream) -> bool:
    """Whether the whole table is in the segment, and the samples lead somewhere."""
    used = reader.use()
    if used["ipv4_routes"].used < stream.routes["ipv4"] or used["ipv6_routes"].used < stream.routes["ipv6"]:
        return False
    groups = (reader.table_groups(4, stream.samples4), reader.table_groups(6, stream.samples6))
    return all(all(memoryview(found).cast("H")) for found in groups)


def dpdkrouter(
    directory: Path, sender: Namespace, metal: Namespace, stream: Stream, file: Path
) -> tuple[Load, dict[str, int]]:
    """Load the router; also resident bytes of control and ExaBGP."""
    ports = [Port("wan0", "192.0.2.1/24", "2001:db8:1::1/64")]
    with Router(metal, directory, ports, BODY, "bench", table=TABLE) as router:
        assert wait_for(lambda: router.call("bgp.summary")["feed"] == "tap", 20, "the tap")
        with FibReader.open(router.paths.routes) as reader, sending(sender, HOP4, "192.0.2.1", file) as process:
            start = begun(process)
            wait_for(lambda: usable(reader, stream), LOAD_S, "the table in the segment", 0.01)
            end = time.monotonic()
            sent = begun(process)
            memory = {name: resident(router.pid(name)) for name in ("control",)}
            exabgp = children(router.pid("bgp"))
            memory["exabgp"] = sum(resident(pid) for pid in exabgp)
            assert router.call("bgp.summary")["feed"] == "tap"
            for peer in router.call("bgp.summary")["peers"]:
                assert (peer["state"], peer["last_error"]) == ("up", ""), peer
    return Load(end - start, sent - start), memory


def bird(directory: Path, sender: Namespace, receiver: Namespace, stream: Stream, file: Path) -> Load:
    """Load BIRD."""
    wanted = str(sum(stream.routes.values()))
    peers = [BirdPeer(HOP4, 65001, passive=True)]
    with (
        Bird(receiver, directory, "192.0.2.1", 65000, peers) as found,
        sending(sender, HOP4, "192.0.2.1", file) as process,
    ):
        start = begun(process)
        wait_for(lambda: has_all(found, wanted), LOAD_S, "BIRD's table", 0.01)
        end = time.monotonic()
        return Load(end - start, begun(process) - start)


def frr_bgpd(directory: Path, sender: Namespace, receiver: Namespace, stream: Stream, file: Path) -> Load:
    """Load FRR's bgpd."""
    wanted = sum(stream.routes.values())
    with frr.running(receiver, directory, HOP4) as found, sending(sender, HOP4, "192.0.2.1", file) as process:
        start = begun(process)
        wait_for(lambda: found.received() >= wanted, FRR_S, "FRR's table", 0.05)
        end = time.monotonic()
        return Load(end - start, begun(process) - start)


def has_all(found: Bird, wanted: str) -> bool:
    """Whether `show route count` ends with this total."""
    text = found.birdc("show route count", check=False)
    assert f"Total: {wanted} of {wanted} routes" in text, text
    return True


def children(pid: int) -> list[int]:
    """ExaBGP below the launcher, without its helper."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident(pid: int) -> int:
    """Resident bytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"process {pid} has no VmRSS")


def measure(directory: Path, ipv4: int, ipv6: int, rounds: int) -> tuple[dict[str, object], list[Result]]:
    """What was sent, and the figures: the receivers take turns, so that what the machine does meets all of them."""
    stream = build(ipv4, ipv6, ip_address(HOP4).packed, ip_address(HOP6).packed)
    file = directory / "stream"
    file.write_bytes(stream.data)
    seconds: dict[str, list[float]] = {"bird_rib": [], "frr_bgpd": []}
    own, control = [], []
    with (
        Namespace("bench-s") as sender,
        Namespace("bench-m") as metal,
        Namespace("bench-t") as other,
        Namespace("bench-b") as receiver,
    ):
        port_veth(metal, "wan0", (sender, "eth0"))
        veth_pair((other, "eth0"), (receiver, "eth0"))
        for namespace in (sender, other):
            namespace.address("eth0", f"{HOP4}/24", f"{HOP6}/64")
        receiver.address("eth0", "192.0.2.1/24", "2001:db8:1::1/64")
        for _ in range(rounds):
            load, memory = dpdkrouter(directory, sender, metal, stream, file)
            own.append(load.seconds)
            control.append(float(memory["control"]))
            seconds["bird_rib"].append(bird(directory, other, receiver, stream, file).seconds)
            seconds["frr_bgpd"].append(frr_bgpd(directory, other, receiver, stream, file).seconds)
            now = {"dpdkrouter": own, **seconds}
            print("bench: " + ", ".join(f"{name} {found[-1]:.2f} s" for name, found in now.items()), file=sys.stderr)
    sent: dict[str, object] = {
        **{f"{family}_routes": count for family, count in stream.routes.items()},
        "updates": stream.updates,
        "attribute_sets": stream.sets,
        "samples": len(stream.samples4) // 4 + len(stream.samples6) // 16,
        "source": "generated, seeded",
    }
    return sent, [result("full_feed_to_fib", "s", own, seconds), result("control_rss_one_feed", "bytes", control)]
