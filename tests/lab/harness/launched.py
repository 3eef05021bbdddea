"""Real ExaBGP under the real launcher and helper, and the control process's end of the socket, for labs.

`Listener` is that end: it collects bytes and events when asked to (`pump`), so a test decides when the
consumer reads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dpdkrouter.bgp.attributes import BgpAttributes
from dpdkrouter.bgp.events import EndOfRib, Received, Update
from dpdkrouter.bgp.feed import Feed
from dpdkrouter.bgp.frames import is_frames
from dpdkrouter.bgp.tapfeed import TapFeed
from dpdkrouter.rib.attributes import Attributes
from lab.harness.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from dpdkrouter.bgp.configuration import BgpPeer
    from dpdkrouter.bgp.events import Event

E = TypeVar("E")

_PROGRAM = """
import json, sys
from pathlib import Path
from dpdkrouter.bgp.configuration import BgpPeer, BgpSettings
from dpdkrouter.bgp import tapcheck
from dpdkrouter.bgp.launcher import LaunchSettings, run
from dpdkrouter.errors import DpdkrouterError
given = json.loads(sys.argv[1])
if given["feed"] == "json":
    tapcheck.KNOWN = {**tapcheck.KNOWN, "exabgp/reactor/peer.py": "of another ExaBGP"}
peers = tuple(BgpPeer(**{**peer, "families": tuple(peer["families"])}) for peer in given["peers"])
try:
    sys.exit(run(LaunchSettings(Path(given["directory"]), given["namespace"], BgpSettings(peers),
                                buffer_bytes=given["buffer_bytes"])))
except DpdkrouterError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
"""


class Launched:
    """`dpdkrouter bgp` of a lab; a context manager. `log` holds what it and ExaBGP printed.

    feed: "tap", or "json", which breaks the tap's check of ExaBGP.
    """

    def __init__(
        self,
        directory: Path,
        namespace: str,
        peers: Iterable[BgpPeer],
        buffer_bytes: int = 64 << 20,
        feed: str = "tap",
    ) -> None:
        self.directory = directory
        self.log = directory.with_name(directory.name + ".log")
        self._given = json.dumps(
            {
                "directory": str(directory),
                "namespace": namespace,
                "peers": [dataclasses.asdict(peer) for peer in peers],
                "buffer_bytes": buffer_bytes,
                "feed": feed,
            }
        )
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Launched:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def start(self) -> None:
        """Start the launcher."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, self._given], stderr=log, stdout=log, env=environment
            )

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def exabgp_pid(self) -> int:
        """ExaBGP's pid; LookupError while there is none."""
        assert self.process is not None
        return _only_child(self.process.pid)

    def helper_pid(self) -> int:
        """The helper's pid; LookupError while there is none."""
        return _only_child(self.exabgp_pid())


def _only_child(pid: int) -> int:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        children = []
    if len(children) != 1:
        raise LookupError(f"process {pid} has {len(children)} children")
    return int(children[0])


def as_lines(received: Received) -> Iterator[Event]:
    """What the JSON feed would have said: one test for both feeds."""
    for routes in received.decoded.routes:
        width = 4 if routes.family == 4 else 16
        for i, chosen in enumerate(memoryview(routes.sets).cast("I")):
            one = routes.prefixes[i * width : (i + 1) * width], routes.lengths[i : i + 1]
            family = f"ipv{routes.family}"
            if not chosen:
                yield Update(received.peer, family, None, withdrawn=one[0], withdrawn_lengths=one[1])
                continue
            packed = routes.attributes[chosen - 1]
            hop = Attributes.unpack(packed).next_hops[0].address or ""
            attributes = BgpAttributes(0, (), ipaddress.ip_address(hop).packed)
            yield Update(received.peer, family, attributes, *one)
    for number in received.decoded.ends:
        yield EndOfRib(received.peer, f"ipv{number}")


class Listener:
    """The control process's end: listens on bgp.sock, accepts one helper at a time."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "bgp.sock"
        directory.mkdir(exist_ok=True)
        self._server: socket.socket | None = None
        self._connection: socket.socket | None = None
        self.feed: Feed | TapFeed | None = None
        self.raw = bytearray()
        self.events: list[Event] = []
        self.ended = False

    def __enter__(self) -> Listener:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Listen, and forget what was seen before."""
        self._path.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(self._path))
        self._server.listen(1)
        self._server.setblocking(False)
        self.feed, self.raw, self.events, self.ended = None, bytearray(), [], False

    def close(self) -> None:
        """Go away, as a control process that is killed does."""
        for end in (self._connection, self._server):
            if end is not None:
                end.close()
        self._connection = self._server = None
        self._path.unlink(missing_ok=True)

    def pump(self) -> bool:
        """Accept and read what is there without waiting; returns True, for use in conditions."""
        if self._connection is None and self._server is not None:
            with contextlib.suppress(BlockingIOError):
                self._connection, _ = self._server.accept()
                self._connection.setblocking(False)
                self.feed, self.ended = None, False
        if self._connection is not None:
            with contextlib.suppress(BlockingIOError):
                while data := self._connection.recv(1 << 20):
                    self.raw += data
                    if self.feed is None:
                        self.feed = TapFeed() if is_frames(data) else Feed()
                    for event in self.feed.receive(data):
                        self.events += [event, *as_lines(event)] if isinstance(event, Received) else [event]
                self._connection.close()
                self._connection = None
                self.ended = True
        return True

    def send(self, data: bytes) -> None:
        """Send commands."""
        assert self._connection is not None
        self._connection.setblocking(True)
        self._connection.sendall(data)
        self._connection.setblocking(False)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind so far, after reading what is there."""
        self.pump()
        return [event for event in self.events if isinstance(event, kind)]

    def wait(self, kind: type[E], timeout: float = 15, count: int = 1) -> list[E]:
        """Wait until there are `count` events of a kind."""

        def seen() -> list[E]:
            found = self.of(kind)
            if len(found) < count:
                raise LookupError(f"{len(found)} {kind.__name__}; events: {self.events[-3:]}")
            return found

        return wait_for(seen, timeout, f"{count} {kind.__name__}")
