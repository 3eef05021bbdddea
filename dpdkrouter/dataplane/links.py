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

    from dpdkrouter.config.devices import Device

_SIOCETHTOOL = 0x8946
_ETHTOOL_GLINK = 0x0A


class KernelLinks:
    """Ports by number and the devices that each stands on: a bond on several. Those without interfaces always have
    their link here."""

    def __init__(self, devices: Mapping[int, Sequence[Device]]) -> None:
        self._devices = {
            port: [one.interfaces for one in some] for port, some in devices.items() if all(d.interfaces for d in some)
        }
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def close(self) -> None:
        """The last call."""
        self._socket.close()

    def dead(self) -> frozenset[int]:
        """Ports without a device of which no interface has lost its carrier, is down or is gone."""
        return frozenset(
            port
            for port, devices in self._devices.items()
            if not any(all(self._carrier(name) for name in names) for names in devices)
        )

    def _carrier(self, name: str) -> bool:
        link = array.array("I", [_ETHTOOL_GLINK, 0])
        try:
            fcntl.ioctl(self._socket, _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), link.buffer_info()[0]))
        except OSError:
            return False
        return bool(link[1])
