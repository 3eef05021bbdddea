"""The links of ports that stand on a kernel interface.

Drivers of such devices (net_af_packet, net_pcap) say "up" for ever, so the kernel is asked: by ethtool's GLINK, which
follows the carrier at once, where IFF_RUNNING may come a second late (net/core/link_watch.c).

Called by the fast path's main thread, in the namespace where the interfaces are.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SIOCETHTOOL = 0x8946
_ETHTOOL_GLINK = 0x0A


class KernelLinks:
    """Ports by number and the interfaces that each stands on."""

    def __init__(self, interfaces: Mapping[int, Sequence[str]]) -> None:
        self._interfaces = {port: tuple(names) for port, names in interfaces.items() if names}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def dead(self) -> frozenset[int]:
        """Ports of which an interface has no carrier, is down or is gone."""
        return frozenset(
            port for port, names in self._interfaces.items() if not all(self._carrier(name) for name in names)
        )

    def _carrier(self, name: str) -> bool:
        link = array.array("I", [_ETHTOOL_GLINK, 0])
        try:
            fcntl.ioctl(self._socket, _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), link.buffer_info()[0]))
        except OSError:
            return False
        return bool(link[1])
