"""`bgp`: sessions, and what came and went over them. `bgp run FILE`, or `bgp` alone, is the program itself."""

from __future__ import annotations

from typing import Annotated

import typer

from dpdkrouter.cli import programs, render
from dpdkrouter.cli.instance import NOT_FOUND, AsJson, OnlyFamily, OnlyPrefix, chosen

app = typer.Typer()
app.command("run")(programs.bgp)


@app.callback(invoke_without_command=True)
def program(context: typer.Context) -> None:
    """BGP: sessions, received routes, announced prefixes. Alone: run ExaBGP by the default configuration."""
    if context.invoked_subcommand is None:
        programs.bgp()


def feed_text(feed: str) -> str:
    """The feed in use; with the fallback, that it is one."""
    return "json (fallback, slow: the tap does not know this ExaBGP)" if feed == "json" else feed


@app.command("summary")
def summary(as_json: AsJson = False) -> None:
    """Show the sessions."""
    found = chosen.api().call("bgp.summary")
    if as_json:
        render.as_json(found)
        return
    if found["asn"] is None:
        render.line("BGP is not configured: router.id, router.asn and [bgp] turn it on")
        return
    render.line(f"router id {found['router_id']}, AS {found['asn']}, ExaBGP feed: {feed_text(found['feed'])}")
    render.rows(
        ("peer", "as", "state", "since", "ipv4", "ipv6", "updates", "flaps", "description"),
        (
            (
                p["address"],
                p["asn"],
                p["state"],
                render.duration(p["since_s"]),
                p["prefixes"].get("ipv4", ""),
                p["prefixes"].get("ipv6", ""),
                p["updates"],
                p["flaps"],
                p["description"],
            )
            for p in found["peers"]
        ),
        numbers=("as", "ipv4", "ipv6", "updates", "flaps"),
    )
    for p in found["peers"]:  # as long as the peer likes: not in a column
        if p["last_error"]:
            render.line(f"{p['address']}: last error: {p['last_error']}")


@app.command("routes")
def routes(
    prefix: OnlyPrefix = None,
    peer: Annotated[str | None, typer.Option(help="Only from this peer.")] = None,
    family: OnlyFamily = None,
    as_json: AsJson = False,
) -> None:
    """Show the routes that peers have sent."""
    params = {"prefix": prefix, "peer": peer, "family": family}
    found = chosen.api().stream("bgp.routes", **{key: value for key, value in params.items() if value})
    if as_json:
        count = render.json_list(found)
    else:
        count = render.rows(
            ("", "prefix", "peer", "next hop", "as path", "origin", "med", "lp", "reason"),
            (
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
            ),
            numbers=("med", "lp"),
        )
    if prefix and not count:
        raise typer.Exit(NOT_FOUND)


@app.command("announced")
def announced(as_json: AsJson = False) -> None:
    """Show the prefixes that are announced, and to whom."""
    found = chosen.api().stream("bgp.announced")
    if as_json:
        render.json_list(found)
    else:
        render.rows(("prefix", "peer"), ((one["prefix"], one["peer"]) for one in found))
