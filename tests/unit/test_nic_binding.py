"""nic bind and restore on a fake sysfs: what is written, what is remembered, what is put back when it fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.errors import AlreadyRunningError, NicError
from dpdkrouter.nic import binding, memory
from dpdkrouter.nic.devices import read_devices
from dpdkrouter.nic.usage import Process, Usage
from dpdkrouter.nic.verdict import Action, Facts, judge_bind, judge_restore, read_vfio
from nickit import DRIVERS, E1000E, IGB, PCI, FakeKernel, machine

if TYPE_CHECKING:
    from pathlib import Path

    from dpdkrouter.nic.verdict import Verdict

A, B = "0000:01:00.0", "0000:01:00.1"


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    """Two ports of one card, each in its own group."""
    kernel = machine(tmp_path)
    kernel.nic(A, interface="enp1s0f0", group=7)
    kernel.nic(B, IGB, driver="igb", interface="enp1s0f1", group=8)
    return kernel


def facts(kernel: FakeKernel, usage: Usage | None = None) -> Facts:
    return Facts(read_devices(kernel), DRIVERS, usage or Usage(), read_vfio(kernel))


def bound(kernel: FakeKernel, *addresses: str) -> list[Verdict]:
    known = facts(kernel)
    verdicts = [judge_bind(known, known.devices[address], addresses) for address in addresses]
    binding.bind(kernel, verdicts)
    return verdicts


def restored(kernel: FakeKernel, *addresses: str) -> list[Verdict]:
    known, formers = facts(kernel), memory.recall(kernel)
    devices = [known.devices[address] for address in addresses]
    verdicts = [judge_restore(known, device, memory.former_of(formers, device)) for device in devices]
    binding.restore(kernel, verdicts)
    return verdicts


def test_binding_writes_what_explain_says(kernel: FakeKernel) -> None:
    (verdict,) = bound(kernel, A)
    base = f"{PCI}/devices/{A}"
    assert kernel.modules == ["vfio-pci"]
    assert kernel.writes == [
        (f"{base}/driver_override", "vfio-pci"),
        (f"{base}/driver/unbind", A),
        (f"{PCI}/drivers_probe", A),
    ]
    said = [step.command for step in verdict.steps]
    assert said == [
        "modprobe vfio-pci",
        *(f"echo {text} > {path}" for path, text in kernel.writes),
        f"readlink {base}/driver",
    ]
    assert binding.driver_now(kernel, A) == "vfio-pci"
    assert read_devices(kernel)[A].interfaces == ()
    assert binding.driver_now(kernel, B) == "igb"


def test_the_former_driver_is_on_disk_before_anything_is_touched(kernel: FakeKernel) -> None:
    seen = []
    kernel.before_write = lambda: seen.append(json.loads(kernel.path(memory.FILE).read_text()))
    bound(kernel, A, B)
    assert seen[0] == {
        A: {"driver": "e1000e", "interfaces": ["enp1s0f0"], "ids": E1000E},
        B: {"driver": "igb", "interfaces": ["enp1s0f1"], "ids": IGB},
    }


def test_restore_brings_driver_and_interface_back_and_forgets(kernel: FakeKernel) -> None:
    bound(kernel, A, B)
    restored(kernel, B, A)
    devices = read_devices(kernel)
    assert (devices[A].driver, devices[A].override, [i.name for i in devices[A].interfaces]) == (
        "e1000e",
        None,
        ["enp1s0f0"],
    )
    assert (devices[B].driver, devices[B].override) == ("igb", None)
    assert memory.recall(kernel) == {}


def test_a_reboot_leaves_nothing_to_restore_and_binding_again_works(kernel: FakeKernel) -> None:
    bound(kernel, A)
    kernel.detach(A)
    kernel.put(f"{PCI}/devices/{A}/driver_override", "(null)")
    kernel.attach(A, "e1000e")  # the kernel's choice at boot
    (verdict,) = restored(kernel, A)
    assert (verdict.action, verdict.reason) == (Action.NOTHING, "the kernel's driver e1000e has it: nothing to restore")
    bound(kernel, A)
    assert memory.recall(kernel)[A].driver == "e1000e"


def test_binding_again_is_nothing_to_do_and_keeps_the_memory(kernel: FakeKernel) -> None:
    bound(kernel, A)
    kernel.writes.clear()
    (verdict,) = bound(kernel, A)
    assert (verdict.action, verdict.reason) == (Action.NOTHING, "vfio-pci has it already")
    assert kernel.writes == []
    assert memory.recall(kernel)[A].driver == "e1000e"


def test_a_failure_puts_every_device_of_the_command_back(kernel: FakeKernel) -> None:
    kernel.refuses.add((B, "vfio-pci"))
    with pytest.raises(NicError) as error:
        bound(kernel, A, B)
    assert str(error.value) == (
        f"{B}: not bound: vfio-pci did not take it (its driver is none); `dmesg` may say why; all is as it was before"
    )
    devices = read_devices(kernel)
    assert [(d.driver, d.override, len(d.interfaces)) for d in devices.values()] == [
        ("e1000e", None, 1),
        ("igb", None, 1),
    ]


def test_a_driver_that_does_not_let_go(kernel: FakeKernel) -> None:
    kernel.refuses.add((A, "unbind"))
    with pytest.raises(
        NicError, match=r"0000:01:00.0: not bound: .*unbind: the kernel does not take .*busy; all is as it"
    ):
        bound(kernel, A)
    assert (read_devices(kernel)[A].driver, read_devices(kernel)[A].override) == ("e1000e", None)


def test_what_cannot_be_put_back_is_said(kernel: FakeKernel) -> None:
    kernel.refuses |= {(A, "vfio-pci"), (A, "e1000e")}
    with pytest.raises(NicError, match=f"{A}: has driver none now, before it was e1000e"):
        bound(kernel, A)


def test_a_module_that_does_not_load_leaves_all_untouched(kernel: FakeKernel) -> None:
    kernel.loadable.clear()
    with pytest.raises(NicError, match="modprobe vfio-pci: failed"):
        bound(kernel, A)
    assert kernel.writes == []


def test_a_device_without_a_driver_goes_back_to_having_none(kernel: FakeKernel) -> None:
    kernel.nic("0000:02:00.0", driver=None, group=9)
    bound(kernel, "0000:02:00.0")
    (verdict,) = restored(kernel, "0000:02:00.0")
    assert verdict.reason == "before, its driver was none"
    assert read_devices(kernel)["0000:02:00.0"].driver is None


def test_a_command_that_was_killed_between_two_drivers(kernel: FakeKernel) -> None:
    bound(kernel, A)
    kernel.detach(A)  # as after unbind, before the probe
    again = memory.recall(kernel)
    bound(kernel, A)
    assert memory.recall(kernel) == again
    kernel.detach(A)
    restored(kernel, A)
    assert read_devices(kernel)[A].driver == "e1000e"


def test_a_device_of_another_user_driver_is_not_remembered_with_it(kernel: FakeKernel) -> None:
    kernel.detach(A)
    kernel.attach(A, "uio_pci_generic")
    bound(kernel, A)
    assert binding.driver_now(kernel, A) == "vfio-pci"
    assert memory.recall(kernel) == {}
    restored(kernel, A)
    assert read_devices(kernel)[A].driver == "e1000e"


def test_restore_without_a_memory_lets_the_kernel_choose(kernel: FakeKernel) -> None:
    bound(kernel, A)
    kernel.path(memory.FILE).unlink()
    (verdict,) = restored(kernel, A)
    assert verdict.reason == "it was not bound by dpdkrouter: the kernel chooses the driver"
    assert read_devices(kernel)[A].driver == "e1000e"


def test_another_card_in_the_slot_is_not_given_the_old_ones_driver(kernel: FakeKernel) -> None:
    bound(kernel, A)
    kernel.put(f"{PCI}/devices/{A}/device", "0x10c9")
    device = read_devices(kernel)[A]
    assert memory.former_of(memory.recall(kernel), device) is None


def test_restore_loads_the_former_drivers_module(kernel: FakeKernel) -> None:
    bound(kernel, A)
    for file in ("bind", "unbind"):
        kernel.path(f"{PCI}/drivers/e1000e/{file}").unlink()
    kernel.path(f"{PCI}/drivers/e1000e").rmdir()
    alias = "pci:v00008086d000010d3"
    kernel.loadable[alias] = "e1000e"
    restored(kernel, A)
    assert kernel.modules == ["vfio-pci", alias]
    assert read_devices(kernel)[A].driver == "e1000e"


def test_a_restore_that_fails_is_named_and_remembered_and_the_others_go_on(kernel: FakeKernel) -> None:
    bound(kernel, A, B)
    kernel.refuses.add((A, "e1000e"))
    with pytest.raises(NicError, match=f"^{A}: not restored: .*No such device$"):
        restored(kernel, A, B)
    assert read_devices(kernel)[B].driver == "igb"
    assert set(memory.recall(kernel)) == {A}


def test_a_device_in_use_is_not_restored(kernel: FakeKernel) -> None:
    bound(kernel, A)
    known = facts(kernel, Usage(holders={"/dev/vfio/7": (Process(812, "dpdkrouter"),)}))
    verdict = judge_restore(known, known.devices[A], None)
    assert verdict.action is Action.REFUSE
    assert verdict.reason == "is in use: /dev/vfio/7 is open in process 812 (dpdkrouter); end that first"


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"0000:01:00.0": {}}', '{"0000:01:00.0": {"driver": "x", "interfaces": 1, "ids": ""}}']
)
def test_a_memory_that_cannot_be_read_stops_before_anything_is_touched(kernel: FakeKernel, text: str) -> None:
    kernel.put(memory.FILE, text)
    with pytest.raises(NicError, match=r"nics\.json: found .* remove it"):
        bound(kernel, A)
    assert kernel.writes == []


def test_only_one_command_at_a_time(kernel: FakeKernel) -> None:
    with binding.only_one(kernel), pytest.raises(AlreadyRunningError, match="nic bind"), binding.only_one(kernel):
        pass
