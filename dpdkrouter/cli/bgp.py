"""`bgp`: sessions, and what came and went over them. `bgp run FILE`, or `bgp` alone, is the program itself."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dpdkrouter.cli import programs, render
from dpdkrouter.cli.instance import NOT_FOUND, AsJson, OnlyFamily, OnlyPrefix, Prefix, chosen

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
    for p in found["peers"]:
        if p["loading"]:
            load, ends = p["loading"], ", ".join(p["pending"])
            render.line(
                f"{p['address']}: loading: {load['routes']} routes, {load['rate']} a second, no End-of-RIB yet: {ends}"
            )
    for p in found["peers"]:  # as long as the peer likes: not in a column
        if p["last_error"]:
            render.line(f"{p['address']}: last error: {p['last_error']}")


@app.command("routes")
def routes(
    prefix: OnlyPrefix = None,
    peer: Annotated[str | None, typer.Option(help="Only from this peer.")] = None,
    family: OnlyFamily = None,
    received: Annotated[bool, typer.Option("--received", help="All that were sent; the default.")] = False,
    best: Annotated[bool, typer.Option("--best", help="Only those that are used.")] = False,
    rejected: Annotated[bool, typer.Option("--rejected", help="Only those that policy or checks refused.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the routes that peers have sent."""
    if received + best + rejected > 1:
        raise typer.BadParameter("--received, --best and --rejected exclude each other")
    which = "rejected" if rejected else "best" if best else None
    params = {"prefix": prefix, "peer": peer, "family": family, "which": which}
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
                    one["policy"] if one["rejected"] else one["reason"],
                )
                for one in found
            ),
            numbers=("med", "lp"),
        )
    if prefix and not count:
        raise typer.Exit(NOT_FOUND)


