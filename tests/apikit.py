"""An API server on a real socket, in a loop of its own thread, and raw connections to it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dpdkrouter.api.server import ApiServer, Handler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@contextmanager
def serving(path: Path, methods: Mapping[str, Handler], group: str = "root") -> Iterator[asyncio.AbstractEventLoop]:
    """Serve `methods` at `path` until the block ends; the server's loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="api-test")
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(20)

    server = ApiServer(path, group, methods)
    try:
        run(server.__aenter__())
        try:
            yield loop
        finally:
            run(server.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    """A raw connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        yield connection


def exchange(path: Path, data: bytes) -> list[dict[str, Any]]:
    """Send bytes, end the sending side, and read all that comes."""
    with connected(path) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            return [json.loads(line) for line in answer]
