"""The router that a command is about: its paths, its segments, its API."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated

import typer

from dpdkrouter.api.client import FASTPATH, ApiClient
from dpdkrouter.cli import render
from dpdkrouter.config.paths import RUN, InstancePaths, find_instance
from dpdkrouter.fib import FibReader
from dpdkrouter.segment import StatsReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HUNG_S = 5.0  # control and host thread show life at least twice a second
NOT_FOUND = 4


class Family(StrEnum):
    """An address family, as an option takes it."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


def _prefix(found: str) -> str:
    try:
        return str(ip_network(found))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Prefix = Annotated[str, typer.Argument(help="A prefix, such as 192.0.2.0/24.", parser=_prefix, metavar="PREFIX")]
OnlyPrefix = Annotated[str | None, typer.Argument(help="Only this prefix.", parser=_prefix, metavar="PREFIX")]
OnlyFamily = Annotated[Family | None, typer.Option(help="Only this family.")]


@dataclass
class _Chosen:
    """What --name said, for the one command that runs."""

    name: str | None = None

    def paths(self) -> InstancePaths:
        """Files of the router meant; InstanceError when it can't be told."""
        return find_instance(self.name)

    def api(self, timeout_s: float = 5) -> ApiClient:
        """Its control process, which may be silent for so long."""
        return ApiClient(self.paths().api_socket, timeout_s)

    def fast_path(self, timeout_s: float) -> ApiClient:
        """Its fast path, which may be silent for so long."""
        return ApiClient(self.paths().fastpath_socket, timeout_s, FASTPATH)

    def stats(self) -> StatsReader:
        """What its fast path publishes."""
        return StatsReader(self.paths().stats)

    def table(self) -> FibReader:
        """Its route segment."""
        return FibReader.open(self.paths().routes)


chosen = _Chosen()


def names() -> list[str]:
    """The routers that have a run directory here; for shell completion."""
    try:
        return sorted(entry.name for entry in RUN.iterdir())
    except OSError:
        return []


@contextmanager
def counters() -> Iterator[StatsReader]:
    """What the fast path publishes, with a note when nobody goes on counting."""
    with chosen.stats() as stats:
        header = stats.header()
        if not header.alive:
            render.note(f"the fast path (pid {header.pid}) is gone: this is what it left")
        elif not header.ready:
            render.note(f"the fast path (pid {header.pid}) is starting: no packet passes yet")
        elif header.heartbeat_age_s > HUNG_S:
            render.note(f"the fast path's host thread has shown no life for {header.heartbeat_age_s:.0f} s")
        yield stats


def control_note(table: FibReader) -> str:
    """Whether the segment's writer lives, in words."""
    if not table.writer_pid:
        return "the control process does not run: the table is as it left it"
    age = (time.monotonic_ns() - table.heartbeat_ns) / 1e9
    hung = ": it hangs" if age > HUNG_S else ""
    return f"pid {table.writer_pid}, heartbeat {age:.1f} s ago{hung}"


def port_names(table: FibReader) -> Mapping[int, str]:
    """Names of the ports by number."""
    return {number: interface.name for number, interface in table.interfaces().items()}
