"""ExaBGP by the real launcher and helper, against real BIRD.

    namespace router (AS 65000)                    namespace peer (AS 65001)

    launcher > ExaBGP > helper                     BIRD
        |            |                               |
     bgp.sock     wan0 192.0.2.1/24 ---- veth --- eth0 192.0.2.9/24
        |              2001:db8::1/64                  2001:db8::9/64
     Listener (the control process's end)

Two sessions, one a family.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.bgp import commands, events
from dpdkrouter.bgp.configuration import BgpPeer
from lab.harness import Bird, BirdPeer, Namespace, veth_pair, wait_for
from lab.harness.launched import Launched, Listener
from lab.harness.speaker import attribute, update_body

if TYPE_CHECKING:
    from collections.abc import Iterator

V4, V6 = "192.0.2.9", "2001:db8::9"


@dataclass
class Lab:
    """The topology of the module's head."""

    directory: Path
    router: Namespace
    peer: Namespace
    feed: str

    @property
    def run_directory(self) -> Path:
        return self.directory / "run"

    def launched(self, hold_time: int = 90, buffer_bytes: int = 64 << 20) -> Launched:
        peers = [
            BgpPeer(V4, 65001, "192.0.2.1", 65000, "192.0.2.1", hold_time=hold_time, description='tr"an;}\nsit'),
            BgpPeer(V6, 65001, "2001:db8::1", 65000, "192.0.2.1", families=("ipv6",), hold_time=hold_time),
        ]
        return Launched(self.run_directory, self.router.name, peers, buffer_bytes, self.feed)

    def bird(self, routes: list[str], hold_time: int = 90) -> Bird:
        peers = [
            BirdPeer("192.0.2.1", 65000, ("ipv4",), hold_time=hold_time),
            BirdPeer("2001:db8::1", 65000, ("ipv6",), hold_time=hold_time),
        ]
        return Bird(self.peer, self.directory, V4, 65001, peers, routes)


@pytest.fixture(params=["tap", "json"])
def feed(request: pytest.FixtureRequest) -> str:
    """How UPDATEs come out of ExaBGP."""
    return str(request.param)


@pytest.fixture
def lab(feed: str) -> Iterator[Lab]:
    with (
        tempfile.TemporaryDirectory(prefix="drlab-bgp-") as directory,
        Namespace("bgp-r") as router,
        Namespace("bgp-p") as peer,
    ):
        veth_pair((peer, "eth0"), (router, "wan0"))
        peer.address("eth0", "192.0.2.9/24", "2001:db8::9/64")
        router.address("wan0", "192.0.2.1/24", "2001:db8::1/64")
        yield Lab(Path(directory), router, peer, feed)


def prefixes(updates: list[events.Update], announced: bool = True) -> set[str]:
    """The prefixes of updates, as text."""
    found = set()
    for update in updates:
        packed, lengths = (
            (update.announced, update.announced_lengths) if announced else (update.withdrawn, update.withdrawn_lengths)
        )
        size, family = (4, socket.AF_INET) if update.family == "ipv4" else (16, socket.AF_INET6)
        for index, length in enumerate(lengths):
            found.add(f"{socket.inet_ntop(family, packed[index * size : (index + 1) * size])}/{length}")
    return found


def test_routes_come_in_and_ours_go_out(lab: Lab) -> None:
    routes = ["198.51.100.0/24", "203.0.113.128/25", "2001:db8:a::/48"]
    with Listener(lab.run_directory) as control, lab.launched() as launched, lab.bird(routes) as bird:
        ends = {(end.peer, end.family) for end in control.wait(events.EndOfRib, count=2)}
        assert ends == {(V4, "ipv4"), (V6, "ipv6")}
        assert prefixes(control.of(events.Update)) == set(routes)
        hello = control.of(events.Hello)[0]
        assert (hello.gap, hello.exabgp_pid, hello.peers) == (False, launched.exabgp_pid(), ())
        assert hello.feed == lab.feed
        assert ("no tap: exabgp/reactor/peer.py is not" in launched.log.read_text()) == (lab.feed == "json")
        by_family = {update.family: update.attributes for update in control.of(events.Update)}
        v4, v6 = by_family["ipv4"], by_family["ipv6"]
        assert v4 is not None
        assert v4.next_hop == socket.inet_aton(V4)
        assert v6 is not None
        assert v6.next_hop == socket.inet_pton(socket.AF_INET6, V6)
        assert (v6.link_local is not None) == (lab.feed == "json")  # not used, so the decoder leaves it out

        many = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(1200)]
        control.send(
            commands.encode(
                [
                    *commands.announce(V4, many),
                    *commands.announce(V6, ["2001:db8:100::/48"]),
                    commands.end_of_rib(V4, "ipv4"),
                    commands.end_of_rib(V6, "ipv6"),
                ]
            )
        )
        wait_for(lambda: bird.has_route("2001:db8:100::/48"), 10, "our IPv6 route at BIRD")
        wait_for(lambda: f"{len(many)} imported" in bird.birdc("show protocols all peer0"), 15, "our IPv4 routes")
        control.send(commands.encode(commands.withdraw(V4, many[1:])))
        wait_for(lambda: "1 imported" in bird.birdc("show protocols all peer0"), 15, "the withdrawal of our routes")

        bird.set_routes(routes[:1])
        wait_for(
            lambda: prefixes(control.of(events.Update), announced=False) == set(routes[1:]),
            10,
            "BIRD's withdrawal",
        )
        control.send(commands.encode([commands.route_refresh(V4, "ipv4")]))
        assert [mark.end for mark in control.wait(events.RefreshMark, count=2)] == [False, True]

        bird.stop()
        downs = control.wait(events.PeerDown, count=2)
        assert {down.peer for down in downs[:2]} == {V4, V6}
        assert {note.code for note in control.of(events.NotificationEvent)} == {6}

        assert launched.stop() == 0
        assert wait_for(lambda: not lab.router.pids(), 5, "no process left")
        assert list(lab.run_directory.iterdir()) == [lab.run_directory / "bgp.sock"]


