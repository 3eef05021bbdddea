"""scripts/bench fib: a small run of the whole, its JSON, its answers against the ten-line model; and that errors show."""

import bz2
import gzip
import json
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchlib import destinations, files, model, peer, routes
from benchlib.fib import Set, _compare
from benchlib.segment import BenchError, apply, load, lookups, segment, variant
from benchlib.updates import leaves
from benchlib.watcher import watching
from dpdkrouter.fib import Fib, Limits
from fastpath import probe
from table_model import Model, bits, pack

ROOT = Path(__file__).resolve().parents[2]
TABLE = {4: 3000, 6: 1500}
SMALL = Limits(10_000, 10_000, 600, 600, 8, 64, 2)
NAMES = [
    ("ipv4_lookup_random", "cycles/lookup"),
    ("ipv4_lookup_zipf", "cycles/lookup"),
    ("ipv4_lookup_uniform", "cycles/lookup"),
    ("ipv6_lookup_random", "cycles/lookup"),
    ("load_full_table", "s"),
    ("update_rate", "1/s"),
    ("cover_withdraw_slash8", "s"),
    ("segment_bytes_ipv4", "bytes"),
    ("segment_bytes_ipv6", "bytes"),
]


def numbers(table: routes.Routes | destinations.Addresses, family: int) -> list[int]:
    """Addresses as the model has them."""
    hi, lo = (table.hi, table.lo) if isinstance(table, routes.Routes) else table
    return [(h << 64 | low) >> (128 - bits(family)) for h, low in zip(hi.tolist(), lo.tolist(), strict=True)]


def reference(table: routes.Routes) -> Model:
    known = Model(table.family)
    prefixes = zip(numbers(table, table.family), table.lengths.tolist(), strict=True)
    known.routes = dict(zip(prefixes, table.groups.tolist(), strict=True))
    return known


