"""A whole dpdkrouter in a lab: `dpdkrouter run` with a configuration of its own, watched and removed.

    with Namespace("metal") as metal, Namespace("east") as east:
        port_veth(metal, "wan0", (east, "eth0"))
        with Router(metal, tmp_path, [Port("wan0", "192.0.2.1/24")], BODY) as router:
            router.kill("control")
            wait_for(lambda: router.pid("control"), 5, "control again")

The ports' veths end in the namespace `metal`, in which the router is started: to it this is the host's namespace. The
router's own namespace is one that `run` makes. Leaving the block stops the router as Ctrl-C does, prints its log, and
fails when anything is left; what is left is removed then.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpdkrouter.api.client import ApiClient
from dpdkrouter.config.paths import RUN, InstancePaths
from dpdkrouter.errors import DpdkrouterError
from dpdkrouter.fib.reader import FibReader
from dpdkrouter.segment import StatsReader
from lab.harness.namespace import PREFIX, Namespace, veth_pair
from lab.harness.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from dpdkrouter.fib.records import Lookup

NAMES = "lb"
PROGRAMS = ("control", "fastpath", "bgp")
_START_S = 40  # machines that run tests are busy ones
_STOP_S = 30

_HEAD = """\
[router]
name = "{name}"
id = "192.0.2.1"
asn = 65000
namespace = "{namespace}"
[fastpath]
lcores = {lcores}
memory_mib = 64
"""
TABLE = """\
[table]
max_ipv4_routes = 50000
max_ipv6_routes = 20000
max_groups = 2000
max_adjacencies = 2000
max_ecmp_groups = 64
max_ipv4_extended = 256
ipv6_trie_mib = 2
"""
_PORT = """\
[[port]]
name = "{0.name}"
device = "{0.device}"
addresses = {1}
mtu = {0.mtu}
{0.more}
"""


class Port:
    """A port on the veth of the same name; `driver` is the vdev's: net_af_packet or net_af_xdp, `options` more of its;
    `more`: further keys, TOML."""

    def __init__(
        self,
        name: str,
        *addresses: str,
        driver: str = "net_af_packet",
        mtu: int = 1500,
        options: str = "",
        more: str = "",
    ) -> None:
        self.name = name
        self.mtu = mtu
        self.more = more
        self.addresses = list(addresses)
        self.device = f"{driver}_{name},iface={name}{options}"


@dataclass(frozen=True, slots=True)
class Counts:
    """The workers' counters added up, and the kernel's count of packets that the TAPs and host0 brought it."""

    rx: int
    forwarded: int
    punted: int
    dropped: int
    originated: int
    injected: int
    kernel: int

    def since(self, before: Counts) -> Counts:
        """What was added."""
        return Counts(*(getattr(self, name) - getattr(before, name) for name in Counts.__slots__))


def port_veth(metal: Namespace, port: str, host: tuple[Namespace, str], mtu: int = 1500) -> None:
    """A cable from a port to a host; the kernel of `metal` keeps off its end."""
    veth_pair((metal, port), host, mtu)
    metal.sysctl(f"net.ipv6.conf.{port}.disable_ipv6", 1)
    metal.sysctl(f"net.ipv4.conf.{port}.forwarding", 0)
    metal.sysctl(f"net.ipv4.conf.{port}.arp_ignore", 8)


class Router:
    """One router; a context manager. `body`: more of the configuration, TOML; environment: variables beside ours."""

    def __init__(
        self,
        metal: Namespace,
        directory: Path,
        ports: Sequence[Port],
        body: str = "",
        name: str = "r",
        lcores: Sequence[int] = (0, 1),
        table: str = TABLE,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = f"{NAMES}-{os.getpid()}-{name}"
        self.namespace = f"{PREFIX}-{os.getpid()}-{name}-router"
        self.paths = InstancePaths.for_name(self.name)
        self.api = ApiClient(self.paths.api_socket)
        self.log = directory / f"{self.name}.log"
        self.file = directory / f"{self.name}.toml"
        self.process: subprocess.Popen[bytes] | None = None
        self._metal = metal
        self._environment = {**os.environ, **(environment or {})}
        self._ports = list(ports)
        self._bgp = "[bgp]" in body
        available = sorted(os.sched_getaffinity(0))
        used = [available[lcore % len(available)] for lcore in lcores]
        head = _HEAD.format(name=self.name, namespace=self.namespace, lcores=sorted(set(used)))
        described = "".join(_PORT.format(port, json.dumps(port.addresses)) for port in ports)
        self.file.write_text(head + table + described + body)

    # ---- coming and going

    def __enter__(self) -> Router:
        remove_leftovers(self.name)
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
            assert not (left := leftovers(self.name, self.namespace)), f"left behind: {left}"
        finally:
            self.end()

    def start(self) -> None:
        """Start `dpdkrouter run` and wait until it forwards."""
        self.launch()
        wait_for(self._ready, _START_S, f"{self.name} ready")

    def launch(self) -> None:
        """Start `dpdkrouter run` and don't wait."""
        command = [sys.executable, "-m", "dpdkrouter", "run", str(self.file)]
        # Not `ip netns exec`: it has a mount namespace of its own, and what is mounted there nobody else sees.
        enter = ["nsenter", f"--net=/run/netns/{self._metal.name}"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                enter + command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.log.parent,
                env=self._environment,
            )

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"`run` ended with {self.process.returncode}: {self.log.read_text()}")
        self.call("status")
        with self.stats() as stats:
            assert stats.header().ready, "workers do not run yet"
        devices = {link["ifname"] for link in self.links()}
        missing = {port.name for port in self._ports} | {"host0"}
        assert missing <= devices, f"devices of the router's namespace: {devices}"
        return "twin opened" in self.log.read_text() and (not self._bgp or self.call("status")["exabgp_connected"])

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stop it as Ctrl-C does; its exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        return self.process.wait(_STOP_S)

    def end(self) -> None:
        """Remove all of it, whatever its state, and print its log: pytest shows it when the test failed."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        remove_leftovers(self.name, self.namespace)
        if self.log.exists():
            print(f"---- {self.log}\n{self.log.read_text()}")

    # ---- its processes

    def pids(self) -> dict[str, int]:
        """The programs that run, by name."""
        assert self.process is not None
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except FileNotFoundError:
            return {}
        found: dict[str, int] = {}
        for child in children:
            words = _command_line(int(child))
            found |= {program: int(child) for program in PROGRAMS if program in words}
        return found

    def pid(self, program: str) -> int:
        """The pid of a program; LookupError when it does not run."""
        found = self.pids()
        if program not in found:
            raise LookupError(f"{program} does not run; {found} do")
        return found[program]

    def kill(self, program: str) -> int:
        """kill -9; `run` starts it again. Returns the pid that it had."""
        pid = self.pid(program)
        os.kill(pid, signal.SIGKILL)
        return pid

    def restarted(self, program: str, before: int) -> int:
        """The new pid of a program, for use in conditions."""
        pid = self.pid(program)
        assert pid != before, f"{program} has still pid {pid}"
        return pid

    # ---- what it says

    def call(self, method: str, **params: Any) -> Any:
        """Ask its API; an answer that is not there is a LookupError, for use in conditions."""
        try:
            return self.api.call(method, **params)
        except DpdkrouterError as error:
            raise LookupError(str(error)) from None

    def rows(self, method: str, **params: Any) -> list[dict[str, Any]]:
        """The items of a show method."""
        try:
            return list(self.api.stream(method, **params))
        except DpdkrouterError as error:
            raise LookupError(str(error)) from None

    def stats(self) -> StatsReader:
        """Its stats segment, to be closed."""
        try:
            return StatsReader(self.paths.stats)
        except DpdkrouterError as error:
            raise LookupError(str(error)) from None

    def counts(self) -> Counts:
        """Counters of now."""
        with self.stats() as stats:
            workers = stats.lcores()
        kernel = sum(link["stats64"]["rx"]["packets"] for link in self.links() if link["ifname"] != "lo")
        return Counts(
            rx=sum(worker.rx_packets for worker in workers),
            forwarded=sum(worker.forwarded for worker in workers),
            punted=sum(worker.punted for worker in workers),
            dropped=sum(worker.dropped for worker in workers),
            originated=sum(worker.originated for worker in workers),
            injected=sum(worker.injected for worker in workers),
            kernel=kernel,
        )

    def drops(self) -> dict[str, int]:
        """Drop counts that are not 0, by reason."""
        with self.stats() as stats:
            return {reason: count for reason, count in stats.drops().items() if count}

    def punts(self) -> dict[str, int]:
        """Punts by class."""
        with self.stats() as stats:
            return stats.punts()

    def table(self) -> dict[str, int]:
        """Routes in the segment, by family."""
        used = self.used()
        return {family: used[f"{family}_routes"] for family in ("ipv4", "ipv6")}

    def routes(self) -> set[str]:
        """The prefixes in the segment."""
        found: set[str] = set()
        with FibReader.open(self.paths.routes) as reader:
            for family, size in ((4, 4), (6, 16)):
                after: int | None = None
                while True:
                    chunk = reader.routes(family, after)
                    for i, length in enumerate(chunk.lengths):
                        found.add(f"{ip_address(chunk.prefixes[i * size : (i + 1) * size])}/{length}")
                    after = chunk.after
                    if after is None:
                        break
        return found

    def used(self) -> dict[str, int]:
        """How much of each part of the segment is in use."""
        with FibReader.open(self.paths.routes) as reader:
            return {part: use.used for part, use in reader.use().items()}

    def stale(self) -> int:
        """Routes in the segment that nobody has announced again since control's start."""
        with FibReader.open(self.paths.routes) as reader:
            found = [reader.sources(family) for family in (4, 6)]
        return sum(count for sources in found for (_, stale), count in sources.items() if stale)

    def lookup(self, address: str) -> Lookup:
        """What the segment says about an address."""
        with FibReader.open(self.paths.routes) as reader:
            return reader.lookup(ip_address(address))

    def next_hops(self, address: str) -> list[str]:
        """The next hops that packets to an address take now."""
        return sorted(
            str(ip_address(adjacency.next_hop)) for _, adjacency in self.lookup(address).members if adjacency.next_hop
        )

    def links(self) -> list[dict[str, Any]]:
        """The devices of its namespace, as `ip -s link` has them."""
        found: list[dict[str, Any]] = json.loads(_run("ip", "-n", self.namespace, "-j", "-s", "link", "show") or "[]")
        return found

    def inside(self, *words: str, check: bool = True) -> str:
        """Run a command in the router's namespace."""
        return _run("ip", "netns", "exec", self.namespace, *words, check=check)


