"""What `nic bind` would do and what forbids it, each obstacle alone; on a fake sysfs."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.nic.devices import parse_address, read_devices
from dpdkrouter.nic.usage import Process, Session, Usage
from dpdkrouter.nic.verdict import NO_IOMMU_PARAMETER, Action, Facts, Verdict, judge_bind, read_vfio
from nickit import DRIVERS, E1000E, IGB, MLX5, RELEASE, SOUND, FakeKernel, machine

if TYPE_CHECKING:
    from pathlib import Path

A, B = "0000:01:00.0", "0000:02:00.0"
TESTPMD = Process(99, "testpmd")
GROUP = "shares IOMMU group 7 with"
OWN = "put the card into a slot with a group of its own"


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    """One NIC that can be bound."""
    kernel = machine(tmp_path)
    kernel.nic(A, interface="fake0", group=7)
    return kernel


def judged(
    kernel: FakeKernel, *, together: tuple[str, ...] = (), force: bool = False, usage: Usage | None = None
) -> Verdict:
    facts = Facts(read_devices(kernel), DRIVERS, usage or Usage(), read_vfio(kernel))
    return judge_bind(facts, facts.devices[A], together, force=force)


def obstacles(verdict: Verdict) -> list[str]:
    assert verdict.action is Action.REFUSE
    assert verdict.steps == ()
    return [str(obstacle) for obstacle in verdict.obstacles]


def test_a_nic_that_can_be_bound(kernel: FakeKernel) -> None:
    verdict = judged(kernel)
    assert (verdict.action, verdict.obstacles) == (Action.BIND, ())
    assert verdict.reason == "DPDK's net_e1000_em supports 8086:10d3 through vfio-pci"


def test_a_loaded_vfio_pci_is_not_loaded_again(kernel: FakeKernel) -> None:
    assert judged(kernel).steps[0].command == "modprobe vfio-pci"
    kernel.driver("vfio-pci")
    assert judged(kernel).steps[0].command.startswith("echo vfio-pci > ")


def test_other_devices_of_the_group_are_named(kernel: FakeKernel) -> None:
    kernel.nic(B, IGB, driver="igb", group=7)
    assert obstacles(judged(kernel)) == [f"{GROUP} 0000:02:00.0 (8086:10c9, driver igb): bind them together, or {OWN}"]
    assert judged(kernel, together=(A, B)).action is Action.BIND
    kernel.nic("0000:00:1f.3", SOUND, driver="snd_hda_intel", pci_class="0x040300", group=7)
    assert obstacles(judged(kernel, together=(A, B), force=True)) == [
        f"{GROUP} 0000:00:1f.3 (8086:a170, driver snd_hda_intel): {OWN}"
    ]


def test_bridges_and_devices_without_a_kernel_driver_do_not_spoil_a_group(kernel: FakeKernel) -> None:
    kernel.nic("0000:00:1c.0", "8086:a110", driver="pcieport", pci_class="0x060400", group=7)
    kernel.nic(B, IGB, driver=None, group=7)
    kernel.nic("0000:03:00.0", IGB, driver="vfio-pci", group=7)
    kernel.nic("0000:04:00.0", IGB, driver="igb", group=8)
    assert judged(kernel).action is Action.BIND


@pytest.mark.parametrize("node", ["/dev/vfio/7", "/dev/vfio/noiommu-7"])
def test_a_group_that_a_process_holds(kernel: FakeKernel, node: str) -> None:
    usage = Usage(holders={node: (TESTPMD,), "/dev/vfio/8": (Process(1, "other"),)})
    assert obstacles(judged(kernel, usage=usage, force=True)) == [
        f"is in use: {node} is open in process 99 (testpmd); end that first"
    ]


def test_a_bound_device_in_use(kernel: FakeKernel) -> None:
    kernel.detach(A)
    kernel.attach(A, "vfio-pci")
    assert judged(kernel).action is Action.NOTHING
    usage = Usage(holders={"/dev/vfio/7": (TESTPMD,)})
    assert "is in use: /dev/vfio/7 is open in process 99 (testpmd)" in obstacles(judged(kernel, usage=usage))[0]
    verdict = judged(kernel, usage=replace(usage, routers=frozenset({99})))
    assert verdict.action is Action.NOTHING
    assert verdict.reason == "vfio-pci has it already, in use by a router's process 99 (testpmd)"


def test_a_uio_device_in_use(kernel: FakeKernel) -> None:
    kernel.put(f"/sys/bus/pci/devices/{A}/uio/uio3/name")
    assert (
        "/dev/uio3 is open in process 99"
        in obstacles(judged(kernel, usage=Usage(holders={"/dev/uio3": (TESTPMD,)})))[0]
    )


def test_a_kernel_without_vfio(kernel: FakeKernel) -> None:
    kernel.path(f"/lib/modules/{RELEASE}/modules.dep").write_text("kernel/drivers/vfio/vfio-pci-core.ko.xz:\n")
    assert obstacles(judged(kernel, force=True)) == [
        (
            f"needs vfio-pci, which kernel {RELEASE} does not have: neither built in nor below /lib/modules/{RELEASE}; "
            "install the distribution's full kernel image"
        )
    ]
    kernel.put(f"/lib/modules/{RELEASE}/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko")
    assert judged(kernel).action is Action.BIND


def test_no_iommu(kernel: FakeKernel) -> None:
    kernel.path(f"/sys/bus/pci/devices/{A}/iommu_group").unlink()
    assert obstacles(judged(kernel))[0].startswith("is in no IOMMU group, though others are; turn VT-d or AMD-Vi on")
    kernel.path(f"/sys/kernel/iommu_groups/7/devices/{A}").unlink()
    for directory in ("/7/devices", "/7", ""):
        kernel.path(f"/sys/kernel/iommu_groups{directory}").rmdir()
    assert obstacles(judged(kernel, force=True))[0].startswith(
        "has no IOMMU: no device is in an IOMMU group; turn VT-d"
    )
    kernel.put(NO_IOMMU_PARAMETER, "Y")
    assert judged(kernel).action is Action.BIND


def test_what_no_driver_supports(kernel: FakeKernel) -> None:
    kernel.put(f"/sys/bus/pci/devices/{A}/device", "0xffff")
    assert obstacles(judged(kernel))[0].startswith(
        "is not supported: none of the installed DPDK drivers takes 8086:ffff"
    )


def test_a_disk_is_no_nic(kernel: FakeKernel) -> None:
    kernel.put(f"/sys/bus/pci/devices/{A}/class", "0x010802")
    kernel.put(f"/sys/bus/pci/devices/{A}/device", "0xffff")
    assert obstacles(judged(kernel, force=True)) == ["is no NIC: its class is 010802, a NIC's begins with 02"]


@pytest.mark.parametrize(
    ("driver", "kept"), [("mlx5_core", "the kernel's driver mlx5_core"), (None, "its kernel driver")]
)
def test_a_bifurcated_driver_needs_no_binding(tmp_path: Path, driver: str | None, kept: str) -> None:
    kernel = machine(tmp_path)
    kernel.nic(A, MLX5, driver=driver, interface="fake0")
    usage = Usage(addresses={"fake0": (ip_interface("192.0.2.1/24"),)})
    verdict = judged(kernel, usage=usage)
    assert verdict.action is Action.NOTHING
    assert verdict.reason.startswith(f"DPDK's mlx5_eth works through {kept}")


def test_what_an_interface_carries_needs_force(kernel: FakeKernel) -> None:
    usage = Usage(
        addresses={"fake0": (ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64"))},
        defaults=frozenset({"fake0"}),
        sessions=(Session(ip_address("2001:db8::1"), "2001:db8::9"), Session(ip_address("203.0.113.1"), "203.0.113.9")),
    )
    assert obstacles(judged(kernel, usage=usage)) == [
        "its interface fake0 carries an open SSH session (from 2001:db8::9); --force takes it all the same",
        "its interface fake0 carries the default route; --force takes it all the same",
        "its interface fake0 has an address: 192.0.2.1/24, 2001:db8::1/64; --force takes it all the same",
    ]
    forced = judged(kernel, usage=usage, force=True)
    assert (forced.action, len(forced.obstacles)) == (Action.BIND, 3)


def test_what_is_on_top_of_an_interface_counts_as_well(kernel: FakeKernel) -> None:
    kernel.link("/sys/class/net/fake0/upper_bond0", "../bond0")
    kernel.link("/sys/class/net/bond0/upper_bond0.7", "../bond0.7")
    kernel.link("/sys/class/net/bond0.7/upper_bond0", "../bond0")  # a loop must not hang us
    usage = Usage(addresses={"bond0.7": (ip_interface("192.0.2.1/24"),)}, defaults=frozenset({"bond0"}))
    assert obstacles(judged(kernel, usage=usage)) == [
        "its interface fake0 carries the default route by bond0; --force takes it all the same",
        "its interface fake0 has an address by bond0.7: 192.0.2.1/24; --force takes it all the same",
        "its interface fake0 has bond0, bond0.7 on top of it; --force takes it all the same",
    ]


def test_virtual_functions_need_force(kernel: FakeKernel) -> None:
    kernel.put(f"/sys/bus/pci/devices/{A}/sriov_numvfs", "0")
    assert judged(kernel).action is Action.BIND
    kernel.put(f"/sys/bus/pci/devices/{A}/sriov_numvfs", "4")
    assert obstacles(judged(kernel)) == [
        "has 4 virtual functions, which go with its kernel driver; --force takes it all the same"
    ]
    assert judged(kernel, force=True).action is Action.BIND


@pytest.mark.parametrize("below", ["", "/virtio2"])
def test_an_interface_in_another_namespace(kernel: FakeKernel, below: str) -> None:
    kernel.detach(A)
    kernel.path(f"/sys/bus/pci/devices/{A}{below}/net").mkdir(parents=True)
    (text,) = obstacles(judged(kernel))
    assert text.startswith("has an interface that is not seen here: it is in another network namespace; --force")
    assert judged(kernel, force=True).action is Action.BIND


def test_a_virtio_nics_interface_is_below_its_virtio_device(tmp_path: Path) -> None:
    kernel = machine(tmp_path)
    kernel.nic(A, E1000E, driver="virtio-pci", interface="fake0", group=1, below="virtio2")
    assert [interface.name for interface in read_devices(kernel)[A].interfaces] == ["fake0"]
    assert obstacles(judged(kernel, usage=Usage(defaults=frozenset({"fake0"}))))[0].startswith(
        "its interface fake0 carries"
    )


@pytest.mark.parametrize("speed", ["-1", "4294967295", "unknown", "0"])
def test_a_speed_that_is_not_known(kernel: FakeKernel, speed: str) -> None:
    kernel.put("/sys/class/net/fake0/speed", speed)
    assert read_devices(kernel)[A].interfaces[0].speed_mbit is None


def test_addresses() -> None:
    assert parse_address("03:00.0") == parse_address("0000:03:00.0") == "0000:03:00.0"
    assert parse_address("000A:AB:1F.7") == "000a:ab:1f.7"
    for text in (
        "",
        "eth0",
        "03:00",
        "03:00.8",
        "03:20.0",
        "0000:03:00.0 ",
        "0000:03:00.0,x=1",
        "../03:00.0",
        "03:00.0\n",
    ):
        assert parse_address(text) is None


def test_a_machine_without_pci(tmp_path: Path) -> None:
    assert read_devices(FakeKernel(tmp_path)) == {}