def test_exabgp_killed_and_started_again(lab: Lab) -> None:
    with Listener(lab.run_directory) as control, lab.launched() as launched, lab.bird(["198.51.100.0/24"]):
        control.wait(events.EndOfRib, count=2)
        first = control.of(events.Hello)[0]
        os.kill(launched.exabgp_pid(), signal.SIGKILL)
        assert launched.process is not None
        assert launched.process.wait(10) == 1
        assert "killed by SIGKILL" in launched.log.read_text()
        wait_for(lambda: control.pump() and control.ended, 5, "the end of the helper's connection")
        assert not lab.router.pids()
        launched.start()
        hello = control.wait(events.Hello, count=2)[1]
        assert not hello.gap
        assert (hello.epoch, hello.exabgp_pid) != (first.epoch, first.exabgp_pid)
        control.wait(events.EndOfRib, count=4)


def test_launcher_killed_leaves_no_process(lab: Lab) -> None:
    with Listener(lab.run_directory) as control, lab.launched() as launched:
        control.wait(events.Hello)
        assert launched.process is not None
        launched.process.kill()
        launched.process.wait()
        wait_for(lambda: not lab.router.pids(), 5, "ExaBGP and its helper end with the launcher")
        launched.start()
        control.wait(events.Hello, count=2)


def test_second_instance_is_refused(lab: Lab) -> None:
    with Listener(lab.run_directory) as control, lab.launched() as launched:
        control.wait(events.Hello)
        assert launched.process is not None
        with lab.launched() as second:
            assert second.process is not None
            assert second.process.wait(10) == 1
            assert f"runs already (pid {launched.process.pid}" in second.log.read_text()
        assert launched.process.poll() is None


def test_namespace_that_is_not_there(lab: Lab) -> None:
    with Launched(lab.run_directory, "drlab-not-there", []) as missing:
        assert missing.process is not None
        assert missing.process.wait(10) == 1
    assert "network namespace drlab-not-there can't be opened" in missing.log.read_text()
    assert list(lab.run_directory.iterdir()) == []


def test_helper_killed_is_respawned_and_says_so(lab: Lab) -> None:
    with (
        Listener(lab.run_directory) as control,
        lab.launched() as launched,
        lab.bird(["198.51.100.0/24"]) as bird,
    ):
        control.wait(events.EndOfRib, count=2)
        control.send(commands.encode(commands.announce(V4, ["203.0.113.0/24"])))
        wait_for(lambda: bird.has_route("203.0.113.0/24"), 10, "our route at BIRD")
        os.kill(launched.helper_pid(), signal.SIGKILL)
        hello = control.wait(events.Hello, count=2)[1]
        assert hello.gap
        assert bird.established()
        assert bird.has_route("203.0.113.0/24")
        assert {state.peer for state in hello.peers if state.up} == ({V4, V6} if lab.feed == "tap" else set())
        start = control.events.index(hello)
        control.send(commands.encode([commands.route_refresh(V4, "ipv4")]))
        control.wait(events.RefreshMark, count=2)
        again = [event for event in control.events[start:] if isinstance(event, events.Update)]
        assert prefixes(again) == {"198.51.100.0/24"}


