"""Helpers of the host stack's lab: namespaces whose TAPs are joined by a pump, which plays the fast path."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import subprocess
import threading
import time
from ipaddress import ip_interface
from pathlib import Path
from typing import TYPE_CHECKING

from dpdkrouter.host import namespace as namespaces
from dpdkrouter.host.plan import Twin
from dpdkrouter.host.setup import prepare
from dpdkrouter.host.taps import Taps
from dpdkrouter.host.tun import HOST_DEVICE, Kind, open_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUTER_MAC, PEER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000009")


def twin(name: str, mac: bytes, *addresses: str, mtu: int = 1500) -> Twin:
    """A Twin from text."""
    return Twin(name, mac, mtu, tuple(ip_interface(address) for address in addresses))


def run(*words: str, check: bool = True) -> str:
    """What a command printed."""
    done = subprocess.run(words, text=True, capture_output=True, timeout=30, check=False)
    assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def wait_for(what: str, condition: Callable[[], object], timeout: float = 15.0) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.02)


def sweep() -> None:
    """Remove the namespaces of test processes that were killed."""
    for path in namespaces.DIRECTORY.glob("host-t*-*"):
        pid = path.name.removeprefix("host-t").split("-")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            namespaces.remove(path.name)


class Lab:
    """A namespace made by `prepare`, with its Taps; ip() runs iproute2 in it."""

    def __init__(self, name: str) -> None:
        sweep()
        self.name = f"host-t{os.getpid()}-{name}"
        self.namespace = prepare(self.name)
        self.taps = Taps(self.name)

    def ip(self, *words: str) -> str:
        """`ip -n NAME ...`."""
        return run("ip", "-n", self.name, *words)

    def execute(self, *words: str, check: bool = True) -> str:
        """A command inside."""
        return run("ip", "netns", "exec", self.name, *words, check=check)

    def neighbour(self, address: str) -> str:
        """What `ip neigh` says about one address."""
        return self.ip("neigh", "show", "to", address).strip()

    def has_carrier(self, device: str) -> bool:
        """Whether the device has carrier."""
        return "LOWER_UP" in self.ip("-o", "link", "show", "dev", device)

    def queue(self, device: str) -> int:
        """One more queue, as the fast path opens it."""
        return open_queue(self.name, device, Kind.TUN if device == HOST_DEVICE else Kind.TAP)


@contextlib.contextmanager
def lab(name: str) -> Iterator[Lab]:
    """A Lab that is gone at the end, whatever happened."""
    made = Lab(name)
    try:
        yield made
    finally:
        try:
            made.taps.destroy()
        finally:
            made.namespace.remove(found_too=True)


class Cable:
    """Carries frames between two queues until closed; `cut` drops what arrives."""

    def __init__(self, left: int, right: int) -> None:
        self.carried = 0
        self.cut = threading.Event()
        self._ends = {left: right, right: left}
        self._stop, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._pump, name="cable")
        self._thread.start()

    def _pump(self) -> None:
        while True:
            ready, _, _ = select.select([*self._ends, self._stop], [], [])
            if self._stop in ready:
                return
            for end in ready:
                frame = os.read(end, 65536)
                if not self.cut.is_set():
                    self._carry(frame, self._ends[end])

    def _carry(self, frame: bytes, to: int) -> None:
        try:
            os.write(to, frame)
        except OSError as error:
            if error.errno != errno.EIO:  # the device is down: lost, as on a wire
                raise
        else:
            self.carried += 1

    def close(self) -> None:
        """Stop carrying and close both queues."""
        os.close(self._wake)
        self._thread.join()
        for fd in (*self._ends, self._stop):
            os.close(fd)


@contextlib.contextmanager
def cabled() -> Iterator[tuple[Lab, Lab, Cable]]:
    """Router p0 192.0.2.1, 2001:db8::1 and peer p0 192.0.2.9, 2001:db8::9, joined."""
    with lab("r") as router, lab("p") as peer:
        router.taps.apply([twin("p0", ROUTER_MAC, "192.0.2.1/24", "2001:db8::1/64")])
        peer.taps.apply([twin("p0", PEER_MAC, "192.0.2.9/24", "2001:db8::9/64")])
        cable = Cable(router.queue("p0"), peer.queue("p0"))
        try:
            yield router, peer, cable
        finally:
            cable.close()
