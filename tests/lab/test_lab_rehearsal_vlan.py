"""The same tagged frames into ours and into Linux's router, whose VLAN devices only the rehearsal's guest has.

                 .--> Plane: the whole fast path process, sub-interfaces --.
    one frame --<                                                          >-- wire, tags, every header field, payload
                 `--> QEMU guest: ip_forward, devices of type vlan --------'

A difference has its reason in EXPLAINED; one without fails, and so does a reason without a difference.
"""

from __future__ import annotations

import json
import shlex
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from planekit import Plane
from planekit.fields import Fields, differing, fields
from planekit.frames import ethernet, frame4, frame6, to, udp4, udp6
from planekit.wires import far_mac, near_mac
from rehearsal import image
from rehearsal.guest import Guest
from rehearsal.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.usefixtures("hugepages"), pytest.mark.timeout(1800)]

C, S = 0x8100, 0x88A8
MTUS = (1500, 1500, 1300)
SUBS = ((0, 0, 100), (0, 0, 200), (0, 200, 7), (1, 0, 100))  # ports 3 to 6: parent, outer VLAN or 0, VLAN
TAGS: dict[str, tuple[tuple[int, int], ...]] = {
    "untagged": (),
    "priority": ((C, 0xE000),),
    "vlan 100": ((C, 100),),
    "vlan 100, priority": ((C, 0xF064),),
    "vlan 200": ((C, 200),),
    "vlan 7 in 200": ((S, 200), (C, 7)),
    "unknown vlan": ((C, 99),),
    "unknown inner vlan": ((S, 200), (C, 8)),
    "two tags, unknown": ((C, 100), (C, 100)),
    "outer EtherType": ((S, 100),),
    "inner tag first": ((C, 7), (C, 200)),
}
EXPLAINED = {
    "outer EtherType": "a tag of either EtherType is taken for either: 802.1Q-2018 9.5 leaves both to the bridge's kind",
}
Case = tuple[str, bytes]


def tagged(frame: bytes, tags: tuple[tuple[int, int], ...]) -> bytes:
    return frame[:12] + b"".join(struct.pack(">HH", *tag) for tag in tags) + frame[12:]


def untagged(frame: bytes) -> tuple[str, bytes]:
    """A frame's tags, and what it is without them."""
    tags = []
    while frame[12:14] in (b"\x81\x00", b"\x88\xa8"):
        tags.append(frame[12:16].hex())
        frame = frame[:12] + frame[16:]
    return " ".join(tags), frame


def cases() -> Iterator[Case]:
    """Every kind of tag to every port, and what is not merely forwarded."""
    for name, tags in TAGS.items():
        for family in (4, 6):
            for port in (2, 3, 4, 5, 6):
                yield f"{name}: ipv{family} to port {port}", tagged(to(family, port, bytes(range(60))), tags)
        source4, source6 = "198.18.3.5", "2001:db8:18:3::5"
        for what, frame in {
            "ipv4 hops 1": frame4(0, udp4("198.18.2.7", bytes(60), src=source4, ttl=1)),
            "ipv6 hops 1": frame6(0, udp6("2001:db8:18:2::7", bytes(60), src=source6, hlim=1)),
            "ipv4 too big, df": frame4(0, udp4("198.18.2.7", bytes(1400), src=source4, flags="DF")),
            "ipv4 too big": frame4(0, udp4("198.18.2.7", bytes(1400), src=source4)),
            "ipv6 too big": frame6(0, udp6("2001:db8:18:2::7", bytes(1400), src=source6)),
            "not IP": ethernet(0, bytes(46), 0x88B5),
        }.items():
            yield f"{name}: {what}", tagged(frame, tags)


CASES = dict(cases())


def setup() -> Iterator[str]:
    """Commands that make the guest a router with the fabric's addresses and routes; wires end in namespace `far`."""
    yield "modprobe 8021q; ip netns add far; ip netns exec far ip link set lo up"
    for key, value in {
        "net.ipv4.ip_forward": 1,
        "net.ipv6.conf.all.forwarding": 1,
        "net.ipv4.conf.all.rp_filter": 0,
        "net.ipv4.conf.default.rp_filter": 0,
        "net.ipv4.icmp_errors_use_inbound_ifaddr": 1,
        "net.ipv4.icmp_ratemask": 0,
        "net.ipv6.icmp.ratelimit": 0,
        "net.ipv6.auto_flowlabels": 0,
    }.items():
        yield f"sysctl -qw {key}={value}"
    yield "ip netns exec far sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"
    for port in range(len(MTUS)):
        yield f"ip link add near{port} type veth peer name far{port} netns far"
        yield f"ip link set near{port} addrgenmode none address {near_mac(port).hex(':')} up"
        yield f"ip -n far link set far{port} address {far_mac(port).hex(':')} arp off up"
    for port, (parent, outer, vlan) in enumerate(SUBS, len(MTUS)):
        above = f"near{parent}"
        if outer:
            yield f"ip link add link {above} name outer{outer} type vlan proto 802.1ad id {outer}"
            yield f"ip link set outer{outer} addrgenmode none up"
            above = f"outer{outer}"
        yield f"ip link add link {above} name near{port} type vlan id {vlan}"
        yield f"ip link set near{port} addrgenmode none up"
    for port, mtu in enumerate((*MTUS, *(1500 for _ in SUBS))):
        device, mac = f"near{port}", far_mac(port).hex(":")
        if mtu != 1500:
            yield f"ip link set {device} mtu {mtu}"
        for address in (f"10.0.{port}.1/24", f"2001:db8:{port:x}::1/64 nodad", f"fe80::{port:x}:1/64 nodad"):
            yield f"ip address add {address} dev {device}"
        for prefix, gateway in (
            (f"198.18.{port}.0/24", f"10.0.{port}.9"),
            (f"2001:db8:18:{port:x}::/64", f"fe80::{port:x}:9"),
        ):
            yield f"ip neigh replace {gateway} lladdr {mac} nud permanent dev {device}"
            yield f"ip route add {prefix} via {gateway} dev {device}"


