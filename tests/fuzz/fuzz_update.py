"""Arbitrary UPDATEs through the decoder into the RIB: no crash, nothing raised, and what comes out is right.

Mutants of good and of malformed messages, seeded: a run can be repeated. Each goes through every kind of session.
What breaks an invariant goes to tests/vectors/updates/NAME.hex, which every run feeds too. With marker `full`: more.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dpdkrouter.bgp.decoded import Decoded, Negotiated
from dpdkrouter.bgp.faults import Fault
from dpdkrouter.bgp.update import UpdateDecoder
from dpdkrouter.rib.enums import Source
from dpdkrouter.rib.table import Rib
from updatekit import (
    GOOD,
    GOOD6,
    HOP6,
    PREFIX,
    attribute,
    nlri,
    reach,
    segment,
    shown,
    unreach,
    update,
)

VECTORS = sorted((Path(__file__).resolve().parents[1] / "vectors" / "updates").glob("*.hex"))
BOTH = frozenset({"ipv4", "ipv6"})
SESSIONS = [
    Negotiated(BOTH, max_message=65535),
    Negotiated(BOTH, BOTH, internal=True),
    Negotiated(frozenset({"ipv4"}), as4=False, internal=True),
    Negotiated(frozenset({"ipv6"}), as4=False, local_address=HOP6),
]
EDGES = (0, 1, 2, 3, 4, 5, 7, 8, 12, 14, 15, 16, 17, 18, 20, 24, 32, 33, 64, 127, 128, 129, 192, 224, 254, 255)
SEEDS = [
    update(),
    update(b"", b""),
    update(GOOD + reach(nlri("2001:db8::/32", "::/0")) + unreach(nlri("2001:db8:1::/48")), withdrawn=nlri("0.0.0.0/0")),
    update(GOOD6 + reach(nlri("2001:db8::/32"), HOP6 * 2), b""),
    update(b"".join(attribute(0xC0, kind, bytes(12)) for kind in range(40))),
    update(GOOD + attribute(0xC0, 7, bytes(8)) + attribute(0xC0, 17, segment(9)) + attribute(0xC0, 18, bytes(8))),
    update(GOOD + attribute(0x80, 9, bytes(4)) + attribute(0x80, 10, bytes(8)) + attribute(0x40, 5, bytes(4))),
    update(attribute(0x40, 1, b"\0") + attribute(0x40, 2, segment(1, 2, width=2)) + GOOD[-7:], PREFIX * 9),
    update(GOOD, nlri("10.0.0.0/8", "10.0.0.0/9", path_ids=[1, 2])),
]


def mutant(chance: random.Random) -> bytes:
    """A good message with a few octets changed, inserted or cut; its own length is right more often than not."""
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at = chance.randrange(19, len(data) + 1)
        action = chance.randrange(4)
        if action == 0 and at < len(data):
            data[at] = chance.choice(EDGES)
        elif action == 1 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif action == 2:
            data[at:at] = bytes(chance.choice(EDGES) for _ in range(chance.randrange(1, 9)))
        else:
            del data[at : at + chance.randrange(1, 9)]
    if chance.random() < 0.9:
        data[16:18] = len(data).to_bytes(2, "big")
    return bytes(data)


def check(data: bytes, negotiated: Negotiated) -> Decoded:
    """The invariants for one run of messages."""
    decoder = UpdateDecoder(negotiated)
    found = decoder.decode(data)
    rib = Rib(asn=65000)
    peer = rib.add_origin(Source.EBGP)
    for routes in found.routes:
        assert {4: "ipv4", 6: "ipv6"}[routes.family] in negotiated.families
        assert len(routes.sets) == 4 * len(routes)
        rib.apply(peer, routes.family, routes.prefixes, routes.lengths, routes.sets, routes.attributes, routes.path_ids)
    rib.decide()
    for _, _, attributes in shown(found):
        assert attributes is None or attributes.as_path == () or attributes.path_length > 0
    if found.reset is not None:
        assert found.reset.code in (1, 3)
        assert 19 + 2 + len(found.reset.data) <= 4096
    assert decoder.decode(update(b"", b"")).routes == ()  # nothing stays behind
    return found


@pytest.mark.parametrize("count", [3000, pytest.param(200_000, marks=pytest.mark.full)])
def test_mutants(count: int) -> None:
    chance = random.Random(7606)
    faults: set[Fault] = set()
    for number in range(count):
        data = b"".join(mutant(chance) for _ in range(chance.choice((1, 1, 3))))
        found = check(data, SESSIONS[number % len(SESSIONS)])
        faults.update(found.faults)
        if found.reset is not None:
            faults.add(found.reset.fault)
    assert len(faults) > 20  # they reach most of the checks


@pytest.mark.parametrize("path", VECTORS, ids=[path.stem for path in VECTORS])
def test_vectors(path: Path) -> None:
    for negotiated in SESSIONS:
        check(bytes.fromhex(path.read_text()), negotiated)
