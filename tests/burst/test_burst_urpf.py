"""Unicast RPF and IPv4 options by port, in a whole fast path.

    port 0: strict, options dropped    port 1: loose, options punted    port 2: neither

The fabric's prefixes say by which port a source is reached; a default route, where a test has one, leaves by port 1.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP, IPOption_NOP, IPOption_Router_Alert
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP

from dpdkrouter.fib import Member
from planekit import Plane
from planekit.fabric import Special
from planekit.frames import ethernet, forwarded, frame4, frame6, to, udp4, udp6

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from planekit import Moved

BROADCAST_MAC = b"\xff" * 6
STRICT, LOOSE, OFF = 0, 1, 2
CHECKS = ('urpf = "strict"\nip_options = "drop"', 'urpf = "loose"\nip_options = "punt"')
REASON = {STRICT: "urpf_strict", LOOSE: "urpf_loose"}
# A source's route, and whether it is good at port 0 (strict) and at port 1 (loose).
SOURCES = {
    "by port 0": (0, True, True),
    "by port 1": (1, False, True),
    "by port 2": (2, False, True),
    "ecmp": (Special.ECMP, True, True),
    "glean": (Special.GLEAN, False, True),
    "resolve": (Special.RESOLVE, False, True),
    "blackhole": (Special.BLACKHOLE, False, False),
    "unreachable": (Special.UNREACHABLE, False, False),
    "prohibit": (Special.PROHIBIT, False, False),
    "broadcast": (Special.BROADCAST, False, False),
}
NOWHERE = {4: "203.0.113.9", 6: "2001:db8:ffff::9"}
OWN = {4: "10.0.1.1", 6: "2001:db8:1::1"}


@pytest.fixture(scope="module")
def running(hugepages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with Plane("urpf", tmp_path_factory.mktemp("urpf"), filters=CHECKS) as plane:
        yield plane


def address(family: int, number: int) -> str:
    """A host behind a port of that number, or of a `Special`'s prefix."""
    if isinstance(number, Special):
        return f"198.19.{number}.5" if family == 4 else f"2001:db8:19:{number:x}::5"
    return f"198.18.{number}.5" if family == 4 else f"2001:db8:18:{number:x}::5"


def sent_by(port: int, family: int, source: str, dst: str = "", **fields: Any) -> bytes:
    """A frame into a port, from a source to a host behind port 2."""
    if family == 4:
        return frame4(port, udp4(dst or "198.18.2.7", src=source, **fields))
    return frame6(port, udp6(dst or "2001:db8:18:2::7", src=source, **fields))


def is_dropped(moved: Moved, reason: str, count: int = 1) -> bool:
    return moved.drops == {reason: count} and (moved.dropped, moved.forwarded, moved.punted) == (count, 0, 0)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", list(SOURCES))
def test_source_of(plane: Plane, name: str, family: int) -> None:
    """Strict at port 0, loose at port 1, and at port 2 nothing is asked."""
    number, strict, loose = SOURCES[name]
    for port, good in ((STRICT, strict), (LOOSE, loose), (OFF, True)):
        frame = sent_by(port, family, address(family, number))
        result = plane.send(port, [frame])
        if good:
            assert (result.moved.forwarded, result.out[2]) == (1, [forwarded(frame, 2)])
        else:
            assert is_dropped(result.moved, REASON[port])
            assert result.out == [[], [], []], "no error about it"


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("port", [STRICT, LOOSE])
def test_a_source_without_a_route_or_of_the_router_itself(plane: Plane, port: int, family: int) -> None:
    for source in (NOWHERE[family], OWN[family]):
        for dst in ("", OWN[family]):  # what is for the router itself is asked the same
            assert is_dropped(plane.send(port, [sent_by(port, family, source, dst)]).moved, REASON[port])


@contextmanager
def default_routes(plane: Plane, port: int) -> Iterator[None]:
    """A default route of each family by `port`, as the programmer makes them: with a group of their own."""
    fabric = plane.fabric
    groups = {family: fabric.fib.group_create([Member(fabric.forward[port])]) for family in (4, 6)}
    for family, prefix in ((4, "0.0.0.0/0"), (6, "::/0")):
        fabric.fib.default_group_set(family, groups[family])
        fabric.route(prefix, groups[family])
    try:
        yield
    finally:
        for family, prefix in ((4, "0.0.0.0/0"), (6, "::/0")):
            fabric.route(prefix, 0)
            fabric.fib.default_group_set(family, 0)
            fabric.fib.group_release(groups[family])


@pytest.mark.parametrize("family", [4, 6])
def test_a_default_route_counts_for_strict_alone(plane: Plane, family: int) -> None:
    lost = NOWHERE[family]
    with default_routes(plane, 0):
        assert plane.send(STRICT, [sent_by(STRICT, family, lost)]).moved.forwarded == 1
        assert is_dropped(plane.send(LOOSE, [sent_by(LOOSE, family, lost)]).moved, "urpf_loose")
        through_the_same = sent_by(LOOSE, family, address(family, 0))
        assert plane.send(LOOSE, [through_the_same]).moved.forwarded == 1, "a route of its own, by the same next hop"
    with default_routes(plane, 1):
        assert is_dropped(plane.send(STRICT, [sent_by(STRICT, family, lost)]).moved, "urpf_strict")
    assert is_dropped(plane.send(STRICT, [sent_by(STRICT, family, lost)]).moved, "urpf_strict")


