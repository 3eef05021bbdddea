"""The program `dpdkrouter fastpath`, started as an operator starts it, from a configuration that a test writes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dpdkrouter.config.paths import InstancePaths
from dpdkrouter.errors import SegmentError
from dpdkrouter.segment import StatsReader
from lab.harness.waiting import wait_for

if TYPE_CHECKING:
    from types import TracebackType

ADDRESSES = ("10.0.0.1/24", "2001:db8::1/64")
PEER4, PEER6, NEAR_PEER = "198.18.0.5", "2001:db8:18::5", "10.0.0.7"  # the last: by TTL security a neighbour
PEERS = f"""
[[bgp.neighbor]]
address = "{PEER4}"
local_address = "10.0.0.1"
asn = 65001
[[bgp.neighbor]]
address = "{PEER6}"
local_address = "2001:db8::1"
asn = 65001
[[bgp.neighbor]]
address = "{NEAR_PEER}"
asn = 65001
ttl_security = 1
"""
START_S = 30.0  # a loaded machine; 0.7 s on a quiet one


def instance(name: str) -> str:
    """A router's name, of at most 15 characters, that two test runs beside each other do not share."""
    return f"fr{os.getpid()}{name}"[:15]


@dataclass(frozen=True)
class Bond:
    """A port that is a bond; more: further keys."""

    members: tuple[str, ...]
    mode: str
    mac: str
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """What differs between tests; the rest of the configuration follows."""

    name: str
    devices: tuple[str, ...]  # of port0, port1, ...
    lcores: tuple[int, ...] = (0,)
    memory_mib: int = 64
    hugepages: bool = True
    simd: str = "auto"
    idle: str = "auto"
    hashing: tuple[str, ...] = ()  # keys of [fastpath] that are true
    eal_args: tuple[str, ...] = ()
    mtus: tuple[int, ...] = field(default=())
    polled_by: tuple[tuple[int, ...], ...] = ()  # lcores of port0, port1, ...
    addresses: tuple[str, ...] = ()  # of port0
    bonds: tuple[Bond, ...] = ()  # the next ports
    subs: tuple[tuple[int, int, int], ...] = ()  # sub-interfaces, the next ports: parent, outer VLAN or 0, VLAN
    filters: tuple[str, ...] = ()  # lines of port0, port1, ... in all of them, such as acl_in
    tables: str = ""  # further tables

    def toml(self, namespace: str) -> str:
        def quoted(words: tuple[str, ...]) -> str:
            return "[" + ", ".join(f'"{word}"' for word in words) + "]"

        lines = [
            "[router]",
            f'name = "{self.name}"',
            f'namespace = "{namespace}"',
            'id = "10.0.0.1"',
            "asn = 65000",
            "[fastpath]",
            f"lcores = {list(self.lcores)}",
            f"memory_mib = {self.memory_mib}",
            f"hugepages = {str(self.hugepages).lower()}",
            f'simd = "{self.simd}"',
            f'idle = "{self.idle}"',
            f"eal_args = {quoted(self.eal_args)}",
            *(f"{key} = true" for key in self.hashing),
        ]
        for number, device in enumerate(self.devices):
            mtu = self.mtus[number] if self.mtus else 1500
            lines += ["[[port]]", f'name = "port{number}"', f'device = "{device}"', f"mtu = {mtu}"]
            lines += [f"lcores = {list(self.polled_by[number])}"] if self.polled_by else []
            lines += [f"addresses = {quoted(self.addresses)}"] if number == 0 else []
            lines += self.filters[number : number + 1]
        for number, bond in enumerate(self.bonds, len(self.devices)):
            lines += ["[[port]]", f'name = "port{number}"', f"bond = {quoted(bond.members)}"]
            lines += [f'bond_mode = "{bond.mode}"', f'mac = "{bond.mac}"', *bond.more]
        for number, (parent, outer, vlan) in enumerate(self.subs, len(self.devices) + len(self.bonds)):
            mtu = self.mtus[number] if self.mtus else 1500
            lines += [
                "[[port]]",
                f'name = "port{number}"',
                f'parent = "port{parent}"',
                f"vlan = {vlan}",
                f"mtu = {mtu}",
            ]
            lines += [f"outer_vlan = {outer}"] if outer else []
            lines += self.filters[number : number + 1]
        return "\n".join(lines) + "\n" + self.tables


class FastPathProcess:
    """A context manager: the process runs inside; what it said is in `output()`."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        namespace: str = "",
        *,
        inside: bool = False,
        env: dict[str, str] | None = None,
    ) -> None:
        """folder: for configuration and log. inside: run in the namespace, where the devices are. env: added."""
        self.settings = settings
        self.paths = InstancePaths.for_name(settings.name, hugepages=settings.hugepages)
        self._file = folder / f"{settings.name}.toml"
        self._file.write_text(settings.toml(namespace or f"dr-{settings.name}"))
        self._log = folder / f"{settings.name}.log"
        self._prefix = ["ip", "netns", "exec", namespace] if inside else []
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.paths.run, ignore_errors=True)

    def start(self) -> None:
        """Launch; returns at once."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._prefix, sys.executable, "-P", "-m", "dpdkrouter", "fastpath", str(self._file)],
                stdin=subprocess.DEVNULL,
                env=self._env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout: float = START_S) -> int:
        """Until it ends; its exit code."""
        assert self._process is not None
        return self._process.wait(timeout)

    def await_ready(self) -> None:
        """Until ports are up and workers run."""

        def ready() -> bool:
            assert self._process is not None
            code = self._process.poll()
            if code is not None:
                raise RuntimeError(f"the fast path ended with {code}: {self.output()}")
            try:
                with StatsReader(self.paths.stats) as stats:
                    header = stats.header()
            except SegmentError:
                return False
            return header.pid == self.pid and header.ready

        wait_for(ready, START_S, f"the fast path is ready ({self._log})", interval=0.02)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM, and the exit code; SIGKILL after ten seconds."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        try:
            return self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            return self._process.wait(10)
