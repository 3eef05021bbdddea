"""Network namespaces by iproute2: made, used, and gone at the end whatever happened.

    with Namespace("peer") as peer, Namespace("router") as router:
        veth_pair((peer, "eth0"), (router, "wan0"))
        peer.address("eth0", "192.0.2.9/24")
        peer.run("ping", "-c", "1", "192.0.2.1")

A namespace's real name is PREFIX-pid-name. Leaving the block ends the processes in it and deletes it, and
with it its interfaces. `sweep` does the same for namespaces whose test process is dead; the first Namespace
of a process calls it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

PREFIX = "drlab"
_NETNS = Path("/run/netns")
_swept: set[str] = set()


def sweep(prefix: str = PREFIX) -> list[str]:
    """Remove the namespaces of dead processes whose names begin with `prefix`; returns their names."""
    removed = []
    for path in _NETNS.glob(f"{prefix}-*-*") if _NETNS.is_dir() else ():
        pid = path.name.split("-")[1]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            _remove(path.name)
            removed.append(path.name)
    return removed


class Namespace:
    """One network namespace; a context manager."""

    def __init__(self, name: str, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self.name = f"{prefix}-{os.getpid()}-{name}"

    def __enter__(self) -> Namespace:
        if self._prefix not in _swept:
            _swept.add(self._prefix)
            sweep(self._prefix)
        _run("ip", "netns", "add", self.name)
        try:
            # Before any interface exists: addresses are usable at once, and nothing is configured by itself.
            self.sysctl("net.ipv6.conf.default.accept_dad", 0)
            self.sysctl("net.ipv6.conf.all.accept_ra", 0)
            self.sysctl("net.ipv6.conf.default.accept_ra", 0)
            self.run("ip", "link", "set", "lo", "up")
        except BaseException:
            _remove(self.name)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _remove(self.name)

    def command(self, *words: str) -> list[str]:
        """The command line that runs `words` inside."""
        return ["ip", "netns", "exec", self.name, *words]

    def run(self, *words: str, check: bool = True, timeout: float = 30) -> str:
        """Run a command inside and return what it printed; raises AssertionError with its output when it
        fails.
        """
        return _run(*self.command(*words), check=check, timeout=timeout)

    def start(
        self,
        *words: str,
        stdout: int | None = None,
        stderr: int | None = None,
        env: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command inside; `ip netns exec` replaces itself, so the pid is the command's."""
        return subprocess.Popen(self.command(*words), stdout=stdout, stderr=stderr, env=env)

    def sysctl(self, key: str, value: int | str) -> None:
        """Set one sysctl of this namespace."""
        self.run("sysctl", "-qw", f"{key}={value}")

    def address(self, interface: str, *addresses: str) -> None:
        """Add addresses with prefix lengths."""
        for address in addresses:
            dad = ["nodad"] if ":" in address else []
            self.run("ip", "address", "add", address, "dev", interface, *dad)

    def route(self, prefix: str, *via: str) -> None:
        """Add a route: route("0.0.0.0/0", "via", "192.0.2.1")."""
        self.run("ip", "route", "add", prefix, *via)

    def pids(self) -> list[int]:
        """The processes inside."""
        return [int(pid) for pid in _run("ip", "netns", "pids", self.name, check=False).split()]


def veth_pair(left: tuple[Namespace, str], right: tuple[Namespace, str], mtu: int = 1500) -> None:
    """Join two namespaces by a veth pair, up, without offloads (raw ports would see unfinished checksums)."""
    (left_ns, left_name), (right_ns, right_name) = left, right
    _run(
        "ip",
        "link",
        "add",
        left_name,
        "netns",
        left_ns.name,
        "mtu",
        str(mtu),
        "type",
        "veth",
        "peer",
        "name",
        right_name,
        "netns",
        right_ns.name,
        "mtu",
        str(mtu),
    )
    for namespace, name in (left, right):
        features = [word for feature in ("rx", "tx", "gro", "gso", "tso") for word in (feature, "off")]
        namespace.run("ethtool", "-K", name, *features)
        namespace.run("ip", "link", "set", name, "up")


def _remove(name: str) -> None:
    pids = [int(pid) for pid in _run("ip", "netns", "pids", name, check=False).split()]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while _run("ip", "netns", "pids", name, check=False).split() and time.monotonic() < deadline:
        time.sleep(0.02)
    _run("ip", "netns", "delete", name, check=False)


def _run(*words: str, check: bool = True, timeout: float = 30) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout
