"""The tap under stress, by the real launcher: a consumer that stops, malformed UPDATEs, other daemons.

The topology is that of test_lab_bgp.py, with whatever peer the test needs:

    namespace router (AS 65000)                    namespace peer (AS 65001)

    launcher > ExaBGP with the tap > helper        BIRD, FRR, GoBGP or speaker.py
        |                  |                         |
     bgp.sock           wan0 192.0.2.1/24 - veth - eth0 192.0.2.9/24
     Listener
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.bgp import commands, events
from dpdkrouter.bgp.configuration import BgpPeer
from dpdkrouter.bgp.faults import Fault
from lab.harness import Bird, BirdPeer, Namespace, veth_pair, wait_for
from lab.harness.launched import Launched, Listener
from updatekit import AS_PATH, HEADER_BYTES, ORIGIN, PREFIX, attribute, nlri, reach, shown, update

if TYPE_CHECKING:
    from collections.abc import Iterator

PEER, OURS = "192.0.2.9", "192.0.2.1"
NEXT_HOP = attribute(0x40, 3, socket.inet_aton(PEER))
GOOD = ORIGIN + AS_PATH + NEXT_HOP
FIRST = update(GOOD, PREFIX)
SPEAKER = str(Path(__file__).with_name("harness") / "speaker.py")
# Seconds; with hold time 9 the session is gone after 9 s without a keepalive.
STALLS = [13, pytest.param(30, marks=pytest.mark.full)]


class Lab:
    """The two namespaces, and the launcher in one of them."""

    def __init__(self, directory: Path, router: Namespace, peer: Namespace) -> None:
        self.directory, self.router, self.peer = directory, router, peer
        self.run_directory = directory / "run"

    def launched(self, hold_time: int = 90, families: tuple[str, ...] = ("ipv4",)) -> Launched:
        peer = BgpPeer(PEER, 65001, OURS, 65000, OURS, families=families, hold_time=hold_time)
        return Launched(self.run_directory, self.router.name, [peer], buffer_bytes=1 << 20)

    @contextlib.contextmanager
    def speaker(self, *updates: bytes, repeat: int = 1) -> Iterator[None]:
        """A raw speaker that sends these messages, the last `repeat` times; it ends afterwards."""
        bodies = [one[HEADER_BYTES:].hex() for one in updates]
        words = [PEER, OURS, "65001", *bodies, f"repeat={repeat}"]
        with subprocess.Popen(
            self.peer.command(sys.executable, SPEAKER, *words), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as process:
            try:
                yield
            finally:
                process.kill()


@pytest.fixture
def lab() -> Iterator[Lab]:
    with (
        tempfile.TemporaryDirectory(prefix="drlab-tap-") as directory,
        Namespace("tap-r") as router,
        Namespace("tap-p") as peer,
    ):
        veth_pair((peer, "eth0"), (router, "wan0"))
        peer.address("eth0", "192.0.2.9/24")
        router.address("wan0", "192.0.2.1/24")
        yield Lab(Path(directory), router, peer)


def count(control: Listener) -> int:
    return sum(one.decoded.updates for one in control.of(events.Received))


def downs(control: Listener) -> list[events.PeerDown]:
    """Ends of the session; what came before its first UPDATE was an attempt to connect."""
    control.pump()
    start = next(i for i, event in enumerate(control.events) if isinstance(event, events.Received))
    return [event for event in control.events[start:] if isinstance(event, events.PeerDown)]


def routes_of(control: Listener) -> list[tuple[str, bool]]:
    """(prefix, announced) in the order they came."""
    found = control.of(events.Received)
    return [(prefix, attributes is not None) for one in found for prefix, _, attributes in shown(one.decoded)]


@pytest.mark.parametrize("stall", STALLS)
def test_a_stalled_consumer_stops_the_peers_and_keeps_the_sessions(lab: Lab, stall: int) -> None:
    """More than all buffers hold waits at the peer; every UPDATE arrives, once and in order."""
    many = 30_000  # 30 MB on the wire
    filling = update(GOOD + attribute(0xC0, 99, bytes(900)), nlri("10.0.0.0/8"))
    with (
        Listener(lab.run_directory) as control,
        lab.launched(hold_time=9) as launched,
        lab.speaker(FIRST, filling, repeat=many),
    ):
        wait_for(lambda: count(control) > 0, 20, "the first UPDATE")
        time.sleep(stall)  # nothing is read in this time; that is the point of the test
        wait_for(lambda: count(control) == many + 1, 60, "all UPDATEs")
        assert not downs(control)
        assert [hello.feed for hello in control.of(events.Hello)] == ["tap"]
        assert {one.epoch for one in control.of(events.Received)} == {1}
        assert routes_of(control)[0] == ("198.51.100.0/24", True)
        assert launched.stop() == 0


def up_since(bird: Bird) -> datetime:
    """When BIRD says that the session came up; it counts back from now, and a millisecond comes and goes."""
    return datetime.strptime(bird.birdc("show protocols peer0").split()[-2], "%H:%M:%S.%f").replace(tzinfo=UTC)


@pytest.mark.parametrize("stall", STALLS)
def test_bird_keeps_its_session_while_nobody_reads(lab: Lab, stall: int) -> None:
    bird = Bird(lab.peer, lab.directory, PEER, 65001, [BirdPeer(OURS, 65000, ("ipv4",), hold_time=9)], ["10.0.0.0/8"])
    filling = [f"172.{16 + (n >> 8)}.{n & 255}.0/24" for n in range(3000)]
    with Listener(lab.run_directory) as control, lab.launched(hold_time=9), bird:
        control.wait(events.EndOfRib)
        before = up_since(bird)
        bird.set_routes(filling)
        time.sleep(stall)
        assert bird.established()
        assert abs(up_since(bird) - before) < timedelta(seconds=1)
        wait_for(lambda: len({prefix for prefix, _ in routes_of(control)}) == 3001, 20, "BIRD's routes")
        assert routes_of(control).count(("10.0.0.0/8", False)) == 1
        assert not downs(control)


def test_malformed_updates_withdraw_and_the_session_lives(lab: Lab) -> None:
    bad = update(attribute(0x40, 1, b"\7") + AS_PATH + NEXT_HOP)
    with (
        Listener(lab.run_directory) as control,
        lab.launched(),
        lab.speaker(FIRST, bad, update(GOOD, nlri("203.0.113.0/24"))),
    ):
        wait_for(lambda: ("203.0.113.0/24", True) in routes_of(control), 20, "the route after the bad one")
        assert routes_of(control) == [
            ("198.51.100.0/24", True),
            ("198.51.100.0/24", False),
            ("203.0.113.0/24", True),
        ]
        faults: dict[Fault, int] = {}
        for one in control.of(events.Received):
            faults.update(one.decoded.faults)
        assert faults == {Fault.ORIGIN: 1}
        assert not downs(control)


def test_a_session_reset_sends_the_notification(lab: Lab) -> None:
    wrong = update(GOOD + reach(b"") + reach(b""))
    with Listener(lab.run_directory) as control, lab.launched(), lab.speaker(FIRST, wrong, FIRST):
        wait_for(lambda: any(one.decoded.reset for one in control.of(events.Received)), 20, "the wrong UPDATE")
        last = control.of(events.Received)[-1]
        reset = last.decoded.reset
        assert reset is not None
        control.send(commands.encode([commands.notify(last.epoch, reset.code, reset.subcode, reset.data)]))
        wait_for(lambda: downs(control), 20, "the end of the session")
        (sent,) = control.of(events.NotificationEvent)
        assert (sent.direction, sent.code, sent.subcode) == ("send", 3, 1)
        assert count(control) == 1


@pytest.mark.parametrize(
    ("subcode", "graceful", "said"), [(1, "aware", [(6, 1)]), (4, "aware", []), (4, "off", [(6, 4)])]
)
def test_teardown_says_cease_unless_it_is_a_reset(
    lab: Lab, subcode: int, graceful: str, said: list[tuple[int, int]]
) -> None:
    """We offer graceful restart, with which stock ExaBGP closes any session without a word; a reset does when the peer
    offers it, too."""
    theirs = BirdPeer(OURS, 65000, ("ipv4",), extra=f"graceful restart {graceful};")
    bird = Bird(lab.peer, lab.directory, PEER, 65001, [theirs], ["10.0.0.0/8"])
    with Listener(lab.run_directory) as control, lab.launched(), bird:
        wait_for(lambda: routes_of(control), 20, "its route")
        control.send(commands.encode([commands.teardown(PEER, subcode)]))
        wait_for(lambda: downs(control), 20, "the end of the session")
        assert [(one.code, one.subcode) for one in control.of(events.NotificationEvent)] == said
        wait_for(lambda: len(control.of(events.PeerUp)) == 2, 20, "the next session")


def came(control: Listener, wanted: set[tuple[str, bool]]) -> bool:
    found = set(routes_of(control))
    assert found == wanted, (found, control.events[-3:])
    return True


FRR = """
router bgp 65001
 bgp router-id 192.0.2.9
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 192.0.2.1 remote-as 65000
 neighbor 192.0.2.1 timers connect 1
 address-family ipv4 unicast
  network 198.51.100.0/24
 exit-address-family
 address-family ipv6 unicast
  neighbor 192.0.2.1 activate
  network 2001:db8:9::/48
 exit-address-family
