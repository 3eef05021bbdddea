"""The segment's own check: it passes what the writer makes, finds what is damaged, names it, and mends it."""

import random
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from dpdkrouter.errors import SegmentDamagedError, SegmentError
from dpdkrouter.fib import Fib, FibReader, Source
from dpdkrouter.fib.audit import SegmentAudit
from dpdkrouter.fib.limits import layout
from dpdkrouter.fib.mend import Mender
from table_model import SMALL, Model, answers, apply, fill_groups, routes, segment_path

EXTENDED = 0x8000
CHILD = 0x80000000
OTHER = 1 << 21  # the first entry of the IPv6 root for what is outside 2000::/3
Damage = tuple[str, int, str, int]
"""(part, element, struct format, what to store there)"""


@pytest.fixture
def path() -> Iterator[Path]:
    path = segment_path("/dev/shm", "audit")
    yield path
    path.unlink()


@pytest.fixture
def fib(path: Path) -> Iterator[Fib]:
    """Nested prefixes of both families, deep and shallow, over five groups, one of them of three members."""
    fib = Fib.create(path, SMALL)
    groups = fill_groups(fib, 4)
    groups.append(fib.group_create([(1, 1), (2, 1), (3, 2)]))
    choose = random.Random(4)
    for family, base, width in ((4, 0x0A << 24, 32), (6, 0x2001 << 112, 128)):
        changes = [(0, 0, groups[0]), (base, 8 if family == 4 else 16, groups[4])]
        lengths = [12, 16, 20, 22, 24, 26, 29, 32] if family == 4 else [18, 20, 24, 32, 44, 48, 64, 127, 128]
        for i in range(700):
            length = choose.choice(lengths)
            if family == 4 and length > 24:
                near = base | choose.randrange(12) << 8 | choose.getrandbits(8)
            else:
                near = base | choose.getrandbits(12) << (width - 26) | choose.getrandbits(9)
            changes.append((near >> (width - length) << (width - length), length, groups[i % 5]))
        assert apply(fib, family, changes).refused == ()
    yield fib
    fib.close()


def audit(fib: Fib | FibReader, *, mend: bool = False, work: int = 100_000) -> SegmentAudit:
    """Run one to its end."""
    reader = fib.reader if isinstance(fib, Fib) else fib
    audit = SegmentAudit(reader, Mender(fib) if mend and isinstance(fib, Fib) else None)
    while audit.step(work):
        pass
    return audit


def poke(fib: Fib, part: str, element: int, form: str, value: int) -> None:
    size = struct.calcsize(form)
    fib.mapping.view(layout(SMALL).parts[part].offset + element * size, size)[:] = struct.pack(form, value)


def peek(fib: Fib, part: str, element: int, form: str) -> int:
    size = struct.calcsize(form)
    found: int = struct.unpack(form, fib.mapping.view(layout(SMALL).parts[part].offset + element * size, size))[0]
    return found


def assert_right(fib: Fib) -> None:
    """Every answer is what the rules say."""
    for family in (4, 6):
        model = Model(family)
        model.routes = routes(fib.reader, family)
        edges = model.edges()
        assert answers(fib.reader, family, edges) == [model.lookup(edge) for edge in edges]


@pytest.mark.parametrize("work", [1, 997, 10_000_000])
def test_what_the_writer_made_passes_in_steps_of_any_size(fib: Fib, path: Path, work: int) -> None:
    with FibReader.open(path) as reader:
        if work == 1:  # sixteen million root entries, one a step, would take minutes: some steps, then the rest
            small = SegmentAudit(reader)
            for _ in range(5000):
                assert small.step(1)
            while small.step(1_000_000):
                pass
            found = small
        else:
            found = audit(reader, work=work)
        assert (found.wrong, found.differences) == (0, [])
        assert found.rules == sum(fib.counts())
        assert found.entries > 1 << 24


def leading_on(fib: Fib, index: int) -> tuple[int, int] | None:
    """(where the start bits are, a slot) of a node below a root entry whose slot leads on to another node."""
    entry = peek(fib, "ipv6_root", index, "=I")
    if not entry & CHILD:
        return None
    starts = (entry & ~CHILD) * 2
    bits = peek(fib, "ipv6_trie", starts, "=Q")
    for slot in range(63):
        run = (bits & ((2 << slot) - 1)).bit_count() - 1
        if bits >> slot & 3 == 3 and peek(fib, "ipv6_trie", starts * 2 + 2 + run, "=I") & CHILD:
            return starts, slot
    return None


