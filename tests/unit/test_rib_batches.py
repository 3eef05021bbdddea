"""Batches, deltas, interning, stale marks and views of the RIB, and its refusal of bad input."""

from __future__ import annotations

import random
from array import array
from functools import partial
from typing import Any

import pytest

from dpdkrouter.rib.attributes import Attributes, Kind, NextHop, Segment, SegmentKind
from dpdkrouter.rib.enums import Source, Step
from dpdkrouter.rib.table import Rib
from ribkit import Table, announce, pack, reachable, replay, sequence, via, withdraw, words

HOP = via("192.0.2.1", as_path=sequence(64500))
OTHER = via("192.0.2.2", as_path=sequence(64500, 64501))


@pytest.fixture
def rib() -> Rib:
    made = Rib(asn=65000, router_id=1)
    reachable(made, "192.0.2.1", "192.0.2.2")
    return made


@pytest.fixture
def peer(rib: Rib) -> int:
    return rib.add_origin(Source.EBGP, peer_address="192.0.2.1", router_id=1, asn=64500)


def test_enumerations_name_every_member() -> None:
    assert {name: int(member) for name, member in Source.__members__.items()} == {
        "CONNECTED": 1, "STATIC": 2, "CLI": 3, "EBGP": 4, "KERNEL": 5, "IBGP": 6,
    }  # fmt: skip
    assert Source(3) is Source.CLI
    assert Step(13).name == "METRIC"


def test_a_delta_holds_only_what_changed(rib: Rib, peer: int) -> None:
    assert announce(rib, peer, HOP, "10.0.0.0/8", "0.0.0.0/0", "192.0.2.7/32") == 3
    announce(rib, peer, HOP, "2001:db8::/32", "::/0", "2001:db8::1/128")
    delta = rib.decide()
    assert delta.ipv4.prefixes == bytes([10, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 7])
    assert delta.ipv4.lengths == bytes([8, 0, 32])
    assert delta.ipv4.hopset.tolist() == [delta.added[0]] * 3
    assert delta.ipv4.source == bytes([Source.EBGP] * 3)
    assert delta.ipv6.prefixes == pack("2001:db8::/32", "::/0", "2001:db8::1/128")[1]
    assert len(delta) == 6
    assert len(rib.decide()) == 0
    assert announce(rib, peer, HOP, "10.0.0.0/8") == 0
    assert len(rib.decide()) == 0
    assert withdraw(rib, peer, "10.0.0.0/8", "11.0.0.0/8", "10.0.0.0/9") == 1
    delta = rib.decide()
    assert (delta.ipv4.prefixes, delta.ipv4.lengths) == (bytes([10, 0, 0, 0]), b"\x08")
    assert (delta.ipv4.hopset.tolist(), delta.ipv4.source) == ([0], b"\0")


def test_announce_and_withdraw_between_decisions_is_no_change(rib: Rib, peer: int) -> None:
    announce(rib, peer, HOP, "10.0.0.0/8")
    withdraw(rib, peer, "10.0.0.0/8")
    delta = rib.decide()
    assert (len(delta), delta.added, delta.released) == (0, (), ())
    assert rib.counts().attribute_sets == 0


def test_a_better_path_with_the_same_hops_changes_only_the_source(rib: Rib, peer: int) -> None:
    announce(rib, peer, HOP, "10.0.0.0/8")
    first = rib.decide()
    static = rib.add_origin(Source.STATIC)
    announce(rib, static, via("192.0.2.1"), "10.0.0.0/8")
    delta = rib.decide()
    assert delta.ipv4.hopset.tolist() == list(first.added)
    assert delta.ipv4.source == bytes([Source.STATIC])
    assert (delta.added, delta.released) == ((), ())
    assert {one.origin_id: one.best for one in rib.counts().origins} == {peer: (0, 0), static: (1, 0)}


def test_attribute_sets_are_interned_and_freed(rib: Rib, peer: int) -> None:
    full = Attributes(
        next_hops=(NextHop("192.0.2.1", None, 3),),
        as_path=(*sequence(1, 2**32 - 1), Segment(SegmentKind.SET, (5,))),
        med=2**32 - 1,
        local_pref=0,
        communities=(1, 2),
        extended_communities=(b"12345678",),
        large_communities=((1, 2, 3),),
        originator_id=9,
        cluster_list=(8,),
        atomic_aggregate=True,
        aggregator=(64500, 7),
    )
    attr_id = rib.attributes(full)
    again = Attributes.unpack(full.pack())
    assert again == full
    assert rib.attributes(again) == attr_id
    assert rib.attributes(HOP) != attr_id
    announce(rib, peer, full, "10.0.0.0/8")
    rib.decide()
    assert rib.counts().attribute_sets == 1
    assert rib.paths(4, bytes([10, 0, 0, 0]), 8)[0].attributes == full
    announce(rib, peer, HOP, "10.0.0.0/8")
    rib.decide()
    assert [path.attributes for path in rib.paths(4, bytes([10, 0, 0, 0]), 8)] == [HOP]
    assert rib.counts().attribute_sets == 1
    with pytest.raises(ValueError, match=f"announce: unknown attribute id {attr_id}"):
        rib.announce(peer, 4, *pack("10.0.0.0/8")[1:], attr_id)


