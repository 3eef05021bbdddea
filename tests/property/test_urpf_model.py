"""Any mixture of good and bad sources, options, families and damage: each packet gets what a model of a few lines says,
and rx = forwarded + punted + dropped.

One example is a whole batch through one worker, from capture file to capture file; capture.run looks at the invariants.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IPOption_NOP

from planekit import capture
from planekit.fabric import Special
from planekit.frames import frame4, frame6, udp4, udp6

# Second and third number of the source's prefix -> whether it is reached by port 0, and whether it is reached at all.
REACHED = {
    (18, 0): (True, True),
    (18, 1): (False, True),
    (18, 2): (False, True),
    (19, Special.ECMP): (True, True),
    (19, Special.GLEAN): (False, True),
    (19, Special.RESOLVE): (False, True),
    (19, Special.BLACKHOLE): (False, False),
    (19, Special.PROHIBIT): (False, False),
    (19, Special.BROADCAST): (False, False),
    (19, 99): (False, False),  # no route
}


@dataclass(frozen=True)
class Sent:
    """One packet into port 0, to a host behind port 1."""

    family: int
    prefix: tuple[int, int]
    host: int
    options: bool
    mapped: bool
    short: bool

    def frame(self) -> bytes:
        block, number = self.prefix
        if self.family == 4:
            options = [IPOption_NOP()] if self.options else []
            packet = udp4("198.18.1.7", src=f"198.{block}.{number}.{self.host}", options=options)
            frame = frame4(0, packet)
        else:
            source = f"2001:db8:{block}:{number:x}::{self.host:x}"
            frame = frame6(0, udp6("2001:db8:18:1::7", src="::ffff:198.18.0.5" if self.mapped else source))
        return frame[:-1] if self.short else frame

    def fate(self, urpf: str, ip_options: str) -> str:
        """The model."""
        if self.short:
            return "ipv4_total_length" if self.family == 4 else "ipv6_payload_length"
        if self.family == 6 and self.mapped:
            return "ipv6_source"
        by_port, at_all = REACHED[self.prefix]
        if urpf != "off" and not (by_port if urpf == "strict" else at_all):
            return f"urpf_{urpf}"
        if self.family == 4 and self.options and ip_options != "forward":
            return "ipv4_options" if ip_options == "drop" else "punted"
        return "forwarded"


PACKETS = st.builds(
    Sent,
    st.sampled_from([4, 6]),
    st.sampled_from(sorted(REACHED)),
    st.integers(2, 250),
    st.integers(0, 3).map(lambda n: n == 0),
    st.integers(0, 7).map(lambda n: n == 0),
    st.integers(0, 7).map(lambda n: n == 0),
)


@given(
    st.lists(PACKETS, min_size=100, max_size=300),
    st.sampled_from(["off", "strict", "loose"]),
    st.sampled_from(["forward", "punt", "drop"]),
)
# Not shrunk: an example is a process, and the first that fails says enough.
@settings(
    max_examples=9,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
def test_each_packet_has_one_fate(hugepages: Path, batch: list[Sent], urpf: str, ip_options: str) -> None:
    fates = Counter(sent.fate(urpf, ip_options) for sent in batch)
    event(f"urpf {urpf}, options {ip_options}")
    with tempfile.TemporaryDirectory(prefix="frrpf") as folder:
        result = capture.run(
            "rpf",
            Path(folder),
            [sent.frame() for sent in batch],
            filters=(f'urpf = "{urpf}"\nip_options = "{ip_options}"',),
        )
    moved = result.moved
    assert moved.rx == len(batch) == moved.forwarded + moved.punted + moved.dropped
    assert (moved.forwarded, moved.punted) == (fates.pop("forwarded", 0), fates.pop("punted", 0))
    assert {reason: n for reason, n in moved.drops.items() if reason != "tap_full"} == dict(fates)
