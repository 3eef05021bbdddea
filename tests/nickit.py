"""A machine's sysfs, procfs and /dev below a directory, and a kernel that answers writes to it as the real one does.

What the real kernel does on a write (a driver link that moves, an interface that goes and comes) is done here on the tree,
so that the code under test reads and writes files as it does on metal. The rehearsal on real devices shows that both agree.
"""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dpdkrouter.errors import NicError
from dpdkrouter.nic.drivers import Driver
from dpdkrouter.nic.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RELEASE = "6.1.0-test"
PCI = "/sys/bus/pci"

E1000E, IGB, MLX5, SOUND, UNKNOWN = "8086:10d3", "8086:10c9", "15b3:1017", "8086:a170", "1234:5678"
DRIVERS = [
    Driver("mlx5_eth", "librte_net_mlx5.so", "* ib_uverbs & mlx5_core & mlx5_ib", ((0x15B3, 0x1017, 0xFFFF, 0xFFFF),)),
    Driver(
        "net_e1000_em",
        "librte_net_e1000.so",
        "* igb_uio | uio_pci_generic | vfio-pci",
        ((0x8086, 0x10D3, 0xFFFF, 0xFFFF),),
    ),
    Driver(
        "net_e1000_igb",
        "librte_net_e1000.so",
        "* igb_uio | uio_pci_generic | vfio-pci",
        ((0x8086, 0x10C9, 0xFFFF, 0xFFFF),),
    ),
]


@dataclass
class FakeKernel(Kernel):
    """`native`: the driver that takes a device by its ids; `refuses`: devices that a driver fails to take."""

    root: Path
    release: str = RELEASE
    native: dict[str, str] = field(default_factory=dict)
    refuses: set[tuple[str, str]] = field(default_factory=set)
    writes: list[tuple[str, str]] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    loadable: dict[str, str] = field(default_factory=dict)  # module or modalias: the driver that it brings
    names_of: dict[str, str] = field(default_factory=dict)
    before_write: Callable[[], None] | None = None

    def put(self, path: str, text: str = "") -> Path:
        """Make a file."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
        return file

    def link(self, path: str, target: str) -> None:
        """Make a link."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target)

    def driver(self, name: str) -> None:
        """A driver that is loaded."""
        self.put(f"{PCI}/drivers/{name}/bind")

    def nic(
        self,
        address: str,
        ids: str = E1000E,
        *,
        driver: str | None = "e1000e",
        interface: str | None = None,
        group: int | None = None,
        pci_class: str = "0x020000",
        below: str = "",
    ) -> None:
        """Plug a device in; `below`: the directory of a virtio device on it."""
        vendor, device = ids.split(":")
        base = f"{PCI}/devices/{address}"
        for name, text in {
            "vendor": f"0x{vendor}",
            "device": f"0x{device}",
            "subsystem_vendor": "0x8086",
            "subsystem_device": "0x0000",
            "class": pci_class,
            "numa_node": "-1",
            "driver_override": "(null)",
            "modalias": f"pci:v0000{vendor}d0000{device}",
        }.items():
            self.put(f"{base}/{name}", text)
        if group is not None:
            self.link(f"{base}/iommu_group", f"../../../kernel/iommu_groups/{group}")
            self.link(f"/sys/kernel/iommu_groups/{group}/devices/{address}", f"../../../../bus/pci/devices/{address}")
        if interface is not None:
            self.names_of[address] = f"{below}/{interface}" if below else interface
        if driver is not None:
            self.native[address] = driver
            self.driver(driver)
            self.attach(address, driver)

    def attach(self, address: str, driver: str) -> None:
        """A driver takes a device."""
        self.link(f"{PCI}/devices/{address}/driver", f"../../../bus/pci/drivers/{driver}")
        self.put(f"{PCI}/drivers/{driver}/unbind")
        if driver == self.native.get(address) and address in self.names_of:
            below, _, name = self.names_of[address].rpartition("/")
            net = f"{PCI}/devices/{address}/{below}/net" if below else f"{PCI}/devices/{address}/net"
            self.path(f"{net}/{name}").mkdir(parents=True)
            for attribute, text in {"operstate": "up", "speed": "1000", "address": "52:54:00:00:00:01"}.items():
                self.put(f"/sys/class/net/{name}/{attribute}", text)

    def detach(self, address: str) -> None:
        """A driver lets go of a device."""
        base = self.path(f"{PCI}/devices/{address}")
        (base / "driver").unlink()
        if address in self.names_of:
            below, _, name = self.names_of[address].rpartition("/")
            shutil.rmtree(base / below / "net" if below else base / "net", ignore_errors=True)
            shutil.rmtree(self.path(f"/sys/class/net/{name}"), ignore_errors=True)

    def _probe(self, address: str) -> None:
        override = self.read(f"{PCI}/devices/{address}/driver_override")
        driver = self.native.get(address) if override in (None, "", "(null)") else override
        if self.target(f"{PCI}/devices/{address}/driver") is not None:
            return
        if driver and self.exists(f"{PCI}/drivers/{driver}") and (address, driver) not in self.refuses:
            self.attach(address, driver)

    def write(self, path: str, text: str) -> None:
        """What the kernel does with it."""
        if self.before_write is not None:
            self.before_write()
        self.writes.append((path, text))
        if path == f"{PCI}/drivers_probe":
            self._probe(text)
            return
        place, _, name = path.rpartition("/")
        if name == "driver_override":
            self.put(path, "(null)" if text == "\n" else text)
        elif name == "unbind":
            address = text
            if (address, "unbind") in self.refuses:
                raise OSError(errno.EBUSY, "Device or resource busy")
            self.detach(address)
        elif name == "bind":
            raise OSError(errno.ENODEV, "No such device")
        else:
            raise AssertionError(f"nothing should be written to {place}/{name}")

    def load_module(self, name: str) -> None:
        """modprobe."""
        self.modules.append(name)
        if name not in self.loadable:
            raise NicError(f"modprobe {name}: failed: Module {name} not found")
        self.driver(self.loadable[name])


def machine(root: Path) -> FakeKernel:
    """A machine with an IOMMU, vfio-pci to be loaded, and nothing plugged in."""
    kernel = FakeKernel(root)
    kernel.put("/proc/net/tcp", "header")
    kernel.put(
        f"/lib/modules/{RELEASE}/modules.dep", "kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/vfio.ko.xz"
    )
    kernel.loadable["vfio-pci"] = "vfio-pci"
    return kernel
