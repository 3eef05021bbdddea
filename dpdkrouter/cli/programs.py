"""The programs, `check` and `version`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpdkrouter import logs
from dpdkrouter.cli import render
from dpdkrouter.errors import ConfigErrors, DpdkrouterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpdkrouter.config.schema import Config

DEFAULT = Path("/etc/dpdkrouter/router.toml")
File = Annotated[Path, typer.Argument(help="The router's configuration.")]


def _load(path: Path, *, this_machine: bool) -> Config:
    """The configuration, and with `this_machine` all that would keep it from running here; nothing is started."""
    from dpdkrouter.config.load import load
    from dpdkrouter.config.runtime import check_runtime
    from dpdkrouter.fib.limits import Limits, segment_bytes

    config = load(path)
    if this_machine:
        problems = check_runtime(
            config,
            segment_bytes=lambda c: segment_bytes(Limits(**c.table.model_dump())),
            pci_error=_pci_error(config),
        )
        if problems:
            raise ConfigErrors(problems)
    return config


def _pci_error(config: Config) -> Callable[[str], str | None]:
    """Why DPDK can't take a PCI device as it is now; looks at the machine only when the configuration has one."""
    addresses = {device.name for device in config.devices if device.is_pci}
    if not addresses:
        return lambda _: None
    from dpdkrouter.nic.drivers import driver_directory, read_drivers
    from dpdkrouter.nic.kernel import Kernel
    from dpdkrouter.nic.ready import not_ready
    from dpdkrouter.nic.survey import read_facts

    facts = read_facts(Kernel(), read_drivers(driver_directory()))

    def error(address: str) -> str | None:
        found = not_ready(facts, address, addresses)
        return None if found is None else str(found)

    return error


def _need_root() -> None:
    if os.geteuid() != 0:
        raise DpdkrouterError(
            f"found user id {os.geteuid()}: the router needs root for hugepages, devices and namespaces"
        )


def run(file: File = DEFAULT) -> None:
    """Run the whole router in the foreground: control, fastpath and bgp. Ctrl-C ends it."""
    from dpdkrouter.config.filterchecks import all_rules
    from dpdkrouter.run import main

    _need_root()
    logs.set_up()
    config = _load(file, this_machine=True)
    all_rules(config)
    raise typer.Exit(main(config, file))


def _level(found: str) -> str:
    from fastpath import _build

    choices = ("auto", *_build.VARIANTS)
    if found not in choices:
        raise typer.BadParameter(f"{found!r} is not one of {', '.join(choices)}")
    return found


def fastpath(
    file: File = DEFAULT,
    simd: Annotated[
        str | None,
        typer.Option(help="Use this build of the worker, whatever fastpath.simd says.", parser=_level, metavar="LEVEL"),
    ] = None,
) -> None:
    """Run the fast path: DPDK ports and workers."""
    from dpdkrouter.dataplane.process import main

    _need_root()
    logs.set_up()
    raise typer.Exit(main(_load(file, this_machine=False), simd))


def control(file: File = DEFAULT) -> None:
    """Run the control process: routes, neighbours, API and metrics."""
    from dpdkrouter.app import main

    _need_root()
    logs.set_up()
    raise typer.Exit(main(_load(file, this_machine=False)))


def bgp(file: File = DEFAULT) -> None:
    """Run ExaBGP in the router's namespace."""
    from dpdkrouter.bgp.launcher import LaunchSettings
    from dpdkrouter.bgp.launcher import run as launch
    from dpdkrouter.bgp.settings import settings_of, with_passwords
    from dpdkrouter.config.paths import InstancePaths

    _need_root()
    logs.set_up()
    config = _load(file, this_machine=False)
    settings = with_passwords(config, settings_of(config), os.environ)
    paths = InstancePaths.of(config)
    launched = LaunchSettings(paths.run, config.router.namespace, settings, segment=paths.routes)
    if config.bgp is not None:
        launched = replace(
            launched, hold_announcements=config.bgp.hold_announcements, connect_retry=config.bgp.connect_retry
        )
    raise typer.Exit(launch(launched))


def check(
    file: File = DEFAULT,
    here: Annotated[bool, typer.Option("--here", help="Also check that this machine can run it.")] = False,
) -> None:
    """Check a configuration: every problem with file, line, key, what was found and what is allowed."""
    from dpdkrouter.config.filterchecks import all_rules

    config = _load(file, this_machine=here)
    all_rules(config)
    render.line(
        f"{file}: ok: router {config.router.name}, {len(config.ports)} ports, {len(config.routes)} static routes, "
        f"{len(config.bgp.neighbors) if config.bgp else 0} BGP neighbors"
    )


def version(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show dpdkrouter's version, its build and the SIMD variants of the worker."""
    from fastpath import _build, probe

    supported = probe.supported_variants()
    usable = [name for name in supported if name in _build.VARIANTS]
    facts = {
        "version": _build.VERSION,
        "build": _build.BUILD_ID,
        "dpdk": _build.DPDK_VERSION,
        "debug_checks": _build.DEBUG_CHECKS,
        "simd_compiled": list(_build.VARIANTS),
        "simd_best": usable[-1] if usable else None,
    }
    if as_json:
        render.as_json(facts)
    else:
        render.facts({key.replace("_", " "): ", ".join(v) if isinstance(v, list) else v for key, v in facts.items()})
