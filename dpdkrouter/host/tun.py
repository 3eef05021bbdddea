"""Queues of TAP and TUN devices: open one more, be the keeper, set the carrier.

A port's TAP twin is persistent and multi-queue. The fast path's host thread holds the queue that carries
packets; the control process holds a *keeper*: a detached queue, which the kernel never gives a packet but
which counts as open. A device whose last queue closes loses its carrier; with a keeper that does not happen
when the fast path ends.

Attaching a queue turns the carrier on (drivers/net/tun.c, tun_set_iff), so `open_queue` puts back what it
found. A detached queue can turn the carrier off, but on only while some queue is attached: `set_carrier`
then attaches the keeper for that moment, when there is no other queue that could miss a packet.

Used by both processes, from any thread.
"""

from __future__ import annotations

import array
import enum
import errno
import fcntl
import os
import re
import socket
import struct

from dpdkrouter.errors import HostError
from dpdkrouter.host.namespace import run_in

HOST_DEVICE = "host0"

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
# names with a meaning of their own in /proc/sys/net, or in the namespace
_RESERVED = frozenset({".", "..", "all", "default", "lo"})

_TUN_PATH = "/dev/net/tun"
_TUNSETIFF, _TUNSETPERSIST, _TUNSETQUEUE, _TUNSETCARRIER = 0x400454CA, 0x400454CB, 0x400454D9, 0x400454E2
_IFF_TUN, _IFF_TAP, _IFF_NO_CARRIER, _IFF_MULTI_QUEUE, _IFF_NO_PI = 0x0001, 0x0002, 0x0040, 0x0100, 0x1000
_IFF_ATTACH_QUEUE, _IFF_DETACH_QUEUE = 0x0200, 0x0400
_SIOCGIFFLAGS, _IFF_UP = 0x8913, 0x1
_SIOCETHTOOL, _ETHTOOL_GLINK = 0x8946, 0x0A


class Kind(enum.IntEnum):
    """What a device carries: Ethernet frames or IP packets, in both cases without a header before them."""

    TAP = _IFF_TAP
    TUN = _IFF_TUN


def check_name(name: str) -> str:
    """Return `name` if a device may be called that, else raise HostError."""
    if not _NAME.fullmatch(name) or name in _RESERVED:
        reserved = ", ".join(sorted(_RESERVED))
        raise HostError(f"device name {name!r}: 1 to 15 of a-z A-Z 0-9 _ . - are allowed, except {reserved}")
    return name


def open_queue(namespace: str, name: str, kind: Kind, *, carrier: bool | None = None) -> int:
    """Attach one more queue of an existing device and return its descriptor, non-blocking and close-on-exec.

    `carrier` None leaves the carrier as it is. One read returns one frame (TAP) or packet (TUN), one write
    takes one. Raises HostError when the namespace or the device does not exist or is of another kind. Only
    the control process makes devices; a device that vanished makes reads and writes fail with EBADFD.
    """
    check_name(name)
    return run_in(namespace, lambda: attach(name, kind, carrier=carrier, create=False))


def attach(name: str, kind: Kind, *, carrier: bool | None, create: bool) -> int:
    """`open_queue` for a caller that is inside the namespace; `create` makes a device that does not exist."""
    found = _carrier(name)
    if found is None and not create:
        raise HostError(f"device {name}: does not exist; start the control process, which makes it")
    if carrier is None:
        carrier = found is not False
    flags = kind | _IFF_NO_PI | _IFF_MULTI_QUEUE | (0 if carrier else _IFF_NO_CARRIER)
    fd = -1
    try:
        fd = os.open(_TUN_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        if not carrier:  # kernels before 6.2 do not know IFF_NO_CARRIER
            fcntl.ioctl(fd, _TUNSETCARRIER, struct.pack("i", 0))
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        raise HostError(_why_not_attached(name, kind, error)) from error
    return fd


def _why_not_attached(name: str, kind: Kind, error: OSError) -> str:
    what = f"a multi-queue {kind.name}"
    match error.errno:
        case errno.EINVAL | errno.EBUSY:
            return f"device {name}: exists and is not {what}; rename the port, or: ip link del {name}"
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return f"device {name}: no {_TUN_PATH}; load the module tun"
        case errno.EPERM | errno.EACCES:
            return f"device {name}: making {what} needs root (CAP_NET_ADMIN): {error.strerror}"
        case errno.E2BIG:
            return f"device {name}: all 256 queues are open; end the processes that hold them"
        case _:
            return f"device {name}: {what} cannot be opened: {error.strerror}"


def open_keeper(name: str, kind: Kind, *, carrier: bool | None) -> int:
    """Make the device persistent (if need be, make it) and return a detached queue; inside the namespace.

    For the microseconds between attaching and detaching the kernel may hand this queue a frame, which is
    then lost.
    """
    fd = attach(name, kind, carrier=carrier, create=True)
    try:
        fcntl.ioctl(fd, _TUNSETPERSIST, 1)
        fcntl.ioctl(fd, _TUNSETQUEUE, struct.pack("16sH22x", b"", _IFF_DETACH_QUEUE))
    except OSError as error:
        os.close(fd)
        raise HostError(f"device {name}: cannot be kept open: {error.strerror}") from error
    return fd


def set_carrier(fd: int, up: bool) -> None:
    """Set the carrier of the device of queue `fd`, attached or detached; idempotent."""
    value = struct.pack("i", int(up))
    try:
        try:
            fcntl.ioctl(fd, _TUNSETCARRIER, value)
        except PermissionError:  # on, and no queue attached
            fcntl.ioctl(fd, _TUNSETQUEUE, struct.pack("16sH22x", b"", _IFF_ATTACH_QUEUE))
            try:
                fcntl.ioctl(fd, _TUNSETCARRIER, value)
            finally:
                fcntl.ioctl(fd, _TUNSETQUEUE, struct.pack("16sH22x", b"", _IFF_DETACH_QUEUE))
    except OSError as error:
        raise HostError(f"carrier {'on' if up else 'off'} refused by the kernel: {error.strerror}") from error


def _carrier(name: str) -> bool | None:
    """A device's carrier in this thread's namespace (True when it is down); None: no such device.

    Not IFF_RUNNING, which may follow the carrier as much as a second late (net/core/link_watch.c).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
            if not struct.unpack_from("16xH", answer)[0] & _IFF_UP:
                return True
            link = array.array("I", [_ETHTOOL_GLINK, 0])
            fcntl.ioctl(probe, _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), link.buffer_info()[0]))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise HostError(f"device {name}: its state cannot be read: {error.strerror}") from error
    return bool(link[1])
