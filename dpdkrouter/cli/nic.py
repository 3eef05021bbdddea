"""`nic`: which NICs there are, DPDK's drivers, and binding to vfio-pci and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpdkrouter.cli import render
from dpdkrouter.cli.instance import AsJson
from dpdkrouter.errors import DpdkrouterError, NicError
from dpdkrouter.nic.devices import read_devices
from dpdkrouter.nic.drivers import driver_directory, driver_of, read_drivers
from dpdkrouter.nic.kernel import Kernel
from dpdkrouter.nic.verdict import VFIO, Action

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dpdkrouter.nic.devices import PciDevice
    from dpdkrouter.nic.drivers import Driver
    from dpdkrouter.nic.verdict import Verdict

UNTIL_BOOT = "bound until the next boot; to bind at every boot, have a unit run this command: see `nic bind --help`"

app = typer.Typer(no_args_is_help=True, help="NICs, and their binding to DPDK.")

Address = Annotated[str, typer.Argument(help="A PCI address, such as 0000:03:00.0.", metavar="ADDR")]
Addresses = Annotated[list[str], typer.Argument(help="PCI addresses, such as 0000:03:00.0.", metavar="ADDR...")]
Force = Annotated[
    bool,
    typer.Option("--force", help="Also take an interface with an address, the default route or your SSH session."),
]


def this_kernel() -> Kernel:
    """The machine that the commands are about."""
    return Kernel()


def installed_drivers() -> list[Driver]:
    """DPDK's drivers here."""
    return read_drivers(driver_directory())


def _need_root() -> None:
    if os.geteuid() != 0:
        raise DpdkrouterError(f"found user id {os.geteuid()}: binding a NIC needs root")


@app.command("list")
def list_nics(as_json: AsJson = False) -> None:
    """List NICs: address, kernel interface, driver, speed, NUMA node, IOMMU group, DPDK driver."""
    drivers = installed_drivers()
    nics = [_nic(device, drivers) for device in read_devices(this_kernel()).values() if device.is_nic]
    if as_json:
        render.json_list(nics)
        return
    columns = ("address", "id", "interface", "state", "speed", "driver", "numa", "group", "dpdk driver", "how")
    render.rows(columns, (_row(nic) for nic in nics), numbers=("speed", "numa", "group"))


def _nic(device: PciDevice, drivers: Sequence[Driver]) -> dict[str, Any]:
    driver = driver_of(drivers, device)
    return {
        "address": device.address,
        "id": device.id_text,
        "interfaces": [
            {"name": i.name, "state": i.state, "speed_mbit": i.speed_mbit, "mac": i.mac} for i in device.interfaces
        ],
        "driver": device.driver,
        "numa_node": device.numa,
        "iommu_group": device.group,
        "dpdk_driver": driver.name if driver else None,
        "bifurcated": driver.bifurcated if driver else False,
        "bound": device.driver == VFIO,
    }


def _row(nic: dict[str, Any]) -> tuple[Any, ...]:
    interfaces = nic["interfaces"]
    speeds = [f"{i['speed_mbit'] / 1000:g}G" for i in interfaces if i["speed_mbit"]]
    if nic["dpdk_driver"] is None:
        how = "unsupported"
    elif nic["bifurcated"]:
        how = "no binding"
    else:
        how = "bound" if nic["bound"] else "bind"
    return (
        nic["address"],
        nic["id"],
        ",".join(i["name"] for i in interfaces),
        ",".join(i["state"] for i in interfaces),
        ",".join(speeds),
        nic["driver"],
        nic["numa_node"],
        nic["iommu_group"],
        nic["dpdk_driver"],
        how,
    )


