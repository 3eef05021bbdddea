"""The fast path process's own socket: orders to it, in the API's lines (api/protocol.py), root's alone.

A thread of its own serves one connection at a time, so that neither a rules file that is read nor rules that are built
keep the host thread from the packets; both release the GIL, or give it back within milliseconds.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

from dpdkrouter.api import protocol
from dpdkrouter.errors import ApiError, DpdkrouterError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

log = logging.getLogger("fastpath")

CLIENT_S = 5.0
MODE = 0o600


class OrderServer:
    """Answers at `path` while the context lasts. handlers: by method; each gets the parameters, and may take seconds."""

    def __init__(self, path: Path, handlers: Mapping[str, Callable[[dict[str, Any]], Any]]) -> None:
        self._path = path
        self._handlers = handlers
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._path.unlink(missing_ok=True)  # of a fast path that has ended: the instance's lock is ours
            before = os.umask(0o777 & ~MODE)
            try:
                listening.bind(str(self._path))
            finally:
                os.umask(before)
            listening.listen(4)
        except OSError as error:
            listening.close()
            raise ApiError(f"{self._path}: the socket for orders cannot be made: {error.strerror or error}") from error
        self._socket = listening
        self._thread = threading.Thread(target=self._serve, args=(listening,), name="orders", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None and self._thread is not None:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._socket.close()
            self._path.unlink(missing_ok=True)
            self._socket = self._thread = None

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # shut down
                return
            with connection:
                connection.settimeout(CLIENT_S)
                try:
                    with connection.makefile("rb") as lines:
                        line = lines.readline(protocol.LINE_LIMIT)
                    if line:
                        connection.sendall(self._answer(line))
                except OSError as error:
                    log.debug("%s: a client was lost: %s", self._path, error)

    def _answer(self, line: bytes) -> bytes:
        try:
            request = protocol.decode_request(line)
            handler = self._handlers.get(request.method)
            if handler is None:
                known = ", ".join(self._handlers)
                raise protocol.ProtocolError(f"method: found {request.method!r}: must be one of {known}")
            return protocol.encode({"result": handler(request.params)})
        except protocol.ProtocolError as error:
            return protocol.encode_error(protocol.PROTOCOL, str(error))
        except NotFoundError as error:
            return protocol.encode_error(protocol.ABSENT, str(error))
        except DpdkrouterError as error:
            return protocol.encode_error(protocol.REQUEST, str(error))
        except Exception as error:
            log.exception("an order failed")
            return protocol.encode_error(protocol.INTERNAL, f"{type(error).__name__}: {error}")