def test_control_comes_late_and_goes_away(lab: Lab) -> None:
    control = Listener(lab.run_directory)
    with lab.launched(), lab.bird(["198.51.100.0/24"]) as bird:
        wait_for(bird.established, 15, "the sessions, without a control process")
        with control:
            control.wait(events.EndOfRib, count=2)
            assert not control.of(events.Hello)[0].gap
            assert prefixes(control.of(events.Update)) == {"198.51.100.0/24"}
        bird.set_routes(["198.51.100.0/24", "203.0.113.0/24"])
        with control:
            hello = control.wait(events.Hello)[0]
            assert (hello.gap, hello.connection) == (True, 2)
            assert {state.peer for state in hello.peers if state.up} == {V4, V6}
            assert all(state.capabilities and state.capabilities.route_refresh for state in hello.peers)
            control.send(commands.encode([commands.route_refresh(V4, "ipv4")]))
            control.wait(events.RefreshMark, count=2)
            assert prefixes(control.of(events.Update)) == {"198.51.100.0/24", "203.0.113.0/24"}


@pytest.mark.parametrize("feed", ["json"], indirect=True)
def test_slow_control_loses_lines_not_sessions(lab: Lab) -> None:
    """Hold time 9: with ExaBGP blocked, the sessions would be gone after 9 seconds."""
    routes = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(8000)]
    with (
        Listener(lab.run_directory) as control,
        lab.launched(hold_time=9, buffer_bytes=1 << 20) as launched,
        lab.bird(["198.51.100.0/24"], hold_time=9) as bird,
    ):
        control.wait(events.EndOfRib, count=2)
        before = bird.birdc("show protocols peer0")
        started = time.monotonic()
        some = True
        while time.monotonic() - started < 13:  # nothing is read in this time; that is the point of the test
            bird.set_routes(routes if some else [])
            some = not some
            time.sleep(1)
        bird.set_routes(routes)
        assert bird.established()
        assert bird.birdc("show protocols peer0").split()[-2:] == before.split()[-2:]
        lost = control.wait(events.Hello, count=2)[1]
        assert lost.gap
        assert lost.dropped > 0
        assert {state.peer for state in lost.peers if state.up} == {V4, V6}
        assert not control.of(events.PeerDown)
        control.send(commands.encode([commands.route_refresh(V4, "ipv4")]))
        wait_for(lambda: any(mark.end for mark in control.of(events.RefreshMark)), 20, "the refresh's end")
        last_begin = max(i for i, event in enumerate(control.events) if event == events.RefreshMark(V4, "ipv4", False))
        fresh = [event for event in control.events[last_begin:] if isinstance(event, events.Update)]
        assert len(control.of(events.Hello)) == 2
        assert prefixes(fresh) == set(routes)
        assert launched.stop() == 0


ORIGIN = attribute(0x40, 1, b"\0")
AS_PATH = attribute(0x40, 2, b"\x02\x01" + (65001).to_bytes(4, "big"))
NEXT_HOP = attribute(0x40, 3, socket.inet_aton(V4))


@pytest.mark.parametrize("feed", ["json"], indirect=True)
@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        (attribute(0x40, 1, b"\x07") + AS_PATH + NEXT_HOP, "origin is malformed"),
        (AS_PATH + NEXT_HOP, "origin is missing"),
        (ORIGIN + NEXT_HOP, "as-path is missing"),
        (ORIGIN + AS_PATH, "next hop"),
        (ORIGIN + AS_PATH + attribute(0x40, 3, socket.inet_aton("224.0.0.5")), "next hop"),
        (ORIGIN + attribute(0x40, 2, b"\x02\x01\0\0\0\0") + NEXT_HOP, "AS 0"),
    ],
)
def test_bad_attributes_withdraw_and_keep_the_session(lab: Lab, attributes: bytes, reason: str) -> None:
    """RFC 7606: a good route, then the same prefix with bad attributes, then another good one."""
    nlri, other = (
        b"\x18" + socket.inet_aton("198.51.100.0")[:3],
        b"\x18" + socket.inet_aton("203.0.113.0")[:3],
    )
    good = ORIGIN + AS_PATH + NEXT_HOP
    bodies = [update_body(good, nlri), update_body(attributes, nlri), update_body(good, other)]
    program = str(Path(__file__).with_name("harness") / "speaker.py")
    with Listener(lab.run_directory) as control, lab.launched():
        speaker = subprocess.Popen(
            lab.peer.command(sys.executable, program, V4, "192.0.2.1", "65001", *(body.hex() for body in bodies)),
            stdin=subprocess.PIPE,
        )
        with contextlib.ExitStack() as stack:
            stack.callback(speaker.wait, 10)
            stack.callback(speaker.kill)
            assert speaker.stdin is not None
            stack.callback(speaker.stdin.close)
            wait_for(
                lambda: "203.0.113.0/24" in prefixes(control.of(events.Update)),
                20,
                "the route after the bad one",
            )
        updates = control.of(events.Update)
        assert [bad.reason for bad in control.of(events.MalformedUpdate) if reason in bad.reason]
        assert prefixes(updates, announced=False) == {"198.51.100.0/24"}
