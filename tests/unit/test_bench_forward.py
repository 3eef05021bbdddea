"""scripts/bench forward: a small run of the whole and its JSON; and that its comparison of packets sees every difference."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchlib import frames
from benchlib.callgrind import compare
from benchlib.cases import CASES, ways
from benchlib.counted import NAMES
from benchlib.frames import Expected, Frames, Hops, WrongPacketError
from benchlib.routes import U8
from dpdkrouter.segment import STAGES
from fastpath import probe
from fastpath._build import BUILD_ID

ROOT = Path(__file__).resolve().parents[2]
PUNTED = 255


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts" / "bench"), "forward", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)


@pytest.mark.parametrize("simd", probe.supported_variants())
def test_a_small_run_prints_every_case_without_a_drop(simd: str) -> None:
    """A drop, a lost or a wrong packet would be an exit code of 1: each case's packets are compared with the model."""
    every = ("--runs", "2", "--destinations", "4096", "--mbufs", "1024", "--directory", "/dev/shm", "--simd", simd)
    names = [case.name for case in CASES if not case.beside]
    done = bench("--json", *every, "--routes4", "3000", "--routes6", "1500", "--only", *names)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report) == ["machine", "commit", "table", "results"]
    assert report["machine"]["simd"] == simd
    assert report["machine"]["build_id"] == BUILD_ID
    assert [result["name"] for result in report["results"]] == ["floor_ring", *names]
    for result in report["results"][1:]:
        assert result["unit"] == "cycles/packet"
        assert 0 < result["min"] <= result["value"] <= result["max"]
        assert result["floor"] > 0
        assert list(result["stages"]) == list(STAGES)
        assert result["bursts"][7] > 0


def test_route_changes_and_scrapes_go_on_beside_it() -> None:
    """Too slow a writer or scraper would be an error: nothing would have been measured."""
    done = bench(
        *("--json", "--runs", "1", "--destinations", "4096", "--mbufs", "1024", "--directory", "/dev/shm"),
        *("--routes4", "3000", "--routes6", "16", "--changes", "1000", "--only", "churn_100k", "scrape_10hz"),
    )
    assert done.returncode == 0, done.stderr
    assert [result["name"] for result in json.loads(done.stdout)["results"][1:]] == ["churn_100k", "scrape_10hz"]


def test_wrong_options_are_errors() -> None:
    assert bench("--runs", "0").returncode == bench("--mbufs", "10").returncode == bench("--only", "x").returncode == 2


HOPS = Hops(
    np.array([0, 0, 1], dtype=np.uint8),
    np.array([[0] * 6, [2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]], dtype=np.uint8),
    np.array([[0] * 6, [4, 0, 0, 0, 0, 0], [4, 0, 0, 0, 0, 1]], dtype=np.uint8),
)


def sample() -> tuple[Frames, Expected]:
    """Four packets, two of each family, the last one punted."""
    four = np.arange(0x0A000001, 0x0A000005, dtype=np.uint64) << np.uint64(32), np.zeros(4, dtype=np.uint64)
    six = np.array([0x20010DB8 << 32] * 4, dtype=np.uint64), np.arange(4, dtype=np.uint64)
    made = frames.mixed(
        frames.make(4, four, np.full(4, 60, dtype=np.uint16), bytes(6)),
        frames.make(6, six, np.full(4, 64, dtype=np.uint16), bytes(6)),
    )
    members = np.array([[1], [2], [2], [1]], dtype=np.uint16)
    return made, Expected(members, np.array([False, False, False, True]))


def sent() -> tuple[U8, U8]:
    """What must come out, in another order."""
    made, expected = sample()
    out = made.heads.copy()
    port = np.array([0, 1, 1, PUNTED], dtype=np.uint8)
    for i in range(3):
        hop = expected.members[i, 0]
        out[i, 0:6], out[i, 6:12] = HOPS.dst[hop], HOPS.src[hop]
        out[i, 22 if made.family[i] == 4 else 21] -= 1
    four = np.ascontiguousarray(out[0:3:2])
    frames.set_checksum(four)
    out[0:3:2] = four
    order = np.array([2, 0, 3, 1])
    return out[order], port[order]


def test_right_packets_pass_the_comparison() -> None:
    made, expected = sample()
    out, port = sent()
    assert frames.check(made, expected, HOPS, out, port, PUNTED).tolist() == [1, 2, 2, -1]
    # an independent sum over one header: RFC 1071
    header = out[1, 14:34].tobytes()
    assert sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, 20, 2)) % 0xFFFF == 0


@pytest.mark.parametrize("at", [0, 5, 6, 12, 14, 17, 22, 24, 25, 26, 33, 63])
def test_every_other_byte_is_a_wrong_packet(at: int) -> None:
    made, expected = sample()
    for row in range(4):
        out, port = sent()
        out[row, at] ^= 1
        with pytest.raises(WrongPacketError):
            frames.check(made, expected, HOPS, out, port, PUNTED)


def test_another_port_a_lost_and_a_doubled_packet_are_wrong() -> None:
    made, expected = sample()
    for row in range(4):
        out, port = sent()
        port[row] ^= 1
        with pytest.raises(WrongPacketError):
            frames.check(made, expected, HOPS, out, port, PUNTED)
    out, port = sent()
    with pytest.raises(WrongPacketError, match="3 different"):
        frames.check(made, expected, HOPS, out[[0, 1, 2, 2]], port[[0, 1, 2, 2]], PUNTED)


def test_members_follow_each_other_and_wrap() -> None:
    assert ways(np.array([1, 500], dtype=np.uint16), 3).tolist() == [[1, 2, 3], [500, 1, 2]]


@pytest.mark.timeout(620)
def test_instructions_a_packet_are_those_of_record() -> None:
    """More than three per cent above or below the record is a failure: scripts/bench --callgrind says what to do."""
    command = [str(ROOT / "scripts" / "bench"), "--callgrind", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert {result["name"]: result["unit"] for result in report["results"]} == dict.fromkeys(
        NAMES, "instructions/packet"
    )


def test_a_change_beyond_the_tolerance_is_told() -> None:
    recorded = {"a": 100.0, "b": 100.0, "c": 100.0}
    said = compare({"a": 103.1, "b": 96.9, "c": 102.9}, recorded)
    assert [line.split(":")[0] for line in said] == ["a", "b"]
    assert "cheaper" in said[0]
    assert "better" in said[1]