def order() -> dict[str, Any]:
    """What guest_frames.py is told."""
    told = []
    for number, frame in enumerate(CASES.values()):
        needles = [b"vlan-marker-%d-%d." % (number, wire) for wire in range(len(MTUS))]
        marks = [frame4(0, udp4(f"198.18.{wire}.9", needle)) for wire, needle in enumerate(needles)]
        told.append({"frame": frame.hex(), "marks": [[m.hex(), n.hex()] for m, n in zip(marks, needles, strict=True)]})
    return {"far": [f"far{wire}" for wire in range(len(MTUS))], "cases": told}


def line(port: int) -> int:
    """The wire that a port's frames use."""
    return port if port < len(MTUS) else SUBS[port - len(MTUS)][0]


@dataclass(frozen=True)
class Sender:
    """Which MACs are the router's own on a wire."""

    macs: frozenset[str]

    def seen(self, wire: int, frame: bytes) -> Fields:
        """A frame's fields, with its tags, and a name for the router's own MAC."""
        tags, plain = untagged(frame)
        found = fields(wire, plain)
        return {**found, "tags": tags, "from": "router" if found["from"] in self.macs else found["from"]}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Fields]]:
    """What Linux sends because of each frame, asked in one boot."""
    logs: Path = tmp_path_factory.mktemp("vlan-guest")
    picture = image.prepare()
    Guest.prepare(logs)
    (logs / "order.json").write_text(json.dumps(order()))
    program = Path(__file__).resolve().parents[1] / "planekit" / "guest_frames.py"
    with Machine(picture, [], logs) as machine:
        guest = Guest(machine, logs)
        guest.wait_for_boot()
        guest.run("set -e; " + "; ".join(setup()))
        asked = f"ip netns exec far python3 -S -E {shlex.quote(str(program))} /out/order.json /out/answer.json"
        guest.run(asked)
    own = Sender(frozenset(near_mac(wire).hex(":") for wire in range(len(MTUS))))
    answers = json.loads((logs / "answer.json").read_text())
    return {
        name: [own.seen(wire, bytes.fromhex(frame)) for wire, frame in answer]
        for name, answer in zip(CASES, answers, strict=True)
    }


@pytest.fixture(scope="module")
def ours(hugepages: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Fields]]:
    """What our fast path sends because of each frame."""
    found: dict[str, list[Fields]] = {}
    folder = tmp_path_factory.mktemp("vlan-plane")
    with Plane("vlandiff", folder, lcores=(0,), whole=True, subs=SUBS) as plane:
        mac = plane.counters.reader.ports()[0].mac
        macs = {port.mac.hex(":") for port in plane.counters.reader.ports()}
        own = Sender(frozenset(macs | {near_mac(port).hex(":") for port in range(len(MTUS) + len(SUBS))}))
        for name, frame in CASES.items():
            result = plane.send(0, [mac + frame[6:]])
            found[name] = [own.seen(wire, out) for wire, frames in enumerate(result.out) for out in frames]
    return found


def test_tagged_frames_are_treated_as_linux_does(
    ours: dict[str, list[Fields]], theirs: dict[str, list[Fields]]
) -> None:
    wrong, met = [], set()
    for name in CASES:
        here, there = ours[name], theirs[name]
        same = len(here) == len(there) and not any(differing(*pair) for pair in zip(here, there, strict=True))
        reason = name.partition(":")[0]
        if reason in EXPLAINED and not same:
            met.add(reason)
        elif not same:
            wrong.append(f"{name}\n  ours: {here}\n  Linux: {there}")
    assert not wrong, "\n".join(wrong)
    assert met == set(EXPLAINED), "a reason without a difference"
    assert sum(map(len, ours.values())) > len(CASES) / 2