def test_hopset_ids_are_told_once_and_rest_after_release(rib: Rib, peer: int) -> None:
    announce(rib, peer, HOP, "10.0.0.0/8", "11.0.0.0/8")
    (used,) = rib.decide().added
    assert rib.hopset(used).next_hops == (NextHop("192.0.2.1"),)
    announce(rib, peer, OTHER, "10.0.0.0/8")
    delta = rib.decide()
    assert delta.released == ()
    announce(rib, peer, OTHER, "11.0.0.0/8")
    assert rib.decide().released == (used,)
    with pytest.raises(ValueError, match=f"unknown hopset id {used}"):
        rib.hopset(used)
    announce(rib, peer, via("2001:DB8:0::1", "192.0.2.1"), "12.0.0.0/8")
    delta = rib.decide()
    assert used not in delta.added
    spelled = rib.add_origin(Source.STATIC)
    announce(rib, spelled, via("192.0.2.1", "2001:db8::1"), "12.0.0.0/8")
    assert (rib.decide().added, rib.counts().hopsets) == ((), 2)


def test_union_ids_do_not_outlive_their_parts() -> None:
    rib = Rib(multipath=2)
    reachable(rib, *(f"192.0.2.{i}" for i in range(1, 40)))
    one, two = (rib.add_origin(Source.EBGP, peer_address=f"192.0.2.{i}", router_id=i) for i in (1, 2))
    for i in range(1, 30):
        announce(rib, one, via(f"192.0.2.{i}"), "10.0.0.0/8")
        announce(rib, two, via(f"192.0.2.{i + 1}"), "10.0.0.0/8")
        rib.decide()
        route = rib.lookup(4, bytes([10, 0, 0, 1]))
        assert route is not None
        assert {hop.address for hop in rib.hopset(route.hopset).next_hops} == {
            f"192.0.2.{i}",
            f"192.0.2.{i + 1}",
        }
        assert rib.counts().hopsets == 3
    rib.flush(one)
    rib.flush(two)
    assert len(rib.decide().released) == 1
    assert rib.counts().hopsets == 0


def test_stale_paths_stay_until_swept(rib: Rib, peer: int) -> None:
    announce(rib, peer, HOP, "10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8")
    announce(rib, peer, HOP, "2001:db8::/32")
    rib.decide()
    assert rib.mark_stale(peer, 4) == 3
    assert rib.mark_stale(peer) == 1
    assert len(rib.decide()) == 0
    assert rib.counts().origins[0].stale == (3, 1)
    announce(rib, peer, HOP, "10.0.0.0/8")
    announce(rib, peer, OTHER, "11.0.0.0/8")
    assert rib.sweep_stale(peer, 4) == 1
    assert rib.counts().origins[0].stale == (0, 1)
    delta = rib.decide()
    assert {bytes([11]): "new", bytes([12]): "gone"} == {
        delta.ipv4.prefixes[4 * i : 4 * i + 1]: "new" if delta.ipv4.hopset[i] else "gone" for i in range(2)
    }
    assert rib.sweep_stale(peer) == 1


def test_origins_come_and_go(rib: Rib, peer: int) -> None:
    announce(rib, peer, HOP, "10.0.0.0/8")
    rib.decide()
    assert rib.remove_origin(peer) == 1
    with pytest.raises(ValueError, match=f"announce: unknown origin id {peer}"):
        announce(rib, peer, HOP, "10.0.0.0/8")
    assert rib.add_origin(Source.EBGP) != peer, "given out again while the Loc-RIB still counts its paths"
    assert rib.decide().ipv4.hopset.tolist() == [0]
    again = rib.add_origin(Source.IBGP, peer_address="2001:db8::9")
    assert again == peer
    counts = [one for one in rib.counts().origins if one.origin_id == again]
    assert [(one.paths, one.best, one.source) for one in counts] == [((0, 0), (0, 0), Source.IBGP)]