@app.command()
def drivers(
    every: Annotated[bool, typer.Option("--ids", help="Also list the devices that each supports.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the installed DPDK drivers for NICs and the devices that each supports."""
    found = [driver for driver in installed_drivers() if driver.ids]
    if as_json:
        render.json_list(_driver(driver) for driver in found)
    elif every:
        render.rows(("driver", "device", "subsystem"), (row for driver in found for row in _id_rows(driver)))
    else:
        render.rows(
            ("driver", "devices", "binding", "kernel modules", "file"),
            ((d.name, len(d.ids), "none" if d.bifurcated else VFIO, d.modules, d.file) for d in found),
            numbers=("devices",),
        )


def _driver(driver: Driver) -> dict[str, Any]:
    fields = ("vendor", "device", "subsystem_vendor", "subsystem_device")
    return {
        "name": driver.name,
        "file": driver.file,
        "kernel_modules": driver.modules,
        "bifurcated": driver.bifurcated,
        "ids": [{f: _hex(v) for f, v in zip(fields, one, strict=True) if _hex(v)} for one in driver.ids],
    }


def _hex(value: int) -> str | None:
    return None if value == 0xFFFF else f"{value:04x}"


def _id_rows(driver: Driver) -> list[tuple[str, str, str]]:
    rows = []
    for one in driver.ids:
        vendor, device, subvendor, subdevice = (_hex(value) or "any" for value in one)
        rows.append((driver.name, f"{vendor}:{device}", f"{subvendor}:{subdevice}"))
    return rows


@app.command()
def explain(address: Address, as_json: AsJson = False) -> None:
    """Say what `nic bind` would do with a device, and why; changes nothing."""
    from dpdkrouter.nic.survey import asked_for, read_facts
    from dpdkrouter.nic.verdict import judge_bind

    facts = read_facts(this_kernel(), installed_drivers())
    (device,) = asked_for(facts.devices, [address])
    verdict = judge_bind(facts, device)
    if as_json:
        render.as_json(_verdict(verdict))
        return
    render.facts(
        {
            "address": device.address,
            "id": device.id_text,
            "interface": ", ".join(f"{i.name} ({i.state})" for i in device.interfaces) or "none",
            "driver": device.driver or "none",
            "IOMMU group": device.group or "none",
            "DPDK driver": verdict.driver.name if verdict.driver else "none",
            "bind": _words(verdict),
        }
    )
    for obstacle in verdict.obstacles:
        render.line(f"  - {obstacle}")
    for number, step in enumerate(verdict.steps, 1):
        render.line(f"  {number}. {step.command}")
        render.line(f"     {step.why}")


def _words(verdict: Verdict) -> str:
    if verdict.action is Action.REFUSE:
        return "refused:"
    return f"{'nothing to do' if verdict.action is Action.NOTHING else 'would be done'}: {verdict.reason}"


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "address": verdict.device.address,
        "action": verdict.action,
        "reason": verdict.reason,
        "obstacles": [{"text": o.text, "forceable": o.forceable} for o in verdict.obstacles],
        "steps": [{"command": step.command, "why": step.why} for step in verdict.steps],
    }


@app.command()
def bind(addresses: Addresses, force: Force = False, as_json: AsJson = False) -> None:
    """Give NICs to DPDK: bind them to vfio-pci, all or none; `nic restore` takes them back.

    A binding lasts until the next boot. To bind at every boot, run this command in a oneshot unit that is ordered before
    network-pre.target; docs/bare-metal.md has one. A device that is bound already is no error.
    """
    from dpdkrouter.nic import binding
    from dpdkrouter.nic.survey import asked_for, read_facts
    from dpdkrouter.nic.verdict import judge_bind

    kernel = this_kernel()
    _need_root()
    asked_for(read_devices(kernel), addresses)
    with binding.only_one(kernel):
        facts = read_facts(kernel, installed_drivers())
        devices = asked_for(facts.devices, addresses)
        together = {device.address for device in devices}
        verdicts = [judge_bind(facts, device, together, force=force) for device in devices]
        _refuse(verdicts)
        for verdict in verdicts:
            for obstacle in verdict.obstacles:
                render.note(f"{verdict.device.address}: --force: {obstacle.text}")
        binding.bind(kernel, verdicts)
    if any(verdict.action is Action.BIND for verdict in verdicts):
        render.note(UNTIL_BOOT)
    if as_json:
        render.json_list(_done(verdicts, read_devices(kernel)))
        return
    for verdict in verdicts:
        if verdict.action is Action.BIND:
            was = verdict.device.driver or "none"
            render.line(f"{verdict.device.address}: bound to {VFIO} (driver before: {was})")
        else:
            render.line(f"{verdict.device.address}: nothing to do: {verdict.reason}")


@app.command()
def restore(addresses: Addresses, as_json: AsJson = False) -> None:
    """Give NICs back to the kernel's drivers that had them before."""
    from dpdkrouter.nic import binding, memory
    from dpdkrouter.nic.survey import asked_for, read_facts
    from dpdkrouter.nic.verdict import judge_restore

    kernel = this_kernel()
    _need_root()
    asked_for(read_devices(kernel), addresses)
    with binding.only_one(kernel):
        facts = read_facts(kernel, ())
        formers = memory.recall(kernel)
        devices = asked_for(facts.devices, addresses)
        verdicts = [judge_restore(facts, device, memory.former_of(formers, device)) for device in devices]
        _refuse(verdicts)
        binding.restore(kernel, verdicts)
    after = read_devices(kernel)
    if as_json:
        render.json_list(_done(verdicts, after))
        return
    for verdict in verdicts:
        device = after[verdict.device.address]
        if verdict.action is Action.RESTORE:
            names = ", ".join(interface.name for interface in device.interfaces)
            render.line(
                f"{device.address}: restored to {device.driver or 'no driver'}"
                + (f", interface {names}" if names else "")
            )
        else:
            render.line(f"{device.address}: nothing to do: {verdict.reason}")


def _done(verdicts: Sequence[Verdict], after: Mapping[str, PciDevice]) -> Iterator[dict[str, Any]]:
    """What was done with each device, and the driver that it has now."""
    for verdict in verdicts:
        address = verdict.device.address
        yield {
            "address": address,
            "action": verdict.action,
            "reason": verdict.reason,
            "driver_before": verdict.device.driver,
            "driver": after[address].driver,
        }


def _refuse(verdicts: Sequence[Verdict]) -> None:
    """NicError with every obstacle of every device, when one is refused."""
    refused = [verdict for verdict in verdicts if verdict.action is Action.REFUSE]
    if refused:
        raise NicError("\n".join(f"{v.device.address}: {o}" for v in refused for o in v.obstacles))
