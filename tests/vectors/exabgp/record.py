"""Record what ExaBGP 5.0.15 says, for the decoder's tests: run as root with `tests` and the package on
PYTHONPATH.

    namespace router: ExaBGP by the launcher    wan0 192.0.2.1/24, 2001:db8::1/64 -- veth -- eth0 .9, ::9
    namespace peer:   first BIRD (bird.jsonl), then a speaker of raw bytes (speaker.jsonl)

Host name, pids and times are made constant, so that a new recording differs only where ExaBGP does.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from dpdkrouter.bgp import commands, events
from dpdkrouter.bgp.configuration import BgpPeer
from lab.harness import Bird, BirdPeer, Namespace, veth_pair, wait_for
from lab.harness.launched import Launched, Listener
from lab.harness.speaker import attribute, update_body

HERE = Path(__file__).parent
V4, V6 = "192.0.2.9", "2001:db8::9"
BIRD_ATTRIBUTES = (
    "bgp_community.add((65001,7)); bgp_large_community.add((65001,1,2)); bgp_ext_community.add((rt,65001,9));"
    "bgp_med = 5; bgp_path.prepend(4200000001); if net.len > 24 then bgp_origin = ORIGIN_INCOMPLETE;"
)


def main() -> None:
    """Write both files."""
    with (
        tempfile.TemporaryDirectory(prefix="drlab-bgp-") as directory,
        Namespace("vec-r") as router,
        Namespace("vec-p") as peer,
    ):
        veth_pair((peer, "eth0"), (router, "wan0"))
        peer.address("eth0", "192.0.2.9/24", "2001:db8::9/64")
        router.address("wan0", "192.0.2.1/24", "2001:db8::1/64")
        _write("bird.jsonl", _from_bird(Path(directory), router, peer))
        _write("speaker.jsonl", _from_speaker(Path(directory), router, peer))


def _from_bird(directory: Path, router: Namespace, peer: Namespace) -> bytes:
    peers = [
        BgpPeer(V4, 65001, "192.0.2.1", 65000, "192.0.2.1", families=("ipv4",)),
        BgpPeer(V6, 65001, "2001:db8::1", 65000, "192.0.2.1", families=("ipv6",)),
    ]
    routes = ["198.51.100.0/24", "203.0.113.128/25", "2001:db8:a::/48", "2001:db8:b::1/128"]
    ends = [BirdPeer("192.0.2.1", 65000, ("ipv4",)), BirdPeer("2001:db8::1", 65000, ("ipv6",))]
    run = directory / "bird-run"
    with (
        Listener(run) as control,
        Launched(run, router.name, peers) as launched,
        Bird(peer, directory, V4, 65001, ends, routes, BIRD_ATTRIBUTES) as bird,
    ):
        control.wait(events.EndOfRib, count=2)
        control.send(commands.encode([commands.route_refresh(V4, "ipv4")]))
        control.wait(events.RefreshMark, count=2)
        bird.set_routes(routes[:1])
        wait_for(
            lambda: any(u.withdrawn and u.family == "ipv6" for u in control.of(events.Update)),
            10,
            "withdrawal",
        )
        wait_for(
            lambda: any(u.withdrawn and u.family == "ipv4" for u in control.of(events.Update)),
            10,
            "withdrawal",
        )
        bird.stop()
        control.wait(events.PeerDown, count=2)
        control.wait(events.NotificationEvent, count=2)
        raw = bytes(control.raw)
        launched.stop()
    return raw


def _from_speaker(directory: Path, router: Namespace, peer: Namespace) -> bytes:
    """An iBGP session with ADD-PATH, and what no daemon sends."""
    origin, local_pref = attribute(0x40, 1, b"\0"), attribute(0x40, 5, (200).to_bytes(4, "big"))
    path = b"\x02\x02" + (64500).to_bytes(4, "big") + (4200000000).to_bytes(4, "big")
    as_set = b"\x01\x02" + (64501).to_bytes(4, "big") + (64502).to_bytes(4, "big")
    as_path, next_hop = attribute(0x40, 2, path + as_set), attribute(0x40, 3, socket.inet_aton(V4))
    reflected = attribute(0x80, 9, socket.inet_aton("192.0.2.77")) + attribute(
        0x80, 10, socket.inet_aton("192.0.2.78") + socket.inet_aton("192.0.2.79")
    )
    aggregated = attribute(0x40, 6, b"") + attribute(
        0xC0, 7, (64501).to_bytes(4, "big") + socket.inet_aton("192.0.2.80")
    )
    good = origin + as_path + next_hop + local_pref

    def route(path_id: int, prefix: str, length: int = 24) -> bytes:
        packed = socket.inet_aton(prefix)[: (length + 7) // 8]
        return path_id.to_bytes(4, "big") + bytes((length,)) + packed

    def reach(next_hops: bytes, nlri: bytes) -> bytes:
        return attribute(0x80, 14, b"\0\x02\x01" + bytes((len(next_hops),)) + next_hops + b"\0" + nlri)

    global_hop, link_local = (
        socket.inet_pton(socket.AF_INET6, V6),
        socket.inet_pton(socket.AF_INET6, "fe80::9"),
    )
    prefix6 = b"\x20" + socket.inet_pton(socket.AF_INET6, "2001:db8::")[:4]
    base = origin + as_path + local_pref
    bodies = [
        update_body(good + reflected + aggregated, route(4, "198.51.100.0") + route(5, "198.51.100.0")),
        update_body(withdrawn=route(5, "198.51.100.0")),
        update_body(good, route(1, "203.0.113.77", 25)),  # host bits set
        update_body(good, route(1, "203.0.113.0"), route(2, "10.0.0.0", 8)),  # both in one message
        update_body(attribute(0x40, 1, b"\x07") + as_path + next_hop + local_pref, route(1, "203.0.113.0")),
        update_body(as_path + next_hop + local_pref, route(1, "203.0.113.0")),  # no ORIGIN
        update_body(origin + as_path + next_hop, route(1, "203.0.113.0")),  # no LOCAL_PREF
        update_body(origin + as_path + local_pref, route(1, "203.0.113.0")),  # no NEXT_HOP
        update_body(good + attribute(0xC0, 8, b"\0\0\0"), route(1, "203.0.113.0")),  # COMMUNITY of three bytes
        update_body(base + reach(global_hop + link_local, prefix6)),
        update_body(base + reach(bytes(16) + link_local, prefix6)),
        update_body(base + reach(link_local, prefix6)),
        update_body(attribute(0x80, 15, b"\0\x02\x01" + prefix6)),
        update_body(good + attribute(0xC0, 99, b"xyz"), route(9, "0.0.0.0", 0)),  # unknown attribute, default route
        update_body(attribute(0x80, 15, b"\0\x02\x01")),  # End-of-RIB, ipv6
        update_body(),  # End-of-RIB, ipv4
    ]
    ours = BgpPeer(V4, 65000, "192.0.2.1", 65000, "192.0.2.1", families=("ipv4", "ipv6"), add_path_receive=True)
    run = directory / "speaker-run"
    program = str(HERE.parents[1] / "lab" / "harness" / "speaker.py")
    with Listener(run) as control, Launched(run, router.name, [ours]) as launched:
        speaker = subprocess.Popen(
            peer.command(sys.executable, program, V4, "192.0.2.1", "65000", "add-path", *(b.hex() for b in bodies)),
            stdin=subprocess.PIPE,
        )
        control.wait(events.EndOfRib, count=2, timeout=20)
        assert speaker.stdin is not None
        speaker.stdin.close()
        speaker.wait(10)
        control.wait(events.PeerDown)
        raw = bytes(control.raw)
        launched.stop()
    return raw


def _write(name: str, raw: bytes) -> None:
    text = raw.decode("ascii")
    for pattern, constant in (
        (r'"time": \d+\.\d+', '"time": 1.5'),
        (r'"host" : "[^"]*"', '"host" : "router"'),
        (r'"(pid|ppid)" : \d+', r'"\1" : 4711'),
        (r'"exabgp": \d+', '"exabgp": 4711'),
        (r'"epoch": "[^"]*"', '"epoch": "0123456789abcdef"'),
        (r"fe80::[0-9a-f:]{4,}", "fe80::9"),
    ):
        text = re.sub(pattern, constant, text)
    (HERE / name).write_text(text)
    print(f"{name}: {text.count(chr(10))} lines")


if __name__ == "__main__":
    main()
