"""Next-hop groups, adjacencies, interfaces; and that losing a member moves only its flows."""

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpdkrouter.fib import Action, Adjacency, Fib, Interface, Limits, Member, TableFullError
from dpdkrouter.fib.buckets import BUCKETS, assign, shares
from dpdkrouter.fib.limits import layout
from table_model import answers, apply, segment_path

WEIGHTS = st.dictionaries(st.integers(1, 100), st.integers(1, 65535), min_size=1, max_size=64)


@given(WEIGHTS)
def test_shares_fill_all_buckets_by_weight(weights: dict[int, int]) -> None:
    given_out = shares(weights)
    assert sum(given_out.values()) == BUCKETS
    assert min(given_out.values()) >= 1
    heavier_first = sorted(weights, key=lambda member: -weights[member])
    counts = [given_out[member] for member in heavier_first]
    assert all(more >= fewer - 1 for more, fewer in itertools.pairwise(counts))


def test_shares_are_exact_when_they_can_be() -> None:
    assert shares({1: 1, 2: 1}) == {1: 128, 2: 128}
    assert shares({1: 3, 2: 1}) == {1: 192, 2: 64}
    assert shares(dict.fromkeys(range(64), 5)) == dict.fromkeys(range(64), 4)


@given(WEIGHTS, st.data())
def test_a_loss_moves_only_the_lost_members_flows_and_a_return_only_its_share(
    weights: dict[int, int], data: st.DataObject
) -> None:
    before = assign(weights, [])
    lost = data.draw(st.sampled_from(sorted(weights)))
    rest = {member: weight for member, weight in weights.items() if member != lost}
    if not rest:
        return
    after = assign(rest, before)
    assert all(new == old for old, new in zip(before, after, strict=True) if old != lost)
    again = assign(weights, after)
    assert all(new in (old, lost) for old, new in zip(after, again, strict=True))
    assert Counter(again) == Counter(shares(weights))


@pytest.fixture
def fib() -> Iterator[Fib]:
    path = segment_path("/dev/shm", "groups")
    fib = Fib.create(path, Limits(100, 100, 3, 4, 2, 1, 1))
    yield fib
    fib.close()
    path.unlink()


def hop(number: int) -> Adjacency:
    return Adjacency(Action.FORWARD, number, bytes([2, 0, 0, 0, 0, number]), bytes([2, 0, 0, 0, 1, number]), 1500,
                     bytes([192, 0, 2, number]))  # fmt: skip


def test_an_adjacency_comes_back_as_it_was_set(fib: Fib) -> None:
    index = fib.adjacency_create(hop(7))
    assert fib.adjacencies() == {index: hop(7)}
    waiting = Adjacency(Action.RESOLVE, 7, mtu=9000, next_hop=bytes(15) + b"\1")
    fib.adjacency_set(index, waiting)
    assert fib.reader.adjacency(index) == waiting
    fib.adjacency_release(index)
    assert fib.adjacencies() == {}
    with pytest.raises(ValueError, match=f"adjacency {index}: not in use"):
        fib.adjacency_set(index, waiting)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Adjacency(Action.FORWARD, 32), "port 32"),
        (Adjacency(Action.FORWARD, 1, b"\2"), "not 6 bytes"),
        (Adjacency(Action.FORWARD, 1, next_hop=b"123"), "next hop of 3 bytes"),
        (Adjacency(Action.FORWARD, 1, mtu=65536), "MTU 65536"),
    ],
)
def test_a_bad_adjacency_takes_nothing(fib: Fib, value: Adjacency, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fib.adjacency_create(value)
    assert fib.adjacencies() == {}
    assert fib.reader.use()["adjacencies"].used == 0


def test_a_group_sends_each_flow_to_its_bucket(fib: Fib) -> None:
    one, two, three = (fib.adjacency_create(hop(i)) for i in (1, 2, 3))
    group = fib.group_create([(one, 1)])
    assert set(fib.reader.bucket_adjacencies(group)) == {one}
    fib.group_update(group, [(two, 1), (one, 1)])
    before = fib.reader.bucket_adjacencies(group)
    assert Counter(before) == {one: 128, two: 128}
    assert fib.groups() == {group: (Member(one, 1), Member(two, 1))}
    fib.group_update(group, [(one, 1), (two, 1), (three, 2)])
    between = fib.reader.bucket_adjacencies(group)
    assert Counter(between) == {one: 64, two: 64, three: 128}
    assert all(new in (old, three) for old, new in zip(before, between, strict=True))
    fib.group_update(group, [(three, 9)])
    assert set(fib.reader.bucket_adjacencies(group)) == {three}
    assert [adjacency for _, adjacency in fib.reader.group(group)] == [hop(3)]


def test_what_is_in_use_is_not_released(fib: Fib) -> None:
    index = fib.adjacency_create(hop(1))
    group = fib.group_create([(index, 1)])
    apply(fib, 4, [(0, 0, group)])
    with pytest.raises(ValueError, match=f"group {group}: 1 routes use it"):
        fib.group_release(group)
    with pytest.raises(ValueError, match=f"adjacency {index}: 1 groups use it"):
        fib.adjacency_release(index)
    apply(fib, 4, [(0, 0, 0)])
    fib.group_release(group)
    fib.adjacency_release(index)
    assert (fib.groups(), fib.adjacencies()) == ({}, {})
    with pytest.raises(ValueError, match="not in use"):
        apply(fib, 4, [(0, 0, group)])


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([], "group of 0 members"),
        ([(1, 1), (1, 2)], "an adjacency twice"),
        ([(2, 1)], "adjacency 2 of a group: not in use"),
        ([(0, 1)], "adjacency 0 of a group: not in use"),
        ([(1, 0)], "weight 0 of adjacency 1"),
        ([(1, 65536)], "weight 65536 of adjacency 1"),
    ],
)
def test_a_bad_group_takes_nothing(fib: Fib, members: list[tuple[int, int]], says: str) -> None:
    assert fib.adjacency_create(hop(1)) == 1
    with pytest.raises(ValueError, match=says):
        fib.group_create(members)
    assert fib.reader.use()["groups"].used == 0


