"""The helper's buffers, and the helper as a process with pipes and a socket instead of ExaBGP and the
control process.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

from dpdkrouter.bgp import helper
from dpdkrouter.bgp.helper import CommandBuffer, FeedBuffer, Hold

VECTORS = Path(__file__).parents[1] / "vectors" / "exabgp"
BIRD = (VECTORS / "bird.jsonl").read_bytes().split(b"\n", 1)[1]  # without the hello, which is the helper's own
UP = BIRD[: BIRD.index(b'"type": "notification"')].rsplit(b"\n", 1)[0] + b"\n"  # all but the end: both sessions up


def drain(buffer: FeedBuffer, step: int = 1 << 20) -> bytes:
    out = b""
    while block := buffer.next_block():
        part = block[:step]
        out += part
        buffer.sent(len(part))
    return out


def hello(line: bytes) -> dict[str, object]:
    found: dict[str, object] = json.loads(line)
    assert found["dpdkrouter"] == "hello"
    return found


def test_everything_waits_for_the_first_connection() -> None:
    buffer = FeedBuffer("e", respawned=False)
    for start in range(0, len(BIRD), 7):
        buffer.feed(BIRD[start : start + 7])
    buffer.connected()
    first, rest = drain(buffer, 5).split(b"\n", 1)
    found = hello(first)
    assert (found["gap"], found["peers"], found["connection"], found["epoch"]) == (False, [], 1, "e")
    assert rest == BIRD


def test_a_second_connection_has_a_gap_and_the_peers() -> None:
    buffer = FeedBuffer("e", respawned=False)
    buffer.connected()
    buffer.feed(UP)
    drain(buffer)
    buffer.disconnected()
    buffer.feed(b'{"lost": 1}\n{"half":')
    buffer.connected()
    buffer.feed(b" 2}\n")
    first, rest = drain(buffer).split(b"\n", 1)
    found = hello(first)
    assert (found["gap"], found["connection"], found["dropped"]) == (True, 2, 1)
    peers = found["peers"]
    assert isinstance(peers, list)
    assert {(peer["address"], peer["state"], "open" in peer) for peer in peers} == {
        ("192.0.2.9", "up", True),
        ("2001:db8::9", "up", True),
    }
    assert rest == b'{"half": 2}\n'


def test_a_respawned_helper_says_gap_at_once() -> None:
    buffer = FeedBuffer("e", respawned=True)
    buffer.feed(b'{"early": 1}\n')
    buffer.connected()
    assert hello(drain(buffer))["gap"] is True


def test_beyond_the_bound_lines_are_dropped_and_a_hello_says_so() -> None:
    buffer = FeedBuffer("e", respawned=False, limit=1000)
    buffer.connected()
    buffer.feed(b"a" * 500 + b"\n")
    for _ in range(5):
        buffer.feed(b"b" * 500 + b"\n")
    lines = drain(buffer).splitlines()
    assert [line[:1] for line in lines] == [b"{", b"a", b"{"]
    assert (hello(lines[2])["gap"], hello(lines[2])["dropped"]) == (True, 5)
    buffer.feed(b"c\n")
    assert drain(buffer) == b"c\n"


def test_a_line_without_an_end_does_not_grow() -> None:
    buffer = FeedBuffer("e", respawned=False, limit=64 << 20)
    buffer.connected()
    drain(buffer)
    for _ in range(helper.LINE_LIMIT // (1 << 20) + 2):
        buffer.feed(b"x" * (1 << 20))
    buffer.feed(b"tail\nnext\n")
    first, second = drain(buffer).splitlines()
    assert hello(first)["gap"] is True
    assert second == b"next"


def test_commands_are_whole_lines_of_printable_ascii() -> None:
    commands = CommandBuffer()
    commands.feed(b"neighbor 192.0.2.9 tear")
    commands.feed(b"down 4\nbad \xc3\xa9\nalso\x00bad\n\nlast\nhalf")
    commands.disconnected()
    commands.feed(b"whole\n")
    assert bytes(commands.pending) == b"neighbor 192.0.2.9 teardown 4\nlast\nwhole\n"
    assert commands.refused == 2
    commands.feed(b"x" * (helper.COMMAND_LINE_LIMIT + 1))
    commands.feed(b"rest\nafter\n")
    assert bytes(commands.pending).endswith(b"whole\nafter\n")


def test_the_process(tmp_path: Path) -> None:
    """Feed in, commands out, reconnecting, a respawn's marker, the end with stdin."""
    path, marker = tmp_path / "bgp.sock", tmp_path / "marker"

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", helper.__file__, str(path), str(marker), "100000", "json", "none", "60"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    with start() as process, socket.socket(socket.AF_UNIX) as server:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"before": 1}\n')
        process.stdin.flush()
        time.sleep(2 * helper.RECONNECT_SECONDS)  # its first attempts find no socket
        server.bind(str(path))
        server.listen()
        server.settimeout(10)
        with server.accept()[0] as control:
            control.settimeout(10)
            with control.makefile("rb") as lines:
                assert hello(lines.readline())["gap"] is False
                assert lines.readline() == b'{"before": 1}\n'
            control.sendall(b"one\ntwo\nhal")
            assert process.stdout.readline() + process.stdout.readline() == b"one\ntwo\n"
        with server.accept()[0] as control, control.makefile("rb") as lines:
            control.settimeout(10)
            assert hello(lines.readline())["gap"] is True
            # Nobody reads now: ExaBGP's writes must go on. 20 MB are far beyond all buffers.
            for _ in range(200):
                process.stdin.write(b'{"x": "' + b"y" * 99_000 + b'"}\n')
            process.stdin.write(b'{"last": 1}\n')
            process.stdin.flush()
            rest = [lines.readline()]
            while not rest[-1].startswith(b'{"dpdkrouter"'):
                rest.append(lines.readline())
            assert hello(rest[-1])["gap"] is True
            process.stdin.close()
            assert process.wait(10) == 0
    with start() as process, socket.socket(socket.AF_UNIX) as server:
        path.unlink()
        server.bind(str(path))
        server.listen()
        server.settimeout(10)
        with server.accept()[0] as control, control.makefile("rb") as lines:
            assert hello(lines.readline())["gap"] is True


