"""`acl`: the ports' lists of rules, asked of the fast path process and replaced there while packets pass."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpdkrouter.cli import render
from dpdkrouter.cli.instance import AsJson, chosen

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILD_S = 300.0
"""How long the fast path may read and build rules: a second or two for ten thousand, minutes for very many."""

app = typer.Typer(no_args_is_help=True, help="Ingress ACLs: what they count, and new rules while packets pass.")
Name = Annotated[str, typer.Argument(help="An acl of the configuration.", metavar="NAME")]
OnlyName = Annotated[str | None, typer.Argument(help="Only this acl.", metavar="NAME")]


@app.command()
def show(name: OnlyName = None, as_json: AsJson = False) -> None:
    """Show the lists, or one with its rules: packets and bytes since it is in force."""
    lists = chosen.fast_path(BUILD_S).call("acl_show", **({} if name is None else {"name": name}))
    if as_json:
        render.as_json(lists)
    elif name is None:
        render.rows(("acl", "rules", "ports", "packets", "bytes", "rules of"), map(_summary, lists), numbers=_NUMBERS)
    else:
        for one in lists:
            render.rows(("rule", "packets", "bytes", "what"), _rules(one), numbers=_NUMBERS)


_NUMBERS = ("rule", "rules", "packets", "bytes")


def _summary(one: dict[str, Any]) -> tuple[Any, ...]:
    packets, octets = (
        sum(rule[what] for rule in one["rules"]) + one[f"default_{what}"] for what in ("packets", "bytes")
    )
    return one["name"], len(one["rules"]), " ".join(one["ports"]) or "-", packets, octets, one["origin"]


def _rules(one: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for rule in one["rules"]:
        yield rule["rule"], rule["packets"], rule["bytes"], rule["text"]
    yield "default", one["default_packets"], one["default_bytes"], one["default"]


@app.command()
def replace(
    name: Name, file: Annotated[Path, typer.Argument(help="A rules file.", metavar="FILE")], as_json: AsJson = False
) -> None:
    """Give a list the rules of a file, at once for all packets, until the fast path restarts or `acl reload`."""
    _taken([chosen.fast_path(BUILD_S).call("acl_replace", name=name, file=os.fspath(file.absolute()))], as_json)


@app.command()
def reload(name: OnlyName = None, as_json: AsJson = False) -> None:
    """Give lists the configuration's rules again, with what their rules files say now."""
    _taken(chosen.fast_path(BUILD_S).call("acl_reload", **({} if name is None else {"name": name})), as_json)


def _taken(lists: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        render.as_json(lists)
        return
    for one in lists:
        render.line(f"acl {one['name']}: {one['rules']} rules in force, built in {one['seconds']} s")
