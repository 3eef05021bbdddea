"""The API's synchronous client: one connection a request, for CLI, tests and scripts."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpdkrouter.api import protocol
from dpdkrouter.errors import ControlUnreachableError, NotFoundError, RequestError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

CONTROL = "control process"
FASTPATH = "fast path"
_START = {
    CONTROL: "start it with `dpdkrouter control FILE`, or all of the router with `dpdkrouter run FILE`",
    FASTPATH: "or its configuration has neither acl nor policer: then it takes no orders",
}


class ApiClient:
    """Asks the program whose socket is at `path`: the control process, or the fast path.

    timeout_s: how long it may be silent. RequestError: it refused. ControlUnreachableError: it does not run,
    does not answer, ended in the middle, or may not be asked.
    """

    def __init__(self, path: Path | str, timeout_s: float = 5, program: str = CONTROL) -> None:
        self._path = Path(path)
        self._program = program
        self._timeout_s = timeout_s

    def call(self, method: str, /, **params: Any) -> Any:
        """The method's result; items, if it has any, are left out."""
        return self.all(method, **params)[1]

    def all(self, method: str, /, **params: Any) -> tuple[list[Any], Any]:
        """The method's items and its result."""
        answer = self._ask(method, params)
        items: list[Any] = []
        while True:
            try:
                items.append(next(answer))
            except StopIteration as end:
                return items, end.value

    def stream(self, method: str, /, **params: Any) -> Iterator[Any]:
        """The method's items as they come. Leaving the iterator early ends the request."""
        yield from self._ask(method, params)

    def _ask(self, method: str, params: dict[str, Any]) -> Generator[Any, None, Any]:
        """Yield items, return the result."""
        line = protocol.encode({"method": method, "params": params})
        if len(line) > protocol.LINE_LIMIT:
            raise RequestError(f"{method}: the request has {len(line)} bytes, at most {protocol.LINE_LIMIT} are taken")
        with self._connect() as connection, connection.makefile("rb") as answer:
            try:
                connection.sendall(line)
                for received in answer:
                    value = self._value(received)
                    if "item" in value:
                        yield value["item"]
                    elif "error" in value:
                        raise self._error(value["error"])
                    else:
                        return value["result"]
            except TimeoutError:
                raise ControlUnreachableError(
                    f"{self._path}: the {self._program} was silent for {self._timeout_s:g} s: see its log"
                ) from None
            except OSError as error:
                raise ControlUnreachableError(f"{self._path}: connection lost: {error.strerror}") from None
        raise self._ended()

    def _ended(self) -> ControlUnreachableError:
        return ControlUnreachableError(
            f"{self._path}: the {self._program} ended before its answer was whole; {_START[self._program]}"
        )

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._timeout_s)
        try:
            connection.connect(str(self._path))
        except OSError as error:
            connection.close()
            if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
                text = f"the {self._program} does not run; {_START[self._program]}"
            elif isinstance(error, PermissionError):
                text = "permission denied; be root or a member of the group that api.group names"
            else:
                text = f"cannot connect to the {self._program}: {error.strerror or error}"
            raise ControlUnreachableError(f"{self._path}: {text}") from None
        return connection

    def _value(self, received: bytes) -> dict[str, Any]:
        """One line of the answer."""
        try:
            value = json.loads(received)
            if isinstance(value, dict) and value.keys() & {"item", "error", "result"}:
                return value
        except ValueError:
            if not received.endswith(b"\n"):
                raise self._ended() from None
        raise ControlUnreachableError(
            f"{self._path}: found {received[:60]!r}: not an answer of a {self._program} of this release"
        )

    def _error(self, error: dict[str, Any]) -> RequestError:
        kind, message = error.get("kind"), str(error.get("message"))
        if kind == protocol.ABSENT:
            return NotFoundError(message)
        return RequestError(f"internal error: {message}" if kind == protocol.INTERNAL else message)