@app.command("best")
def best(
    prefix: Prefix,
    why: Annotated[bool, typer.Option("--why", help="All paths, and why each lost.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the best path of a prefix, and with --why the decision."""
    found = list(chosen.api().stream("bgp.best", prefix=prefix))
    shown = found if why else [one for one in found if one["best"] or one["multipath"]]
    if as_json:
        render.json_list(shown)
    else:
        render.rows(
            ("", "source", "peer", "next hop", "lp", "as path", "origin", "med", "metric", "why" if why else "policy"),
            (
                (
                    ("*" if one["best"] else "=" if one["multipath"] else "") + ("s" if one["stale"] else ""),
                    one["source"],
                    one["peer"],
                    one["next_hop"],
                    one["local_pref"],
                    one["as_path"],
                    one["origin"],
                    one["med"],
                    one["metric"],
                    one["why"] if why else one["policy"],
                )
                for one in shown
            ),
            numbers=("lp", "med", "metric"),
        )
    if not shown:
        raise typer.Exit(NOT_FOUND)


@app.command("announced")
def announced(as_json: AsJson = False) -> None:
    """Show the prefixes that are announced, and to whom."""
    found = chosen.api().stream("bgp.announced")
    if as_json:
        render.json_list(found)
    else:
        render.rows(
            ("prefix", "peer", "attributes"), ((one["prefix"], one["peer"], one["attributes"]) for one in found)
        )


@app.command("announce")
def announce(prefix: Prefix, as_json: AsJson = False) -> None:
    """Announce a prefix until `bgp withdraw`; kept over restarts. Export policies say to whom."""
    _announcement("bgp.announce", prefix, as_json)


@app.command("withdraw")
def withdraw(prefix: Prefix, as_json: AsJson = False) -> None:
    """Withdraw a prefix that `bgp announce` announced."""
    _announcement("bgp.withdraw", prefix, as_json)


def _announcement(method: str, prefix: str, as_json: bool) -> None:
    found = chosen.api().call(method, prefix=prefix)
    if as_json:
        render.as_json(found)
    else:
        later = f"; when their sessions are up also to {', '.join(found['later'])}" if found["later"] else ""
        render.line(f"{prefix}: announced to {', '.join(found['peers']) or 'nobody'}{later}")


@app.command("neighbor")
def neighbor(peer: Annotated[str, typer.Argument(help="Address of the peer.")], as_json: AsJson = False) -> None:
    """Show one session: its state, its policy and what that refuses."""
    found = chosen.api().call("bgp.neighbor", peer=peer)
    if as_json:
        render.as_json(found)
        return
    imports = found["import"]
    lengths = imports["max_length"]
    render.facts(
        {
            "peer": found["address"],
            "AS": found["asn"],
            "description": found["description"],
            "state": f"{found['state']} for {render.duration(found['since_s'])}, {found['flaps']} flaps",
            "last error": found["last_error"],
            **_agreed(found["agreed"]),
            "prefixes": _families(found["prefixes"]),
            "waits for End-of-RIB": ", ".join(found["pending"]),
            "stale": _families(found["stale"]),
            "rejected": _families(found["rejected"]),
            "import policy": imports["policy"] or "none: all is refused (RFC 8212)",
            "export policy": found["export"]["policy"] or "none: nothing is announced (RFC 8212)",
            "announced": found["export"]["prefixes"],
            "first AS": "any" if imports["first_as"] is None else str(imports["first_as"]),
            "bogons": "refused" if imports["bogons"] else "accepted",
            "own prefixes": ", ".join(imports["own_prefixes"]) or "not checked",
            "longest prefixes": f"/{lengths['ipv4']} (IPv4), /{lengths['ipv6']} (IPv6)",
            "most prefixes": _limits(imports),
            "not taken": _families(found["over_limit"]),
            "blackhole community": _blackhole(imports),
        }
    )
    if found["verdicts"]:
        render.rows(
            ("policy or check", "ipv4", "ipv6"),
            ((text, count["ipv4"], count["ipv6"]) for text, count in found["verdicts"].items()),
            numbers=("ipv4", "ipv6"),
        )


@app.command("log")
def log(peer: Annotated[str | None, typer.Option(help="Only of this peer.")] = None, as_json: AsJson = False) -> None:
    """Show the last events of the sessions: up, lost and why, NOTIFICATIONs."""
    found = chosen.api().stream("bgp.log", **({"peer": peer} if peer else {}))
    if as_json:
        render.json_list(found)
    else:
        render.rows(
            ("ago", "peer", "event"), ((render.duration(one["age_s"]), one["peer"], one["event"]) for one in found)
        )


def _agreed(agreed: dict[str, Any] | None) -> dict[str, object]:
    """What both sides' OPEN messages came to."""
    if agreed is None:
        return {}
    restart = agreed["restart_time"]
    return {
        "router id": agreed["router_id"],
        "families": ", ".join(agreed["families"]),
        "hold time": f"{agreed['hold_time']} s" if agreed["hold_time"] else "none",
        "several paths": ", ".join(agreed["add_path"]) or "no",
        "route refresh": agreed["route_refresh"],
        "graceful restart": "no" if restart is None else f"for {restart} s",
    }


def _blackhole(imports: dict[str, Any]) -> str:
    least = imports["blackhole_min_length"]
    return f"obeyed from /{least['ipv4']} (IPv4), /{least['ipv6']} (IPv6) on" if imports["blackhole"] else "ignored"


def _limits(imports: dict[str, Any]) -> str:
    given = ", ".join(f"{most} {family}" for family, most in imports["max_prefixes"].items() if most is not None)
    return f"{given}, then {imports['max_prefixes_action']}" if given else "any number"


@app.command("refresh")
def refresh(peer: Annotated[str, typer.Argument(help="Address of the peer.")], as_json: AsJson = False) -> None:
    """Ask a peer for all its routes again; lets a session come up that was closed for its number of prefixes."""
    found = chosen.api().call("bgp.refresh", peer=peer)
    if as_json:
        render.as_json(found)
    else:
        render.line(f"{peer}: asked for its routes")


def _families(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {family}" for family, count in counts.items())
