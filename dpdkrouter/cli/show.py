"""`status`, `port`, `neighbor`, `drops`: read from the segments, so they work whatever has died."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpdkrouter.cli import render
from dpdkrouter.cli.instance import AsJson, chosen, control_note
from dpdkrouter.errors import ControlUnreachableError, SegmentError

if TYPE_CHECKING:
    from dpdkrouter.segment import LcoreState, PortState, StatsReader

port_app = typer.Typer(no_args_is_help=True, help="Ports: what they are and what they count.")
neighbor_app = typer.Typer(no_args_is_help=True, help="Neighbours on the ports.")


def _fast_path(stats: StatsReader | None) -> dict[str, Any]:
    if stats is None:
        return {"state": "not running"}
    header = stats.header()
    if not header.alive:
        return {"state": f"dead (was pid {header.pid})"}
    return {
        "state": "forwarding" if header.ready else "starting",
        "pid": header.pid,
        "up_s": round(time.time() - header.started_ns / 1e9, 1),
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


def _stats() -> StatsReader | None:
    try:
        return chosen.stats()
    except SegmentError:
        return None


def _collect() -> dict[str, Any]:
    paths = chosen.paths()
    found: dict[str, Any] = {"router": paths.name, "fast_path": _fast_path(_stats())}
    try:
        with chosen.table() as table:
            found["control"] = {"state": control_note(table), "pid": table.writer_pid}
            found["table"] = {
                part: {"used": use.used, "max": use.maximum, "key": f"table.{use.key}"}
                for part, use in table.use().items()
            }
    except SegmentError as error:
        found["control"] = {"state": str(error), "pid": 0}
        found["table"] = {}
    try:
        found["control"].update(chosen.api().call("status"))
        found["bgp"] = chosen.api().call("bgp.summary")["peers"]
    except ControlUnreachableError as error:
        found["control"]["error"] = str(error)
        found["bgp"] = None
    return found


def status(as_json: AsJson = False) -> None:
    """Show the router at a glance: fast path, control process, table, BGP sessions."""
    found = _collect()
    if as_json:
        render.as_json(found)
        return
    fast, control = found["fast_path"], found["control"]
    lines = {"router": found["router"], "fast path": fast["state"]}
    if "pid" in fast:
        lines["fast path"] += f", pid {fast['pid']}, up {render.duration(fast['up_s'])}, SIMD {fast['simd']}"
        lines["ports"] = ", ".join(f"{name} {link}" for name, link in fast["ports"].items())
    lines["control"] = control.get("error", control["state"])
    if found["bgp"] is not None:
        up = sum(1 for peer in found["bgp"] if peer["state"] == "up")
        lines["bgp"] = f"{up} of {len(found['bgp'])} sessions up"
    render.facts(lines)
    if fast.get("lcores"):
        render.line("")
        columns = list(fast["lcores"][0])
        render.rows(columns, [list(one.values()) for one in fast["lcores"]], numbers=columns)
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
    stats = chosen.stats()
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


def _port(port: PortState) -> dict[str, Any]:
    return {**asdict(port), "mac": port.mac.hex(":")}


@port_app.command("show")
def port_show(as_json: AsJson = False) -> None:
    """Show the ports: driver, MAC, link, queues, MTU."""
    ports = [_port(port) for port in chosen.stats().ports()]
    if as_json:
        render.as_json(ports)
        return
    render.rows(
        ("port", "link", "Mb/s", "mac", "mtu", "rxq", "txq", "driver"),
        [
            (
                p["name"],
                "up" if p["link_up"] else "down",
                p["speed_mbps"],
                p["mac"],
                p["mtu"],
                p["rx_queues"],
                p["tx_queues"],
                p["driver"],
            )
            for p in ports
        ],
        numbers=("Mb/s", "mtu", "rxq", "txq"),
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
    )
    ports = [_port(port) for port in chosen.stats().ports()]
    if as_json:
        render.as_json([{key: p[key] for key in ("name", *columns)} for p in ports])
        return
    render.rows(
        ("counter", *(p["name"] for p in ports)),
        [(column, *(p[column] for p in ports)) for column in columns],
        numbers=[p["name"] for p in ports],
    )


@neighbor_app.command("show")
def neighbor_show(as_json: AsJson = False) -> None:
    """Show the neighbours that have a MAC."""
    found = list(chosen.api().stream("neighbor.show"))
    if as_json:
        render.as_json(found)
        return
    columns = ("port", "address", "mac", "state", "source")
    render.rows(columns, [[one[column] for column in columns] for one in found])
