"""The fast path's socket for orders: what it answers, whatever a client says."""

from __future__ import annotations

import socket
import stat
from typing import TYPE_CHECKING, Any

import pytest

from dpdkrouter.api.client import FASTPATH, ApiClient
from dpdkrouter.dataplane.orders import OrderServer
from dpdkrouter.errors import ApiError, ControlUnreachableError, FastPathError, NotFoundError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def handle(params: dict[str, Any]) -> Any:
    wanted = params.get("raise")
    if wanted == "absent":
        raise NotFoundError("acl: found 'x'")
    if wanted == "refused":
        raise FastPathError("no memory")
    if wanted == "defect":
        raise ZeroDivisionError("by zero")
    return params


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with OrderServer(tmp_path / "fastpath.sock", {"echo": handle}):
        yield tmp_path / "fastpath.sock"
    assert not (tmp_path / "fastpath.sock").exists()


@pytest.fixture
def client(path: Path) -> ApiClient:
    return ApiClient(path, 30, FASTPATH)


def test_an_order_is_answered(client: ApiClient) -> None:
    assert client.call("echo", name="edge") == {"name": "edge"}
    assert client.call("echo") == {}


def test_what_goes_wrong_is_said(client: ApiClient) -> None:
    with pytest.raises(NotFoundError, match="acl: found 'x'"):
        client.call("echo", **{"raise": "absent"})
    with pytest.raises(RequestError, match="no memory"):
        client.call("echo", **{"raise": "refused"})
    with pytest.raises(RequestError, match="internal error: ZeroDivisionError: by zero"):
        client.call("echo", **{"raise": "defect"})
    with pytest.raises(RequestError, match="method: found 'other': must be one of echo"):
        client.call("other")
    assert client.call("echo") == {}


@pytest.mark.parametrize("said", [b"", b"\n", b"{}\n", b"[1]\n", b"x" * 70000, b"\xff\xfe\n"])
def test_a_client_that_talks_nonsense_keeps_nobody(path: Path, client: ApiClient, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(path))
        raw.sendall(said)
        raw.shutdown(socket.SHUT_WR)
        answer = raw.recv(4096)
        assert answer.startswith(b'{"error":{"kind":"protocol"') or said == b"" == answer
    assert client.call("echo", still=1) == {"still": 1}


def test_the_socket_is_roots_alone(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_killed_one_left_is_no_obstacle(tmp_path: Path) -> None:
    left = tmp_path / "fastpath.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(left))
    with OrderServer(left, {"echo": handle}):
        assert ApiClient(left, 30, FASTPATH).call("echo") == {}


def test_a_place_where_no_socket_can_be(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="the socket for orders cannot be made"), OrderServer(tmp_path / "no/where", {}):
        pass


def test_no_fast_path_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(ControlUnreachableError, match="the fast path does not run; or its configuration has neither"):
        ApiClient(tmp_path / "fastpath.sock", 1, FASTPATH).call("acl_show")
