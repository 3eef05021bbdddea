"""What needs frames that a kernel interface would not pass: SIMD variants on one capture, fragments, short frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.packet import Raw

from fastpath import probe
from planekit import capture
from planekit.fabric import Special
from planekit.frames import decoded, forwarded, frame4, special, to, udp4

if TYPE_CHECKING:
    from pathlib import Path

VARIANTS = probe.supported_variants()


def traffic() -> list[bytes]:
    """Every fate a frame can have, both families, many flows; fewer ICMP errors than their rate limit's depth."""
    frames = [to(family, port, bytes(n), sport=n + 1) for n in range(150) for family in (4, 6) for port in range(3)]
    frames += [special(family, Special.ECMP, host=n + 1, sport=n) for n in range(1, 150) for family in (4, 6)]
    frames += [special(family, number) for number in (1, 2, 3, 7) for family in (4, 6)]
    frames += [to(4, 1, ttl=1), to(6, 1, hlim=1), to(4, 2, bytes(1400), flags="DF"), to(6, 2, bytes(1400))]
    frames += [frame[:cut] for frame in (to(4, 1), to(6, 1)) for cut in (0, 5, 13, 14, 20, 33, 34, 53, 54)]
    return frames


@pytest.fixture(scope="module")
def by_variant(hugepages: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, capture.Captured]:
    results = {}
    for number, simd in enumerate(VARIANTS):
        results[simd] = capture.run(f"simd{number}", tmp_path_factory.mktemp(simd), traffic(), simd=simd)
    return results


@pytest.mark.parametrize("simd", VARIANTS)
def test_every_variant_gives_the_same_frames_and_counters(by_variant: dict[str, capture.Captured], simd: str) -> None:
    base, result = by_variant[VARIANTS[0]], by_variant[simd]
    assert f"SIMD {simd}" in result.output
    assert result.exit_code == 0
    assert result.moved == base.moved
    assert result.out == base.out
    assert result.moved.forwarded > 900


def fragments(dst: str, size: int, step: int, sport: int = 1000) -> list[bytes]:
    whole = bytes(udp4(dst, bytes(n & 255 for n in range(size)), sport=sport))
    frames = []
    for start in range(20, len(whole), step):
        packet = IP(whole[:20])
        packet.remove_payload()
        last = start + step >= len(whole)
        packet.frag, packet.flags, packet.len, packet.chksum = (start - 20) // 8, 0 if last else "MF", None, None
        frames.append(frame4(0, packet / Raw(whole[start : start + step])))
    return frames


def test_fragments_of_a_packet_stay_together(hugepages: Path, tmp_path: Path) -> None:
    """The first holds ports, the others payload in their place: none may count."""
    sent = {n: fragments(f"198.19.{Special.ECMP}.{n + 1}", 1280, 400, sport=n * 7 + 1) for n in range(60)}
    result = capture.run("frags", tmp_path, [frame for frames in sent.values() for frame in frames])
    assert result.moved.forwarded == sum(map(len, sent.values()))
    ports = []
    for frames in sent.values():
        there = [port for port in (0, 1) if forwarded(frames[0], port)[14:] in [f[14:] for f in result.out[port]]]
        assert len(there) == 1
        wanted = [forwarded(frame, there[0])[14:] for frame in frames]
        assert [f[14:] for f in result.out[there[0]] if f[14:] in wanted] == wanted
        ports += there
    assert set(ports) == {0, 1}


def test_errors_about_first_fragments_alone(hugepages: Path, tmp_path: Path) -> None:
    """RFC 1812 4.3.2.7."""
    frames = fragments("203.0.113.9", 1280, 400)
    result = capture.run("fragerr", tmp_path, frames)
    assert result.moved.drops == {"no_route": len(frames)}
    assert [decoded(frame)[ICMP].type for frame in result.out[0]] == [3]
    assert result.out[0][0][42:] == frames[0][14 : 14 + 548]


@pytest.mark.parametrize("length", [0, 1, 13])
def test_frames_shorter_than_ethernet(hugepages: Path, tmp_path: Path, length: int) -> None:
    result = capture.run("short", tmp_path, [to(4, 1)[:length], to(4, 1)])
    assert result.moved.drops == {"frame_truncated": 1}
    assert result.moved.forwarded == 1


def test_without_hugepages(root: None, tmp_path: Path) -> None:
    """fastpath.hugepages = false: the same, with a warning of what it costs."""
    result = capture.run("nohuge", tmp_path, [to(4, 1), to(6, 1)], hugepages=False)
    assert result.moved.forwarded == 2
    assert "hugepages = false" in result.output
