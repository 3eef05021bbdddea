"""DPDK and its drivers, ExaBGP, the rights of this process, namespaces and TUN. Pure but for files of `kernel`."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from dpdkrouter.bgp.launcher import EXABGP_VERSION
from dpdkrouter.config.locate import render
from dpdkrouter.config.runtime import check_runtime
from dpdkrouter.doctor.findings import Finding, State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dpdkrouter.doctor.subject import Subject

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}  # linux/capability.h
DPDK_WHY = "the fast path drives its ports with DPDK's drivers, which EAL loads from this directory when it starts"


def examine(subject: Subject) -> Iterator[Finding]:
    """All findings of this file."""
    yield _dpdk(subject)
    yield _exabgp(subject)
    yield _rights(subject)
    yield _namespaces(subject)
    yield from _elsewhere(subject)


def _dpdk(subject: Subject) -> Finding:
    dpdk = subject.dpdk
    if dpdk.directory is None or not dpdk.drivers:
        mend = ("apt-get install dpdk", "scripts/setup")
        return Finding("dpdk", State.FAILED, f"{dpdk.version}: {dpdk.error}", DPDK_WHY, mend)
    found = f"{dpdk.version}, {len(dpdk.drivers)} network drivers in {dpdk.directory}"
    writable = world_writable(dpdk.directory)
    if writable is not None:
        why = f"EAL loads no driver from below a directory that everybody may write to: {writable}"
        return Finding("dpdk", State.FAILED, found, why, (f"chmod o-w {writable}",))
    return Finding("dpdk", State.OK, found, DPDK_WHY)


def world_writable(directory: Path) -> Path | None:
    """The first of a directory and those above it that others may write to (EAL's verify_perms)."""
    return next(
        (path for path in (directory, *directory.parents) if path.is_dir() and path.stat().st_mode & 0o002), None
    )


def _exabgp(subject: Subject) -> Finding:
    why = f"BGP sessions are ExaBGP's; its JSON and its faults are known of version {EXABGP_VERSION} alone"
    if subject.exabgp == EXABGP_VERSION:
        return Finding("exabgp", State.OK, f"ExaBGP {subject.exabgp}", why)
    needed = subject.config.bgp is not None
    found = f"ExaBGP {subject.exabgp}" if subject.exabgp else f"no ExaBGP for {sys.executable}"
    state = State.FAILED if needed else State.WARNING
    return Finding("exabgp", state, found, why, (f"{sys.executable} -m pip install exabgp=={EXABGP_VERSION}",))


def _rights(subject: Subject) -> Finding:
    why = "the programs make namespaces and TAPs, map hugepages and devices"
    if subject.machine.uid != 0:
        mend = ("sudo dpdkrouter doctor",)
        return Finding("rights", State.FAILED, f"user id {subject.machine.uid}; not all can be seen with it", why, mend)
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)", subject.kernel.read("/proc/self/status") or "", re.MULTILINE)
    bits = int(effective[1], 16) if effective else 0
    missing = [name for name, bit in CAPABILITIES.items() if not bits >> bit & 1]
    if missing:
        found = f"root without {' and '.join(missing)}"
        add = (f"--cap-add={name.removeprefix('CAP_')}, for a container" for name in missing)
        return Finding("rights", State.FAILED, found, why, tuple(add))
    return Finding("rights", State.OK, f"root with {' and '.join(CAPABILITIES)}", why)


def _namespaces(subject: Subject) -> Finding:
    name = subject.config.router.namespace
    why = "the ports' TAP twins, with their addresses, ARP, ND and BGP, live in a network namespace of their own"
    kernel = subject.kernel
    if not kernel.exists("/proc/self/ns/net"):
        mend = ("CONFIG_NET_NS=y, in the kernel's configuration",)
        return Finding("namespaces", State.FAILED, "a kernel without network namespaces", why, mend)
    if not kernel.exists("/dev/net/tun"):
        return Finding("namespaces", State.FAILED, "no /dev/net/tun, so no TAPs", why, ("modprobe tun",))
    there = "exists" if kernel.exists(f"/run/netns/{name}") else "will be made"
    return Finding("namespaces", State.OK, f"network namespaces and /dev/net/tun; {name} {there}", why)


def _elsewhere(subject: Subject) -> Iterator[Finding]:
    """What the run-time checks find that no other finding is about: listeners, groups, interfaces of vdevs."""
    hardware = {render(path) for path, device in subject.config.placed_devices if device.is_pci}
    problems = check_runtime(
        subject.config, machine=subject.machine, segment_bytes=subject.segment_bytes, root=subject.kernel.root
    )
    for problem in problems if subject.configured else ():
        if problem.key.startswith(("metrics", "api", "port", "fastpath.memory_mib")) and problem.key not in hardware:
            where = f"{problem.key} = {problem.found}"
            why = "the router starts only when this machine has what its configuration names"
            yield Finding("configuration", State.FAILED, where, why, (problem.allowed,))
