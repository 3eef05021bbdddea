"""DPDK's drivers and the devices that each supports, as the installed drivers' own files tell.

A driver's shared object has strings `PMD_INFO_STRING= {JSON}` in .rodata (DPDK's buildtools/pmdinfogen; dpdk-pmdinfo.py
reads the same): its name, the kernel modules it needs, its PCI ids with 0xffff for any. The directory is the one that the
EAL we are linked with says it loads drivers from (`DPDK_PLUGIN_PATH=` in its .rodata). Reading all takes a
tenth of a second.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dpdkrouter.errors import NicError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dpdkrouter.nic.devices import PciDevice

INFO = b"PMD_INFO_STRING="
PLUGIN_PATH = b"DPDK_PLUGIN_PATH="
ANY = 0xFFFF

PciId = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Driver:
    """A DPDK driver. `modules`: the kernel modules it works with, as DPDK writes them (`* igb_uio | vfio-pci`)."""

    name: str
    file: str
    modules: str
    ids: tuple[PciId, ...]

    @property
    def bifurcated(self) -> bool:
        """Whether it works through the kernel's own driver, which keeps the device (mlx4, mlx5, mana)."""
        return bool(self.modules) and "vfio" not in self.modules and "uio" not in self.modules

    def supports(self, device: PciDevice) -> bool:
        """Whether one of its ids is the device's."""
        return any(all(want in (ANY, have) for want, have in zip(one, device.ids, strict=True)) for one in self.ids)


def strings(path: Path, prefix: bytes) -> Iterator[str]:
    """The NUL-terminated strings of a file's .rodata that begin so, without the prefix; ELFError: no ELF file."""
    from elftools.elf.elffile import ELFFile  # a third of a second, which other commands need not pay

    with path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".rodata")
        data: bytes = section.data() if section is not None else b""
    at = data.find(prefix)
    while at >= 0:
        end = data.find(b"\0", at)
        yield data[at + len(prefix) : end if end >= 0 else None].decode("utf-8", errors="replace").strip()
        at = data.find(prefix, at + 1)


def eal_library(maps: str) -> Path | None:
    """The librte_eal that a process has mapped, from its /proc/PID/maps."""
    paths = (line.split(maxsplit=5)[-1] for line in maps.splitlines() if "/librte_eal.so" in line)
    return next((Path(path) for path in paths), None)


def driver_directory() -> Path:
    """Where the EAL that this program is linked with loads its drivers from."""
    from fastpath import eal  # linked with librte_eal, which is mapped from here on

    library = eal_library(Path("/proc/self/maps").read_text(encoding="utf-8"))
    if library is None:
        raise NicError(f"{eal.__file__}: no librte_eal.so is mapped by it: DPDK must be linked dynamically")
    for path in strings(library, PLUGIN_PATH):
        return Path(path)
    raise NicError(f"{library}: names no directory of drivers ({PLUGIN_PATH.decode()}...): is it DPDK's?")


def read_drivers(directory: Path) -> list[Driver]:
    """All network drivers in a directory, by name; NicError when there are none."""
    files = {path.resolve() for path in directory.glob("librte_net_*.so*")}
    drivers = [driver for path in sorted(files) for driver in _drivers(path)]
    if not drivers:
        raise NicError(f"{directory}: found no DPDK driver (librte_net_*.so); install them: apt-get install dpdk")
    return sorted(drivers, key=lambda driver: driver.name)


def _drivers(path: Path) -> Iterator[Driver]:
    from elftools.common.exceptions import ELFError

    try:
        for text in strings(path, INFO):
            info = json.loads(text)
            ids = tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in info.get("pci_ids", ()))
            yield Driver(str(info["name"]), path.name, str(info.get("kmod", "")), ids)
    except (OSError, ELFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NicError(f"{path}: cannot be read as a DPDK driver: {error}") from None


def driver_of(drivers: Iterable[Driver], device: PciDevice) -> Driver | None:
    """The driver that takes a device."""
    return next((driver for driver in drivers if driver.supports(device)), None)
