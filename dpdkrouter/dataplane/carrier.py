"""Whether the kernel interfaces below ports have carrier. For vdevs such as net_af_packet and net_af_xdp, whose drivers
say that their link is up, whatever the interface does.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIOCGIFFLAGS = 0x8913
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_IFREQ = struct.Struct("16sH22x")  # struct ifreq: name, flags


class Carriers:
    """Of the interfaces of ports, by port number, in the process's own namespace; a system call an interface."""

    def __init__(self, interfaces: Sequence[Sequence[str]]) -> None:
        self._interfaces = [(port, name) for port, names in enumerate(interfaces) for name in names]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def absent(self) -> set[int]:
        """The ports that have an interface which is down, without carrier, or gone."""
        return {port for port, name in self._interfaces if not self._running(name)}

    def close(self) -> None:
        """Release the socket."""
        self._socket.close()

    def _running(self, name: str) -> bool:
        request = _IFREQ.pack(name.encode(), 0)
        try:
            _, flags = _IFREQ.unpack(fcntl.ioctl(self._socket, _SIOCGIFFLAGS, request))
        except OSError:
            return False  # it was removed
        return flags & (_IFF_UP | _IFF_RUNNING) == _IFF_UP | _IFF_RUNNING
