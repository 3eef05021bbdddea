"""Serves the API on a Unix socket, in the control process's loop.

Who may connect is decided by the socket's mode (0660, root and one group) and nothing else. A handler runs in
the loop, so it must be short; one that has much to say is a generator, and the server takes SLICE items, or
SLICE_S seconds of them, at a time, so that routing goes on. Such a generator may yield None for "nothing yet,
but I have worked". A slow client stops its own generator; one that reads nothing for WRITE_S is dropped. One
bad request harms no other.
"""

from __future__ import annotations

import asyncio
import grp
import logging
import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dpdkrouter.api import protocol
from dpdkrouter.errors import AlreadyRunningError, ApiError, ConfigError, DpdkrouterError, NotFoundError

if TYPE_CHECKING:
    from types import TracebackType

log = logging.getLogger("api")

Handler = Callable[[dict[str, Any]], Any]
"""Takes the parameters; returns what JSON can say, or an iterator of items (its return value: the result)."""

MODE = 0o660
SLICE = 200
SLICE_S = 0.005
WRITE_S = 30.0
BACKLOG = 32
CONNECTIONS = 64


class ApiServer:
    """The API at `path`, while the context lasts. AlreadyRunningError: another process serves there."""

    def __init__(self, path: Path, group: str, methods: Mapping[str, Handler]) -> None:
        self._path = Path(path)
        self._group = group
        self._methods = dict(methods)
        self._server: asyncio.Server | None = None
        self._inode: tuple[int, int] | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        bound = self._bind()
        try:
            self._server = await asyncio.start_unix_server(
                self._connection, sock=bound, limit=protocol.LINE_LIMIT, backlog=BACKLOG
            )
        except BaseException:
            bound.close()
            self._remove()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    # ---- the socket

    def _bind(self) -> socket.socket:
        """The bound socket, not yet listening: nobody can connect before mode and group are right."""
        try:
            gid = grp.getgrnam(self._group).gr_gid
        except KeyError:
            raise ConfigError(f"api.group: found {self._group!r}: no such group; make it or name another") from None
        self._clear_way()
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            bound.bind(str(self._path))
            there = self._path.stat()
            self._inode = (there.st_dev, there.st_ino)
            os.chown(self._path, -1, gid)
            self._path.chmod(MODE)
        except OSError as error:
            bound.close()
            self._remove()
            raise ApiError(f"{self._path}: the API socket cannot be made: {error.strerror or error}") from error
        return bound

    def _clear_way(self) -> None:
        """Remove the socket of a process that has ended; refuse to take a living one's."""
        try:
            mode = self._path.lstat().st_mode
        except OSError:
            return  # bind() says what is wrong, if anything is
        if not stat.S_ISSOCK(mode):
            raise ApiError(f"{self._path}: is not a socket; remove it")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self._path))
            except (ConnectionRefusedError, FileNotFoundError):
                self._path.unlink(missing_ok=True)
                return
            except OSError as error:
                log.debug("%s: %s", self._path, error)
        raise AlreadyRunningError(f"{self._path}: a control process answers here already; stop it first")

    def _remove(self) -> None:
        """Remove our socket, and not one that has taken its place."""
        try:
            there = self._path.lstat()
            if (there.st_dev, there.st_ino) == self._inode:
                self._path.unlink()
        except FileNotFoundError:
            pass
        self._inode = None

    # ---- connections

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) > CONNECTIONS:
                await _send(
                    writer,
                    protocol.encode_error(
                        protocol.REQUEST, f"{CONNECTIONS} clients are connected, no more can be; try again"
                    ),
                )
            else:
                while await self._one(reader, writer):
                    pass
        except (OSError, TimeoutError) as error:
            log.debug("client gone: %s", error)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when there will be no other."""
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return False  # the end, or half a line: its sender is gone
        except asyncio.LimitOverrunError:
            await _send(
                writer,
                protocol.encode_error(protocol.PROTOCOL, f"a request is at most {protocol.LINE_LIMIT} bytes long"),
            )
            return False  # where the next request begins is not known
        await self._answer(line, writer)
        return True

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        last: bytes
        try:
            request = protocol.decode_request(line)
            answer = self._handler(request)(request.params)
            if isinstance(answer, Iterator):
                answer = await _stream(answer, writer)
            last = protocol.encode({"result": answer})
        except protocol.ProtocolError as error:
            last = protocol.encode_error(protocol.PROTOCOL, str(error))
        except NotFoundError as error:
            last = protocol.encode_error(protocol.ABSENT, str(error))
        except DpdkrouterError as error:
            last = protocol.encode_error(protocol.REQUEST, str(error))
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:  # one handler's defect must not end the control process
            log.exception("API request failed: %.200r", line)
            last = protocol.encode_error(
                protocol.INTERNAL, f"{type(error).__name__} in the control process; its log has the details"
            )
        await _send(writer, last)

    def _handler(self, request: protocol.Request) -> Handler:
        handler = self._methods.get(request.method)
        if handler is None:
            raise protocol.ProtocolError(
                f"unknown method {request.method[:60]!r}; there are {', '.join(sorted(self._methods))}"
            )
        protocol.check_params(request, handler)
        return handler


async def _stream(items: Iterator[Any], writer: asyncio.StreamWriter) -> Any:
    """Send a generator's items slice by slice; its return value."""
    loop = asyncio.get_running_loop()
    lines: list[bytes] = []
    taken, pause_at = 0, loop.time() + SLICE_S
    try:
        while True:
            try:
                item = next(items)
            except StopIteration as end:
                return end.value
            taken += 1
            if item is not None:
                lines.append(protocol.encode({"item": item}))
            if taken == SLICE or loop.time() > pause_at:
                await _send(writer, b"".join(lines))
                lines.clear()
                await asyncio.sleep(0)
                taken, pause_at = 0, loop.time() + SLICE_S
    finally:
        if lines and not writer.is_closing():
            writer.write(b"".join(lines))
        close = getattr(items, "close", None)
        if close is not None:
            close()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write and wait until the client takes it; TimeoutError or OSError when it does not."""
    if writer.is_closing():
        raise ConnectionResetError("the client has closed the connection")
    if data:
        writer.write(data)
        async with asyncio.timeout(WRITE_S):
            await writer.drain()
