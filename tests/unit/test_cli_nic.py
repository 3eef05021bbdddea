"""`nic` on a fake machine, and on this one; its exit codes."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from clikit import COMMAND, process, run
from dpdkrouter.cli import nic
from dpdkrouter.cli.nic import UNTIL_BOOT
from nickit import DRIVERS, IGB, MLX5, PCI, UNKNOWN, FakeKernel, machine

if TYPE_CHECKING:
    from pathlib import Path

A, B, C, D = "0000:01:00.0", "0000:01:00.1", "0000:02:00.0", "0000:03:00.0"
SHARED = "DPDK's mlx5_eth works through the kernel's driver mlx5_core and shares the device with it: nothing to bind"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    """A machine with four NICs and a disk, in place of this one."""
    kernel = machine(tmp_path)
    kernel.nic(A, interface="fake0", group=7)
    kernel.nic(B, IGB, driver="igb", interface="fake1", group=8)
    kernel.nic(C, MLX5, driver="mlx5_core", interface="fake2", group=9)
    kernel.nic(D, UNKNOWN, driver=None)
    kernel.nic("0000:04:00.0", UNKNOWN, driver="nvme", pci_class="0x010802")
    monkeypatch.setattr(nic, "this_kernel", lambda: kernel)
    monkeypatch.setattr(nic, "installed_drivers", lambda: DRIVERS)
    return kernel


def test_nic_list(kernel: FakeKernel) -> None:
    assert run("nic", "list")[0].splitlines() == [
        "address       id         interface  state  speed  driver     numa  group  dpdk driver    how",
        "0000:01:00.0  8086:10d3  fake0      up        1G  e1000e               7  net_e1000_em   bind",
        "0000:01:00.1  8086:10c9  fake1      up        1G  igb                  8  net_e1000_igb  bind",
        "0000:02:00.0  15b3:1017  fake2      up        1G  mlx5_core            9  mlx5_eth       no binding",
        "0000:03:00.0  1234:5678                                                                  unsupported",
    ]
    kernel.put(f"{PCI}/devices/{A}/numa_node", "1")
    first = json.loads(run("nic", "list", "--json")[0])[0]
    assert first == {
        "address": A,
        "id": "8086:10d3",
        "interfaces": [{"name": "fake0", "state": "up", "speed_mbit": 1000, "mac": "52:54:00:00:00:01"}],
        "driver": "e1000e",
        "numa_node": 1,
        "iommu_group": "7",
        "dpdk_driver": "net_e1000_em",
        "bifurcated": False,
        "bound": False,
    }


def test_nic_bind_and_nic_restore(root: None, kernel: FakeKernel) -> None:
    out, err = run("nic", "bind", A, "01:00.1", C)
    assert err == f"note: {UNTIL_BOOT}\n"
    assert out.splitlines() == [
        f"{A}: bound to vfio-pci (driver before: e1000e)",
        f"{B}: bound to vfio-pci (driver before: igb)",
        f"{C}: nothing to do: {SHARED}",
    ]
    assert [one["bound"] for one in json.loads(run("nic", "list", "--json")[0])] == [True, True, False, False]
    assert run("nic", "restore", B, A, C)[0].splitlines() == [
        f"{B}: restored to igb, interface fake1",
        f"{A}: restored to e1000e, interface fake0",
        f"{C}: nothing to do: the kernel's driver mlx5_core has it: nothing to restore",
    ]


def test_a_unit_may_bind_at_every_boot(root: None, kernel: FakeKernel) -> None:
    run("nic", "bind", A)
    again, note = run("nic", "bind", A)
    assert (again, note) == (f"{A}: nothing to do: vfio-pci has it already\n", "")
    assert "network-pre.target" in run("nic", "bind", "--help")[0]


def test_every_problem_is_a_line_and_nothing_is_touched(root: None, kernel: FakeKernel) -> None:
    kernel.path("/lib/modules").rename(kernel.path("/lib/none"))
    lines = run("nic", "bind", A, D, "0000:04:00.0", code=1)[1].splitlines()
    assert [line.split(";")[0] for line in lines if "needs vfio-pci" not in line] == [
        f"error: {D}: is not supported: none of the installed DPDK drivers takes {UNKNOWN}",
        f"error: {D}: is in no IOMMU group, though others are",
        "error: 0000:04:00.0: is no NIC: its class is 010802, a NIC's begins with 02",
        "error: 0000:04:00.0: is in no IOMMU group, though others are",
    ]
    assert sum("needs vfio-pci, which kernel 6.1.0-test does not have" in line for line in lines) == 3
    assert kernel.writes == []
    assert kernel.modules == []


@pytest.mark.parametrize("verb", ["bind", "restore", "explain"])
def test_addresses_that_are_wrong(root: None, kernel: FakeKernel, verb: str) -> None:
    words = ["0000:0f:00.0"] if verb == "explain" else ["0000:0f:00.0", A]
    assert run("nic", verb, *words, code=4)[1] == (
        "error: 0000:0f:00.0: this machine has no such device; `dpdkrouter nic list` lists NICs\n"
    )
    for word in ("eth0", "0000:01:00.8", "0000:01:20.0", "01:00", ""):
        assert run("nic", verb, word, code=2)[1] == (
            f"error: {word!r}: is malformed: must be a PCI address such as 0000:03:00.0\n"
        )
    assert kernel.writes == []


def test_nic_explain_says_what_would_be_done(kernel: FakeKernel) -> None:
    shown = run("nic", "explain", A)[0]
    assert "bind         would be done: DPDK's net_e1000_em supports 8086:10d3 through vfio-pci" in shown
    assert (
        f"  2. echo vfio-pci > /sys/bus/pci/devices/{A}/driver_override\n     vfio-pci shall take this device" in shown
    )
    found = json.loads(run("nic", "explain", A, "--json")[0])
    assert (found["action"], len(found["steps"]), found["obstacles"]) == ("bind", 5, [])
    assert kernel.writes == []


def test_nic_explain_says_what_forbids_it(kernel: FakeKernel) -> None:
    shown = run("nic", "explain", D)[0]
    assert "bind         refused:\n  - is not supported" in shown
    found = json.loads(run("nic", "explain", D, "--json")[0])
    assert (found["action"], found["steps"], found["obstacles"][0]["forceable"]) == ("refuse", [], False)


def test_nic_drivers(kernel: FakeKernel) -> None:
    assert run("nic", "drivers")[0].splitlines()[1] == (
        "mlx5_eth             1  none      * ib_uverbs & mlx5_core & mlx5_ib       librte_net_mlx5.so"
    )
    assert "mlx5_eth       15b3:1017  any:any" in run("nic", "drivers", "--ids")[0]
    assert json.loads(run("nic", "drivers", "--json")[0])[0] == {
        "name": "mlx5_eth",
        "file": "librte_net_mlx5.so",
        "kernel_modules": "* ib_uverbs & mlx5_core & mlx5_ib",
        "bifurcated": True,
        "ids": [{"vendor": "15b3", "device": "1017"}],
    }


def test_the_drivers_of_the_installed_dpdk() -> None:
    found = {one["name"]: one for one in json.loads(run("nic", "drivers", "--json")[0])}
    assert {"vendor": "8086", "device": "10d3"} in found["net_e1000_em"]["ids"]
    assert found["mlx5_eth"]["bifurcated"]
    assert not found["net_virtio"]["bifurcated"]
    assert not found["net_gve"]["bifurcated"]


def test_an_interface_in_use_needs_force(root: None, kernel: FakeKernel) -> None:
    kernel.link("/sys/class/net/fake0/upper_br0", "../br0")
    assert run("nic", "bind", A, code=1)[1] == (
        f"error: {A}: its interface fake0 has br0 on top of it; --force takes it all the same\n"
    )
    assert kernel.writes == []
    out, err = run("nic", "bind", "--force", A)
    assert err == f"note: {A}: --force: its interface fake0 has br0 on top of it\nnote: {UNTIL_BOOT}\n"
    assert out == f"{A}: bound to vfio-pci (driver before: e1000e)\n"


def test_what_was_done_as_json(root: None, kernel: FakeKernel) -> None:
    reason = "DPDK's net_e1000_em supports 8086:10d3 through vfio-pci"
    expected = {"address": A, "action": "bind", "reason": reason, "driver_before": "e1000e", "driver": "vfio-pci"}
    assert json.loads(run("nic", "bind", A, "--json")[0]) == [expected]
    (found,) = json.loads(run("nic", "restore", A, "--json")[0])
    assert (found["action"], found["driver_before"], found["driver"]) == ("restore", "vfio-pci", "e1000e")
    (found,) = json.loads(run("nic", "restore", A, "--json")[0])
    assert (found["action"], found["driver"]) == ("nothing", "e1000e")


@pytest.mark.parametrize("verb", ["bind", "restore"])
def test_binding_needs_root(verb: str, root: None) -> None:
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    unprivileged = [setpriv, "--reuid=65534", "--clear-groups", *COMMAND]
    done = process("nic", verb, A, code=1, command=unprivileged)
    assert done.stderr == "error: found user id 65534: binding a NIC needs root\n"
