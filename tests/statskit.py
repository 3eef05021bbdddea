"""A stats segment for tests: a real file, its fields stored where the C compiler says that they are.

The compiler is asked once a session, with fastpath/include/dr_layout.h itself: tests move with the layout.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from fastpath.segment import STATS_BYTES, Mapping, create

INCLUDE = Path(__file__).resolve().parents[1] / "fastpath" / "include"
_FIELDS = {
    "header": "magic version header_bytes segment_bytes pid pid_start tsc_hz started_ns lcores ports name "
    "simd dpdk build_id punt_pps[0] heartbeat_ns ready filter_generation filter_counters",
    "port[0]": "name driver mac present link_up speed_mbps link_changes rx_queues tx_queues mtu numa "
    "rx_missed rx_errors rx_no_mbuf tx_errors rss offloads rx_slot[0] members member[0]",
    "port[0].member[0]": "device speed_mbps link_changes flags partner",
    "resolve": "head slot[0]",
    "resolve.slot[0]": "seq family port address",
    "filter[0]": "name kind first count",
    "lcore[0]": "quiescent online cpu polls cycles_busy cycles_idle rx_packets forwarded punted dropped originated "
    "injected bursts[0] drops[0] punts[0] policed[0] stage_cycles[0] sampled_polls sampled_packets port[0]",
    "lcore[0].port[0]": "rx_packets rx_bytes tx_packets tx_bytes tx_drops injected originated fragments",
}
_CONSTANTS = (
    "DR_STATS_MAGIC",
    "DR_STATS_VERSION",
    "DR_RESOLVE_RING",
    "sizeof(struct dr_stats_header)",
    "sizeof(struct dr_stats)",
)


@functools.cache
def layout() -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """({field of element 0: (offset, size)}, {constant: value})."""
    place = 'printf("%s %zu %zu\\n", "{0}", offsetof(struct dr_stats, {0}), sizeof(((struct dr_stats *)0)->{0}));'
    value = 'printf("%s\\t%llu\\n", "{0}", (unsigned long long)({0}));'
    places = [
        "port[0]",
        "lcore[0]",
        "filter[0]",
        *(f"{top}.{name}" for top, names in _FIELDS.items() for name in names.split()),
    ]
    lines = [place.format(name) for name in places] + [value.format(name) for name in _CONSTANTS]
    source = '#include <stdio.h>\n#include "dr_layout.h"\nint main(void) {' + "\n".join(lines) + "}\n"
    with tempfile.TemporaryDirectory(prefix="dr-layout-") as directory:
        program = Path(directory, "layout")
        subprocess.run(
            ["gcc", "-std=gnu11", "-I", str(INCLUDE), "-x", "c", "-", "-o", str(program)],
            input=source,
            text=True,
            check=True,
        )
        output = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    fields: dict[str, tuple[int, int]] = {}
    constants: dict[str, int] = {}
    for line in output.splitlines():
        name, tab, number = line.partition("\t")
        if tab:
            constants[name] = int(number)
        else:
            name, offset, size = line.split()
            fields[name] = int(offset), int(size)
    return fields, constants


def place_of(field: str) -> tuple[int, int]:
    """(offset, size) of a field such as `lcore[2].port[1].rx_bytes`."""
    fields, _ = layout()
    offset, size = fields[re.sub(r"\[\d+\]", "[0]", field)]
    for index in re.finditer(r"\[(\d+)\]", field):
        array = re.sub(r"\[\d+\]", "[0]", field[: index.end()])
        offset += int(index[1]) * fields[array][1]
    return offset, size


class Segment:
    """A stats segment that this process writes, published at `path`; this process is its fast path."""

    def __init__(self, path: Path, *, lcores: int = 3, ports: int = 2) -> None:
        self.path = path
        self.mapping: Mapping = create(path, STATS_BYTES)
        self.view = self.mapping.view()
        _, constants = layout()
        self.ring = constants["DR_RESOLVE_RING"]
        self.set("header.version", constants["DR_STATS_VERSION"])
        self.set("header.header_bytes", constants["sizeof(struct dr_stats_header)"])
        self.set("header.segment_bytes", self.mapping.file_bytes)
        self.set("header.pid", os.getpid())
        words = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        self.set("header.pid_start", int(words[19]))
        self.set("header.tsc_hz", 2_300_000_000)
        self.set("header.started_ns", 1_700_000_000_000_000_000)
        self.set("header.lcores", lcores)
        self.set("header.ports", ports)
        for name, text in (
            ("name", "pop1"),
            ("simd", "x86-64-v3"),
            ("dpdk", "DPDK 22.11.11"),
            ("build_id", "abc123"),
        ):
            self.set(f"header.{name}", text.encode())
        self.set("header.ready", 1)
        for slot in range(lcores):
            self.set(f"lcore[{slot}].online", 1)
        for port in range(ports):
            self.set(f"port[{port}].present", 1)
            self.set(f"port[{port}].name", f"wan{port}".encode())
        self.beat()
        self.set("header.magic", constants["DR_STATS_MAGIC"])
        self.mapping.publish()

    def set(self, field: str, value: int | bytes) -> None:
        """Store a field, zero-padded."""
        offset, size = place_of(field)
        data = value.to_bytes(size, "little") if isinstance(value, int) else value.ljust(size, b"\0")
        assert len(data) == size
        self.view[offset : offset + size] = data

    def count_filter(
        self, number: int, name: str, kind: int, first: int, counts: dict[int, list[tuple[int, int]]]
    ) -> None:
        """An ACL (kind 1) or policer (2) and what the lcores in `counts` have counted; each has room for 16."""
        room, start = 16, layout()[1]["sizeof(struct dr_stats)"]
        self.set("header.filter_counters", room)
        for slot, pairs in counts.items():
            at = start + (slot * room + first) * 16
            data = b"".join(value.to_bytes(8, "little") for pair in pairs for value in pair)
            self.view[at : at + len(data)] = data
        self.set(f"filter[{number}].name", name.encode())
        self.set(f"filter[{number}].first", first)
        self.set(f"filter[{number}].count", max(map(len, counts.values())))
        self.set(f"filter[{number}].kind", kind)

    def beat(self) -> None:
        """The host thread's sign of life."""
        self.set("header.heartbeat_ns", time.monotonic_ns())

    def request(self, position: int, family: int, port: int, address: bytes) -> None:
        """What the host thread does to ask for a next hop; positions count from 0."""
        slot = f"resolve.slot[{position % self.ring}]"
        self.set(f"{slot}.seq", 0)
        self.set(f"{slot}.family", family)
        self.set(f"{slot}.port", port)
        self.set(f"{slot}.address", address)
        self.set(f"{slot}.seq", position + 1)
        self.set("resolve.head", position + 1)

    def close(self) -> None:
        """Remove the file and the mapping."""
        self.view.release()
        self.path.unlink(missing_ok=True)
        self.mapping.close()
