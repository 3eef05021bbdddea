"""PMD information out of shared objects: made by the compiler here, and those of the installed DPDK."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.errors import NicError
from dpdkrouter.nic.devices import read_devices
from dpdkrouter.nic.drivers import PLUGIN_PATH, Driver, driver_directory, driver_of, eal_library, read_drivers, strings
from nickit import machine

if TYPE_CHECKING:
    from pathlib import Path

GOOD = '{"name": "net_one", "kmod": "* vfio-pci", "pci_ids": [[1, 2, 65535, 65535], [1, 3, 4, 5]]}'


def shared_object(directory: Path, name: str, *infos: str) -> Path:
    """A driver's file as DPDK's build makes it: a string in .rodata."""
    lines = [f"const char info{n}[] = {json.dumps(f'PMD_INFO_STRING= {info}')};" for n, info in enumerate(infos)]
    source = directory / "driver.c"
    source.write_text("\n".join([*lines, "int nothing;"]))
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", directory / name, source], check=True)
    source.unlink()
    return directory / name


def test_what_a_shared_object_says(tmp_path: Path) -> None:
    shared_object(tmp_path, "librte_net_one.so.23.0", GOOD, '{"name": "net_two", "pci_ids": []}')
    (tmp_path / "librte_net_one.so").symlink_to("librte_net_one.so.23.0")
    shared_object(tmp_path, "librte_net_none.so")
    shared_object(tmp_path, "librte_crypto_other.so", GOOD)
    assert read_drivers(tmp_path) == [
        Driver("net_one", "librte_net_one.so.23.0", "* vfio-pci", ((1, 2, 0xFFFF, 0xFFFF), (1, 3, 4, 5))),
        Driver("net_two", "librte_net_one.so.23.0", "", ()),
    ]


def test_a_directory_without_drivers(tmp_path: Path) -> None:
    with pytest.raises(NicError, match="found no DPDK driver"):
        read_drivers(tmp_path)
    with pytest.raises(NicError, match="found no DPDK driver"):
        read_drivers(tmp_path / "none")


@pytest.mark.parametrize(
    "info", ["{", "[]", '{"pci_ids": []}', '{"name": "x", "pci_ids": [[1]]}', '{"name": "x", "pci_ids": 7}']
)
def test_information_that_is_none(tmp_path: Path, info: str) -> None:
    path = shared_object(tmp_path, "librte_net_bad.so", info)
    with pytest.raises(NicError, match=f"^{path}: cannot be read as a DPDK driver: "):
        read_drivers(tmp_path)


def test_a_file_that_is_no_shared_object(tmp_path: Path) -> None:
    (tmp_path / "librte_net_text.so").write_text("INPUT(librte_net_one.so)")
    with pytest.raises(NicError, match="cannot be read as a DPDK driver"):
        read_drivers(tmp_path)


def test_ids_and_wildcards(tmp_path: Path) -> None:
    kernel = machine(tmp_path)
    kernel.nic("0000:01:00.0", "0001:0002", driver=None)
    device = read_devices(kernel)["0000:01:00.0"]
    exact = Driver("exact", "", "", ((1, 2, 0x8086, 0),))
    wild = Driver("wild", "", "", ((9, 9, 9, 9), (1, 2, 0xFFFF, 0xFFFF)))
    other = replace(exact, ids=((1, 2, 0x8086, 1),))
    assert driver_of([other, wild, exact], device) is wild
    assert driver_of([exact, wild], device) is exact
    assert driver_of([other], device) is None


@pytest.mark.parametrize(
    ("modules", "bifurcated"),
    [
        ("* ib_uverbs & mlx5_core & mlx5_ib", True),
        ("* igb_uio | uio_pci_generic | vfio-pci", False),
        ("* igb_uio | uio_pci_generic", False),
        ("vfio-pci", False),
        ("", False),
    ],
)
def test_bifurcated_drivers_are_known_by_their_kernel_modules(modules: str, bifurcated: bool) -> None:
    assert Driver("x", "", modules, ()).bifurcated is bifurcated


def test_the_installed_dpdk() -> None:
    directory = driver_directory()
    drivers = {driver.name: driver for driver in read_drivers(directory)}
    assert (0x8086, 0x10D3, 0xFFFF, 0xFFFF) in drivers["net_e1000_em"].ids
    assert (0x15AD, 0x07B0, 0xFFFF, 0xFFFF) in drivers["net_vmxnet3"].ids
    assert {name for name, driver in drivers.items() if driver.bifurcated} == {"mlx5_eth", "net_mlx4"}


def test_the_library_among_what_is_mapped() -> None:
    assert eal_library("7f00-7f01 r--p 0 08:01 7 /lib/libc.so.6\n7f02-7f03 r--p 0 00:00 0 \n") is None
    found = eal_library("7f00-7f01 r--p 0 08:01 7 /opt/my dpdk/librte_eal.so.23.0\n")
    assert str(found) == "/opt/my dpdk/librte_eal.so.23.0"


def test_no_plugin_path_in_another_library(tmp_path: Path) -> None:
    assert list(strings(shared_object(tmp_path, "librte_net_one.so", GOOD), PLUGIN_PATH)) == []
