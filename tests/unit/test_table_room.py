"""How many more routes fit, against a table that is then filled until it refuses."""

from pathlib import Path

import pytest

from dpdkrouter.fib import Fib, Limits
from dpdkrouter.fib.records import Use
from dpdkrouter.fib.room import room
from table_model import apply, fill_groups, segment_path


def use(**used: tuple[int, int]) -> dict[str, Use]:
    """Uses of an empty table, but these."""
    empty = {"ipv4_routes": (0, 100), "ipv6_routes": (0, 9000), "ipv4_extended": (0, 10), "ipv6_trie": (0, 1 << 20)}
    return {part: Use(*numbers, part) for part, numbers in {**empty, **used}.items()}


def test_the_narrowest_part_says_how_many() -> None:
    assert room(use()) == {"ipv4": 100, "ipv4_longer": 10, "ipv6": 9000}
    assert room(use(ipv4_routes=(95, 100)))["ipv4_longer"] == 5
    assert room(use(ipv4_extended=(10, 10)))["ipv4_longer"] == 0
    assert room(use(ipv4_routes=(101, 100)))["ipv4"] == 0
    assert room(use(ipv6_trie=((1 << 20) - 640, 1 << 20)))["ipv6"] == 10
    assert room(use(ipv6_routes=(2000, 9000), ipv6_trie=(200_000, 1 << 20)))["ipv6"] == 7000
    assert room(use(ipv6_routes=(2000, 9000), ipv6_trie=(600_000, 1 << 20)))["ipv6"] == 1495


@pytest.fixture
def path() -> Path:
    return segment_path("/dev/shm", "room")


def test_what_is_promised_fits(path: Path) -> None:
    fib = Fib.create(path, Limits(600, 9000, 10, 10, 1, 50, 1))
    try:
        (group,) = fill_groups(fib, 1)
        promised = room(fib.reader.use())
        assert apply(fib, 4, [(i << 8, 27, group) for i in range(promised["ipv4_longer"])]).refused == ()
        promised = room(fib.reader.use())
        assert promised["ipv4_longer"] == 0
        done = apply(fib, 4, [(0x0A << 24 | i << 8, 24, group) for i in range(promised["ipv4"] + 1)])
        assert (done.inserted, done.refused_count) == (promised["ipv4"], 1)
        sites = [(0x2001 << 112 | i << 80, 48, group) for i in range(1500)]
        assert apply(fib, 6, sites).refused == ()
        more = room(fib.reader.use())["ipv6"]
        alike = [(0x2002 << 112 | i << 80, 48, group) for i in range(more)]
        assert apply(fib, 6, alike).inserted > 0.9 * more
    finally:
        fib.close()
        path.unlink()
