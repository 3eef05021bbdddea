"""The stats segment's reader, against a segment laid out by the C compiler."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.errors import SegmentError, SegmentMissingError
from dpdkrouter.segment import STAGES, DropReason, FilterState, MemberState, PuntClass, StatsReader
from statskit import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator

LOST = (4, 1, bytes([192, 0, 2, 1]))


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    made = Segment(tmp_path / "one.stats")
    yield made
    made.close()


@pytest.fixture
def reader(segment: Segment) -> Iterator[StatsReader]:
    with StatsReader(segment.path) as opened:
        yield opened


def test_header(segment: Segment, reader: StatsReader) -> None:
    header = reader.header()
    assert (header.name, header.simd, header.dpdk, header.build_id) == (
        "pop1",
        "x86-64-v3",
        "DPDK 22.11.11",
        "abc123",
    )
    assert (header.tsc_hz, header.started_ns) == (2_300_000_000, 1_700_000_000_000_000_000)
    assert (header.lcores, header.ports, header.alive, header.ready) == (3, 2, True, True)
    assert 0 <= header.heartbeat_age_s < 10
    segment.set("header.ready", 0)
    segment.set("header.heartbeat_ns", time.monotonic_ns() - 5_000_000_000)
    header = reader.header()
    assert not header.ready
    assert 5 <= header.heartbeat_age_s < 15
    segment.set("header.heartbeat_ns", 0)
    assert reader.header().heartbeat_age_s == float("inf")


def test_text_that_fills_its_field_has_no_end_mark(segment: Segment, reader: StatsReader) -> None:
    segment.set("header.simd", b"s" * 32)
    segment.set("header.name", b"n" * 16)
    assert reader.header().simd == "s" * 32
    assert reader.header().name == "n" * 16


def test_alive_asks_for_pid_and_start_time(segment: Segment, reader: StatsReader) -> None:
    segment.set("header.pid_start", 1)
    assert not reader.header().alive, "another process has the pid"
    segment.set("header.pid", 0)
    assert not reader.header().alive


def test_a_killed_process_is_not_alive_before_it_is_reaped(segment: Segment, reader: StatsReader) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        start = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        segment.set("header.pid", process.pid)
        segment.set("header.pid_start", int(start))
        assert reader.header().alive
        process.kill()
        deadline = time.monotonic() + 10
        while reader.header().alive and time.monotonic() < deadline:
            time.sleep(0.01)
        assert Path(f"/proc/{process.pid}").exists()
        assert not reader.header().alive


def test_lcores(segment: Segment, reader: StatsReader) -> None:
    names = (
        "cpu",
        "polls",
        "cycles_busy",
        "cycles_idle",
        "rx_packets",
        "forwarded",
        "punted",
        "dropped",
        "originated",
        "injected",
        "sampled_polls",
        "sampled_packets",
    )
    for number, name in enumerate(names):
        segment.set(f"lcore[2].{name}", 1000 + number)
    for number in range(len(STAGES)):
        segment.set(f"lcore[2].stage_cycles[{number}]", 2000 + number)
    for bucket in range(8):
        segment.set(f"lcore[2].bursts[{bucket}]", 1 << 40 | bucket)
    slots = reader.lcores()
    assert [state.slot for state in slots] == [0, 1, 2]
    assert [getattr(slots[2], name) for name in names] == list(range(1000, 1012))
    assert slots[2].bursts == tuple(1 << 40 | bucket for bucket in range(8))
    assert slots[2].stage_cycles == {name: 2000 + number for number, name in enumerate(STAGES)}
    assert slots[1].polls == 0
    segment.set("lcore[1].online", 0)
    assert [state.slot for state in reader.lcores()] == [0, 2]


def test_ports_add_up_the_lcores(segment: Segment, reader: StatsReader) -> None:
    own = (
        "speed_mbps",
        "link_changes",
        "tx_queues",
        "mtu",
        "numa",
        "rx_missed",
        "rx_errors",
        "rx_no_mbuf",
        "tx_errors",
    )
    counted = (
        "rx_packets",
        "rx_bytes",
        "tx_packets",
        "tx_bytes",
        "tx_drops",
        "injected",
        "originated",
        "fragments",
    )
    for number, name in enumerate(own):
        segment.set(f"port[1].{name}", 100 + number)
    segment.set("port[1].rx_queues", 3)
    for queue, (slot, cpu) in enumerate([(2, 5), (1, 7), (2, 5)]):
        segment.set(f"port[1].rx_slot[{queue}]", slot)
        segment.set(f"lcore[{slot}].cpu", cpu)
    segment.set("port[1].rss", b"ipv4 ipv6")
    segment.set("port[1].offloads", b"rss_hash")
    segment.set("port[0].numa", 0xFFFF)
    segment.set("port[1].driver", b"net_ring")
    segment.set("port[1].mac", bytes.fromhex("020000000009"))
    segment.set("port[1].link_up", 1)
    for slot in range(4):  # slot 3 is not in use: it must not count
        for number, name in enumerate(counted):
            segment.set(f"lcore[{slot}].port[1].{name}", (number + 1) * 10**slot)
    quiet, busy = reader.ports()
    assert (quiet.name, quiet.link_up, quiet.rx_packets) == ("wan0", False, 0)
    assert (busy.name, busy.driver, busy.mac, busy.link_up) == ("wan1", "net_ring", b"\2\0\0\0\0\x09", True)
    assert (busy.rx_queues, busy.rx_lcores, quiet.rx_lcores) == (3, (5, 7, 5), ())
    assert (busy.rss, busy.offloads, quiet.rss, quiet.numa) == ("ipv4 ipv6", "rss_hash", "", None)
    assert [getattr(busy, name) for name in own] == list(range(100, 109))
    assert [getattr(busy, name) for name in counted] == [111 * (number + 1) for number in range(8)]


def test_members_of_a_bond(segment: Segment, reader: StatsReader) -> None:
    segment.set("port[1].members", 2)
    for i, flags in enumerate((0b1111, 0b0101)):
        segment.set(f"port[1].member[{i}].device", b"net_tap%d" % i)
        segment.set(f"port[1].member[{i}].flags", flags)
    segment.set("port[1].member[0].speed_mbps", 10000)
    segment.set("port[1].member[1].link_changes", 3)
    segment.set("port[1].member[0].partner", bytes.fromhex("020000000009"))
    plain, bond = reader.ports()
    assert plain.members == ()
    partner = bytes.fromhex("020000000009")
    assert bond.members == (
        MemberState("net_tap0", True, 10000, 0, active=True, collecting=True, distributing=True, partner=partner),
        MemberState("net_tap1", True, 0, 3, active=False, collecting=True, distributing=False, partner=bytes(6)),
    )
    segment.set("port[1].members", 65535)
    assert len(reader.ports()[1].members) == 8, "a damaged count leads nowhere outside"


def test_drops_and_punts_name_everything(segment: Segment, reader: StatsReader) -> None:
    for reason in DropReason.__members__.values():
        segment.set(f"lcore[0].drops[{int(reason)}]", 1)
        segment.set(f"lcore[2].drops[{int(reason)}]", 10 * int(reason))
    for kind in PuntClass.__members__.values():
        segment.set(f"lcore[1].punts[{int(kind)}]", 7 + int(kind))
        segment.set(f"lcore[1].policed[{int(kind)}]", 70 + int(kind))
        segment.set(f"lcore[2].policed[{int(kind)}]", 1)
        segment.set(f"header.punt_pps[{int(kind)}]", 1000 + int(kind))
    assert reader.drops() == {name: 1 + 10 * int(value) for name, value in DropReason.__members__.items()}
    assert reader.punts() == {name: 7 + int(value) for name, value in PuntClass.__members__.items()}
    assert reader.policed() == {name: 71 + int(value) for name, value in PuntClass.__members__.items()}
    assert reader.punt_rates() == {name: 1000 + int(value) for name, value in PuntClass.__members__.items()}


def test_a_damaged_header_leads_nowhere_outside(segment: Segment, reader: StatsReader) -> None:
    segment.set("header.lcores", 2**32 - 1)
    segment.set("header.ports", 2**32 - 1)
    assert len(reader.ports()) == 32
    assert len(reader.lcores()) == 3


def test_resolve_requests_in_order_and_once(segment: Segment, reader: StatsReader) -> None:
    assert reader.resolve_requests(0) == (0, [])
    six = bytes.fromhex("20010db8000000000000000000000001")
    segment.request(0, *LOST)
    segment.request(1, 6, 0, six)
    tail, requests = reader.resolve_requests(0)
    assert requests == [LOST, (6, 0, six)]
    assert reader.resolve_requests(tail) == (2, [])
    segment.request(2, *LOST)
    assert reader.resolve_requests(tail) == (3, [LOST])


def test_a_reader_that_is_late_skips_what_was_overwritten(segment: Segment, reader: StatsReader) -> None:
    total = 3 * segment.ring + 5
    for position in range(total):
        segment.request(position, 4, 0, position.to_bytes(4, "big"))
    tail, requests = reader.resolve_requests(0)
    assert tail == total
    positions = [int.from_bytes(address, "big") for _, _, address in requests]
    assert positions == list(range(total - segment.ring + 1, total)), "the slot that is written next is not read"
    assert reader.resolve_requests(tail) == (total, [])


def test_a_request_being_overwritten_is_left_out(segment: Segment, reader: StatsReader) -> None:
    for position in range(3):
        segment.request(position, 4, 0, position.to_bytes(4, "big"))
    segment.set("resolve.slot[1].seq", 0)
    assert [address[-1] for _, _, address in reader.resolve_requests(0)[1]] == [0, 2]
    segment.set("resolve.slot[1].seq", segment.ring + 2)
    assert [address[-1] for _, _, address in reader.resolve_requests(0)[1]] == [0, 2]


def test_a_tail_of_an_earlier_fast_path_starts_over(segment: Segment, reader: StatsReader) -> None:
    segment.request(0, *LOST)
    assert reader.resolve_requests(9999) == (1, [LOST])


def test_nothing_new_is_cheap(reader: StatsReader) -> None:
    start = time.perf_counter()
    for _ in range(10_000):
        reader.resolve_requests(0)
    assert (time.perf_counter() - start) / 10_000 < 20e-6


def test_reopen_if_replaced(segment: Segment, reader: StatsReader) -> None:
    assert not reader.reopen_if_replaced()
    successor = Segment(segment.path, ports=1)
    try:
        assert len(reader.ports()) == 2
        assert reader.reopen_if_replaced()
        assert len(reader.ports()) == 1
        assert not reader.reopen_if_replaced()
    finally:
        successor.close()
    assert not reader.reopen_if_replaced(), "the last one's numbers stay when none came after it"
    assert len(reader.ports()) == 1


def test_no_segment_and_a_closed_reader(tmp_path: Path, segment: Segment) -> None:
    with pytest.raises(SegmentMissingError, match=r"no stats segment.*fast path"):
        StatsReader(tmp_path / "none")
    closed = StatsReader(segment.path)
    closed.close()
    closed.close()
    for call in (
        closed.header,
        closed.lcores,
        closed.ports,
        closed.drops,
        closed.punts,
        closed.reopen_if_replaced,
        lambda: closed.resolve_requests(0),
    ):
        with pytest.raises(SegmentError, match="closed"):
            call()


def test_filters(segment: Segment, reader: StatsReader) -> None:
    """Every list and policer by its place, over all lcores; nothing while they change, or when they cannot be."""
    assert reader.filters() == ()
    segment.count_filter(0, "edge", 1, 0, {1: [(1, 60), (2, 120)], 2: [(3, 200), (4, 300)]})
    segment.count_filter(64, "pings", 2, 4, {0: [(0, 0), (0, 0), (1, 9)], 1: [(5, 500), (6, 600), (7, 700)]})
    edge = FilterState("edge", False, ((4, 260), (6, 420)))
    assert reader.filters() == (edge, FilterState("pings", True, ((5, 500), (6, 600), (8, 709))))
    segment.set("filter[64].first", 14)
    assert reader.filters() == (edge,)
    segment.set("header.filter_generation", 1)
    assert reader.filters() == ()
    segment.set("header.filter_generation", 2)
    segment.set("header.filter_counters", 1 << 20)
    assert reader.filters() == ()