def test_lookup_finds_the_longest_decided_prefix(rib: Rib, peer: int) -> None:
    announce(rib, peer, HOP, "0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16")
    announce(rib, peer, via("203.0.113.1"), "10.1.1.0/24")
    address = bytes([10, 1, 1, 1])
    assert rib.lookup(4, address) is None
    rib.decide()
    lengths = []
    limit = 32
    while (route := rib.lookup(4, address, max_length=limit)) is not None:
        lengths.append(route.length)
        limit = route.length - 1
    assert lengths == [16, 8, 0]
    assert rib.lookup(6, bytes(16)) is None


def test_walk_shows_every_path_once(rib: Rib, peer: int) -> None:
    second = rib.add_origin(Source.EBGP, peer_address="192.0.2.2", router_id=2)
    prefixes = [f"10.{i}.0.0/16" for i in range(100)]
    announce(rib, peer, HOP, *prefixes)
    announce(rib, second, OTHER, *prefixes[:40])
    rib.decide()

    def walked(**options: Any) -> list[tuple[bytes, int, bool]]:
        found, after, chunks = [], None, 0
        while True:
            chunk = rib.walk(4, after=after, limit=16, **options)
            chunks += 1
            found += [
                (chunk.prefixes[4 * i : 4 * i + 4], chunk.origin_ids[i], bool(chunk.best[i])) for i in range(len(chunk))
            ]
            if chunk.after is None:
                assert chunks > 1
                return found
            after = chunk.after

    assert len(walked()) == len(set(walked())) == 100
    assert len(set(walked(best_only=False))) == 140
    assert {origin for _, origin, _ in walked(best_only=False, origin=second)} == {second}
    assert len(walked(best_only=False, origin=second)) == 40
    assert sum(best for _, _, best in walked(best_only=False)) == 100


def test_path_ids_keep_paths_apart(rib: Rib, peer: int) -> None:
    announce(rib, peer, HOP, "10.0.0.0/8", "10.0.0.0/8", path_ids=(1, 2))
    announce(rib, peer, OTHER, "10.0.0.0/8", path_ids=(2,))
    rib.decide()
    assert [(path.path_id, path.attributes) for path in rib.paths(4, bytes([10, 0, 0, 0]), 8)] == [
        (1, HOP),
        (2, OTHER),
    ]
    assert withdraw(rib, peer, "10.0.0.0/8") == 0
    assert withdraw(rib, peer, "10.0.0.0/8", path_ids=(1,)) == 1
    rib.decide()
    assert [path.path_id for path in rib.paths(4, bytes([10, 0, 0, 0]), 8)] == [2]


def test_the_index_grows_and_shrinks_right(rib: Rib, peer: int) -> None:
    """Tens of thousands of neighbouring prefixes in and out, so that many slots are shifted back."""
    chosen = random.Random(4).sample(range(1 << 16), 30000)
    packed = {n: bytes([10, n >> 8, n & 255, 0]) for n in chosen}
    attr_id = rib.attributes(HOP)
    table: Table = {}
    rib.announce(peer, 4, b"".join(packed.values()), bytes([24]) * len(chosen), attr_id)
    replay(table, rib.decide())
    gone = chosen[::3]
    assert rib.withdraw(peer, 4, b"".join(packed[n] for n in gone), bytes([24]) * len(gone)) == len(gone)
    replay(table, rib.decide())
    left = set(chosen) - set(gone)
    assert {key[1] for key in table} == {packed[n] for n in left}
    for n in chosen:
        assert (rib.lookup(4, packed[n]) is not None) == (n in left)
    assert rib.flush(peer) == len(left)
    replay(table, rib.decide())
    assert table == {}
    assert rib.counts().prefixes == (0, 0)


BAD = [
    (("4", b"", b""), "family '4' is unknown"),
    ((5, b"", b""), "family 5 is unknown"),
    ((4, bytes(8), b"\x08"), "prefixes have 8 bytes, but 1 lengths of family 4 need 4"),
    ((6, bytes(4), b"\x08"), "prefixes have 4 bytes, but 1 lengths of family 6 need 16"),
    ((4, bytes(8), b"\x08\x21"), "element 1 of 2 has prefix length 33, allowed: 0 to 32"),
    ((6, bytes(16), b"\x81"), "element 0 of 1 has prefix length 129, allowed: 0 to 128"),
    ((4, bytes([9, 0, 0, 0, 10, 0, 0, 1]), b"\x08\x1f"), r"element 1 of 2, 10.0.0.1/31, has host bits set"),
    ((4, bytes([128, 0, 0, 0]), b"\x00"), r"element 0 of 1, 128.0.0.0/0, has host bits set"),
    ((6, bytes(15) + b"\1", b"\x7f"), "element 0 of 1, ::1/127, has host bits set"),
    ((6, bytes(7) + b"\1" + bytes(8), b"\x3f"), "element 0 of 1, 0:0:0:1::/63, has host bits set"),
]