def test_what_the_link_needs_is_not_asked_for_its_source(plane: Plane) -> None:
    """ARP, DHCP's discover, ND from the unspecified and from link-local addresses."""
    discover = BOOTP(op=1, chaddr=b"\x02" * 6) / DHCP(options=[("message-type", "discover"), "end"])
    asking = ICMPv6ND_NS(tgt="2001:db8::1")
    for port in (STRICT, LOOSE):
        frames = [
            ethernet(port, ARP(psrc="203.0.113.9", pdst=f"10.0.{port}.1"), 0x0806, BROADCAST_MAC),
            frame4(port, IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / discover, BROADCAST_MAC),
            frame6(port, IPv6(src="::", dst="ff02::1:ff00:1", hlim=255) / asking, bytes.fromhex("3333ff000001")),
            frame6(port, IPv6(src="fe80::77", dst=f"2001:db8:{port}::1", hlim=255) / asking),
        ]
        moved = plane.send(port, frames).moved
        assert (moved.punts, moved.drops) == ({"neighbor": 3, "local": 1}, {})


def test_a_link_local_source_is_left_to_its_own_rule(plane: Plane) -> None:
    moved = plane.send(STRICT, [frame6(0, udp6("2001:db8:18:1::7", src="fe80::9"))]).moved
    assert is_dropped(moved, "ipv6_link_local")


@pytest.mark.parametrize("port", [STRICT, LOOSE])
def test_a_burst_of_good_and_bad_sources(plane: Plane, port: int) -> None:
    """Each packet by itself, in order, whatever its neighbours in the burst are."""
    frames, wanted = [], []
    for n in range(240):
        number, strict, loose = list(SOURCES.values())[n * 7 % len(SOURCES)]
        family = 4 if n % 16 < 8 else 6
        frame = sent_by(port, family, address(family, number), sport=1000 + n)
        frames.append(frame)
        if strict if port == STRICT else loose:
            wanted.append(forwarded(frame, 2))
    result = plane.send(port, frames)
    assert sorted(result.out[2]) == sorted(wanted)
    assert result.moved.drops == {REASON[port]: len(frames) - len(wanted)}


def test_flows_keep_their_way_when_others_are_dropped(plane: Plane) -> None:
    """What is taken out of a burst leaves the hashes of the rest as they are."""
    good = [sent_by(STRICT, 4, "198.18.0.5", f"198.19.{Special.ECMP}.{n + 1}", sport=1000 + n) for n in range(60)]
    alone = [sorted(frames) for frames in plane.send(STRICT, good).out]
    assert alone[0], alone[1]
    bad = sent_by(STRICT, 4, NOWHERE[4])
    mixed = plane.send(STRICT, [frame for one in good for frame in (bad, one)])
    assert [sorted(frames) for frames in mixed.out] == alone
    assert mixed.moved.drops == {"urpf_strict": len(good)}


# ---- options


def optioned(port: int, dst: str = "198.18.2.7", src: str = "198.18.0.5") -> bytes:
    return frame4(port, udp4(dst, src=src, options=[IPOption_NOP()]))


def test_options_are_dropped_punted_or_forwarded(plane: Plane) -> None:
    plain = to(4, 2)
    result = plane.send(STRICT, [optioned(0), plain, optioned(0, "10.0.0.1")])
    assert (result.moved.drops, result.moved.punted) == ({"ipv4_options": 2}, 0)
    assert result.out == [[], [], [forwarded(plain, 2)]], "no error about it"
    result = plane.send(LOOSE, [optioned(1), sent_by(1, 4, "198.18.0.5")])
    assert (result.moved.drops, result.moved.punts, result.moved.forwarded) == ({}, {"local": 1}, 1)
    assert plane.send(OFF, [optioned(2)]).out[2] == [forwarded(optioned(2), 2)]


def test_a_wrong_source_with_options_is_a_wrong_source(plane: Plane) -> None:
    assert is_dropped(plane.send(LOOSE, [optioned(1, src=NOWHERE[4])]).moved, "urpf_loose")


def test_router_alert_to_the_link_reaches_the_host_stack(plane: Plane) -> None:
    """IGMP has it (RFC 3376 4): link-scope multicast is not asked."""
    report = IP(src="198.18.0.5", dst="224.0.0.22", ttl=1, proto=2, options=[IPOption_Router_Alert()]) / bytes(8)
    moved = plane.send(STRICT, [frame4(0, report, bytes.fromhex("01005e000016"))]).moved
    assert (moved.punts, moved.drops) == ({"local": 1}, {})


def test_a_sub_interface_has_its_own_check(hugepages: Path, tmp_path: Path) -> None:
    """VLAN 100 of port 0, as port 3: its parent's sources are not its own, and its parent asks nothing."""

    def tagged(frame: bytes) -> bytes:
        return frame[:12] + b"\x81\x00\x00\x64" + frame[12:]

    with Plane("urpfv", tmp_path, whole=True, subs=((0, 0, 100),), filters=("", "", "", CHECKS[STRICT])) as plane:
        mac = plane.counters.reader.ports()[0].mac
        for family in (4, 6):
            good, foreign = (mac + sent_by(0, family, address(family, number))[6:] for number in (3, 0))
            assert plane.send(0, [tagged(good), foreign]).moved.forwarded == 2
            assert is_dropped(plane.send(0, [tagged(foreign)]).moved, "urpf_strict")
        assert plane.counters.snapshot().wrong() == []
