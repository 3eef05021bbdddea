"""FRR's bgpd alone in a namespace, asked by its vty socket: cheap enough to be asked all the time."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import TYPE_CHECKING, Any

from lab.harness.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from lab.harness.namespace import Namespace

_CONFIGURATION = """
router bgp {asn}
 bgp router-id {router_id}
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor {peer} remote-as {peer_asn}
 neighbor {peer} timers connect 1
 address-family ipv4 unicast
{networks4} exit-address-family
 address-family ipv6 unicast
  neighbor {peer} activate
{networks6} exit-address-family
"""


class Frr:
    """One bgpd with one session, for both families; a context manager."""

    def __init__(
        self,
        namespace: Namespace,
        directory: Path,
        own: tuple[str, int],
        peer: tuple[str, int],
        routes: tuple[str, ...] = (),
    ) -> None:
        """own, peer: address and AS number."""
        self._namespace = namespace
        self._directory = directory / "frr"
        self._peer = peer[0]
        networks = {family: [one for one in routes if (":" in one) == (family == 6)] for family in (4, 6)}
        self._text = _CONFIGURATION.format(
            asn=own[1],
            router_id=own[0],
            peer=peer[0],
            peer_asn=peer[1],
            **{f"networks{family}": "".join(f"  network {one}\n" for one in networks[family]) for family in networks},
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Frr:
        self._directory.mkdir()
        configuration = self._directory / "bgpd.conf"
        configuration.write_text(self._text)
        place = str(self._directory)
        self._process = self._namespace.start(
            "/usr/lib/frr/bgpd", "-S", "-Z", "-f", str(configuration), "-i", f"{place}/pid",
            "-z", f"{place}/zserv.api", "--vty_socket", place, "-A", "127.0.0.1", stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(lambda: self.ask("show version") is not None, 20, "FRR's bgpd")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask(self, command: str) -> str:
        """What vtysh would print for a command; LookupError while bgpd does not listen."""
        with socket.socket(socket.AF_UNIX) as vty:
            vty.settimeout(10)
            try:
                vty.connect(str(self._directory / "bgpd.vty"))
            except OSError as error:
                raise LookupError(f"bgpd does not listen yet: {error}") from None
            answer = b""
            for word in ("enable", command):
                vty.sendall(word.encode() + b"\0")
                answer = b""
                while answer[-4:-1] != b"\0\0\0":  # the end, and a byte that says how it went
                    data = vty.recv(65536)
                    if not data:
                        raise ConnectionError("bgpd closed its vty")
                    answer += data
        return answer[:-4].decode()

    def learnt(self) -> set[str]:
        """The prefixes that it has of its peer."""
        found: set[str] = set()
        for family in ("ipv4", "ipv6"):
            rows = json.loads(self.ask(f"show bgp {family} unicast json"))["routes"]
            found |= {prefix for prefix, paths in rows.items() if any(path["peerId"] == self._peer for path in paths)}
        return found

    def neighbor(self) -> dict[str, Any]:
        """What it says about its session."""
        found: dict[str, Any] = json.loads(self.ask(f"show bgp neighbors {self._peer} json"))[self._peer]
        return found

    def established(self) -> bool:
        """True when its session is up."""
        return bool(self.neighbor()["bgpState"] == "Established")
