"""The Unix socket to which ExaBGP's helper connects: bytes to TapFeed or Feed, events to BgpSource, its lines back.

One helper at a time; a new connection replaces the former. Reading stops while the RIB decides, so a slow consumer
slows its producer: the helper's buffer, then ExaBGP's (bgp/helper.py has the bound).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from dpdkrouter.bgp import commands
from dpdkrouter.bgp.feed import Feed
from dpdkrouter.bgp.frames import is_frames
from dpdkrouter.bgp.tapfeed import TapFeed
from dpdkrouter.errors import FeedBrokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from dpdkrouter.sources.bgp import BgpSource

log = logging.getLogger("control.bgp")

READ_BYTES = 256 << 10


class FeedServer:
    """Async context manager: listens while entered. `changed` is called after each batch of events."""

    def __init__(self, path: Path, source: BgpSource, changed: Callable[[], None]) -> None:
        self._path = path
        self._source = source
        self._changed = changed
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> FeedServer:
        self._path.unlink(missing_ok=True)  # of a process that was killed; the instance lock is ours
        self._server = await asyncio.start_unix_server(self._connected, self._path, limit=READ_BYTES)
        self._path.chmod(0o600)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        if self._writer is not None:
            self._writer.close()
        for task in list(self._tasks):
            task.cancel()
        self._path.unlink(missing_ok=True)

    @property
    def connected(self) -> bool:
        """Whether a helper is there."""
        return self._writer is not None

    def send(self, lines: Iterable[str]) -> None:
        """Send lines to ExaBGP; dropped when no helper is there, since each hello announces everything again."""
        data = commands.encode(lines)
        if data and self._writer is not None:
            self._writer.write(data)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            log.info("a new ExaBGP helper replaces the former")
            self._writer.close()
        self._writer = writer
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await self._serve(reader)
        except FeedBrokenError as error:
            log.error("%s", error)
        writer.close()
        if self._writer is writer:
            self._writer = None
            log.warning("ExaBGP's helper is gone: routes are kept until it is back or their time is over")
            self._source.feed_lost(time.monotonic())
            self._changed()

    async def _serve(self, reader: asyncio.StreamReader) -> None:
        feed: Feed | TapFeed | None = None
        while data := await reader.read(READ_BYTES):
            if feed is None:
                feed = TapFeed() if is_frames(data) else Feed()
                kind = "the tap" if isinstance(feed, TapFeed) else "the JSON feed, which is slow"
                log.info("ExaBGP's helper is connected: UPDATEs come by %s", kind)
            self.send(self._source.note(feed.receive(data), time.monotonic()))
            self._changed()
            if self._writer is not None:
                await self._writer.drain()
            await asyncio.sleep(0)
