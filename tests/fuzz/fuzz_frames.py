"""Arbitrary frames through the whole worker, from file to file: no crash, and the counters' invariants hold.

Mutants of good frames, seeded: a run can be repeated. A crash leaves its frames in the test's folder (in.pcap): what
remains after cutting it down goes to tests/vectors/frames/NAME.pcap, which every run feeds too.
With marker `full`: more frames, every SIMD variant, and a build with the address and undefined behaviour sanitizers.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP, TCP, IPOption_RR
from scapy.layers.inet6 import (
    ICMPv6ND_NS,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP
from scapy.packet import Raw

import dpdkrouter
import fastpath
from fastpath import probe
from fastpath._build import VARIANTS
from planekit import capture
from planekit.fabric import Special
from planekit.frames import checksum, ethernet, frame4, frame6, special, to, udp4, udp6

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
VECTORS = sorted((ROOT / "tests" / "vectors" / "frames").glob("*.pcap"))
EDGES = (0, 1, 2, 4, 5, 6, 15, 16, 19, 20, 40, 44, 45, 58, 60, 64, 69, 96, 127, 128, 224, 240, 254, 255)
LONGEST = 1514


def seeds() -> list[bytes]:
    """Good frames of every kind that the stages tell apart."""
    headers = IPv6(src="2001:db8:18::5", dst="2001:db8:ffff::9")
    return [
        *(to(family, port, bytes(40)) for family in (4, 6) for port in range(3)),
        *(special(family, number) for family in (4, 6) for number in Special),
        *(to(family, 2, bytes(1400)) for family in (4, 6)),
        to(4, 1, ttl=1),
        to(6, 1, hlim=1),
        frame4(0, udp4("203.0.113.9")),
        frame6(0, udp6("2001:db8:ffff::9")),
        frame4(0, IP(src="198.18.0.5", dst="10.0.0.1") / TCP(dport=179)),
        frame4(0, IP(src="198.18.0.5", dst="198.18.1.7", options=[IPOption_RR()]) / ICMP()),
        frame4(0, IP(src="198.18.0.5", dst="203.0.113.9", frag=9, flags="MF") / Raw(bytes(32))),
        frame6(0, headers / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / ICMPv6TimeExceeded() / headers),
        frame6(0, headers / IPv6ExtHdrRouting() / IPv6ExtHdrFragment(offset=4) / Raw(bytes(32))),
        frame6(0, IPv6(src="::", dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(), bytes.fromhex("3333ff000001")),
        ethernet(0, bytes(ARP(pdst="10.0.0.1")), 0x0806, b"\xff" * 6),
    ]


def _bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _edge(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] = rng.choice(EDGES)


def _header(data: bytearray, rng: random.Random) -> None:
    """The bytes that decide: from the EtherType to the IPv6 header's end."""
    data[rng.randrange(min(12, len(data) - 1), min(58, len(data)))] = rng.choice(EDGES)


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _grow(data: bytearray, rng: random.Random) -> None:
    data += rng.randbytes(rng.randrange(1, LONGEST))


def _splice(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start : start + rng.randrange(1, 32)] = rng.randbytes(rng.randrange(0, 32))


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_bits, _edge, _cut, _grow, _splice),
    *(_header, _header),  # twice as often
)


def checksummed(data: bytearray) -> None:
    """Set the IPv4 header checksum right, else most mutants end at it."""
    length = (data[14] & 15) * 4 if len(data) >= 34 else 0
    if length < 20 or len(data) < 14 + length or data[12:14] != b"\x08\x00":
        return
    data[24:26] = b"\0\0"
    data[24:26] = checksum(bytes(data[14 : 14 + length])).to_bytes(2, "big")


def mutants(seed: int, count: int) -> list[bytes]:
    """`count` frames, the same for the same seed."""
    rng = random.Random(seed)
    good = seeds()
    frames = []
    for _ in range(count):
        data = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 3)):
            if data:
                rng.choice(MUTATIONS)(data, rng)
        if rng.random() < 0.7:
            checksummed(data)
        frames.append(bytes(data[:LONGEST]))
    return frames


def feed(
    name: str,
    folder: Path,
    frames: list[bytes],
    *,
    simd: str = "auto",
    timeout: float = 60.0,
    env: dict[str, str] | None = None,
) -> capture.Captured:
    """Frames in; all are accounted for, and the process ends as it should."""
    result = capture.run(name, folder, frames, simd=simd, timeout=timeout, env=env)
    assert result.exit_code == 0, result.output[-4000:]
    assert result.snapshot.wrong() == []
    assert result.moved.rx == len(frames)
    return result


def test_the_same_seed_gives_the_same_frames() -> None:
    assert mutants(7, 50) == mutants(7, 50) != mutants(8, 50)


def test_mutants_take_every_way(hugepages: Path, tmp_path: Path) -> None:
    """A fuzzer whose frames all end at the first check would find nothing."""
    result = feed("fuzz", tmp_path, mutants(1, 8000))
    assert result.moved.forwarded > 800
    assert len(result.moved.drops) >= 20, result.moved.drops
    assert len(result.moved.punts) == 4


def test_vectors(hugepages: Path, tmp_path: Path) -> None:
    """Frames that once broke something."""
    assert VECTORS
    for vector in VECTORS:
        feed("vector", tmp_path, capture.read_pcap(vector))


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("simd", probe.supported_variants())
def test_many_mutants(hugepages: Path, tmp_path: Path, simd: str) -> None:
    feed("fuzzlong", tmp_path, mutants(len(simd), 100_000), simd=simd, timeout=300.0)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_mutants_under_sanitizers(hugepages: Path, tmp_path: Path) -> None:
    """A build of its own, in the test's folder, with -fsanitize=address,undefined; a finding ends the process."""
    site = sanitized_build(tmp_path)
    libraries = [subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip()
                 for name in ("libasan.so", "libubsan.so")]  # fmt: skip
    env = {
        "LD_PRELOAD": ":".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
        "PYTHONPATH": str(site),
    }
    where = [sys.executable, "-P", "-c", "import fastpath.router as r; print(r.__file__)"]
    loaded = Path(subprocess.check_output(where, env={**os.environ, **env}, text=True).strip())
    assert loaded.is_relative_to(site)
    assert b"__asan_report_load" in loaded.read_bytes(), "the module is not instrumented"
    for path in VECTORS:
        feed("fuzzsan", tmp_path, capture.read_pcap(path), env=env, timeout=120.0)
    result = feed("fuzzsan", tmp_path, mutants(3, 30_000), env=env, timeout=300.0)
    assert "runtime error" not in result.output


def sanitized_build(folder: Path) -> Path:
    """The installed packages, the fast path's modules in them built anew with sanitizers; the place for sys.path."""
    site, build = folder / "site", folder / "build"
    for package in (dpdkrouter, fastpath):
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, site / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    tools = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    worker = VARIANTS[probe.best_variant()].rpartition(".")[2]
    suffix = EXTENSION_SUFFIXES[0]
    modules = [f"fastpath/{name}{suffix}" for name in ("eal", "port", "router", "segment", worker)]
    options = ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Ddebug_checks=true", "-Doptimization=1"]
    for words in (
        [tools / "meson", "setup", build, ROOT, *options],
        [tools / "ninja", "-C", build, "-j", "2", *modules],
    ):
        done = subprocess.run(list(map(str, words)), env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for module in modules:
        shutil.copyfile(build / module, site / module)
    return site