@pytest.fixture
def fib() -> Iterator[Fib]:
    with segment(Path("/dev/shm"), SMALL) as made:
        yield made


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts" / "bench"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def test_a_small_run_prints_every_figure_and_the_models_checksums() -> None:
    done = bench(
        *("fib", "--json", "--no-peer", "--runs", "2", "--destinations", "2000", "--updates", "300"),
        *("--routes4", str(TABLE[4]), "--routes6", str(TABLE[6]), "--seed", "7", "--directory", "/dev/shm"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report) == ["machine", "commit", "table", "results"]
    assert report["machine"]["simd"] == probe.best_variant()
    assert [(result["name"], result["unit"]) for result in report["results"]] == NAMES
    for result in report["results"]:
        assert list(result) == ["name", "value", "unit", "min", "max", "runs", "peer"]
        assert 0 < result["min"] <= result["value"] <= result["max"]
        assert result["runs"] == (1 if result["unit"] == "bytes" else 2)
    makers = {"random": destinations.random_hosts, "zipf": destinations.zipf, "uniform": destinations.uniform}
    for name, found in report["table"]["checksums"].items():
        family, how = int(name[3]), name.rpartition("_")[2]
        table = routes.generate(family, TABLE[family], 7)
        known = reference(table)
        expected = [known.lookup(address) for address in numbers(makers[how](table, 2000, 7), family)]
        assert found == model.checksum(np.array(expected, dtype=np.uint16)), name


def test_a_wrong_option_and_a_missing_table_are_errors(tmp_path: Path) -> None:
    assert bench("fib", "--runs", "0").returncode == bench("fib", "--simd", "none").returncode == 2
    missing = bench("fib", "--no-peer", "--table", str(tmp_path / "none"))
    assert missing.returncode == 1
    assert "none" in missing.stderr


@pytest.mark.parametrize(("family", "total"), [(4, 105_000), (6, 23_500)])
def test_the_generated_table_has_the_real_shape(family: int, total: int) -> None:
    table = routes.generate(family, total, 3)
    assert total * 0.99 < len(table) <= total
    high, low = routes.masks(table.lengths)
    assert not (table.hi & ~high).any()
    assert not (table.lo & ~low).any()
    keys = set(zip(numbers(table, family), table.lengths.tolist(), strict=True))
    assert len(keys) == len(table)
    lengths = Counter(table.lengths.tolist())
    for length, share in (routes.SHARES4 if family == 4 else routes.SHARES6).items():
        assert abs(100 * lengths[length] / len(table) - share) < 1.5, length
    width = bits(family)
    siblings = sum((n + (1 << (width - length)), length) in keys for n, length in keys)
    assert siblings > len(table) / 3
    assert (routes.generate(family, total, 3).hi == table.hi).all()
    assert not np.array_equal(routes.generate(family, total, 4).hi[:100], table.hi[:100])


def test_destinations_are_inside_popular_or_anywhere() -> None:
    table = routes.generate(6, 2000, 1)
    known = reference(table)
    inside = destinations.random_hosts(table, 3000, 1)
    assert all(known.lookup(address) for address in numbers(inside, 6))
    often = Counter(numbers(destinations.zipf(table, 3000, 1), 6)).most_common(1)[0][1]
    assert often > 200  # 1 / H(3000) of them is 350
    anywhere = destinations.uniform(routes.generate(4, 2000, 1), 3000, 1)
    assert len(set((anywhere[0] >> np.uint64(56)).tolist())) == 256


@pytest.mark.parametrize("family", [4, 6])
def test_the_model_and_every_variant_agree(family: int, fib: Fib) -> None:
    table = routes.generate(family, 5000, 5)
    assert load(fib, [table]) > 0
    addresses = destinations.random_hosts(table, 1001, 5)
    expected = model.groups_of(table, addresses)
    known = reference(table)
    assert expected.tolist() == [known.lookup(address) for address in numbers(addresses, family)]
    for name in probe.supported_variants():
        for fenced in (False, True):
            cycles, groups = lookups(variant(name), fib.mapping, family, addresses, fenced=fenced)
            assert cycles > 0
            assert groups.tolist() == expected.tolist(), name


def test_timed_lookups_refuse_columns_that_do_not_fit(fib: Fib) -> None:
    timed = variant(probe.best_variant())
    words, groups = np.zeros(3, dtype=np.uint32), np.zeros(2, dtype=np.uint16)
    with pytest.raises(ValueError, match="3 addresses, 2 groups"):
        timed.lookups4(fib.mapping, words.data, groups.data, 64, False)
    with pytest.raises(ValueError, match="burst 0"):
        timed.lookups4(fib.mapping, words[:2].data, groups.data, 0, False)
    halves = np.zeros(2, dtype=np.uint64)
    with pytest.raises(ValueError, match="1 addresses, 2 groups"):
        timed.lookups6(fib.mapping, halves.data, halves[:1].data, groups.data, 64, False)


def test_a_wrong_answer_is_an_error(tmp_path: Path, fib: Fib) -> None:
    table = routes.generate(4, 1000, 1)
    addresses = destinations.random_hosts(table, 100, 1)
    expected = model.groups_of(table, addresses)
    chosen = Set("some", table, addresses, expected, tmp_path, tmp_path)
    _compare(chosen, expected)
    other = expected.copy()
    other[17] += 1
    with pytest.raises(BenchError, match="some: 1 answers are not the model's, the first of address 17"):
        _compare(chosen, other)
    load(fib, [table])
    with watching(fib, tmp_path, 4, addresses, expected, other) as seen:
        apply(fib, table)
    assert seen.answers >= 100
    with (
        pytest.raises(BenchError, match="wrong answers while the table changed"),
        watching(fib, tmp_path, 4, addresses, other, other),
    ):
        apply(fib, table)


def test_leaves_have_nothing_inside() -> None:
    table = routes.generate(4, 3000, 2)
    keys = set(zip(numbers(table, 4), table.lengths.tolist(), strict=True))
    found = leaves(table)
    inner = set(zip(numbers(found, 4), found.lengths.tolist(), strict=True))
    covers = {(n >> (32 - up) << (32 - up), up) for n, length in keys for up in range(length)}
    assert inner == keys - covers


def test_tables_from_files(tmp_path: Path) -> None:
    text = b"# some\n192.0.2.0/24 via x\n\n2001:db8::/32  # doc\n192.0.2.0/24\n10.0.0.0/8\n"
    for name, data in (("plain", text), ("a.gz", gzip.compress(text)), ("a.bz2", bz2.compress(text))):
        (tmp_path / name).write_bytes(data)
        found = files.load(tmp_path / name)
        assert sorted(zip(numbers(found[4], 4), found[4].lengths.tolist(), strict=True)) == [
            (0x0A000000, 8),
            (0xC0000200, 24),
        ]
        assert numbers(found[6], 6) == [0x20010DB8 << 96]
    (tmp_path / "bad").write_text("10.0.0.0/8\n10.0.0.1/8\n")
    with pytest.raises(files.TableFileError, match=r"bad:2: 10\.0\.0\.1/8 has host bits set"):
        files.load(tmp_path / "bad")


def record(subtype: int, body: bytes) -> bytes:
    return struct.pack(">IHHI", 1, 13, subtype, len(body)) + body


def test_tables_from_mrt(tmp_path: Path) -> None:
    dump = (
        record(1, bytes(10))
        + record(2, struct.pack(">IB", 0, 20) + bytes([10, 1, 0xF0]) + bytes(2))
        + record(4, struct.pack(">IB", 1, 32) + bytes([0x20, 1, 0x0D, 0xB8]) + bytes(2))
        + record(8, struct.pack(">IB", 2, 0) + bytes(2))
    )
    path = tmp_path / "rib.mrt"
    path.write_bytes(gzip.compress(dump))
    found = files.load(path)
    assert sorted(zip(numbers(found[4], 4), found[4].lengths.tolist(), strict=True)) == [(0, 0), (0x0A01F000, 20)]
    assert numbers(found[6], 6) == [0x20010DB8 << 96]
    for broken, words in (
        (dump[:-1], "cut short at byte 67: a record of 7 bytes"),
        (dump + b"abc", "cut short at byte 86: 3 bytes of a header"),
        (record(2, struct.pack(">IB", 0, 33) + bytes(8)), "record at byte 0: prefix length 33: from 0 to 32"),
    ):
        path.write_bytes(broken)
        with pytest.raises(files.TableFileError, match=words):
            files.load(path)


@pytest.mark.parametrize("family", [4, 6])
def test_both_sides_read_the_same_files(tmp_path: Path, family: int) -> None:
    table = routes.generate(family, 500, 1)
    addresses = destinations.random_hosts(table, 640, 1)
    table_file, addresses_file = tmp_path / "routes", tmp_path / "addresses"
    files.write_routes(table_file, table)
    files.write_addresses(addresses_file, family, *addresses)
    for ours, written in zip(files.read_addresses(addresses_file, family), addresses, strict=True):
        assert (ours == written).all()
    place = peer.Place(0, huge=False)
    blocks = peer.needed_blocks(table, table_file, addresses_file, place)
    scalar = peer.run(peer.CONFIGURATIONS[family][0], table_file, addresses_file, blocks, place)
    assert scalar is not None
    assert scalar > 0
    with pytest.raises(RuntimeError, match="dpdk-test-fib"):
        peer.run(peer.CONFIGURATIONS[family][0], tmp_path / "none", addresses_file, blocks, place)


def test_the_numbers_helper_packs_as_the_bench_does() -> None:
    for family in (4, 6):
        table = routes.generate(family, 300, 1)
        assert routes.packed(family, table.hi, table.lo) == pack(family, numbers(table, family))
