"""The `dpdkrouter` command: noun then verb; a command parses, calls and renders, no more."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(name="dpdkrouter", no_args_is_help=True, help="A software router on DPDK.")


@app.callback()
def root() -> None:
    """A software router on DPDK."""


@app.command()
def version(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
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
        print(json.dumps(facts))
        return
    table = Table.grid(padding=(0, 2))
    for key, value in facts.items():
        table.add_row(key.replace("_", " "), ", ".join(value) if isinstance(value, list) else str(value))
    Console().print(table)


def main() -> None:
    """Entry point of the console script."""
    app()
