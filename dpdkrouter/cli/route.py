"""`route`: the table. `lookup`, `hash` and `summary` read the segment; the others ask the control process."""

from __future__ import annotations

import itertools
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpdkrouter.cli import render
from dpdkrouter.cli.instance import NOT_FOUND, AsJson, OnlyFamily, OnlyPrefix, Prefix, chosen, control_note, port_names
from dpdkrouter.errors import SegmentMissingError
from dpdkrouter.fib.flows import BY_DEVICE, Flow, way_of
from dpdkrouter.fib.records import Action, Adjacency, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(no_args_is_help=True, help="Routes: show, look up, add and delete.")


class OnlySource(StrEnum):
    """fib.Source, as an option takes it."""

    CONNECTED = "connected"
    STATIC = "static"
    CLI = "cli"
    EBGP = "ebgp"
    KERNEL = "kernel"
    IBGP = "ibgp"


class Type(StrEnum):
    """What a route does with its packets."""

    UNICAST = "unicast"
    BLACKHOLE = "blackhole"
    UNREACHABLE = "unreachable"
    PROHIBIT = "prohibit"


@app.command("show")
def show(
    prefix: OnlyPrefix = None,
    family: OnlyFamily = None,
    source: Annotated[OnlySource | None, typer.Option(help="Only from this source.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Paths that lost, too, with the reason.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show routes of the RIB."""
    params = {"prefix": prefix, "family": family, "source": source, "all": all_}
    stream = chosen.api().stream("route.show", **{key: value for key, value in params.items() if value})
    found = itertools.islice(stream, limit) if limit else stream
    count = render.json_list(found) if as_json else _print_routes(found, all_)
    if prefix and not count:
        raise typer.Exit(NOT_FOUND)


def _print_routes(found: Iterator[dict[str, Any]], with_reason: bool) -> int:
    return render.rows(
        ("", "prefix", "source", "kind", "next hops", *(("reason",) if with_reason else ())),
        (
            (
                ("*" if one["best"] else "") + ("s" if one["stale"] else ""),
                one["prefix"],
                one["source"] if one["peer"] is None else f"{one['source']} {one['peer']}",
                one["kind"],
                ", ".join(map(render.hop, one["next_hops"])),
                *((one["reason"],) if with_reason else ()),
            )
            for one in found
        ),
    )


def _adjacency(adjacency: Adjacency, names: dict[int, str]) -> dict[str, Any]:
    on_port = adjacency.action in (Action.FORWARD, Action.GLEAN, Action.RESOLVE)
    return {
        "action": adjacency.action.name.lower(),
        "port": names.get(adjacency.port, str(adjacency.port)) if on_port else None,
        "next_hop": str(ip_address(adjacency.next_hop)) if adjacency.next_hop else None,
        "mac": adjacency.dst.hex(":") if adjacency.action == Action.FORWARD else None,
    }


def _address(found: str) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(found)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if address.version == 6 and address.scope_id is not None:
        raise typer.BadParameter(f"{found!r} has a scope: the table has no link-local routes")
    return address


@app.command("lookup")
def lookup(
    address: Annotated[Any, typer.Argument(help="An IPv4 or IPv6 address.", parser=_address, metavar="ADDRESS")],
    as_json: AsJson = False,
) -> None:
    """Look an address up in the live table, as the fast path does."""
    with chosen.table() as table:
        found = table.lookup(address)
        names = dict(port_names(table))
        result: dict[str, Any] = {
            "address": str(address),
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


_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58}


def _protocol(found: str) -> int:
    number = _PROTOCOLS.get(found.lower(), int(found) if found.isdecimal() else 256)
    if number > 255:
        raise typer.BadParameter(f"{found!r}: {', '.join(_PROTOCOLS)}, or a number up to 255")
    return number


def _hashing() -> int:
    """How the fast path hashes, or would by default when it has never run."""
    try:
        with chosen.stats() as stats:
            return stats.header().hashing
    except SegmentMissingError:
        return 0


@app.command("hash")
def hash_(
    src: Annotated[Any, typer.Argument(help="The flow's source.", parser=_address, metavar="SRC")],
    dst: Annotated[Any, typer.Argument(help="Its destination.", parser=_address, metavar="DST")],
    protocol: Annotated[int, typer.Argument(help="tcp, udp, or a number.", parser=_protocol, metavar="PROTO")],
    sport: Annotated[int, typer.Argument(help="Source port, of TCP and UDP.", min=0, max=65535)] = 0,
    dport: Annotated[int, typer.Argument(help="Destination port.", min=0, max=65535)] = 0,
    flow_label: Annotated[int, typer.Option(help="Its IPv6 flow label.", min=0, max=0xFFFFF)] = 0,
    as_json: AsJson = False,
) -> None:
    """Say which member of its group a flow takes, by the workers' own hash."""
    if src.version != dst.version:
        raise typer.BadParameter(f"{src} and {dst} are of two families")
    with chosen.table() as table:
        hashing = _hashing()
        way = way_of(table, Flow(src, dst, protocol, sport, dport, flow_label), hashing)
        taken = _adjacency(way.adjacency, dict(port_names(table)))
    if hashing & BY_DEVICE:
        render.note("fastpath.hash_by_device is on: behind a device that gives a hash, that decides about TCP and UDP")
    if as_json:
        render.as_json({"group": way.group, "bucket": way.bucket, **taken})
    elif way.group == 0:
        render.line(f"{dst}: no route")
    else:
        hop = " ".join(taken[key] for key in ("action", "port", "next_hop", "mac") if taken[key])
        render.line(f"{dst}: group {way.group}, bucket {way.bucket} of 256: {hop}")
    if way.group == 0:
        raise typer.Exit(NOT_FOUND)


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


def _via(found: str) -> dict[str, Any]:
    address, comma, weight = found.partition(",")
    try:
        return {"address": str(ip_address(address)), "weight": int(weight) if comma else 1}
    except ValueError as error:
        raise typer.BadParameter(f"{found!r}: {error}", param_hint="--via") from None


@app.command("add")
def add(
    prefix: Prefix,
    via: Annotated[list[str] | None, typer.Option(help="A next hop, or ADDRESS,WEIGHT; may be repeated.")] = None,
    type_: Annotated[Type, typer.Option("--type", help="What happens to packets that match.")] = Type.UNICAST,
    as_json: AsJson = False,
) -> None:
    """Add or replace a route; it stays until it is deleted or the router's run directory goes."""
    answer = chosen.api().call("route.add", prefix=prefix, via=[_via(one) for one in via or ()], type=type_)
    if as_json:
        render.as_json(answer)
    elif not answer["reachable"]:
        render.line(f"{answer['prefix']}: added, not in use: no next hop can be reached")
    elif answer["best"]:
        render.line(f"{answer['prefix']}: added")
    else:
        render.line(f"{answer['prefix']}: added, not in use: it lost by {answer['reason']}")


@app.command("del")
def delete(prefix: Prefix, as_json: AsJson = False) -> None:
    """Delete a route that `route add` made."""
    answer = chosen.api().call("route.del", prefix=prefix)
    if as_json:
        render.as_json(answer)
    else:
        render.line(f"{answer['prefix']}: deleted")
