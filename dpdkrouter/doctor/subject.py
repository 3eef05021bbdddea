"""All that `doctor` looks at, read once; what can't be read is a finding later, not an error."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpdkrouter.config.runtime import Machine
from dpdkrouter.errors import NicError
from dpdkrouter.nic.drivers import driver_directory, read_drivers
from dpdkrouter.nic.survey import read_facts

if TYPE_CHECKING:
    from pathlib import Path

    from dpdkrouter.config.schema import Config
    from dpdkrouter.nic.drivers import Driver
    from dpdkrouter.nic.kernel import Kernel
    from dpdkrouter.nic.verdict import Facts


@dataclass(frozen=True, slots=True)
class Dpdk:
    """The DPDK that this program is linked with. `error`: why its drivers can't be read."""

    version: str
    directory: Path | None
    drivers: tuple[Driver, ...]
    error: str | None


@dataclass(frozen=True, slots=True)
class Subject:
    """`configured` is false when `config` holds nothing but defaults; `exabgp` is None when it is not installed."""

    kernel: Kernel
    machine: Machine
    config: Config
    configured: bool
    segment_bytes: Callable[[Config], int]
    facts: Facts
    dpdk: Dpdk
    exabgp: str | None

    @property
    def pci_ports(self) -> tuple[tuple[str, str], ...]:
        """Name and address, of the configuration's ports that are PCI devices or bonds of some."""
        return tuple((port.name, d.name) for port in self.config.ports for d in port.devices if d.is_pci)


def read_dpdk() -> Dpdk:
    """DPDK's version and drivers."""
    from fastpath import eal

    directory: Path | None = None
    drivers: tuple[Driver, ...] = ()
    error: str | None = None
    try:
        directory = driver_directory()
        drivers = tuple(read_drivers(directory))
    except (NicError, OSError) as problem:
        error = str(problem)
    return Dpdk(eal.version(), directory, drivers, error)


def look(kernel: Kernel, config: Config, segment_bytes: Callable[[Config], int], *, configured: bool) -> Subject:
    """Reads everything."""
    dpdk = read_dpdk()
    try:
        exabgp = importlib.metadata.version("exabgp")
    except importlib.metadata.PackageNotFoundError:
        exabgp = None
    facts = read_facts(kernel, dpdk.drivers)
    return Subject(kernel, Machine.here(), config, configured, segment_bytes, facts, dpdk, exabgp)
