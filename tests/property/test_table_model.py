"""Both tables against the model under random insertion, replacement and withdrawal, every answer by the burst code.

One segment serves all examples, so that each finds what the ones before it have left of the allocators' state.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpdkrouter.fib import Fib, FibReader
from table_model import SMALL, Model, answers, apply, bits, fill_groups, routes, segment_path

LENGTHS = {
    4: [8, 9, 12, 15, 16, 17, 20, 22, 23, 24, 25, 26, 27, 28, 30, 31, 32],
    6: [
        *(0, 1, 2, 3, 4, 7, 12, 13, 17, 18, 19, 20, 23, 24, 25, 26, 29, 30, 31, 32, 33, 36, 38, 40, 44, 47, 48, 49, 50),
        *(54, 56, 60, 61, 62, 63, 64, 65, 66, 67, 68, 74, 96, 120, 121, 122, 123, 125, 126, 127, 128),
    ],
}
BASES = {
    4: [0x0A000000, 0x0A0000FF, 0x0AFFFFFF, 0xC6336400, 0xFFFFFFFF, 0],
    6: [
        0x20010DB8 << 96,
        0x20010DB8_00000001 << 64,
        (0x20010DB8 << 96) + (0x3FF << 62),
        (1 << 128) - 1,
        0,
        (0x20 << 120) - 1,
        0x20 << 120,
        (0x40 << 120) - 1,
        0x40 << 120,
        0xFD00 << 112,
    ],
}

Table = tuple[Fib, FibReader, list[int]]


@pytest.fixture(scope="module", params=["/dev/shm", "/dev/hugepages"])
def table(request: pytest.FixtureRequest, hugepages: object) -> Iterator[Table]:
    path = segment_path(request.param, "model")
    fib = Fib.create(path, SMALL)
    try:
        with FibReader.open(path) as reader:
            yield fib, reader, fill_groups(fib, 6)
    finally:
        path.unlink()
        fib.close()


def change(family: int) -> st.SearchStrategy[tuple[int, int, int, bool]]:
    """(prefix, length, which group, withdraw): near one of a few bases, so that prefixes nest and touch."""
    width = bits(family)

    def build(base: int, length: int, flip: int, place: int, group: int, withdraw: bool) -> tuple[int, int, int, bool]:
        near = base ^ (flip << max(0, width - length - place))
        prefix = near >> (width - length) << (width - length) & ((1 << width) - 1)
        return prefix, length, group, withdraw

    return st.builds(
        build,
        st.sampled_from(BASES[family]),
        st.sampled_from(LENGTHS[family]),
        st.integers(0, 7),
        st.integers(0, 3),
        st.integers(0, 5),
        st.booleans(),
    )


def empty(fib: Fib, reader: FibReader) -> None:
    """Withdraw everything, and see that nothing is left of it."""
    for family in (4, 6):
        apply(fib, family, [(*key, 0) for key in routes(reader, family)])
    use = reader.use()
    assert [use[name].used for name in ("ipv4_routes", "ipv6_routes", "ipv4_extended", "ipv6_trie")] == [0] * 4


def agree(reader: FibReader, model: Model, family: int, burst: int) -> None:
    edges = model.edges()
    assert answers(reader, family, edges, burst) == [model.lookup(address) for address in edges]


@pytest.mark.parametrize("family", [4, 6])
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_answers_as_the_model_does(table: Table, family: int, data: st.DataObject) -> None:
    fib, reader, groups = table
    empty(fib, reader)
    model = Model(family)
    size = data.draw(st.integers(0, 198))  # lists without a size are short
    changes = data.draw(st.lists(change(family), min_size=size, max_size=size))
    burst = data.draw(st.integers(1, 64))
    for key in ("default comes", "default goes"):
        at = data.draw(st.one_of(st.none(), st.integers(0, len(changes))), label=key)
        if at is not None:
            changes.insert(at, (0, 0, 5, key == "default goes"))
    batch: list[tuple[int, int, int]] = []
    for step, (prefix, length, which, withdraw) in enumerate(changes):
        if withdraw and model.routes and length:  # take out one that is there
            known = sorted(model.routes)
            prefix, length = known[(prefix + which) % len(known)]
        group = 0 if withdraw else groups[which]
        if group:
            model.routes[prefix, length] = group
        else:
            model.routes.pop((prefix, length), None)
        batch.append((prefix, length, group))
        if step % 16 == 15:
            assert apply(fib, family, batch).refused == ()
            batch = []
            agree(reader, model, family, burst)
    assert apply(fib, family, batch).refused == ()
    agree(reader, model, family, burst)
    assert routes(reader, family) == model.routes
