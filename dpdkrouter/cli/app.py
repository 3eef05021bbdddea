"""The tree of commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from dpdkrouter.cli import acl, bgp, doctor, nic, profile, programs, route, show, table
from dpdkrouter.cli.instance import chosen, names

app = typer.Typer(
    name="dpdkrouter", no_args_is_help=True, pretty_exceptions_enable=False, help="A software router on DPDK."
)


@app.callback()
def root(
    name: Annotated[
        str,
        typer.Option(
            "--name",
            "-n",
            envvar="DPDKROUTER_NAME",
            help="Which router, when several run here.",
            autocompletion=names,
        ),
    ] = "",
) -> None:
    """A software router on DPDK: line rate on one core with a full Internet table, BGP included."""
    chosen.name = name or None


for command in (programs.run, programs.fastpath, programs.control, programs.check, doctor.doctor, programs.version):
    app.command()(command)
for command in (show.status, show.drops, profile.profile):
    app.command()(command)
route.app.command()(table.audit)
for whole in (table.snapshot, table.diff):
    route.app.command()(whole)
app.add_typer(show.port_app, name="port")
app.add_typer(show.punt_app, name="punt")
app.add_typer(show.neighbor_app, name="neighbor")
app.add_typer(route.app, name="route")
app.add_typer(acl.app, name="acl")
app.add_typer(bgp.app, name="bgp")
app.add_typer(nic.app, name="nic")
