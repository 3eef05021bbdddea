"""The feed decoder: cuts don't matter, garbage never raises."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dpdkrouter.bgp import events
from dpdkrouter.bgp.feed import Feed

VECTORS = Path(__file__).parents[1] / "vectors" / "exabgp"
RECORDED = (VECTORS / "bird.jsonl").read_bytes() + (VECTORS / "speaker.jsonl").read_bytes()
LINES = RECORDED.splitlines()


def flat(found: list[events.Event]) -> list[object]:
    """Events with every Update taken apart into its routes: how they were coalesced doesn't show."""
    out: list[object] = []
    for event in found:
        if not isinstance(event, events.Update):
            out.append(event)
            continue
        size = 4 if event.family == "ipv4" else 16
        for kind, packed, lengths, path_ids in (
            ("withdrawn", event.withdrawn, event.withdrawn_lengths, event.withdrawn_path_ids),
            ("announced", event.announced, event.announced_lengths, event.announced_path_ids),
        ):
            assert len(packed) == size * len(lengths)
            assert len(path_ids) in (0, 4 * len(lengths))
            attributes = event.attributes if kind == "announced" else None
            for n, length in enumerate(lengths):
                path_id = path_ids[4 * n : 4 * n + 4] or bytes(4)
                out.append(
                    (
                        kind,
                        event.peer,
                        event.family,
                        packed[size * n : size * n + size],
                        length,
                        path_id,
                        attributes,
                    )
                )
    return out


WHOLE = flat(Feed().receive(RECORDED))


@given(st.lists(st.integers(0, len(RECORDED)), max_size=40).map(sorted))
@settings(max_examples=150, deadline=None)
def test_split_anywhere(cuts: list[int]) -> None:
    feed = Feed()
    found: list[events.Event] = []
    for start, end in zip([0, *cuts], [*cuts, len(RECORDED)], strict=True):
        found += feed.receive(RECORDED[start:end])
    assert flat(found) == WHOLE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()), max_size=8))
@settings(max_examples=200, deadline=None)
def test_garbage_never_raises(lines: list[bytes]) -> None:
    feed = Feed()
    feed.receive(b"\n".join(lines) + b"\n")
    assert flat(feed.receive(RECORDED)) == WHOLE


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_recorded_line_with_one_value_replaced_never_raises(data: st.DataObject) -> None:
    message = json.loads(data.draw(st.sampled_from(LINES)))
    spot = message
    while True:
        keys = list(spot) if isinstance(spot, dict) else list(range(len(spot)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if isinstance(spot[key], dict | list) and data.draw(st.booleans()):
            spot = spot[key]
            continue
        spot[key] = data.draw(JSON)
        break
    feed = Feed()
    flat(feed.receive(json.dumps(message).encode() + b"\n"))
    assert flat(feed.receive(RECORDED)) == WHOLE
