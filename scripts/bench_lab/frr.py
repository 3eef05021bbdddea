"""FRR's bgpd alone as a receiver: no zebra, no kernel routes. Its end: all prefixes received, as `show bgp summary` says.

bgpd answers vtysh only between its work, so waiting for the answer is part of what is measured, as it is of its use.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.harness import Namespace

BGPD = "/usr/lib/frr/bgpd"
CONFIGURATION = """\
router bgp 65000
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
 neighbor {0} remote-as 65001
 neighbor {0} passive
 address-family ipv6 unicast
  neighbor {0} activate
"""
ANSWER_S = 120


class Frr:
    """A running bgpd."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self._namespace = namespace
        self._directory = directory

    def received(self) -> int:
        """Prefixes of all families; 0 while it does not answer."""
        words = ["vtysh", "--vty_socket", str(self._directory), "-c", "show bgp summary json"]
        text = self._namespace.run(*words, check=False, timeout=ANSWER_S)
        start = text.find("{")
        found: dict[str, Any] = json.loads(text[start:]) if start >= 0 else {}
        return sum(
            peer["pfxRcd"]
            for family in found.values()
            if isinstance(family, dict)
            for peer in family.get("peers", {}).values()
        )


@contextlib.contextmanager
def running(namespace: Namespace, directory: Path, peer: str) -> Iterator[Frr]:
    """bgpd with one passive neighbour, until the block ends."""
    place = directory / "frr"
    place.mkdir(exist_ok=True)
    file = place / "bgpd.conf"
    file.write_text(CONFIGURATION.format(peer))
    words = ["-S", "-Z", "-f", str(file), "-i", str(place / "pid"), "-z", str(place / "zserv.api")]
    command = namespace.command(BGPD, *words, "--vty_socket", str(place), "-A", "127.0.0.1")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield Frr(namespace, place)
        finally:
            process.kill()