def damages(fib: Fib) -> dict[str, list[Damage]]:
    """What can be wrong, each with where to write what."""
    extended = next(i for i in range(0x0A0000, 0x0A0010) if peek(fib, "ipv4_root", i, "=H") & EXTENDED)
    other = next(i for i in range(extended + 1, 0x0A0010) if peek(fib, "ipv4_root", i, "=H") & EXTENDED)
    block = peek(fib, "ipv4_root", extended, "=H") & ~EXTENDED
    child = next(i for i in range(0x100, 0x200) if peek(fib, "ipv6_root", i, "=I") & CHILD)
    node = (peek(fib, "ipv6_root", child, "=I") & ~CHILD) * 4  # in words
    leaf = next(i for i in range(node + 2, node + 66) if not peek(fib, "ipv6_trie", i, "=I") & CHILD)
    starts, slot = next(found for i in range(0x100, 0x400) if (found := leading_on(fib, i)) is not None)
    multi = next(i for i in range(1, 10) if peek(fib, "groups", i, "=I") & CHILD)
    return {
        "an entry of no rule's": [("ipv4_root", 0xC00000, "=H", 3)],
        "an entry of another group": [("ipv4_root", 0x0AFFFF, "=H", 2)],
        "a depth too great": [("ipv4_depth", 0x0AFFFF, "=B", 24)],
        "a depth too small": [("ipv4_depth", 0x0AFFFF, "=B", 0), ("ipv4_root", 0x0AFFFF, "=H", 1)],
        "a block's entry": [("ipv4_extended", block * 256 + 77, "=H", 4)],
        "a block's depth": [("ipv4_extended_depth", block * 256 + 77, "=B", 33)],
        "a block that is not there": [("ipv4_root", extended, "=H", EXTENDED | 300)],
        "a block that two name": [("ipv4_root", extended, "=H", peek(fib, "ipv4_root", other, "=H"))],
        "a block lost": [("ipv4_root", extended, "=H", 1), ("ipv4_depth", extended, "=B", 0)],
        "a root leaf of no rule's": [("ipv6_root", OTHER + 0x500, "=I", 12 << 16 | 3)],
        "a leaf of another group": [("ipv6_trie", leaf, "=I", 33 << 16 | 3)],
        "a leaf of another length": [("ipv6_trie", leaf, "=I", peek(fib, "ipv6_trie", leaf, "=I") ^ 1 << 16)],
        "a leaf that has lost its rule": [("ipv6_trie", leaf, "=I", 0)],
        "a node that is not there": [("ipv6_root", child, "=I", CHILD | 0x7FFFFFF)],
        "a node without a run": [("ipv6_trie", node, "=I", 0)],
        "a node for two slots": [("ipv6_trie", starts, "=Q", peek(fib, "ipv6_trie", starts, "=Q") & ~(2 << slot))],
        "a node that leads back": [("ipv6_trie", leaf, "=I", CHILD | node // 4)],
        "a group's word": [("groups", 1, "=I", 2)],
        "a group's block": [("groups", multi, "=I", CHILD | 4000)],
        "a bucket": [("buckets", (peek(fib, "groups", multi, "=I") & ~CHILD) * 256 + 9, "=H", 200)],
    }


NAMES = (
    "an entry of no rule's", "an entry of another group", "a depth too great", "a depth too small", "a block's entry",
    "a block's depth", "a block that is not there", "a block that two name", "a block lost",
    "a root leaf of no rule's", "a leaf of another group", "a leaf of another length", "a leaf that has lost its rule",
    "a node that is not there", "a node without a run", "a node for two slots", "a node that leads back",
    "a group's word", "a group's block", "a bucket",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_found_and_mended_in_place(fib: Fib, path: Path, name: str) -> None:
    assert tuple(damages(fib)) == NAMES
    for part, element, form, value in damages(fib)[name]:
        poke(fib, part, element, form, value)
    with FibReader.open(path) as reader:
        found = audit(reader)
        assert found.wrong >= len(found.differences) > 0
        assert found.mended == 0
        assert audit(reader).wrong == found.wrong  # looking changes nothing
    mending = audit(fib, mend=True)
    assert mending.mended == mending.wrong > 0
    assert audit(fib).differences == []
    assert_right(fib)
    for group in fib.groups():
        assert set(fib.reader.bucket_adjacencies(group)) == {one for one, _ in fib.group_members(group)}


def test_a_difference_says_where_and_what(fib: Fib) -> None:
    poke(fib, "ipv4_root", 0xC00000, "=H", 3)
    poke(fib, "ipv6_root", OTHER + 0x500, "=I", 12 << 16 | 3)
    poke(fib, "groups", 1, "=I", 2)
    assert [str(one) for one in audit(fib).differences] == [
        "192.0.0.0/24: the table shows what no rule says",
        "5000::/12: the table shows what no rule says",
        "group 1: its word is not its only member",
    ]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("form", ["of no group", "with host bits", "of no length", "twice"])
def test_a_damaged_rule_is_found_and_goes(fib: Fib, family: int, form: str) -> None:
    part, size, head = ("ipv4_rules", 8, 4) if family == 4 else ("ipv6_rules", 32, 16)
    view = fib.mapping.view(layout(SMALL).parts[part].offset, layout(SMALL).parts[part].bytes)
    slots = range(0, len(view), size)
    at = next(i for i in slots if view[i + head] > 24)
    if form == "of no group":
        view[at + head + 2 : at + head + 4] = struct.pack("=H", 290)
    elif form == "with host bits":
        view[at + (0 if family == 4 else 15)] |= 1
        view[at + head] = 25
    elif form == "of no length":
        view[at + head] = 200
    else:
        empty = next(i for i in slots if i > at and not view[i + head])
        view[empty : empty + size] = bytes(view[at : at + size])
    view.release()
    there = sum(fib.counts())
    found = audit(fib)
    assert "damaged rule" in [one.what for one in found.differences]
    audit(fib, mend=True)
    assert audit(fib).differences == []
    assert sum(fib.counts()) == there - (form != "twice")
    assert_right(fib)


def test_without_a_free_block_what_cannot_be_mended_is_said(fib: Fib) -> None:
    (group,) = fill_groups(fib, 1)
    use = fib.reader.use()["ipv4_extended"]
    apply(fib, 4, [(0x0B << 24 | i << 8, 32, group) for i in range(use.maximum - use.used)])
    extended = next(i for i in range(0x0A0000, 0x0A0010) if peek(fib, "ipv4_root", i, "=H") & EXTENDED)
    poke(fib, "ipv4_root", extended, "=H", 1)
    poke(fib, "ipv4_depth", extended, "=B", 0)
    mending = audit(fib, mend=True)
    assert mending.mended < mending.wrong
    apply(fib, 4, [(0x0B << 24, 32, 0)])
    audit(fib, mend=True)
    assert audit(fib).differences == []
    assert_right(fib)


def test_a_walk_between_batches_finds_nothing(fib: Fib, path: Path) -> None:
    """Rules come and go between the steps, blocks and nodes are used again: none of it is a difference."""
    (group,) = fill_groups(fib, 1)
    choose = random.Random(9)
    with FibReader.open(path) as reader:
        for walker in (SegmentAudit(reader), SegmentAudit(fib.reader)):
            more = True
            while more:
                more = walker.step(100_000)
                there = [
                    (0x0A << 24 | choose.getrandbits(10), 32, choose.choice([0, group])),
                    (0x0A << 24 | choose.getrandbits(8) << 16, 16, choose.choice([0, group])),
                ]
                apply(fib, 4, there)
                host = 0x2001 << 112 | choose.getrandbits(9) << 64
                apply(fib, 6, [(host, choose.choice([64, 66, 128, 93]), choose.choice([0, group])) for _ in range(2)])
            assert walker.differences == []


def test_a_bucket_block_that_two_groups_name(fib: Fib) -> None:
    first = next(group for group, members in fib.groups().items() if len(members) > 1)
    second = fib.group_create([(2, 1), (4, 1)])
    poke(fib, "groups", second, "=I", peek(fib, "groups", first, "=I"))
    assert [one.what for one in audit(fib).differences] == ["its word names another group's bucket block"]
    assert audit(fib, mend=True).mended == 1
    assert audit(fib).differences == []
    assert set(fib.reader.bucket_adjacencies(second)) == {2, 4}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("a group's word",)])
def test_damage_is_mended_by_whoever_attaches_or_by_the_next_audit(fib: Fib, path: Path, name: str) -> None:
    """What would make reuse of memory unsafe is mended before anything else; the rest waits for an audit."""
    rules = routes(fib.reader, 4), routes(fib.reader, 6)
    for part, element, form, value in damages(fib)[name]:
        poke(fib, part, element, form, value)
    fib.close()
    again = Fib.attach(path)
    try:
        if "block" in name or "node" in name:
            assert name in ("a block's entry", "a block's depth", "a block lost") or audit(again).differences == []
        audit(again, mend=True)
        assert audit(again).differences == []
        assert_right(again)
        assert (routes(again.reader, 4), routes(again.reader, 6)) == rules
    finally:
        again.close()


def test_a_damaged_key_is_refused_for_nobody_knows_what_it_was(fib: Fib, path: Path) -> None:
    poke(fib, "group_keys", 1 * 160, "=H", 65)
    assert [one.what for one in audit(fib, mend=True).differences] == ["damaged key"]
    fib.close()
    with pytest.raises(SegmentDamagedError, match="damaged in groups; remove the file and start again"):
        Fib.attach(path)


DAMAGED_RULES = [
    ("ipv4_rules", 4, 200),  # lengths
    ("ipv6_rules", 16, 200),
    ("ipv4_rules", 0, 0xFF),  # host bits
    ("ipv6_rules", 15, 0xFF),
]


def damage_a_rule(fib: Fib, part: str, at: int, value: int) -> None:
    """Change one byte of a rule that the change makes no prefix."""
    size, length, longest = (8, 4, 24) if part == "ipv4_rules" else (32, 16, 64)
    rules = range(0, layout(SMALL).parts[part].bytes, size)
    poke(fib, part, next(i for i in rules if 1 < peek(fib, part, i + length, "<B") <= longest) + at, "<B", value)


@pytest.mark.parametrize(("part", "at", "value"), DAMAGED_RULES)
def test_a_damaged_rule_is_not_carried_over(fib: Fib, path: Path, part: str, at: int, value: int) -> None:
    total = sum(fib.counts())
    damage_a_rule(fib, part, at, value)
    fib.close()
    with closing(Fib.open(path, replace(SMALL, max_groups=SMALL.max_groups + 1))) as wider:
        assert wider.carried_refused == 1
        assert sum(wider.counts()) == total - 1
        assert audit(wider).wrong == 0


@pytest.mark.parametrize(("part", "at", "value"), DAMAGED_RULES)
def test_a_damaged_rule_is_not_swept(fib: Fib, part: str, at: int, value: int) -> None:
    """Taken for a prefix it would lead the writer outside of its tables; mending takes it out."""
    total = sum(fib.counts())
    assert fib.mark_stale(Source.EBGP) == total
    damage_a_rule(fib, part, at, value)
    assert fib.sweep_stale(Source.EBGP) == total - 1
    assert any("damaged rule" in str(one) for one in audit(fib).differences)
    audit(fib, mend=True)
    assert audit(fib).wrong == 0
    assert fib.counts() == (0, 0)


@pytest.mark.parametrize(("family", "length", "group"), [(4, 33, 1), (6, 129, 1), (4, 8, 1), (6, 40, 1), (4, 32, 400)])
def test_a_damaged_journal_is_refused(fib: Fib, path: Path, family: int, length: int, group: int) -> None:
    """Done again it would lead the writer outside of its tables: no such length, host bits, no such group."""
    fib.mapping.view(layout(SMALL).parts["journal"].offset, 40)[:] = struct.pack(
        "=IBBBBHHIQQQ", 1, family, length, Source.EBGP, 0, group, 0, 0, 0, 0x2001 << 48, 0x0A000001
    )
    fib.close()
    with pytest.raises(SegmentError, match="damaged: the journal names no prefix; remove the file"):
        Fib.attach(path)