def test_each_full_part_names_its_key(fib: Fib) -> None:
    indices = [fib.adjacency_create(hop(i)) for i in range(4)]
    with pytest.raises(TableFullError, match=r"raise table\.max_adjacencies") as full:
        fib.adjacency_create(hop(9))
    assert full.value.key == "max_adjacencies"
    groups = [fib.group_create([(indices[i], 1), (indices[i + 1], 1)]) for i in range(2)]
    with pytest.raises(TableFullError, match="max_ecmp_groups"):
        fib.group_create([(indices[0], 1), (indices[3], 1)])
    assert fib.groups().keys() == set(groups)
    fib.group_create([(indices[0], 1)])
    with pytest.raises(TableFullError, match="max_groups"):
        fib.group_create([(indices[1], 1)])
    for _ in range(20):  # what is given back can be had again
        fib.group_update(groups[0], [(indices[0], 1)])
        fib.group_update(groups[0], [(indices[0], 1), (indices[1], 3)])


def test_interfaces_come_back(fib: Fib) -> None:
    wan = Interface("wan0", 1500, bytes([192, 0, 2, 1]), bytes(15) + b"\1", b"\xfe\x80" + bytes(14))
    fib.interface_set(3, wan)
    fib.interface_set(4, Interface("lan0", 9000, full=True))
    assert fib.reader.interfaces() == {3: wan, 4: Interface("lan0", 9000, full=True)}
    fib.interface_set(3, None)
    assert fib.reader.interfaces().keys() == {4}
    with pytest.raises(ValueError, match="interface 32"):
        fib.interface_set(32, wan)
    with pytest.raises(ValueError, match="name of 1 to 15 bytes"):
        fib.interface_set(0, Interface("x" * 16, 1500))


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match=r"table\.max_groups: found 40000: from 1 to 32767"):
        Limits(max_groups=40000)


@pytest.fixture
def wide() -> Iterator[Fib]:
    path = segment_path("/dev/shm", "groups-wide")
    fib = Fib.create(path, Limits(100, 100, 32_767, 200, 4, 1, 1))
    yield fib
    fib.close()
    path.unlink()


def test_all_32767_groups_can_be_had_and_looked_up(wide: Fib) -> None:
    index = wide.adjacency_create(hop(1))
    groups = [wide.group_create([(index, 1)]) for _ in range(32_767)]
    assert groups == list(range(1, 32_768))
    with pytest.raises(TableFullError, match="max_groups"):
        wide.group_create([(index, 1)])
    apply(wide, 4, [(0, 0, 32_767), (1 << 31, 32, 16_384)])
    apply(wide, 6, [(0, 0, 32_767), (1 << 127, 128, 16_384)])
    assert answers(wide.reader, 4, [0, 1 << 31]) == answers(wide.reader, 6, [0, 1 << 127]) == [32_767, 16_384]
    wide.group_release(5)
    assert wide.group_create([(index, 1)]) == 5


def test_a_group_of_64_members_and_no_more(wide: Fib) -> None:
    indices = [wide.adjacency_create(hop(i % 32)) for i in range(65)]
    group = wide.group_create([(index, 1 + i % 3) for i, index in enumerate(indices[:64])])
    found = Counter(wide.reader.bucket_adjacencies(group))
    assert found == shares({index: 1 + i % 3 for i, index in enumerate(indices[:64])})
    assert len(found) == 64
    with pytest.raises(ValueError, match="group of 65 members: from 1 to 64"):
        wide.group_update(group, [(index, 1) for index in indices])
    before = wide.reader.bucket_adjacencies(group)
    members = list(wide.group_members(group))
    wide.group_update(group, members[1:])  # one goes: only its flows move
    between = wide.reader.bucket_adjacencies(group)
    assert all(new == old for old, new in zip(before, between, strict=True) if old != members[0].adjacency)
    wide.group_update(group, members)  # and comes back: it takes its share, nobody else moves
    after = wide.reader.bucket_adjacencies(group)
    assert all(new in (old, members[0].adjacency) for old, new in zip(between, after, strict=True))
    assert Counter(after) == found


def test_repointing_a_group_touches_nothing_but_its_word(wide: Fib) -> None:
    """One word of the readers' part, whatever number of prefixes use the group; buckets only where nobody reads yet."""
    one, two, three = (wide.adjacency_create(hop(i)) for i in (1, 2, 3))
    group = wide.group_create([(one, 1)])
    apply(wide, 4, [(i << 24, 8, group) for i in range(100)])
    parts = layout(wide.reader.limits).parts

    def readers_part() -> dict[str, bytes]:
        names = ("adjacencies", "groups", "buckets", "ipv4_root", "ipv4_extended", "ipv6_root", "ipv6_trie")
        return {name: bytes(wide.mapping.view(parts[name].offset, parts[name].bytes)) for name in names}

    before = readers_part()
    wide.group_update(group, [(two, 1)])
    single = readers_part()
    assert {name for name in before if before[name] != single[name]} == {"groups"}
    assert [
        i for i in range(0, len(before["groups"]), 4) if before["groups"][i : i + 4] != single["groups"][i : i + 4]
    ] == [4 * group]
    wide.group_update(group, [(two, 1), (three, 1)])
    multi = readers_part()
    assert {name for name in before if single[name] != multi[name]} == {"groups", "buckets"}
