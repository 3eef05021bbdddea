"""The router that a command is about: its paths, its segments, its API."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from dpdkrouter.api.client import ApiClient
from dpdkrouter.config.paths import InstancePaths, find_instance
from dpdkrouter.fib import FibReader
from dpdkrouter.segment import StatsReader

if TYPE_CHECKING:
    from collections.abc import Mapping

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass
class _Chosen:
    """What --name said, for the one command that runs."""

    name: str | None = None

    def paths(self) -> InstancePaths:
        """Files of the router meant; InstanceError when it can't be told."""
        return find_instance(self.name)

    def api(self) -> ApiClient:
        """Its control process."""
        return ApiClient(self.paths().api_socket)

    def stats(self) -> StatsReader:
        """What its fast path publishes."""
        return StatsReader(self.paths().stats)

    def table(self) -> FibReader:
        """Its route segment."""
        return FibReader.open(self.paths().routes)


chosen = _Chosen()


def control_note(table: FibReader) -> str:
    """Whether the segment's writer lives, in words."""
    if not table.writer_pid:
        return "the control process does not run: the table is as it left it"
    age = (time.monotonic_ns() - table.heartbeat_ns) / 1e9
    return f"pid {table.writer_pid}, heartbeat {age:.1f} s ago"


def port_names(table: FibReader) -> Mapping[int, str]:
    """Names of the ports by number."""
    return {number: interface.name for number, interface in table.interfaces().items()}
