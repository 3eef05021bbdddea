"""The API's client: against the real server, and against peers that misbehave."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from apikit import serving
from dpdkrouter.api.client import ApiClient
from dpdkrouter.errors import ControlUnreachableError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def add(params: dict[str, Any]) -> int:
    return int(params["a"]) + int(params["b"])


def refuse(_: dict[str, Any]) -> None:
    raise RequestError("10.0.0.0/8: no such route")


def rows(params: dict[str, Any]) -> Iterator[dict[str, int]]:
    for number in range(params["count"]):
        yield {"number": number}


def broken(_: dict[str, Any]) -> None:
    raise ZeroDivisionError


METHODS = {"add": add, "refuse": refuse, "rows": rows, "broken": broken}


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[ApiClient]:
    """A peer that reads one request, writes these bytes and closes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield ApiClient(path)
        thread.join()


def test_calls_and_streams(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with serving(path, METHODS):
        client = ApiClient(path)
        assert client.call("add", a=2, b=3) == 5
        assert list(client.stream("rows", count=1000)) == [{"number": number} for number in range(1000)]
        assert client.call("rows", count=1000) is None
        abandoned = client.stream("rows", count=100_000)
        assert next(abandoned) == {"number": 0}
        del abandoned
        assert client.call("add", a=1, b=1) == 2


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with serving(path, METHODS):
        client = ApiClient(path)
        with pytest.raises(RequestError, match=r"^10\.0\.0\.0/8: no such route$") as refused:
            client.call("refuse")
        assert refused.value.exit_code == 1
        with pytest.raises(RequestError, match="unknown method 'fly'"):
            list(client.stream("fly"))
        with pytest.raises(RequestError, match="internal error: ZeroDivisionError"):
            client.call("broken")
        with pytest.raises(RequestError, match="at most 65536"):
            client.call("add", a="x" * 70_000)


def test_nobody_there_says_what_to_start(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with pytest.raises(ControlUnreachableError, match=r"does not run; start it with `dpdkrouter control") as missing:
        ApiClient(path).call("add")
    assert missing.value.exit_code == 3
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    with pytest.raises(ControlUnreachableError, match="does not run"):
        ApiClient(path).call("add")


def test_who_may_not_ask_is_told_whom_to_join(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    for directory in (tmp_path, *tmp_path.parents):
        if directory.name.startswith("pytest-"):
            directory.chmod(0o755)
    with serving(path, METHODS):
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            try:
                ApiClient(path).call("add", a=1, b=1)
            except ControlUnreachableError as error:
                os._exit(0 if "api.group" in str(error) else 3)
            os._exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_silence_ends_after_the_time_limit(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(ControlUnreachableError, match=r"was silent for 0\.1 s"):
            ApiClient(path, timeout_s=0.1).call("add")


@pytest.mark.parametrize("answer", [b"", b'{"item":1}\n', b'{"item":1}\n{"resu'])
def test_an_answer_cut_short(tmp_path: Path, answer: bytes) -> None:
    with (
        answering(tmp_path / "api.sock", answer) as client,
        pytest.raises(ControlUnreachableError, match="ended before its answer was whole"),
    ):
        client.call("rows")


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"[]\n", b"{}\n"])
def test_an_answer_of_something_else(tmp_path: Path, answer: bytes) -> None:
    with (
        answering(tmp_path / "api.sock", answer) as client,
        pytest.raises(ControlUnreachableError, match="not an answer of a control process"),
    ):
        client.call("rows")
