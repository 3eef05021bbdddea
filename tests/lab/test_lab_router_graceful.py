"""What peers keep of ours, and what not: graceful restart, planned stops, control gone, conditions that fail.

west, AS 65001, BIRD ── eth0 ─── wan0  dpdkrouter  wan1 ─── eth0 ── east, AS 65002, FRR
192.0.2.9, 2001:db8:1::9                                            198.51.100.9, 2001:db8:2::9
                                lan0 10.9.0.1/24 ── eth0 10.9.0.9 lan

Each has one session, for both families. Of ours, one prefix of each family is always announced, one while the connected
prefix of lan0 is there, one while the static route through lan is.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.harness import Bird, BirdPeer, Namespace, wait_for
from lab.harness.frr import Frr
from lab.harness.router import Port, Router, port_veth
from lab.harness.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("hugepages")

ALWAYS = {"203.0.113.0/24", "2001:db8:100::/48"}
WHILE_CONNECTED, WHILE_STATIC = "203.0.114.0/24", "203.0.115.0/24"
OURS = ALWAYS | {WHILE_CONNECTED, WHILE_STATIC}
OF_WEST, OF_EAST = ("198.18.0.0/24", "2001:db8:53::/48"), ("198.18.1.0/24",)  # bgpd alone has no IPv6 next hop
HOLD_S = 4
LATER_S = 3.0  # what an End-of-RIB that came too early lost was lost for about 2 s

BODY = f"""
[[route]]
prefix = "10.99.0.0/16"
via = ["10.9.0.9"]
[bgp]
announce = [
  "203.0.113.0/24", "2001:db8:100::/48",
  {{ prefix = "{WHILE_CONNECTED}", when = "10.9.0.0/24" }},
  {{ prefix = "{WHILE_STATIC}", when = "10.99.0.0/16" }},
]
restart_time = 60
hold_announcements = {HOLD_S}
[[bgp.neighbor]]
address = "192.0.2.9"
asn = 65001
families = ["ipv4", "ipv6"]
import_policy = "accept"
export_policy = "accept"
accept_bogons = true
[[bgp.neighbor]]
address = "198.51.100.9"
asn = 65002
families = ["ipv4", "ipv6"]
import_policy = "accept"
export_policy = "accept"
accept_bogons = true
"""


class Lab:
    """The topology of the module's head; entered by the fixture."""

    def __init__(self, directory: Path, enter: ExitStack) -> None:
        name = "gr"
        metal, west, east, self.lan = (
            enter.enter_context(Namespace(f"{name}-{one}")) for one in ("metal", "west", "east", "lan")
        )
        for port, host in (("wan0", west), ("wan1", east), ("lan0", self.lan)):
            port_veth(metal, port, (host, "eth0"))
        west.address("eth0", "192.0.2.9/24", "2001:db8:1::9/64")
        east.address("eth0", "198.51.100.9/24", "2001:db8:2::9/64")
        self.lan.address("eth0", "10.9.0.9/24")
        self.bird_log = directory / "bird.log"
        peer = BirdPeer("192.0.2.1", 65000, extra="debug { states, routes, events };")
        self.bird = enter.enter_context(Bird(west, directory, "192.0.2.9", 65001, [peer], OF_WEST))
        self.frr = enter.enter_context(Frr(east, directory, ("198.51.100.9", 65002), ("198.51.100.1", 65000), OF_EAST))
        ports = [
            Port("wan0", "192.0.2.1/24", "2001:db8:1::1/64"),
            Port("wan1", "198.51.100.1/24", "2001:db8:2::1/64"),
            Port("lan0", "10.9.0.1/24"),
        ]
        self.router = enter.enter_context(Router(metal, directory, ports, BODY, name))
        self.whole()
        self.preserved_at_first = self.preserved()

    def whole(self) -> None:
        """Wait until both have all of ours, and we have theirs."""
        wait_for(lambda: self.router.call("bgp.summary")["feed"] == "tap", 30, "the tap in use")
        wait_for(lambda: self.bird.established() and self.frr.established(), 60, "the sessions")
        wait_for(lambda: self.told() == (OURS, OURS), 30, "our prefixes at both")
        wait_for(lambda: {*OF_WEST, *OF_EAST} <= self.router.routes(), 30, "their routes")
        wait_for(lambda: self.router.stale() == 0, 90, "no stale routes")

    @contextmanager
    def nothing_started_again(self) -> Iterator[None]:
        """In the block `run` sleeps: what ends stays away."""
        run = self.router.process
        assert run is not None
        os.kill(run.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(run.pid, signal.SIGCONT)

    def flaps(self) -> list[int]:
        """How often each session was lost."""
        return [peer["flaps"] for peer in self.router.call("bgp.summary")["peers"]]

    def told(self) -> tuple[set[str], set[str]]:
        """What BIRD and FRR have of ours."""
        return self.bird.learnt(), self.frr.learnt()

    def preserved(self) -> list[str]:
        """Families whose forwarding state we said was kept, at BIRD, then at FRR."""
        rows = (row.partition("AF preserved:") for row in self.bird.birdc("show protocols all peer0").splitlines())
        found = sorted(word for _, mark, rest in rows for word in rest.split() if mark)
        offered = self.frr.neighbor()["gracefulRestartInfo"]
        return found + sorted(name for name in ("ipv4Unicast", "ipv6Unicast") if offered[name]["fBit"])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(tmp_path_factory.mktemp("graceful"), stack)


def _exabgp(launcher: int) -> int:
    (child,) = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return int(child)


@pytest.mark.parametrize("how", ["exabgp killed", "launcher killed", "restart asked for"])
def test_restart_of_exabgp_loses_no_prefix_at_bird_and_frr(lab: Lab, how: str) -> None:
    lab.whole()
    launcher = lab.router.pid("bgp")
    before = lab.flaps()
    with Watch(lab.router, [lab.bird, lab.frr], sorted(OURS)) as watch:
        if how == "restart asked for":
            os.kill(launcher, signal.SIGHUP)
        else:
            os.kill(_exabgp(launcher) if how == "exabgp killed" else launcher, signal.SIGKILL)
        wait_for(lambda: lab.router.restarted("bgp", launcher), 20, "another launcher")
        wait_for(lambda: lab.flaps() == [count + 1 for count in before], 20, "the loss of the sessions noticed")
        lab.whole()
        time.sleep(LATER_S)  # the watch goes on for so long
    watch.check()
    assert lab.flaps() == [count + 1 for count in before]


def test_forwarding_state_is_said_to_be_kept_only_when_it_was(lab: Lab) -> None:
    assert lab.preserved_at_first == [], "there was nothing before the first start"
    launcher = lab.router.kill("bgp")
    wait_for(lambda: lab.router.restarted("bgp", launcher), 20, "another launcher")
    lab.whole()
    assert lab.preserved() == ["ipv4", "ipv6", "ipv4Unicast", "ipv6Unicast"]


def test_planned_stop_withdraws_and_says_cease(lab: Lab) -> None:
    lab.whole()
    start = lab.bird_log.stat().st_size
    launcher = lab.router.pid("bgp")
    with lab.nothing_started_again():
        os.kill(launcher, signal.SIGTERM)
        wait_for(lambda: lab.told() == (set(), set()), 20, "nothing of ours at the peers")
    said = lab.bird_log.read_text()[start:]
    cease = said.index("Received: Administrative shutdown")
    for prefix in ALWAYS:
        assert said.index(f"removed [sole] {prefix}") < cease, said
    assert lab.frr.neighbor()["lastErrorCodeSubcode"] == "0602"
    wait_for(lambda: lab.router.restarted("bgp", launcher), 20, "`run` starts it again")
    lab.whole()


def test_announcements_of_a_control_process_that_hangs_are_withdrawn(lab: Lab) -> None:
    lab.whole()
    control = lab.router.pid("control")
    os.kill(control, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        wait_for(lambda: lab.told() == (set(), set()), HOLD_S + 30, "nothing of ours at the peers")
        assert time.monotonic() - stopped > HOLD_S / 2
        assert lab.bird.established()
        assert lab.frr.established(), "the sessions live on"
        assert {*OF_WEST, *OF_EAST} <= lab.router.routes(), "and so does the table"
    finally:
        os.kill(control, signal.SIGCONT)
    lab.whole()
    assert lab.router.pid("control") == control


def test_announcements_of_a_control_process_that_is_gone_are_withdrawn(lab: Lab) -> None:
    lab.whole()
    with lab.nothing_started_again():
        control = lab.router.kill("control")
        wait_for(lambda: lab.told() == (set(), set()), HOLD_S + 30, "nothing of ours at the peers")
    wait_for(lambda: lab.router.restarted("control", control), 20, "another control process")
    lab.whole()


def test_prefix_whose_condition_fails_is_withdrawn_at_once(lab: Lab) -> None:
    lab.whole()
    lab.lan.run("ip", "link", "set", "eth0", "down")
    wait_for(lambda: lab.told() == (ALWAYS, ALWAYS), 10, "the conditional ones gone, the others still there")
    lab.lan.run("ip", "link", "set", "eth0", "up")
    lab.whole()
