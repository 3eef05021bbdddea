"""`route hash` and the workers agree on the member that a flow takes."""

from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from dpdkrouter.fib import FibReader
from dpdkrouter.fib.flows import Flow, way_of
from planekit.fabric import Special
from planekit.frames import frame4, frame6

if TYPE_CHECKING:
    from planekit import Plane

PREFIX = {4: f"198.19.{Special.ECMP}.", 6: f"2001:db8:19:{Special.ECMP:x}::"}
SOURCE = {4: "198.18.0.5", 6: "2001:db8:18::5"}
TCP_, UDP_, GRE = 6, 17, 47


def flows(family: int) -> list[Flow]:
    """Some of each protocol, which differ in a port or an address."""
    source = ip_address(SOURCE[family])
    return [
        Flow(source, ip_address(f"{PREFIX[family]}{n + 1}"), protocol, *((1000 + n * 7, 80) if protocol != GRE else ()))
        for protocol in (TCP_, UDP_, GRE)
        for n in range(20)
    ]


def frame(flow: Flow) -> bytes:
    """A packet of the flow, made by scapy."""
    layers = {TCP_: TCP, UDP_: UDP}
    body: Packet = Raw(b"payload")
    if flow.protocol in layers:
        body = layers[flow.protocol](sport=flow.sport, dport=flow.dport) / body
    if flow.dst.version == 4:
        return frame4(0, IP(src=str(flow.src), dst=str(flow.dst), proto=flow.protocol) / body)
    return frame6(0, IPv6(src=str(flow.src), dst=str(flow.dst), nh=flow.protocol) / body)


def words(flow: Flow) -> list[str]:
    return [str(word) for word in (flow.src, flow.dst, flow.protocol, flow.sport, flow.dport)]


@pytest.mark.parametrize("family", [4, 6])
def test_the_way_foretold_is_the_way_taken(plane: Plane, family: int) -> None:
    sent = flows(family)
    out = plane.send(0, [frame(flow) for flow in sent]).out
    foretold: list[set[bytes]] = [set(), set(), set()]
    with FibReader.open(plane.process.paths.routes) as table:
        for flow in sent:
            foretold[way_of(table, flow).adjacency.port].add(flow.dst.packed + bytes([flow.protocol]))
    at, protocol = ((30, 23), (38, 20))[family == 6]
    size = 4 if family == 4 else 16
    taken = [{f[at : at + size] + f[protocol : protocol + 1] for f in frames} for frames in out]
    assert taken == foretold
    assert all(foretold[port] for port in (0, 1)), "flows go both ways"


@pytest.mark.parametrize("family", [4, 6])
def test_route_hash_says_it(plane: Plane, family: int) -> None:
    """The command itself: `dpdkrouter route hash`, for a machine and for people."""
    flow = flows(family)[0]
    command = [sys.executable, "-P", "-m", "dpdkrouter", "--name", plane.process.settings.name, "route", "hash"]
    said = json.loads(subprocess.run([*command, *words(flow), "--json"], check=True, capture_output=True).stdout)
    with FibReader.open(plane.process.paths.routes) as table:
        way = way_of(table, flow)
    assert (said["group"], said["bucket"], said["action"]) == (way.group, way.bucket, "forward")
    assert (said["port"], said["mac"]) == (f"port{way.adjacency.port}", way.adjacency.dst.hex(":"))
    shown = subprocess.run([*command, *words(flow)], check=True, capture_output=True, text=True).stdout
    assert f"bucket {way.bucket} of 256: forward port{way.adjacency.port}" in shown


@pytest.mark.parametrize(
    ("wrong", "code", "says"),
    [
        (["198.18.0.5", "203.0.113.9", "tcp", "1", "2"], 4, "no route"),
        (["198.18.0.5", "2001:db8::1", "tcp", "1", "2"], 2, "two families"),
        (["198.18.0.5", "203.0.113.9", "sctpp"], 2, "'sctpp'"),
        (["198.18.0.5", "203.0.113.9", "256"], 2, "'256'"),
        (["198.18.0.5", "203.0.113.9", "tcp", "65536", "1"], 2, "65535"),
    ],
)
def test_route_hash_of_what_has_no_way(plane: Plane, wrong: list[str], code: int, says: str) -> None:
    command = [sys.executable, "-P", "-m", "dpdkrouter", "--name", plane.process.settings.name, "route", "hash"]
    done = subprocess.run([*command, *wrong], check=False, capture_output=True, text=True)
    assert (done.returncode, says in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
