"""The tap's parts in ExaBGP's process: what it takes from a session, what it sends the helper, and its check."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from exabgp.reactor.delay import Delay

from dpdkrouter.bgp import tap, tapcheck
from dpdkrouter.bgp.forwarding import Forwarding
from dpdkrouter.bgp.frames import HEADER, LINE, START
from dpdkrouter.bgp.tap import PENDING_LIMIT, Tap, whole_or_wrong, whole_updates
from updatekit import MARKER, message, update

if TYPE_CHECKING:
    from collections.abc import Iterator

UP = '{"type": "state", "neighbor": {"address": {"peer": "192.0.2.9"}, "state": "up"}}'
DOWN = UP.replace("up", "down")
OPEN = '{"type": "open", "neighbor": {"address": {"peer": "192.0.2.9"}, "direction": "receive", "open": {}}}'


@pytest.fixture
def helper() -> Iterator[subprocess.Popen[bytes]]:
    """A helper that hangs: it reads nothing of its stdin."""
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


def cat() -> subprocess.Popen[bytes]:
    """A helper that says what it is told."""
    return subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def told(process: subprocess.Popen[bytes]) -> list[tuple[int, bytes]]:
    """Kind and body of the frames that a `cat` got; it ends."""
    data, _ = process.communicate(timeout=10)
    found = []
    while data:
        kind, size, _ = HEADER.unpack_from(data)
        found.append((kind, data[HEADER.size : HEADER.size + size]))
        data = data[HEADER.size + size :]
    return found


def test_the_installed_exabgp_is_known() -> None:
    assert tapcheck.difference() is None


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"exabgp/reactor/peer.py": "0"}, r"exabgp/reactor/peer\.py is not that of ExaBGP 5\.0\.15 as published"),
        ({"exabgp/reactor/gone.py": "0"}, r"exabgp/reactor/gone\.py can't be read: No such file"),
    ],
)
def test_another_exabgp_is_not(monkeypatch: pytest.MonkeyPatch, known: dict[str, str], said: str) -> None:
    monkeypatch.setattr(tapcheck, "KNOWN", known)
    found = tapcheck.difference()
    assert found is not None
    assert re.match(said, found)


def test_whole_updates_are_taken_and_nothing_else() -> None:
    one, keepalive = update(), message(b"", 4)
    assert whole_updates(bytearray(one + one + keepalive + one), 4096) == (2 * len(one), 2)
    assert whole_updates(bytearray(one + one[:-1]), 4096) == (len(one), 1)
    assert whole_updates(bytearray(one), len(one) - 1) == (0, 0)
    assert whole_updates(bytearray(b"\0" + one[1:]), 4096) == (0, 0)
    assert whole_updates(bytearray(MARKER + b"\0\x16\2" + bytes(9)), 4096) == (0, 0)
    assert whole_updates(bytearray(), 4096) == (0, 0)


def test_what_exabgp_has_to_see() -> None:
    keepalive = message(b"", 4)
    assert whole_or_wrong(bytearray(keepalive), 4096)
    assert not whole_or_wrong(bytearray(keepalive[:-1]), 4096)
    assert not whole_or_wrong(bytearray(update()[:-1]), 4096)
    assert whole_or_wrong(bytearray(bytes(19)), 4096)
    assert whole_or_wrong(bytearray(MARKER + b"\0\x12\4"), 4096)
    assert whole_or_wrong(bytearray(MARKER + b"\x10\1\4"), 4096)


def test_a_writer_never_waits(helper: subprocess.Popen[bytes]) -> None:
    found = Tap(Forwarding(None, frozenset()))
    found.attach(helper)
    assert not found.writer.full()
    for _ in range(PENDING_LIMIT // 1000 + 2000):
        found.writer.put(bytes(1000))
    assert found.writer.full()
    assert helper.poll() is None
    for _ in range(tap.HARD_LIMIT // 100_000 + 1):
        found.writer.put(bytes(100_000))
    assert helper.wait(10) != 0
    assert not found.writer.full()


def test_a_dead_helper_is_no_error(helper: subprocess.Popen[bytes]) -> None:
    found = Tap(Forwarding(None, frozenset()))
    found.attach(helper)
    helper.kill()
    helper.wait()
    for _ in range(3):
        found.line(UP)
    assert not found.writer.full()


def test_a_new_helper_is_told_what_is_up() -> None:
    found = Tap(Forwarding(None, frozenset()))
    with cat() as first, cat() as second, cat() as third:
        found.attach(first)
        for line in (OPEN, UP, '{"type": "notification"}'):
            found.line(line)
        said = [(LINE, OPEN.encode()), (LINE, UP.encode()), (LINE, b'{"type": "notification"}')]
        assert told(first) == [(START, b""), *said]
        found.attach(second)
        assert told(second) == [*said[:2], (START, b"")]
        found.line(DOWN)
        found.attach(third)
        assert told(third) == [(START, b"")]


def test_a_late_or_wrong_command_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    found = Tap(Forwarding(None, frozenset()))
    found.command("dpdkrouter notify 7 3 1")
    assert not caplog.records
    found.command("dpdkrouter notify x")
    assert "is wrong" in caplog.text


def test_attempts_to_connect_are_no_further_apart_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def longest() -> float:
        delay = Delay()
        for _ in range(40):
            delay.increase()
        return float(delay._time - time.time())

    monkeypatch.setattr(Delay, "increase", Delay.increase)  # put back afterwards
    assert longest() > 55
    tap.limit_delay(5)
    assert 4 < longest() <= 5