def leftovers(name: str, namespace: str = "") -> list[str]:
    """What of a router is still there: files, namespace, processes. `name` may be a prefix of names."""
    found = [str(path) for path in RUN.glob(f"{name}*")]
    for directory in ("/dev/hugepages", "/dev/shm"):
        found += [str(path) for path in Path(directory).glob(f"*dpdkrouter-{name}*")]
    if namespace and Path("/run/netns", namespace).exists():
        found.append(f"namespace {namespace}")
    return found + [f"process {pid}: {' '.join(_command_line(pid))}" for pid in _processes(name)]


def remove_leftovers(name: str, namespace: str = "") -> None:
    """Remove what `leftovers` finds."""
    for pid in _processes(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not _processes(name), 10, f"the end of {name}'s processes")
    if namespace:
        _run("ip", "netns", "delete", namespace, check=False)
    for directory in ("/dev/hugepages", "/dev/shm"):
        for path in Path(directory).glob(f"*dpdkrouter-{name}*"):
            path.unlink(missing_ok=True)
    for path in RUN.glob(f"{name}*"):
        shutil.rmtree(path, ignore_errors=True)


def _processes(name: str) -> list[int]:
    """Processes whose command line names the router's configuration or run directory; the test itself is none."""
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
    marks = (f"/{name}", f"dpdkrouter-{name}")
    return [pid for pid in pids if pid != os.getpid() and any(mark in " ".join(_command_line(pid)) for mark in marks)]


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def _run(*words: str, check: bool = True) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert not check or done.returncode == 0, f"{' '.join(words)}: exit code {done.returncode}: {done.stderr.strip()}"
    return done.stdout
