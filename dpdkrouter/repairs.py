"""The control process's side of the repair thread (fib/repair.pyx): its sockets, what it must know, what it has done.

When a link or a neighbour is lost, the thread rewrites groups without waiting for this process's loop. The loop is told
by an eventfd and gives those groups the members that they have now; the RIB decides anew by its own ways, later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING

from dpdkrouter.fib.repair import Repair
from dpdkrouter.host.namespace import run_in
from dpdkrouter.host.rtnl import GROUP_LINK, GROUP_NEIGH

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AsyncExitStack
    from pathlib import Path

    from dpdkrouter.config.schema import Config
    from dpdkrouter.fib.fib import Fib
    from dpdkrouter.fib.programmer import Programmer

log = logging.getLogger("control.repair")


def _open(group: int) -> int:
    kernel = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    kernel.bind((0, group))
    return kernel.detach()


class Repairs:
    """One router's repair thread."""

    def __init__(self, config: Config, fib: Fib, programmer: Programmer) -> None:
        self._config = config
        self._fib = fib
        self._programmer = programmer
        self._thread: Repair | None = None
        self._logged = 0

    async def start(self, stack: AsyncExitStack) -> None:
        """Begin to watch the kernel; the router's namespace is there."""
        neighbours = await asyncio.to_thread(run_in, self._config.router.namespace, lambda: _open(GROUP_NEIGH))
        interfaces = [
            (name, number) for number, port in enumerate(self._config.ports) for name in self._config.interfaces(port)
        ]
        thread = self._thread = Repair(self._fib, _open(GROUP_LINK), neighbours, interfaces)
        stack.callback(thread.close)
        thread.hold(True)
        thread.start()
        loop = asyncio.get_running_loop()
        loop.add_reader(thread.told, self._told, thread)
        stack.callback(loop.remove_reader, thread.told)

    def fast_path_up(self, stats: Path, taps: Mapping[int, int]) -> None:
        """Its links count, and neighbours on its ports' TAPs (port -> index in the router's namespace)."""
        if self._thread is not None:
            self._thread.follow(stats)
            self._thread.set_taps(taps)
            self._thread.hold(False)

    def fast_path_gone(self) -> None:
        """Nobody answers for neighbours: none of them counts as lost."""
        if self._thread is not None:
            self._thread.hold(True)

    def counts(self) -> tuple[int, int, float]:
        """Losses that changed groups, groups changed, and the longest that one took, in seconds."""
        thread = self._thread
        return (0, 0, 0.0) if thread is None else (thread.repairs, thread.groups_repaired, thread.longest_ns / 1e9)

    def _told(self, thread: Repair) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(thread.told)
        rewritten = thread.groups_repaired - self._logged
        if rewritten:
            self._logged += rewritten
            log.warning("a link or a neighbour was lost: %d groups point to what is left", rewritten)
        self._programmer.catch_up()
