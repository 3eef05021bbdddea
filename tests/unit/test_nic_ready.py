"""Whether the fast path can take a device as it is: what `check --here`, `run` and `doctor` say of a port."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.nic.devices import read_devices
from dpdkrouter.nic.ready import NotReady, not_ready
from dpdkrouter.nic.usage import Process, Usage
from dpdkrouter.nic.verdict import Facts, read_vfio
from nickit import DRIVERS, IGB, MLX5, UNKNOWN, FakeKernel, machine

if TYPE_CHECKING:
    from pathlib import Path

A, B = "0000:01:00.0", "0000:01:00.1"


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    """A NIC that is bound."""
    kernel = machine(tmp_path)
    kernel.driver("vfio-pci")
    kernel.nic(A, group=7, driver="e1000e")
    use(kernel, A, "vfio-pci")
    return kernel


def use(kernel: FakeKernel, address: str, driver: str) -> None:
    kernel.detach(address)
    kernel.attach(address, driver)


def facts(kernel: FakeKernel) -> Facts:
    return Facts(read_devices(kernel), DRIVERS, Usage(), read_vfio(kernel))


def test_a_bound_device(kernel: FakeKernel) -> None:
    assert not_ready(facts(kernel), A, [A]) is None
    use(kernel, A, "uio_pci_generic")
    assert not_ready(facts(kernel), A, [A]) is None


def test_a_device_that_is_not_bound(kernel: FakeKernel) -> None:
    use(kernel, A, "e1000e")
    found = not_ready(facts(kernel), A, [A])
    assert str(found) == f"the kernel's driver e1000e has it, not vfio-pci: dpdkrouter nic bind {A}"
    kernel.detach(A)
    assert str(not_ready(facts(kernel), A, [A])) == f"no driver has it, not vfio-pci: dpdkrouter nic bind {A}"


def test_a_device_that_is_not_there(kernel: FakeKernel) -> None:
    found = not_ready(facts(kernel), "0000:0f:00.0", ["0000:0f:00.0"])
    assert found == NotReady("is not a PCI device of this machine", "dpdkrouter nic list")


def test_a_bound_device_without_a_driver(kernel: FakeKernel) -> None:
    kernel.nic(B, UNKNOWN, driver="vfio-pci", group=8)
    found = not_ready(facts(kernel), B, [B])
    assert found == NotReady("none of the installed DPDK drivers takes 1234:5678", "dpdkrouter nic drivers")


def test_a_device_in_use_by_another_process_but_not_by_the_router(kernel: FakeKernel) -> None:
    usage = Usage(holders={"/dev/vfio/7": (Process(99, "testpmd"),)})
    found = not_ready(replace(facts(kernel), usage=usage), A, [A])
    assert found is not None
    assert found.text == "is in use: /dev/vfio/7 is open in process 99 (testpmd); end that first"
    ours = replace(usage, routers=frozenset({99}))
    assert not_ready(replace(facts(kernel), usage=ours), A, [A]) is None


def test_a_group_that_vfio_will_not_open(kernel: FakeKernel) -> None:
    kernel.nic(B, IGB, driver="igb", group=7)
    found = not_ready(facts(kernel), A, [A])
    assert found is not None
    assert found.text.startswith(f"shares IOMMU group 7 with {B} (8086:10c9, driver igb)")
    assert found.mend == f"dpdkrouter nic explain {A}"
    use(kernel, B, "vfio-pci")
    assert not_ready(facts(kernel), A, [A]) is None


def test_a_bifurcated_device_needs_its_kernel_driver(kernel: FakeKernel) -> None:
    kernel.nic(B, MLX5, driver="mlx5_core")
    assert not_ready(facts(kernel), B, [B]) is None
    use(kernel, B, "vfio-pci")
    found = not_ready(facts(kernel), B, [B])
    assert found is not None
    assert found.mend == f"dpdkrouter nic restore {B}"
    kernel.detach(B)
    found = not_ready(facts(kernel), B, [B])
    assert found is not None
    assert found.mend == "modprobe -a ib_uverbs mlx5_core mlx5_ib"
