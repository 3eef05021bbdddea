"""Any valid packet with a route and hops left comes out with one hop less, a valid checksum, and nothing else changed.

One example is a whole batch of packets through one worker, from capture file to capture file: a process each.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planekit import capture
from planekit.frames import checksum, forwarded, frame4, frame6

WORDS = st.integers(0, 0xFFFF)
# Unicast sources that RFC 1812 5.3.7 lets pass
SOURCES4 = st.integers(0x01000000, 0xDFFFFFFF).filter(lambda n: n >> 24 != 127)
OPTIONS4 = st.integers(0, 10).flatmap(lambda n: st.binary(min_size=n * 4, max_size=n * 4))
PAYLOADS = st.binary(max_size=300)


@st.composite
def packets4(draw: st.DrawFn) -> bytes:
    options, payload = draw(OPTIONS4), draw(PAYLOADS)
    first = 0x40 | (5 + len(options) // 4)
    head = struct.pack(
        ">BBHHHBBHII",
        first,
        draw(st.integers(0, 255)),
        20 + len(options) + len(payload),
        draw(WORDS),
        draw(WORDS),
        draw(st.integers(2, 255)),
        draw(st.integers(0, 255)),
        0,
        draw(SOURCES4),
        0xC6120100 | draw(st.integers(0, 255)),
    )
    head += options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


@st.composite
def packets6(draw: st.DrawFn) -> bytes:
    payload = draw(PAYLOADS)
    source = b"\x20\x01" + draw(st.binary(min_size=14, max_size=14))
    target = bytes.fromhex("20010db800180001") + draw(st.binary(min_size=8, max_size=8))
    first = 0x60000000 | draw(st.integers(0, 0x0FFFFFFF))
    return struct.pack(">IHBB", first, len(payload), draw(st.integers(0, 255)), draw(st.integers(2, 255))) + (
        source + target + payload
    )


FRAMES = st.one_of(packets4().map(lambda p: frame4(0, p)), packets6().map(lambda p: frame6(0, p)))


@given(st.lists(FRAMES, min_size=100, max_size=400))
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
def test_valid_packets_come_out_one_hop_older(hugepages: Path, batch: list[bytes]) -> None:
    with tempfile.TemporaryDirectory(prefix="frprop") as folder:
        result = capture.run("prop", Path(folder), batch)
    assert result.moved.forwarded == len(batch)
    assert sorted(result.out[1]) == sorted(forwarded(frame, 1) for frame in batch)
