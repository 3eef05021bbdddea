"""`status`, `port`, `drops`: read from the segments, so they work whatever has died. `neighbor` asks control."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpdkrouter.cli import render
from dpdkrouter.cli.instance import HUNG_S, AsJson, chosen, control_note, counters
from dpdkrouter.errors import (
    ControlUnreachableError,
    InstanceError,
    RequestError,
    SegmentError,
    SegmentMissingError,
)
from dpdkrouter.fib.room import room

if TYPE_CHECKING:
    from dpdkrouter.segment import LcoreState, PortState, StatsReader

PORTS_ABREAST = 3  # counters of 20 digits, and 80 columns

port_app = typer.Typer(no_args_is_help=True, help="Ports: what they are and what they count.")
punt_app = typer.Typer(no_args_is_help=True, help="What goes to the host stack.")
neighbor_app = typer.Typer(no_args_is_help=True, help="Neighbours on the ports.")


def _fast_path() -> dict[str, Any]:
    try:
        with chosen.stats() as stats:
            return _running(stats)
    except SegmentMissingError:
        return {"state": "not running"}
    except SegmentError as error:
        return {"state": "unknown", "error": str(error)}


def _running(stats: StatsReader) -> dict[str, Any]:
    header = stats.header()
    if not header.alive:
        return {"state": f"dead (was pid {header.pid})"}
    age = header.heartbeat_age_s
    return {
        "state": "forwarding" if header.ready else "starting",
        "pid": header.pid,
        "up_s": round(time.time() - header.started_ns / 1e9, 1),
        "heartbeat_age_s": round(age, 3) if math.isfinite(age) else None,
        "simd": header.simd,
        "dpdk": header.dpdk,
        "build": header.build_id,
        "lcores": [_lcore(lcore) for lcore in stats.lcores() if lcore.slot],
        "ports": {port.name: "up" if port.link_up else "down" for port in stats.ports()},
    }


def _lcore(lcore: LcoreState) -> dict[str, Any]:
    cycles = lcore.cycles_busy + lcore.cycles_idle
    return {
        "lcore": lcore.cpu,  # as in fastpath.lcores
        "rx_packets": lcore.rx_packets,
        "forwarded": lcore.forwarded,
        "punted": lcore.punted,
        "dropped": lcore.dropped,
        "busy_percent": round(100 * lcore.cycles_busy / cycles, 1) if cycles else 0.0,
    }


def _table(found: dict[str, Any]) -> None:
    """What the route segment says of itself and of its writer."""
    try:
        with chosen.table() as table:
            found["control"] = {"state": control_note(table), "pid": table.writer_pid}
            found["table"] = {
                part: {"used": use.used, "max": use.maximum, "key": f"table.{use.key}"}
                for part, use in table.use().items()
            }
            found["room"] = room(table.use())
    except SegmentError as error:
        found["control"] = {"state": str(error), "pid": 0}
        found["table"], found["room"] = {}, {}


def _collect() -> dict[str, Any]:
    paths = chosen.paths()
    if not any(path.exists() for path in (paths.run, paths.routes, paths.stats)):
        raise InstanceError(
            f"router {paths.name}: not here: neither {paths.run} nor its segments exist; `dpdkrouter run`"
        )
    found: dict[str, Any] = {"router": paths.name, "fast_path": _fast_path(), "bgp": None}
    _table(found)
    api = chosen.api()
    try:
        found["control"].update(api.call("status"))
        summary = api.call("bgp.summary")
        found["bgp"], found["bgp_feed"] = summary["peers"], summary["feed"]
    except (ControlUnreachableError, RequestError) as error:
        found["control"]["error"] = str(error)
    return found


def _fast_path_line(fast: dict[str, Any]) -> str:
    if "error" in fast:
        return str(fast["error"])
    if "pid" not in fast:
        return str(fast["state"])
    age = fast["heartbeat_age_s"]
    hung = f", its host thread silent for {age:.0f} s" if age is not None and age > HUNG_S else ""
    return f"{fast['state']}, pid {fast['pid']}, up {render.duration(fast['up_s'])}, SIMD {fast['simd']}{hung}"


def _lines(found: dict[str, Any]) -> dict[str, str]:
    """The part of `status` above its tables."""
    fast, control = found["fast_path"], found["control"]
    lines = {"router": found["router"], "fast path": _fast_path_line(fast)}
    if "ports" in fast:
        lines["ports"] = ", ".join(f"{name} {link}" for name, link in fast["ports"].items())
    lines["control"] = control["state"]
    if "error" in control:
        lines["api"] = control["error"]
    if "prefixes" in control:
        lines["rib"] = f"{control['prefixes']['ipv4']} IPv4, {control['prefixes']['ipv6']} IPv6 prefixes"
    if found["room"]:
        more = found["room"]
        lines["room for"] = (
            f"{more['ipv4']} IPv4 routes up to /24, {more['ipv4_longer']} longer ones in /24s of their own, "
            f"about {more['ipv6']} IPv6 routes"
        )
    if control.get("refused"):
        lines["refused"] = ", ".join(f"{count} routes ({why})" for why, count in control["refused"].items())
    if control.get("repairs", {}).get("losses"):
        done = control["repairs"]
        lines["repairs"] = (
            f"{done['losses']} lost links or neighbours, {done['groups']} groups rewritten, "
            f"the longest in {done['longest_s'] * 1000:.1f} ms"
        )
    if found["bgp"]:
        up = sum(1 for peer in found["bgp"] if peer["state"] == "up")
        lines["bgp"] = f"{up} of {len(found['bgp'])} sessions up, ExaBGP feed {found['bgp_feed']}"
    return lines


def status(as_json: AsJson = False) -> None:
    """Show the router at a glance: fast path, control process, table, BGP sessions."""
    found = _collect()
    if as_json:
        render.as_json(found)
        return
    render.facts(_lines(found))
    lcores = found["fast_path"].get("lcores")
    if lcores:
        render.line("")
        columns = [name.replace("_percent", " %") for name in lcores[0]]
        render.rows(columns, [list(one.values()) for one in lcores], numbers=columns)
    if found["table"]:
        render.line("")
        render.rows(
            ("table", "used", "max", "key"),
            [(part, use["used"], use["max"], use["key"]) for part, use in found["table"].items()],
            numbers=("used", "max"),
        )


def drops(
    as_json: AsJson = False,
    all_: Annotated[bool, typer.Option("--all", help="Reasons that never moved, too.")] = False,
) -> None:
    """Show dropped packets by reason, and punted ones by class."""
    with counters() as stats:
        found = {"drops": stats.drops(), "punts": stats.punts()}
    if as_json:
        render.as_json(found)
        return
    dropped = [(name, count) for name, count in found["drops"].items() if count or all_]
    if dropped:
        render.rows(("dropped", "packets"), dropped, numbers=("packets",))
    else:
        render.line("no packet was dropped")
    render.line("")
    render.rows(("punted", "packets"), found["punts"].items(), numbers=("packets",))


@punt_app.command("show")
def punt_show(as_json: AsJson = False) -> None:
    """Show the punt classes: packets a second that each worker may hand to the host stack (of neighbor, for each port), how
    many it took, and how many were dropped beyond that."""
    with counters() as stats:
        punts, policed, rates = stats.punts(), stats.policed(), stats.punt_rates()
    found = [{"class": name, "rate": rates[name], "punted": punts[name], "policed": policed[name]} for name in punts]
    if as_json:
        render.as_json(found)
        return
    columns = ("class", "rate", "punted", "policed")
    render.rows(columns, [[one[column] for column in columns] for one in found], numbers=columns[1:])


def _ports() -> list[dict[str, Any]]:
    with counters() as stats:
        return [_port(port) for port in stats.ports()]


def _port(port: PortState) -> dict[str, Any]:
    members = [{**asdict(one), "partner": one.partner.hex(":") if any(one.partner) else ""} for one in port.members]
    return {**asdict(port), "mac": port.mac.hex(":"), "members": members}


def _member(member: dict[str, Any]) -> tuple[Any, ...]:
    """A bond's member as `port show` has it; the last two are LACP's."""
    lacp = [word for word in ("collecting", "distributing") if member[word]]
    return (
        member["device"],
        "up" if member["link_up"] else "down",
        member["speed_mbps"] or "-",
        "yes" if member["active"] else "no",
        ",".join(lacp) or "-",
        member["partner"] or "-",
    )


@port_app.command("show")
def port_show(as_json: AsJson = False) -> None:
    """Show the ports: driver, MAC, link, MTU, the description when the control process answers; which lcore polls each
    RX queue, what the device hashes to spread packets over them, and its offloads in use; members of bonds, VLANs of
    sub-interfaces."""
    ports = _ports()
    try:
        descriptions = chosen.api().call("status").get("descriptions", {})
    except (ControlUnreachableError, RequestError):
        descriptions = {}
    for port in ports:
        port["description"] = descriptions.get(port["name"], "")
    if as_json:
        render.as_json(ports)
        return
    render.rows(
        ("port", "link", "Mb/s", "mac", "mtu", "rxq", "txq", "driver", "description"),
        [
            (
                p["name"],
                "up" if p["link_up"] else "down",
                p["speed_mbps"] or "-",
                p["mac"],
                p["mtu"],
                p["rx_queues"],
                p["tx_queues"],
                p["driver"],
                p["description"],
            )
            for p in ports
        ],
        numbers=("Mb/s", "mtu", "rxq", "txq"),
    )
    render.line("")
    render.rows(
        ("port", "numa", "polled by", "rss", "offloads"),
        [
            (
                p["name"],
                "-" if p["numa"] is None else p["numa"],
                ",".join(map(str, p["rx_lcores"])),
                p["rss"] or "-",
                p["offloads"] or "-",
            )
            for p in ports
        ],
        numbers=("numa",),
    )
    bonds = [(p["name"], member) for p in ports for member in p["members"]]
    if bonds:
        render.line("")
        render.rows(
            ("bond", "member", "link", "Mb/s", "active", "lacp", "partner"),
            [(name, *_member(member)) for name, member in bonds],
            numbers=("Mb/s",),
        )
    subs = [p for p in ports if p["parent"]]
    if subs:
        render.line("")
        render.rows(
            ("port", "parent", "vlan", "outer vlan"),
            [(p["name"], p["parent"], p["vlan"], p["outer_vlan"] or "-") for p in subs],
            numbers=("vlan", "outer vlan"),
        )


@port_app.command("stats")
def port_stats(as_json: AsJson = False) -> None:
    """Show the ports' counters."""
    columns = (
        "rx_packets",
        "rx_bytes",
        "rx_missed",
        "rx_errors",
        "rx_no_mbuf",
        "tx_packets",
        "tx_bytes",
        "tx_drops",
        "tx_errors",
        "injected",
        "originated",
        "fragments",
    )
    ports = _ports()
    if as_json:
        render.as_json([{key: p[key] for key in ("name", *columns)} for p in ports])
        return
    for some in render.batches(ports, PORTS_ABREAST):
        names = [port["name"] for port in some]
        render.rows(
            ("counter", *names), [(column, *(port[column] for port in some)) for column in columns], numbers=names
        )


@neighbor_app.command("show")
def neighbor_show(as_json: AsJson = False) -> None:
    """Show the neighbours that have a MAC."""
    found = chosen.api().stream("neighbor.show")
    if as_json:
        render.json_list(found)
        return
    columns = ("port", "address", "mac", "state", "source")
    render.rows(columns, ([one[column] for column in columns] for one in found))
