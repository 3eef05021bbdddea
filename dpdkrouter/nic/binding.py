"""Binding to vfio-pci and restoring: what the verdicts say, done by sysfs, verified, and rolled back when it fails.

A command is all or nothing: when one device can't be bound, those that it bound before go back too. The former drivers
are on disk before anything is touched. Kernel: Documentation/ABI/testing/sysfs-bus-pci (driver_override, unbind,
drivers_probe).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from dpdkrouter.errors import NicError
from dpdkrouter.lock import InstanceLock
from dpdkrouter.nic.devices import DEVICES
from dpdkrouter.nic.memory import LOCK, Former, former_of, recall, remember
from dpdkrouter.nic.verdict import PROBE, USER_DRIVERS, VFIO, Action

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dpdkrouter.nic.devices import PciDevice
    from dpdkrouter.nic.kernel import Kernel
    from dpdkrouter.nic.verdict import Verdict

DRIVERS = "/sys/bus/pci/drivers"


def only_one(kernel: Kernel) -> InstanceLock:
    """Held by a command from its look at the devices to its last change."""
    return InstanceLock(kernel.path(LOCK), "`dpdkrouter nic bind` or `restore`")


def bind(kernel: Kernel, verdicts: Sequence[Verdict]) -> None:
    """Binds the devices whose verdict is BIND; NicError when that fails, with all as it was before."""
    devices = [verdict.device for verdict in verdicts if verdict.action is Action.BIND]
    if not devices:
        return
    if not kernel.exists(f"{DRIVERS}/{VFIO}"):
        kernel.load_module(VFIO)
    formers = recall(kernel)
    formers.update(
        (device.address, _former(formers, device)) for device in devices if device.driver not in USER_DRIVERS
    )
    remember(kernel, formers)
    touched: list[PciDevice] = []
    try:
        for device in devices:
            touched.append(device)
            _hand_over(kernel, device, VFIO)
    except BaseException as error:
        left = [text for one in reversed(touched) if (text := _back(kernel, one)) is not None]
        if not isinstance(error, NicError):
            raise
        undone = "; ".join(left) if left else "all is as it was before"
        raise NicError(f"{error}; {undone}") from None


def _former(formers: Mapping[str, Former], device: PciDevice) -> Former:
    """What to remember; a device that has no driver now may have lost it to a command that was killed."""
    now = Former(device.driver, tuple(interface.name for interface in device.interfaces), device.id_text)
    return (former_of(formers, device) or now) if device.driver is None else now


def restore(kernel: Kernel, verdicts: Sequence[Verdict]) -> None:
    """Gives the devices whose verdict is RESTORE back to the kernel; NicError, a line for each that has no driver then."""
    failed = []
    for device in (verdict.device for verdict in verdicts if verdict.action is Action.RESTORE):
        formers = recall(kernel)
        former = former_of(formers, device)
        try:
            _give_back(kernel, device, former)
        except NicError as error:
            failed.append(str(error))
            continue
        formers.pop(device.address, None)
        remember(kernel, formers)
    if failed:
        raise NicError("\n".join(failed))


def driver_now(kernel: Kernel, address: str) -> str | None:
    """The driver that has a device."""
    return kernel.target_name(f"{DEVICES}/{address}/driver")


def _write(kernel: Kernel, path: str, text: str) -> None:
    try:
        kernel.write(path, text)
    except OSError as error:
        raise NicError(f"{path}: the kernel does not take {text.strip()!r}: {error.strerror}") from None


def _let_go(kernel: Kernel, address: str) -> None:
    if driver_now(kernel, address) is not None:
        _write(kernel, f"{DEVICES}/{address}/driver/unbind", address)


def _hand_over(kernel: Kernel, device: PciDevice, driver: str) -> None:
    address = device.address
    try:
        _write(kernel, f"{DEVICES}/{address}/driver_override", driver)
        _let_go(kernel, address)
        _write(kernel, PROBE, address)
    except NicError as error:
        raise NicError(f"{address}: not bound: {error}") from None
    now = driver_now(kernel, address)
    if now != driver:
        raise NicError(
            f"{address}: not bound: {driver} did not take it (its driver is {now or 'none'}); `dmesg` may say why"
        )


def _back(kernel: Kernel, device: PciDevice) -> str | None:
    """Puts a device back as it was before; what is left to say when that fails."""
    try:
        if driver_now(kernel, device.address) != device.driver:
            _let_go(kernel, device.address)
        # an empty line clears it; what stood there before was someone's choice
        _write(kernel, f"{DEVICES}/{device.address}/driver_override", device.override or "\n")
        if device.driver is not None and driver_now(kernel, device.address) is None:
            _write(kernel, PROBE, device.address)
    except NicError as error:
        return f"{device.address}: cannot be put back: {error}"
    now = driver_now(kernel, device.address)
    if now == device.driver:
        return None
    return f"{device.address}: has driver {now or 'none'} now, before it was {device.driver or 'none'}"


def _give_back(kernel: Kernel, device: PciDevice, former: Former | None) -> None:
    address = device.address
    try:
        _let_go(kernel, address)
        _write(kernel, f"{DEVICES}/{address}/driver_override", "\n")
        if former is not None and former.driver is None:
            return
        if former is None or not kernel.exists(f"{DRIVERS}/{former.driver}"):
            _load_driver(kernel, device)
        _write(kernel, PROBE, address)
        now = driver_now(kernel, address)
        if former is not None and now is None:
            _write(kernel, f"{DRIVERS}/{former.driver}/bind", address)
            now = driver_now(kernel, address)
    except NicError as error:
        raise NicError(f"{address}: not restored: {error}") from None
    if now is None or (former is not None and now != former.driver):
        wanted = former.driver if former is not None else "a kernel driver"
        raise NicError(f"{address}: not restored: its driver is {now or 'none'}, not {wanted}; `dmesg` may say why")


def _load_driver(kernel: Kernel, device: PciDevice) -> None:
    """Loads the module that the kernel would for such a device; without one the probe shows what there is."""
    alias = kernel.read(f"{DEVICES}/{device.address}/modalias")
    if alias:
        with suppress(NicError):
            kernel.load_module(alias)
