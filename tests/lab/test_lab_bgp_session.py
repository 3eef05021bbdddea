"""What a session's keys and export policies do, with the real ExaBGP against real BIRD. Topology: test_lab_bgp.py, IPv4.

BIRD asks for the password and for a TTL of 255: a session that has them not does not come up. So do we, of sessions that
BIRD opens (RFC 5082).
"""

from __future__ import annotations

import tempfile
from ipaddress import ip_network
from pathlib import Path

from dpdkrouter.bgp import commands, events
from dpdkrouter.bgp.configuration import BgpPeer
from dpdkrouter.bgp.exports import Exports
from dpdkrouter.rib.policy import Change, Communities, Entry, Policy, Rule
from lab.harness import Bird, BirdPeer, Namespace, veth_pair, wait_for
from lab.harness.launched import Launched, Listener

PEER, OURS = "192.0.2.9", "203.0.113.0/24"
PASSWORD = "s3cret#;{}%"
POLICY = Policy(
    "out",
    (
        Rule(
            "ours",
            True,
            (Entry(ip_network(OURS), 24, 24),),
            change=Change(med=7, add=Communities(frozenset({65000 << 16 | 5, 0xFFFFFF01}), frozenset({(65000, 1, 2)}))),
            prepend=2,
        ),
    ),
)


def test_protected_session_and_export_policy() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="drlab-bgps-") as name,
        Namespace("bgps-r") as router,
        Namespace("bgps-p") as peer,
    ):
        directory = Path(name)
        veth_pair((peer, "eth0"), (router, "wan0"))
        peer.address("eth0", "192.0.2.9/24")
        router.address("wan0", "192.0.2.1/24")
        ours = BgpPeer(PEER, 65001, "192.0.2.1", 65000, "192.0.2.1", password=PASSWORD, ttl_security=1)
        theirs = BirdPeer("192.0.2.1", 65000, ("ipv4",), extra=f'password "{PASSWORD}"; ttl security on;')
        run = directory / "run"
        with (
            Listener(run) as control,
            Launched(run, router.name, [ours]),
            Bird(peer, directory, PEER, 65001, [theirs], ["198.51.100.0/24"]) as bird,
        ):
            control.wait(events.EndOfRib)
            exports = Exports([ours], {PEER: POLICY}, {PEER: {"ipv4": "192.0.2.1"}}, {})
            exports.update({ip_network(OURS): "announce", ip_network("198.18.0.0/24"): "announce"})
            control.send(commands.encode([*exports.hello(PEER), commands.end_of_rib(PEER, "ipv4")]))
            wait_for(lambda: bird.has_route(OURS), 15, "our route at BIRD")
            shown = bird.birdc(f"show route for {OURS} all")
            for words in (
                "BGP.as_path: 65000 65000 65000\n",
                "BGP.med: 7\n",
                "BGP.community: (65000,5) (65535,65281)\n",
                "BGP.large_community: (65000, 1, 2)\n",
            ):
                assert words in shown, shown
            assert not bird.has_route("198.18.0.0/24")
            control.send(commands.encode(exports.update({})))
            wait_for(lambda: not bird.has_route(OURS), 15, "the withdrawal at BIRD")


def test_ttl_security_of_a_session_that_the_peer_opens() -> None:
    """BIRD sends a TTL of 1 to a neighbour on its link, unless told otherwise."""
    pairs = {"192.0.2.9": "192.0.2.1", "2001:db8::9": "2001:db8::1"}
    with (
        tempfile.TemporaryDirectory(prefix="drlab-bgpt-") as name,
        Namespace("bgpt-r") as router,
        Namespace("bgpt-p") as peer,
    ):
        directory = Path(name)
        veth_pair((peer, "eth0"), (router, "wan0"))
        peer.address("eth0", "192.0.2.9/24", "2001:db8::9/64")
        router.address("wan0", "192.0.2.1/24", "2001:db8::1/64")
        ours = [
            BgpPeer(theirs, 65001, local, 65000, "192.0.2.1", passive=True, ttl_security=1)
            for theirs, local in pairs.items()
        ]
        far, near = (
            [BirdPeer(local, 65000, ("ipv4",), extra=extra) for local in pairs.values()]
            for extra in ("", "ttl security on;")
        )
        run = directory / "run"
        with Listener(run), Launched(run, router.name, ours) as launched:
            with Bird(peer, directory, PEER, 65001, far, name="far") as bird:
                for theirs in pairs:
                    said = f"peer {theirs}: connection refused: it comes from too far"
                    wait_for(lambda said=said: said in launched.log.read_text(), 20, f"log: {said}")
                shown = bird.birdc("show protocols")
                assert "Established" not in shown, shown
            with Bird(peer, directory, PEER, 65001, near, name="near") as bird:
                wait_for(bird.established, 20, "both sessions, from near")