"""
GOBGP = """
[global.config]
as = 65001
router-id = "192.0.2.9"
[[neighbors]]
[neighbors.config]
neighbor-address = "192.0.2.1"
peer-as = 65000
[neighbors.timers.config]
connect-retry = 1
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv4-unicast"
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv6-unicast"
"""


def has_added(lab: Lab, add: tuple[str, ...]) -> bool:
    """Add a route to GoBGP, which may not listen yet and says so in many ways; whether it is there."""
    lab.peer.run(*add, check=False)
    return add[4] in lab.peer.run("gobgp", "global", "rib", "-a", add[-1], check=False)


@contextlib.contextmanager
def daemon(lab: Lab, name: str) -> Iterator[None]:
    """FRR's bgpd or GoBGP, announcing a prefix of each family."""
    file = lab.directory / "peer.conf"
    file.write_text({"frr": FRR, "gobgp": GOBGP}[name])
    place = str(lab.directory)
    commands_of = {
        "frr": ["/usr/lib/frr/bgpd", "-S", "-Z", "-f", str(file), "-i", f"{place}/pid", "-z", f"{place}/zserv.api",
                "--vty_socket", place, "-A", "127.0.0.1"],
        "gobgp": ["gobgpd", "-f", str(file)],
    }  # fmt: skip
    with (lab.directory / "peer.log").open("wb") as log:
        process = subprocess.Popen(lab.peer.command(*commands_of[name]), stdout=log, stderr=log)
    try:
        if name == "gobgp":
            for family, prefix, hop in (("ipv4", "198.51.100.0/24", PEER), ("ipv6", "2001:db8:9::/48", "2001:db8::9")):
                add = ("gobgp", "global", "rib", "add", prefix, "nexthop", hop, "-a", family)
                wait_for(lambda add=add: has_added(lab, add), 20, "GoBGP's route")
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", ["frr", "gobgp"])
def test_other_daemons_are_understood(lab: Lab, name: str) -> None:
    lab.peer.address("eth0", "2001:db8::9/64")
    lab.router.address("wan0", "2001:db8::1/64")
    with Listener(lab.run_directory) as control, lab.launched(families=("ipv4", "ipv6")), daemon(lab, name):
        wanted = {("198.51.100.0/24", True), ("2001:db8:9::/48", True)}
        wait_for(lambda: came(control, wanted), 60, "its routes")
        assert [hello.feed for hello in control.of(events.Hello)] == ["tap"]
        for one in control.of(events.Received):
            assert not one.decoded.faults
            for _, _, attributes in shown(one.decoded):
                assert attributes is not None
                assert [segment.asns for segment in attributes.as_path] == [(65001,)]
