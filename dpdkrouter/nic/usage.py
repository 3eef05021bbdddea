"""What interfaces and devices are used for now: default routes, addresses, SSH sessions, processes.

Routes and addresses come by netlink from the network namespace this process is in (rtnetlink(7)); SSH sessions are
established TCP connections of a process called sshd, of port 22, and the one in $SSH_CONNECTION (sudo may drop the
variable, not the connection). Link-local IPv6 addresses do not count: every interface that is up has one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface
from typing import TYPE_CHECKING, Any

from pyroute2 import IPRoute

from dpdkrouter.config.paths import RUN, running_pid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dpdkrouter.nic.devices import Interface, PciDevice
    from dpdkrouter.nic.kernel import Kernel

ESTABLISHED = "01"
SSH_PORT = 22
SSH_PROCESSES = ("sshd", "sshd-session", "dropbear")
UNICAST = 1  # RTN_UNICAST

Address = IPv4Address | IPv6Address
Subnet = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Session:
    """An open SSH session: this machine's address and the peer's."""

    local: Address
    peer: str


@dataclass(frozen=True, slots=True)
class Process:
    """A process by its id and name."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name})"


@dataclass(frozen=True, slots=True)
class Usage:
    """Who uses what. `addresses`: by interface; `defaults`: interfaces of default routes; `holders`: by device file."""

    addresses: Mapping[str, tuple[Subnet, ...]] = field(default_factory=dict)
    defaults: frozenset[str] = frozenset()
    sessions: tuple[Session, ...] = ()
    holders: Mapping[str, tuple[Process, ...]] = field(default_factory=dict)
    routers: frozenset[int] = frozenset()  # ids of the fast paths that run here

    def of_interface(self, interface: Interface) -> list[str]:
        """What an interface, or one on top of it, carries, in words; empty when it carries nothing."""
        words = []
        for name in (interface.name, *interface.uppers):
            on = "" if name == interface.name else f" by {name}"
            subnets = self.addresses.get(name, ())
            peers = [s.peer for s in self.sessions if any(s.local == subnet.ip for subnet in subnets)]
            if peers:
                words.append(f"carries an open SSH session{on} (from {', '.join(dict.fromkeys(peers))})")
            if name in self.defaults:
                words.append(f"carries the default route{on}")
            if subnets:
                words.append(f"has an address{on}: {', '.join(map(str, subnets))}")
        if interface.uppers:
            words.append(f"has {', '.join(interface.uppers)} on top of it")
        return words

    def of_device(self, device: PciDevice) -> dict[str, tuple[Process, ...]]:
        """The processes that hold a device through its files, by file."""
        return {node: self.holders[node] for node in device.nodes if self.holders.get(node)}


def read_usage(kernel: Kernel, environ: Mapping[str, str] | None = None) -> Usage:
    """All of it, now."""
    environ = os.environ if environ is None else environ
    with IPRoute() as netlink:
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in netlink.get_links()}
        addresses = _addresses(netlink.get_addr(), names)
        defaults = frozenset(_default_interfaces(netlink.get_routes(), names))
    files = _open_files(kernel)
    return Usage(addresses, defaults, _sessions(kernel, files, environ), _holders(files), frozenset(_routers(kernel)))


def _addresses(messages: Iterable[Any], names: Mapping[int, str]) -> dict[str, tuple[Subnet, ...]]:
    found: dict[str, tuple[Subnet, ...]] = {}
    for message in messages:
        text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        subnet = ip_interface(f"{text}/{message['prefixlen']}")
        name = names.get(message["index"])
        if name is not None and not (subnet.version == 6 and subnet.ip.is_link_local):
            found[name] = (*found.get(name, ()), subnet)
    return found


def _default_interfaces(messages: Iterable[Any], names: Mapping[int, str]) -> Iterator[str]:
    for message in messages:
        if message["dst_len"] != 0 or message["type"] != UNICAST:
            continue
        hops = [hop["oif"] for hop in message.get_attr("RTA_MULTIPATH") or ()]
        for index in (message.get_attr("RTA_OIF"), *hops):
            if index in names:
                yield names[index]


def _open_files(kernel: Kernel) -> dict[str, list[Process]]:
    """Who has what open: sockets and device files of all processes that we may look at."""
    found: dict[str, list[Process]] = {}
    for pid in kernel.names("/proc"):
        if not pid.isdecimal() or int(pid) == os.getpid():  # this process holds only what it inherited
            continue
        targets = {kernel.target(f"/proc/{pid}/fd/{fd}") or "" for fd in kernel.names(f"/proc/{pid}/fd")}
        targets = {target for target in targets if target.startswith(("socket:", "/dev/vfio/", "/dev/uio"))}
        if targets:
            process = Process(int(pid), kernel.read(f"/proc/{pid}/comm") or "?")
            for target in targets:
                found.setdefault(target, []).append(process)
    return found


def _routers(kernel: Kernel) -> Iterator[int]:
    for name in kernel.names(str(RUN)):
        pid = running_pid(kernel.path(str(RUN / name / "fastpath.lock")))
        if pid is not None:
            yield pid


def _holders(files: Mapping[str, list[Process]]) -> dict[str, tuple[Process, ...]]:
    return {name: tuple(sorted(who, key=lambda p: p.pid)) for name, who in files.items() if name.startswith("/dev/")}


def _sessions(kernel: Kernel, files: Mapping[str, list[Process]], environ: Mapping[str, str]) -> tuple[Session, ...]:
    sessions = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in (kernel.read(table) or "").splitlines()[1:]:
            fields = line.split()
            if len(fields) < 10 or fields[3] != ESTABLISHED:
                continue
            local, port = _endpoint(fields[1])
            ours = any(process.name in SSH_PROCESSES for process in files.get(f"socket:[{fields[9]}]", ()))
            if ours or port == SSH_PORT:
                sessions.append(Session(local, str(_endpoint(fields[2])[0])))
    words = environ.get("SSH_CONNECTION", "").split()  # peer, its port, our address, our port
    with suppress(ValueError, IndexError):
        sessions.append(Session(_plain(ip_address(words[2].partition("%")[0])), words[0].partition("%")[0]))
    return tuple(dict.fromkeys(sessions))


def _endpoint(text: str) -> tuple[Address, int]:
    """An address and port of /proc/net/tcp: 32-bit words in the machine's order, then the port."""
    words, _, port = text.partition(":")
    packed = b"".join(socket.htonl(int(words[at : at + 8], 16)).to_bytes(4, "big") for at in range(0, len(words), 8))
    return _plain(ip_address(packed)), int(port, 16)


def _plain(address: Address) -> Address:
    """An IPv4 address that stands as an IPv6 one, as itself."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
