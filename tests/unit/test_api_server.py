"""The API's server over a real socket: what it answers, and what it withstands."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import socket
import stat
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from apikit import connected, exchange, serving
from dpdkrouter.api.protocol import LINE_LIMIT, accepts
from dpdkrouter.api.server import ApiServer
from dpdkrouter.errors import AlreadyRunningError, ApiError, ConfigError, RequestError, SegmentError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

Params = dict[str, Any]


@accepts("text")
def echo(params: Params) -> Any:
    return params.get("text")


def refuse(_: Params) -> Any:
    raise RequestError("192.0.2.0/24: no such route")


def damaged(_: Params) -> Any:
    raise SegmentError("the table cannot be read")


def broken(_: Params) -> Any:
    empty: dict[str, int] = {}
    return empty["secret"]


def unsayable(_: Params) -> Any:
    return {"value": object()}


def count(params: Params) -> Generator[int, None, int]:
    to: int = params["to"]
    yield from range(to)
    return to


def count_then_refuse(_: Params) -> Iterator[int]:
    yield 1
    raise RequestError("the second one is gone")


METHODS = {
    "echo": echo,
    "refuse": refuse,
    "damaged": damaged,
    "broken": broken,
    "unsayable": unsayable,
    "count": count,
    "count_then_refuse": count_then_refuse,
}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "api.sock"
    with serving(where, METHODS):
        yield where


def request(method: str, **params: Any) -> bytes:
    return json.dumps({"method": method, "params": params}).encode() + b"\n"


def error_of(answer: list[dict[str, Any]]) -> tuple[str, str]:
    assert len(answer) == 1, answer
    return answer[0]["error"]["kind"], answer[0]["error"]["message"]


def test_results_and_items(path: Path) -> None:
    assert exchange(path, request("echo", text="ü\n")) == [{"result": "ü\n"}]
    assert exchange(path, b'{"method":"echo"}\n') == [{"result": None}]
    assert exchange(path, request("count", to=3)) == [{"item": 0}, {"item": 1}, {"item": 2}, {"result": 3}]
    assert exchange(path, request("count", to=0)) == [{"result": 0}]


def test_requests_follow_each_other_on_one_connection(path: Path) -> None:
    assert exchange(path, request("echo", text=1) + request("refuse") + request("count", to=1)) == [
        {"result": 1},
        {"error": {"kind": "request", "message": "192.0.2.0/24: no such route"}},
        {"item": 0},
        {"result": 1},
    ]


def test_a_long_stream_is_whole_and_in_order(path: Path) -> None:
    answer = exchange(path, request("count", to=20_001))
    assert answer[:-1] == [{"item": number} for number in range(20_001)]


def test_errors_of_handlers(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert error_of(exchange(path, request("damaged"))) == ("request", "the table cannot be read")
    assert exchange(path, request("count_then_refuse")) == [
        {"item": 1},
        {"error": {"kind": "request", "message": "the second one is gone"}},
    ]
    assert not caplog.records
    kind, message = error_of(exchange(path, request("broken")))
    assert kind == "internal"
    assert "KeyError" in message
    assert "secret" not in message
    assert "secret" in caplog.text, "the log has what the client is not told"
    assert error_of(exchange(path, request("unsayable")))[0] == "internal"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"\n", "not JSON"),
        (b"GET / HTTP/1.1\n", "not JSON"),
        (b"\xff\xfe\x00\n", "not JSON"),
        (b"[" * 20_000 + b"\n", "not JSON"),
        (b"[1]\n", "found [1]"),
        (b"{}\n", "method: found null"),
        (b'{"method":7}\n', "method: found 7"),
        (b'{"method":"echo","params":[1]}\n', "params: found [1]"),
        (b'{"method":"echo","parms":{}}\n', "'parms'"),
        (b'{"method":"route.fly"}\n', "unknown method 'route.fly'; there are broken, count"),
        (b'{"method":"echo","params":{"txet":1}}\n', "echo: unknown parameters 'txet'; it has text"),
    ],
)
def test_what_is_no_request_is_named_and_the_connection_lives(path: Path, line: bytes, says: str) -> None:
    bad, good = exchange(path, line + request("echo", text=2))
    assert bad["error"]["kind"] == "protocol"
    assert says in bad["error"]["message"]
    assert good == {"result": 2}


def test_a_line_of_the_limit_is_taken_a_longer_one_ends_the_connection(path: Path) -> None:
    fill = LINE_LIMIT - len(request("echo", text=""))
    (answer,) = exchange(path, request("echo", text="x" * fill))
    assert len(answer["result"]) == fill
    with connected(path) as connection:
        connection.sendall(b"x" * (LINE_LIMIT + 1))
        with connection.makefile("rb") as lines:
            assert json.loads(lines.readline())["error"]["kind"] == "protocol"
            assert lines.read() == b""
    assert exchange(path, request("echo", text=1)) == [{"result": 1}]


def test_half_a_line_is_never_answered(path: Path) -> None:
    assert exchange(path, request("echo", text=1)[:-1]) == []
    assert exchange(path, request("echo", text=1) + b'{"method":"ec') == [{"result": 1}]
    with connected(path) as connection:
        for byte in request("echo", text=5):
            connection.sendall(bytes([byte]))
        assert json.loads(connection.recv(1000)) == {"result": 5}


def test_a_client_that_leaves_ends_its_generator(tmp_path: Path) -> None:
    ended = threading.Event()

    def endless(_: Params) -> Iterator[str]:
        try:
            while True:
                yield "x" * 1000
        finally:
            ended.set()

    path = tmp_path / "api.sock"
    with serving(path, {"endless": endless, **METHODS}):
        with connected(path) as connection:
            connection.sendall(request("endless"))
            assert connection.recv(100)
        assert ended.wait(20)
        assert exchange(path, request("echo", text=1)) == [{"result": 1}]


def test_a_slow_client_holds_up_nobody_and_no_memory(tmp_path: Path) -> None:
    taken = 0

    def endless(_: Params) -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "x" * 1000

    path = tmp_path / "api.sock"
    with serving(path, {"endless": endless, **METHODS}), connected(path) as connection:
        connection.sendall(request("endless"))
        before = -1
        while before != taken:
            before = taken
            time.sleep(0.2)
        assert 0 < taken < 5000
        assert exchange(path, request("echo", text=1)) == [{"result": 1}]


def test_a_generator_that_works_long_for_an_item_lets_the_loop_run(tmp_path: Path) -> None:
    turns = 0

    def searching(_: Params) -> Iterator[str | None]:
        for _turn in range(30):
            time.sleep(0.01)
            yield None
        yield f"{turns > 5}"

    async def watch() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    path = tmp_path / "api.sock"
    with serving(path, {"searching": searching}) as loop:
        watching = asyncio.run_coroutine_threadsafe(watch(), loop)
        assert exchange(path, request("searching")) == [{"item": "True"}, {"result": None}]
        watching.cancel()


def test_mode_and_group(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with serving(path, {}, group="daemon"):
        made = path.stat()
        assert stat.S_IMODE(made.st_mode) == 0o660
        assert made.st_gid == grp.getgrnam("daemon").gr_gid
        assert made.st_uid == os.geteuid()
    assert not path.exists()


def test_an_unknown_group_is_the_configuration_s_fault(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"api\.group: found 'no-such'"),
        serving(tmp_path / "api.sock", {}, group="no-such"),
    ):
        pass
    assert not (tmp_path / "api.sock").exists()


def test_a_living_server_keeps_its_socket_a_dead_one_s_is_replaced(path: Path, tmp_path: Path) -> None:
    with pytest.raises(AlreadyRunningError, match="answers here already"), serving(path, {}):
        pass
    assert exchange(path, request("echo", text=1)) == [{"result": 1}]
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abandoned:
        abandoned.bind(str(dead))
    assert dead.exists()
    with serving(dead, METHODS):
        assert exchange(dead, request("echo", text=1)) == [{"result": 1}]
    assert not dead.exists()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(ApiError, match="is not a socket"), serving(path, {}):
        pass
    assert path.read_text() == "precious"
    with pytest.raises(ApiError, match="cannot be made"), serving(tmp_path / "none" / "api.sock", {}):
        pass
    with pytest.raises(ApiError, match="too long"), serving(tmp_path / ("x" * 120), {}):
        pass


def test_a_successor_s_socket_survives_our_end(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with serving(path, METHODS):
        path.unlink()
        second = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        second.bind(str(path))
    assert path.exists()
    second.close()


def test_the_end_comes_at_once_with_clients_connected(tmp_path: Path) -> None:
    async def run() -> float:
        path = tmp_path / "api.sock"
        async with ApiServer(path, "root", METHODS):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(request("echo", text=1))
            assert await reader.readline() == b'{"result":1}\n'
            start = time.monotonic()
        took = time.monotonic() - start
        assert await reader.read() == b""
        writer.close()
        return took

    assert asyncio.run(run()) < 5