@pytest.mark.parametrize(("batch", "message"), BAD)
@pytest.mark.parametrize("call", ["announce", "withdraw"])
def test_a_bad_batch_is_refused_whole(
    rib: Rib, peer: int, batch: tuple[Any, bytes, bytes], message: str, call: str
) -> None:
    announce(rib, peer, HOP, "9.0.0.0/8")
    before = rib.counts().origins
    apply = partial(rib.announce, attr_id=rib.attributes(OTHER)) if call == "announce" else rib.withdraw
    with pytest.raises(ValueError, match=message) as caught:
        apply(peer, *batch)
    assert str(caught.value).startswith(call)
    assert rib.counts().origins == before
    assert rib.decide().ipv4.prefixes == bytes([9, 0, 0, 0])


def test_bad_arguments_are_refused(rib: Rib, peer: int) -> None:
    good = pack("10.0.0.0/8")
    attr_id = rib.attributes(HOP)
    text: Any = "10.0"
    source: Any = 9
    wrong: Any
    for wrong in (0, -1, 99, "x", None):
        with pytest.raises(ValueError, match="unknown origin id"):
            rib.announce(wrong, *good, attr_id)
        with pytest.raises(ValueError, match="unknown attribute id"):
            rib.announce(peer, *good, wrong)
    with pytest.raises(ValueError, match="path ids have 3 bytes, but 1 lengths need 4"):
        rib.announce(peer, *good, attr_id, b"123")
    with pytest.raises(ValueError, match="prefixes are str, not contiguous bytes"):
        rib.announce(peer, 4, text, b"\x08", attr_id)
    with pytest.raises(ValueError, match="lengths are memoryview, not contiguous bytes"):
        rib.announce(peer, 4, bytes(4), memoryview(bytes(4))[::2], attr_id)
    for call in (rib.mark_stale, rib.sweep_stale):
        with pytest.raises(ValueError, match="family 5 is unknown"):
            call(peer, 5)
    for action in (rib.flush, rib.remove_origin, rib.mark_stale, rib.sweep_stale):
        with pytest.raises(ValueError, match="unknown origin id 77"):
            action(77)
    with pytest.raises(ValueError, match="source 9 is unknown"):
        rib.add_origin(source)
    with pytest.raises(ValueError, match=r"peer address '192\.0\.2' is not"):
        rib.add_origin(Source.EBGP, peer_address="192.0.2")
    with pytest.raises(ValueError, match="multipath 0 is out of range"):
        Rib(multipath=0)
    with pytest.raises(ValueError, match="is not an address of family 4"):
        rib.lookup(4, bytes(16))
    with pytest.raises(ValueError, match="'nonsense' is not an IPv4 or IPv6 address"):
        rib.set_next_hop("nonsense", True)
    with pytest.raises(ValueError, match=r"metric -1 of 192\.0\.2\.1 is out of range"):
        rib.set_next_hop("192.0.2.1", True, -1)
    with pytest.raises(ValueError, match="unknown hopset id 0"):
        rib.hopset(0)


BAD_ATTRIBUTES = [
    (Attributes(), "unicast need at least one next hop"),
    (Attributes(kind=Kind.GLEAN), "glean need one next hop with a port"),
    (Attributes(kind=Kind.BLACKHOLE, next_hops=(NextHop("192.0.2.1"),)), "blackhole cannot have next hops"),
    (Attributes(next_hops=(NextHop(None, 1),)), "a unicast next hop needs an address"),
    (Attributes(next_hops=(NextHop("192.0.2.1", None, 0),)), r"weight 0 of next hop 192\.0\.2\.1"),
    (via("192.0.2.300"), r"next hop '192\.0\.2\.300' is not an IPv4 or IPv6 address"),
    (via("192.0.2.1", med=2**32), "MED 4294967296 is out of range"),
    (via("192.0.2.1", local_pref=-1), "local preference -1 is out of range"),
]


@pytest.mark.parametrize(("attributes", "message"), BAD_ATTRIBUTES)
def test_impossible_attributes_are_refused(rib: Rib, attributes: Attributes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rib.attributes(attributes)
    assert (rib.counts().attribute_sets, rib.counts().hopsets) == (0, 0)


def test_any_contiguous_buffer_is_taken(rib: Rib, peer: int) -> None:
    lengths = memoryview(b"\x08\x08")
    count = rib.announce(
        peer, 4, bytearray([10, 0, 0, 0, 11, 0, 0, 0]), lengths, rib.attributes(HOP), array("I", [1, 2])
    )
    assert count == 2
    assert rib.withdraw(peer, 4, bytes([11, 0, 0, 0]), b"\x08", words([2])) == 1
