"""`route`: the table. `lookup` and `summary` read the segment; `show`, `add` and `del` ask the control process."""

from __future__ import annotations

import itertools
from ipaddress import ip_address
from typing import Annotated, Any

import typer

from dpdkrouter.cli import render
from dpdkrouter.cli.instance import AsJson, chosen, control_note, port_names
from dpdkrouter.errors import RequestError
from dpdkrouter.fib.records import Action, Adjacency, Source

app = typer.Typer(no_args_is_help=True, help="Routes: show, look up, add and delete.")

NOT_FOUND = 4


@app.command("show")
def show(
    prefix: Annotated[str | None, typer.Argument(help="Only this prefix.")] = None,
    family: Annotated[str | None, typer.Option(help="ipv4 or ipv6.")] = None,
    source: Annotated[str | None, typer.Option(help="connected, static, cli, ebgp, kernel or ibgp.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Paths that lost, too, with the reason.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many; 0: all.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show routes of the RIB."""
    params = {"prefix": prefix, "family": family, "source": source, "all": all_}
    stream = chosen.api().stream("route.show", **{key: value for key, value in params.items() if value})
    found = list(itertools.islice(stream, limit) if limit else stream)
    if as_json:
        render.as_json(found)
    else:
        render.rows(
            ("", "prefix", "source", "kind", "next hops", *(("reason",) if all_ else ())),
            [
                (
                    ("*" if one["best"] else "") + ("s" if one["stale"] else ""),
                    one["prefix"],
                    one["source"] if one["peer"] is None else f"{one['source']} {one['peer']}",
                    one["kind"],
                    ", ".join(map(render.hop, one["next_hops"])),
                    *((one["reason"],) if all_ else ()),
                )
                for one in found
            ],
        )
    if prefix and not found:
        raise typer.Exit(NOT_FOUND)


def _adjacency(adjacency: Adjacency, names: dict[int, str]) -> dict[str, Any]:
    on_port = adjacency.action in (Action.FORWARD, Action.GLEAN, Action.RESOLVE)
    return {
        "action": adjacency.action.name.lower(),
        "port": names.get(adjacency.port, str(adjacency.port)) if on_port else None,
        "next_hop": str(ip_address(adjacency.next_hop)) if adjacency.next_hop else None,
        "mac": adjacency.dst.hex(":") if adjacency.action == Action.FORWARD else None,
    }


@app.command("lookup")
def lookup(address: str, as_json: AsJson = False) -> None:
    """Look an address up in the live table, as the fast path does."""
    try:
        wanted = ip_address(address)
    except ValueError as error:
        raise RequestError(f"address {address!r}: {error}") from None
    with chosen.table() as table:
        found = table.lookup(wanted)
        names = dict(port_names(table))
        result: dict[str, Any] = {
            "address": str(wanted),
            "prefix": None if found.prefix is None else str(found.prefix),
            "source": Source(found.source).name.lower() if found.prefix is not None else None,
            "stale": found.stale,
            "group": found.group,
            "table_group": found.table_group,
            "members": [{"weight": m.weight, **_adjacency(a, names)} for m, a in found.members],
            "control": control_note(table),
        }
    if as_json:
        render.as_json(result)
    else:
        _print_lookup(result)
    if found.prefix is None:
        raise typer.Exit(NOT_FOUND)


def _print_lookup(result: dict[str, Any]) -> None:
    if result["prefix"] is None:
        render.line(f"{result['address']}: no route")
    else:
        stale = ", stale" if result["stale"] else ""
        render.line(
            f"{result['address']} -> {result['prefix']}, source {result['source']}{stale}, group {result['group']}"
        )
        render.rows(
            ("action", "port", "next hop", "mac", "weight"),
            [(m["action"], m["port"], m["next_hop"], m["mac"], m["weight"]) for m in result["members"]],
            numbers=("weight",),
        )
    if result["group"] != result["table_group"]:
        render.line(f"the fast path's table says group {result['table_group']}: the segment is damaged")
    render.line(f"control: {result['control']}")


@app.command("summary")
def summary(as_json: AsJson = False) -> None:
    """Count the routes of the live table by source and family."""
    with chosen.table() as table:
        rows = [
            {"family": f"ipv{family}", "source": Source(source).name.lower(), "stale": stale, "routes": count}
            for family in (4, 6)
            for (source, stale), count in sorted(table.sources(family).items())
        ]
        note = control_note(table)
    if as_json:
        render.as_json({"routes": rows, "control": note})
        return
    render.rows(
        ("family", "source", "routes", ""),
        [(row["family"], row["source"], row["routes"], "stale" if row["stale"] else "") for row in rows],
        numbers=("routes",),
    )
    render.line(f"control: {note}")


def _via(text: str) -> dict[str, Any]:
    address, _, weight = text.partition(",")
    return {"address": address, "weight": int(weight) if weight.isdigit() else weight or 1}


@app.command("add")
def add(
    prefix: str,
    via: Annotated[list[str] | None, typer.Option(help="A next hop, or ADDRESS,WEIGHT; may be repeated.")] = None,
    type_: Annotated[str, typer.Option("--type", help="unicast, blackhole or unreachable.")] = "unicast",
    as_json: AsJson = False,
) -> None:
    """Add or replace a route; it stays until it is deleted or the router's run directory goes."""
    answer = chosen.api().call("route.add", prefix=prefix, via=[_via(one) for one in via or ()], type=type_)
    if as_json:
        render.as_json(answer)
    elif answer["best"]:
        render.line(f"{answer['prefix']}: added")
    else:
        render.line(f"{answer['prefix']}: added, not in use: it lost by {answer['reason']}")


@app.command("del")
def delete(prefix: str, as_json: AsJson = False) -> None:
    """Delete a route that `route add` made."""
    answer = chosen.api().call("route.del", prefix=prefix)
    if as_json:
        render.as_json(answer)
    else:
        render.line(f"{answer['prefix']}: deleted")