def test_silence_of_the_control_process_is_measured_from_its_last_word(tmp_path: Path) -> None:
    path = tmp_path / "announced.json"
    hold = Hold(str(path), 60, 100.0)
    assert hold.left(130.0) == 30.0
    hold.heard(150.0)
    assert hold.left(209.0) == 1.0
    assert hold.withdrawals() == [], "nothing was announced"
    assert hold.left(1e9) == float("inf"), "and once is enough"
    path.write_text(json.dumps({"asked": [], "told": {}, "withdraw": ["one", "two"]}))
    hold.heard(300.0)
    assert hold.left(360.0) == 0.0
    assert hold.withdrawals() == ["one", "two"]
    assert Hold(str(path), 0, 100.0).left(1e9) == float("inf"), "0: never"


def test_a_silent_control_process_is_withdrawn_for_and_cut_off(tmp_path: Path) -> None:
    path, announced = tmp_path / "bgp.sock", tmp_path / "announced.json"
    words = [str(path), str(tmp_path / "marker"), "100000", "json", str(announced), "2"]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(10)
        with subprocess.Popen(
            [sys.executable, "-I", "-S", helper.__file__, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            announced.write_text(json.dumps({"withdraw": ["withdraw one", "withdraw two"]}))
            with server.accept()[0] as control, control.makefile("rb") as lines:
                control.settimeout(10)
                control.sendall(helper.ALIVE + b"\nannounce one\n")
                assert process.stdout.readline() == b"announce one\n"
                assert process.stdout.readline() == b"withdraw one\n", "and the word of life is for the helper alone"
                assert process.stdout.readline() == b"withdraw two\n"
                assert hello(lines.readline())["gap"] is False
                assert lines.readline() == b"", "the connection is closed"
            with server.accept()[0] as control, control.makefile("rb") as lines:
                control.settimeout(10)
                assert hello(lines.readline())["gap"] is True
                control.sendall(b"announce again\n")
                assert process.stdout.readline() == b"announce again\n"
                process.stdin.close()
                assert process.wait(10) == 0
