"""Third pass: whether this machine can run a configuration; asked before anything is started.

`Machine` holds the facts and reads them in one place; `check_runtime` compares. What this router's own
running programs hold (hugepages, the metrics port) is theirs already, so that a running router's file can
be checked. Called by `dpdkrouter check` and by each program when it starts.
"""

import grp
import os
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dpdkrouter.config.devices import Device
from dpdkrouter.config.load import show
from dpdkrouter.config.locate import KeyPath, render
from dpdkrouter.config.paths import HUGEPAGES, InstancePaths, running_pid
from dpdkrouter.config.rules import Listen
from dpdkrouter.config.schema import Config
from dpdkrouter.config.size import route_segment_bytes, stats_segment_bytes
from dpdkrouter.errors import Problem

MIB = 1 << 20
MEMINFO = re.compile(r"^(MemAvailable|Hugepagesize|HugePages_Free|HugePages_Rsvd):\s*([0-9]+)(?: kB)?$", re.MULTILINE)

Finding = tuple[KeyPath, str, str]  # key, found, allowed


def hugepages(meminfo: str) -> tuple[int, int]:
    """The hugepages' size in bytes and how many are to be had, from /proc/meminfo; 0, 0 without any."""
    values = _meminfo(meminfo)
    free = values.get("HugePages_Free", 0) - values.get("HugePages_Rsvd", 0)
    return values.get("Hugepagesize", 0) * 1024, free


def available_bytes(meminfo: str) -> int:
    """Ordinary memory that can be had without swapping, from /proc/meminfo."""
    return _meminfo(meminfo).get("MemAvailable", 0) * 1024


def _meminfo(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in MEMINFO.findall(text)}


@dataclass(frozen=True, slots=True)
class Machine:
    """What the checks ask about a machine."""

    uid: int
    lcores: frozenset[int]
    hugetlbfs: bool  # mounted where the segments go
    page_bytes: int
    free_pages: int
    available_bytes: int  # ordinary memory
    pci: frozenset[str]
    interfaces: frozenset[str]
    groups: frozenset[str]

    @classmethod
    def here(cls) -> Self:
        """The machine and network namespace this process runs in."""
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
        page_bytes, free_pages = hugepages(meminfo)
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
        devices = Path("/sys/bus/pci/devices")
        return cls(
            uid=os.geteuid(),
            lcores=frozenset(os.sched_getaffinity(0)),
            hugetlbfs=any(line.split()[1:3] == [str(HUGEPAGES), "hugetlbfs"] for line in mounts),
            page_bytes=page_bytes,
            free_pages=free_pages,
            available_bytes=available_bytes(meminfo),
            pci=frozenset(entry.name for entry in devices.iterdir()) if devices.is_dir() else frozenset(),
            interfaces=frozenset(name for _, name in socket.if_nameindex()),
            groups=frozenset(entry.gr_name for entry in grp.getgrall()),
        )


def listen_error(listen: Listen) -> str | None:
    """Why nothing can listen there now, or None."""
    kind = socket.AF_INET6 if listen.address.version == 6 else socket.AF_INET
    try:
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind((str(listen.address), listen.port))
    except OSError as error:
        return error.strerror or str(error)
    return None


def _fast_path(config: Config, machine: Machine, pci_error: Callable[[str], str | None]) -> Iterator[Finding]:
    if machine.uid != 0:
        yield (
            ("user",),
            f"uid {machine.uid}",
            "must be root: the router makes namespaces, TAPs and maps devices",
        )
    lcores = ", ".join(map(str, sorted(machine.lcores)))
    for i, lcore in enumerate(config.fastpath.lcores):
        if lcore not in machine.lcores:
            yield ("fastpath", "lcores", i), str(lcore), f"must be a CPU this process may use: {lcores}"
    for path, device in config.placed_devices:
        yield from _device(path, device, machine, pci_error)


def _device(
    path: KeyPath, device: Device, machine: Machine, pci_error: Callable[[str], str | None]
) -> Iterator[Finding]:
    if device.is_pci and device.name not in machine.pci:
        yield path, show(device.written), "must be a PCI device of this machine; lspci -D lists them"
    elif device.is_pci and (error := pci_error(device.name)) is not None:
        yield path, show(device.written), f"must be ready for DPDK: {error}"
    for name in device.interfaces:
        if name not in machine.interfaces:
            there = ", ".join(sorted(machine.interfaces))
            yield path, show(device.written), f"must name an interface that exists: {there}"


