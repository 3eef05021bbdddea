"""A real BIRD 2 in a namespace, with a configuration written for it.

    with Bird(namespace, directory, router_id="192.0.2.9", asn=65001, peers=[BirdPeer("192.0.2.1", 65000)],
              routes=["198.51.100.0/24", "2001:db8:a::/48"]) as bird:
        wait_for(bird.established, 10, "the session")
        bird.set_routes([])

Timers are short, so that sessions come up in about a second. Routes are static blackholes with the local
address as next hop, which is what BIRD's `next hop self` gives for them.
"""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.harness.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from lab.harness.namespace import Namespace


@dataclass(frozen=True, slots=True)
class BirdPeer:
    """The other end of one of BIRD's sessions; `extra` goes into the protocol, `channel` into each
    channel.
    """

    address: str
    asn: int
    families: tuple[str, ...] = ("ipv4", "ipv6")
    hold_time: int = 90
    passive: bool = False
    extra: str = ""
    channel: str = ""


class Bird:
    """One BIRD; a context manager. `attributes` are filter statements run on each route it announces."""

    def __init__(
        self,
        namespace: Namespace,
        directory: Path,
        router_id: str,
        asn: int,
        peers: Sequence[BirdPeer],
        routes: Sequence[str] = (),
        attributes: str = "",
        name: str = "bird",
    ) -> None:
        self._namespace = namespace
        self._configuration = directory / f"{name}.conf"
        self._socket = directory / f"{name}.ctl"
        self._log = directory / f"{name}.log"
        self._router_id = router_id
        self._asn = asn
        self._peers = list(peers)
        self._attributes = attributes
        self._routes = list(routes)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Bird:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start BIRD and wait until it answers."""
        self._write()
        self._process = self._namespace.start(
            "bird",
            "-f",
            "-c",
            str(self._configuration),
            "-s",
            str(self._socket),
            "-D",
            str(self._log),
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: "BIRD" in self.birdc("show status", check=False), 10, f"BIRD at {self._socket}")

    def stop(self) -> None:
        """Stop it in order: peers get a Cease."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """kill -9: peers see the connection go."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None and self._process.poll() is None

    def birdc(self, command: str, check: bool = True) -> str:
        """What birdc prints for a command."""
        return self._namespace.run("birdc", "-s", str(self._socket), *command.split(), check=check)

    def learnt(self) -> set[str]:
        """The prefixes that it has by BGP, by its control socket: cheap enough to be asked all the time."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10)
            control.connect(str(self._socket))
            with control.makefile("rw") as lines:
                lines.readline()  # its greeting
                lines.write("show route where source = RTS_BGP\n")
                lines.flush()
                found = set()
                while not (line := lines.readline()).startswith(("0", "8", "9")):  # the end, or an error
                    assert line, "BIRD closed its control socket"
                    words = line[5:].split() if line[:4].isdigit() else line.split()
                    if words and "/" in words[0]:
                        found.add(words[0])
                assert line.startswith("0") or "not found" in line, line
        return found

    def set_routes(self, routes: Sequence[str], attributes: str | None = None) -> None:
        """Announce exactly these from now on."""
        self._routes = list(routes)
        if attributes is not None:
            self._attributes = attributes
        self._write()
        answer = self.birdc("configure")
        assert "Reconfigur" in answer, answer

    def established(self) -> bool:
        """True when every session is up."""
        return all("Established" in self.birdc(f"show protocols {_protocol(i)}") for i in range(len(self._peers)))

    def has_route(self, prefix: str) -> bool:
        """True when BIRD learnt this prefix by BGP (its own static routes don't count)."""
        return "BGP" in self.birdc(f"show route for {prefix} all", check=False)

    def _write(self) -> None:
        self._configuration.write_text(self._text())

    def _text(self) -> str:
        lines = [
            f"router id {self._router_id};",
            f'log "{self._log}" all;',
            "protocol device { scan time 1; }",
        ]
        for family in ("ipv4", "ipv6"):
            own = [route for route in self._routes if (":" in route) == (family == "ipv6")]
            statics = " ".join(f"route {route} blackhole;" for route in own)
            lines.append(f"protocol static static_{family} {{ {family}; {statics} }}")
        lines.append(f"filter announced {{ if source != RTS_STATIC then reject; {self._attributes} accept; }}")
        for index, peer in enumerate(self._peers):
            lines += [
                f"protocol bgp {_protocol(index)} {{",
                f"  local as {self._asn}; neighbor {peer.address} as {peer.asn};",
                f"  hold time {peer.hold_time};",
                "  connect delay time 1; connect retry time 1; error wait time 1, 2;",
                f"  {'passive;' if peer.passive else ''} {peer.extra}",
                *(
                    f"  {family} {{ import all; export filter announced; next hop self; {peer.channel} }};"
                    for family in peer.families
                ),
                "}",
            ]
        return "\n".join(lines) + "\n"


def _protocol(index: int) -> str:
    return f"peer{index}"
