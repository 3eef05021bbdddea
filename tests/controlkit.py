"""A control process's state in a thread: the real RIB, decision, route segment, BGP feed and API.

What is left out is what needs a kernel's namespace: TAPs and the kernel's neighbours. Neighbours and the port's MAC are
told to it instead, as `HostStack` does. A recorded session of ExaBGP with BIRD (vectors/exabgp/bird.jsonl) is its peer.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import socket
import sys
import threading
import time
from contextlib import AsyncExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from dpdkrouter.api.client import ApiClient
from dpdkrouter.api.methods import Methods
from dpdkrouter.api.server import ApiServer
from dpdkrouter.app import Control
from dpdkrouter.cli import main
from dpdkrouter.config.load import load
from dpdkrouter.config.paths import InstancePaths
from dpdkrouter.fib.records import Interface
from dpdkrouter.sources.feed_server import FeedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dpdkrouter.config.schema import Config

VECTOR = Path(__file__).parent / "vectors" / "exabgp" / "bird.jsonl"
MAC = bytes.fromhex("020000000001")
NEIGHBOUR_MAC = bytes.fromhex("020000000009")
CONFIGURATION = """
[router]
name = "{name}"
id = "192.0.2.1"
asn = 65000

[fastpath]
hugepages = false

[[port]]
name = "wan0"
device = "net_null0"
addresses = ["192.0.2.1/24", "2001:db8::1/64"]

[[route]]
prefix = "198.51.100.0/24"
via = ["192.0.2.9", {{ address = "192.0.2.10", weight = 2 }}]

[[route]]
prefix = "198.51.100.128/25"
type = "blackhole"

[bgp]
announce = ["203.0.113.0/24"]

[[bgp.neighbor]]
address = "192.0.2.9"
asn = 65001
import_policy = "accept"
export_policy = "accept"
accept_bogons = true
max_length_ipv4 = 25
max_length_ipv6 = 128
description = "transit"

[[bgp.neighbor]]
address = "2001:db8::9"
asn = 65001
import_policy = "accept"
export_policy = "accept"
accept_bogons = true
max_length_ipv4 = 25
max_length_ipv6 = 128

[table]
max_ipv4_routes = 2000
max_ipv6_routes = 2000
max_groups = 64
max_adjacencies = 64
max_ecmp_groups = 8
max_ipv4_extended = 16
ipv6_trie_mib = 1

[metrics]
listen = ""
"""


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit code and what it printed, to a pipe."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


def command(*words: str) -> Ended:
    """Run `dpdkrouter` with these words, from the console script's entry point on."""
    out, err = io.StringIO(), io.StringIO()
    with patch.object(sys, "argv", ["dpdkrouter", *words]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            return Ended(int(end.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("the entry point returned")


class Router:
    """The files of one router whose name carries this process's id, and its control process while it runs."""

    def __init__(self, directory: Path, configuration: str = CONFIGURATION) -> None:
        self.name = f"unit-{os.getpid()}"
        self.file = directory / "router.toml"
        self.file.write_text(configuration.format(name=self.name))
        self.config: Config = load(self.file)
        self.paths = InstancePaths.of(self.config)
        self.paths.run.mkdir(mode=0o750, parents=True, exist_ok=True)

    def cli(self, *words: str) -> Ended:
        """Run `dpdkrouter` for this router."""
        return command("--name", self.name, *words)

    def remove(self) -> None:
        """Leave nothing."""
        self.paths.routes.unlink(missing_ok=True)
        self.paths.stats.unlink(missing_ok=True)
        shutil.rmtree(self.paths.run)

    @contextmanager
    def control(self) -> Iterator[ApiClient]:
        """The control process, with connected, static and neighbour routes in its table."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="control-test")
        thread.start()
        try:
            stack = asyncio.run_coroutine_threadsafe(self._start(), loop).result(30)
            try:
                yield ApiClient(self.paths.api_socket)
            finally:
                asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(30)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _start(self) -> AsyncExitStack:
        stack = AsyncExitStack()
        control = Control(self.config)
        stack.callback(control.fib.close)
        address = ip_address("192.0.2.9")
        control.programmer.set_port(0, MAC, 1500)
        control.programmer.set_interface(0, Interface("wan0", 1500))
        control.programmer.set_neighbour(0, address, NEIGHBOUR_MAC)
        control.host.neighbours[0, address] = NEIGHBOUR_MAC
        control._first_routes()
        control.feed = await stack.enter_async_context(FeedServer(self.paths.bgp_socket, control.bgp, control.converge))
        server = ApiServer(self.paths.api_socket, "root", Methods(control).table())
        await stack.enter_async_context(server)
        stack.callback(asyncio.create_task(control._tick_task()).cancel)  # heartbeat, and the sweep of stale routes
        return stack

    @contextmanager
    def peers(self, api: ApiClient) -> Iterator[Callable[[str], None]]:
        """Both BGP sessions are up and their first routes are in; they are lost, stale, when the block ends.

        What is yielded has 192.0.2.9 send a NOTIFICATION with this text.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as helper:
            helper.connect(str(self.paths.bgp_socket))
            for line in VECTOR.read_text().splitlines():
                if json.loads(line).get("type") == "refresh":
                    break  # what follows takes routes away again
                helper.sendall(line.encode() + b"\n")
            wait(lambda: all(peer["state"] == "up" and not peer["pending"] for peer in summary(api)))

            def notify(text: str) -> None:
                helper.sendall(notification("192.0.2.9", text))
                wait(lambda: any(peer["last_error"] for peer in summary(api)))

            yield notify
        wait(lambda: api.call("bgp.summary")["feed"] == "absent")


def notification(peer: str, text: str) -> bytes:
    """The recorded NOTIFICATION of a peer, with another text."""
    for line in VECTOR.read_text().splitlines():
        message = json.loads(line)
        if message.get("type") == "notification" and message["neighbor"]["address"]["peer"] == peer:
            message["neighbor"]["notification"]["message"] = text
            return json.dumps(message).encode() + b"\n"
    raise AssertionError(f"{VECTOR}: no notification of {peer}")


def summary(api: ApiClient) -> list[dict[str, object]]:
    """The peers that `bgp summary` shows."""
    peers: list[dict[str, object]] = api.call("bgp.summary")["peers"]
    return peers


def wait(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the condition never held")
        time.sleep(0.02)