def needed_pages(config: Config, page_bytes: int, segment_bytes: Callable[[Config], int]) -> int:
    """Hugepages that a start takes: EAL's memory and both segments, each in whole pages."""
    parts = (config.fastpath.memory_mib * MIB, segment_bytes(config), stats_segment_bytes(config))
    return sum(-(-part // page_bytes) for part in parts)


def held_bytes(paths: InstancePaths) -> int:
    """What this router's segments take already; a restart uses them again."""
    held = 0
    for path in (paths.routes, paths.stats):
        try:
            held += path.stat().st_blocks * 512
        except OSError:
            continue
    return held


def _memory(
    config: Config, machine: Machine, paths: InstancePaths, segment_bytes: Callable[[Config], int]
) -> Iterator[Finding]:
    if running_pid(paths.pid_file("fastpath")) is not None:
        return
    if not config.fastpath.hugepages:
        yield from _ordinary_memory(
            config, machine, segment_bytes(config) + stats_segment_bytes(config) - held_bytes(paths)
        )
        return
    path: KeyPath = ("fastpath", "hugepages")
    if not machine.page_bytes:
        yield path, "a kernel without hugepages", "must be false here"
        return
    if not machine.hugetlbfs:
        yield path, f"no hugetlbfs at {HUGEPAGES}", f"must be mounted: mount -t hugetlbfs none {HUGEPAGES}"
    need = needed_pages(config, machine.page_bytes, segment_bytes) - held_bytes(paths) // machine.page_bytes
    missing = need - machine.free_pages
    if missing > 0:
        yield (
            path,
            f"{machine.free_pages} free pages of {machine.page_bytes // MIB} MiB",
            f"must be {need} for memory_mib and [table]: raise vm.nr_hugepages by {missing}",
        )


def _ordinary_memory(config: Config, machine: Machine, segments: int) -> Iterator[Finding]:
    """EAL takes all of its memory at once: more than there is would first drive everything else out."""
    if config.fastpath.memory_mib * MIB + segments > machine.available_bytes:
        most = max(machine.available_bytes - segments, 0) // MIB
        table = -(-segments // MIB)
        yield (
            ("fastpath", "memory_mib"),
            str(config.fastpath.memory_mib),
            f"must be at most {most}: {machine.available_bytes // MIB} MiB are available, [table] takes {table} of them",
        )


def _listeners(config: Config, machine: Machine, paths: InstancePaths) -> Iterator[Finding]:
    listen = config.metrics.listen
    if listen is not None and running_pid(paths.pid_file("control")) is None:
        reason = listen_error(listen)
        if reason is not None:
            yield ("metrics", "listen"), show(str(listen)), f"must be free to listen on: {reason.lower()}"
    if config.api.group not in machine.groups:
        yield (
            ("api", "group"),
            show(config.api.group),
            "must be a group of this machine; getent group lists them",
        )


def _passwords(config: Config) -> Iterator[Finding]:
    """Files of BGP passwords. An environment variable is not asked for: `dpdkrouter bgp` may get it from elsewhere."""
    for i, neighbor in enumerate(config.bgp.neighbors if config.bgp is not None else ()):
        if neighbor.password_file is None:
            continue
        try:
            reason = None if neighbor.password_file.read_text().strip() else "empty"
        except (OSError, UnicodeDecodeError) as error:
            reason = str(error.strerror).lower() if isinstance(error, OSError) else "not text"
        if reason is not None:
            path: KeyPath = ("bgp", "neighbor", i, "password_file")
            yield path, show(str(neighbor.password_file)), f"must be a file that holds the password: {reason}"


def check_runtime(
    config: Config,
    *,
    machine: Machine | None = None,
    segment_bytes: Callable[[Config], int] = route_segment_bytes,
    pci_error: Callable[[str], str | None] = lambda _: None,
    root: Path = Path("/"),
) -> list[Problem]:
    """All that keeps this machine from running a configuration, sorted; starts and changes nothing.

    `segment_bytes` gives the route segment's size: pass the writer's own computation where it is at hand;
    `pci_error` says why DPDK can't take the PCI device at an address, or None.
    """
    machine = machine or Machine.here()
    paths = InstancePaths.of(config, root=root)
    findings = [
        *_fast_path(config, machine, pci_error),
        *_memory(config, machine, paths, segment_bytes),
        *_listeners(config, machine, paths),
        *_passwords(config),
    ]
    problems = [
        Problem(config.filename, config.line(path), render(path), found, allowed) for path, found, allowed in findings
    ]
    return sorted(problems, key=Problem.sort_key)
