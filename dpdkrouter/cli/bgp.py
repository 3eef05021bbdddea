"""`bgp`: sessions, and what came and went over them. `bgp run FILE`, or `bgp` alone, is the program itself."""

from __future__ import annotations

from typing import Annotated

import typer

from dpdkrouter.cli import programs, render
from dpdkrouter.cli.instance import AsJson, chosen

app = typer.Typer()
app.command("run")(programs.bgp)


@app.callback(invoke_without_command=True)
def program(context: typer.Context) -> None:
    """BGP: sessions, received routes, announced prefixes. Alone: run ExaBGP by the default configuration."""
    if context.invoked_subcommand is None:
        programs.bgp()


@app.command("summary")
def summary(as_json: AsJson = False) -> None:
    """Show the sessions."""
    found = chosen.api().call("bgp.summary")
    if as_json:
        render.as_json(found)
        return
    render.line(f"router id {found['router_id']}, AS {found['asn']}, ExaBGP feed: {found['feed']}")
    render.rows(
        ("peer", "as", "state", "since", "ipv4", "ipv6", "updates", "flaps", "last error"),
        [
            (
                p["address"],
                p["asn"],
                p["state"],
                render.duration(p["since_s"]),
                p["prefixes"].get("ipv4", 0),
                p["prefixes"].get("ipv6", 0),
                p["updates"],
                p["flaps"],
                p["last_error"],
            )
            for p in found["peers"]
        ],
        numbers=("as", "ipv4", "ipv6", "updates", "flaps"),
    )


@app.command("routes")
def routes(
    prefix: Annotated[str | None, typer.Argument(help="Only this prefix.")] = None,
    peer: Annotated[str | None, typer.Option(help="Only from this peer.")] = None,
    family: Annotated[str | None, typer.Option(help="ipv4 or ipv6.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the routes that peers have sent."""
    params = {"prefix": prefix, "peer": peer, "family": family}
    found = list(chosen.api().stream("bgp.routes", **{key: value for key, value in params.items() if value}))
    if as_json:
        render.as_json(found)
        return
    render.rows(
        ("", "prefix", "peer", "next hop", "as path", "origin", "med", "lp", "reason"),
        [
            (
                ("*" if one["best"] else "") + ("s" if one["stale"] else ""),
                one["prefix"],
                one["peer"],
                one["next_hop"],
                one["as_path"],
                one["origin"],
                one["med"],
                one["local_pref"],
                one["reason"],
            )
            for one in found
        ],
        numbers=("med", "lp"),
    )


@app.command("announced")
def announced(as_json: AsJson = False) -> None:
    """Show the prefixes that are announced, and to whom."""
    found = list(chosen.api().stream("bgp.announced"))
    if as_json:
        render.as_json(found)
        return
    render.rows(("prefix", "peer"), [(one["prefix"], one["peer"]) for one in found])
