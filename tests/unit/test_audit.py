"""The audit of a control process's RIB against its segment, by API, CLI and in the background."""

from __future__ import annotations

import asyncio
import re
from array import array
from dataclasses import asdict
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from controlkit import MAC, Router
from dpdkrouter import app
from dpdkrouter.api.methods import Methods
from dpdkrouter.app import Control
from dpdkrouter.audit import Audit, AuditResult
from dpdkrouter.errors import RequestError
from dpdkrouter.fib import Fib, FibReader, Source
from dpdkrouter.fib.limits import layout
from fastpath.segment import ROUTE, WRITE, attach
from table_model import routes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("root")
COUNT = 600


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    router = Router(tmp_path)
    yield router
    router.remove()


@pytest.fixture
def control(router: Router) -> Iterator[Control]:
    """A control process's state with its static and connected routes, without its loop."""
    control = Control(router.config)
    control.programmer.set_port(0, MAC, 1500)
    control._first_routes()
    yield control
    control.fib.close()


def run(control: Control, *, repair: bool = False) -> AuditResult:
    """An audit to its end."""
    audit = Audit(control.rib, control.programmer, control.fib, repair=repair)
    for _ in audit.steps():
        pass
    return audit.result()


def put(fib: Fib, prefix: str, group: int, source: Source = Source.STATIC) -> None:
    """Change the segment behind the RIB's back."""
    network = ip_network(prefix)
    fib.apply(network.version, network.network_address.packed, bytes([network.prefixlen]), array("H", [group]),
              bytes([source]))  # fmt: skip


def state(control: Control) -> Any:
    return routes(control.fib.reader, 4), routes(control.fib.reader, 6), control.fib.groups()


def test_what_the_control_process_made_has_no_difference(control: Control) -> None:
    found = run(control)
    assert (found.differences, found.first, found.mended, found.stale) == (0, (), 0, 0)
    assert found.routes == found.rules == sum(control.fib.counts()) > 5
    assert found.entries > 1 << 24


def test_each_kind_of_difference_is_named_and_mended(control: Control) -> None:
    right = state(control)
    other = next(group for group in control.fib.groups() if group != right[0][198 << 24 | 51 << 16 | 100 << 8, 24])
    put(control.fib, "198.51.100.0/24", other)
    put(control.fib, "198.51.100.128/25", 0)
    put(control.fib, "203.0.113.0/28", other)
    put(control.fib, "2001:db8:7::/48", other)
    connected = right[0][192 << 24 | 2 << 8, 24]
    put(control.fib, "192.0.2.0/24", connected, Source.EBGP)
    found = run(control)
    assert found.differences == 5
    assert set(found.first) == {
        f"198.51.100.0/24: group {other}, the RIB says {right[0][198 << 24 | 51 << 16 | 100 << 8, 24]}",
        "198.51.100.128/25: in the RIB, not in the segment",
        "203.0.113.0/28: in the segment, not in the RIB",
        "2001:db8:7::/48: in the segment, not in the RIB",
        "192.0.2.0/24: of another source than in the RIB",
    }
    assert run(control, repair=True).mended == 5
    assert run(control).differences == 0
    assert state(control) == right


def test_a_group_that_is_not_its_next_hops_is_mended(control: Control) -> None:
    right = state(control)
    group = right[0][198 << 24 | 51 << 16 | 100 << 8, 24]
    (first, *_) = control.fib.group_members(group)
    control.fib.group_update(group, [first])
    assert run(control).first == (f"group {group}: its members are not its next hops",)
    assert run(control, repair=True).mended == 1
    assert state(control) == right


def test_damage_below_the_rules_is_mended_too(control: Control) -> None:
    entry = layout(control.fib.reader.limits).parts["ipv4_root"].offset + 2 * (0x51 << 16)
    control.fib.mapping.view(entry, 2)[:] = b"\x01\0"
    assert run(control).first == ("81.0.0.0/24: the table shows what no rule says",)
    assert run(control, repair=True).mended == 1
    assert run(control).differences == 0


@pytest.mark.parametrize(("family", "at", "value"), [(4, 0, 1), (4, 4, 200), (6, 15, 1), (6, 16, 200)])
def test_rules_that_are_no_prefixes_are_named_and_mended(control: Control, family: int, at: int, value: int) -> None:
    """at: of the byte, in a rule, that is damaged: prefix or length."""
    right = state(control)
    part = layout(control.fib.reader.limits).parts[f"ipv{family}_rules"]
    size, length, width = (8, 4, 32) if family == 4 else (32, 16, 128)
    view = control.fib.mapping.view(part.offset, part.bytes)
    slot = next(i for i in range(0, part.bytes, size) if 1 < view[i + length] <= width)
    view[slot + at] = value
    found = run(control)
    assert any("damaged rule" in one for one in found.first)
    assert any("in the RIB, not in the segment" in one for one in found.first)
    repaired = run(control, repair=True)
    assert repaired.mended == repaired.differences
    assert run(control).differences == 0
    assert state(control) == right


def test_stale_routes_are_no_difference(control: Control) -> None:
    put(control.fib, "203.0.113.0/24", next(iter(control.fib.groups())), Source.EBGP)
    control.fib.mark_stale(Source.EBGP)
    found = run(control)
    assert (found.differences, found.stale) == (0, 1)


def test_routes_come_and_go_between_the_steps(control: Control) -> None:
    """Whatever the control process does meanwhile is no difference."""
    methods = Methods(control)
    audit = control.audit()
    for step, _ in enumerate(audit.steps()):
        if step < COUNT:
            prefix = f"10.{step % 50}.{step % 7}.0/{24 + step % 9}" if step % 9 == 0 else f"10.{step % 50}.0.0/16"
            methods.route_add({"prefix": prefix, "type": ["blackhole", "unreachable", "prohibit"][step % 3]})
            if step % 3 == 0:
                methods.route_del({"prefix": prefix})
    assert audit.result().first == ()


def test_a_route_that_was_refused_is_a_difference_until_it_fits(control: Control) -> None:
    methods = Methods(control)
    blocks = control.fib.reader.use()["ipv4_extended"]
    free = blocks.maximum - blocks.used
    for i in range(free + 1):
        methods.route_add({"prefix": f"10.0.{i}.128/25", "type": "blackhole"})
    missing = f"10.0.{free}.128/25: in the RIB, not in the segment"
    assert run(control).first == (missing,)
    assert run(control, repair=True).mended == 0
    methods.route_del({"prefix": "10.0.0.128/25"})
    assert run(control, repair=True).mended == 1
    assert run(control).differences == 0


def test_the_api_says_what_differs_and_mends_when_asked(control: Control) -> None:
    methods = Methods(control)
    put(control.fib, "203.0.113.0/28", next(iter(control.fib.groups())))
    named, result = _drain(methods.route_audit({}))
    assert named == ["203.0.113.0/28: in the segment, not in the RIB"]
    assert (result["differences"], result["mended"]) == (1, 0)
    assert _drain(methods.route_audit({"repair": True}))[1]["mended"] == 1
    assert _drain(methods.route_audit({"repair": False}))[0] == []
    with pytest.raises(RequestError, match="repair: found 1: must be true or false"):
        methods.route_audit({"repair": 1})


def _drain(steps: Iterator[str | None]) -> tuple[list[str], dict[str, Any]]:
    found: list[str] = []
    while True:
        try:
            one = next(steps)
        except StopIteration as end:
            return found, end.value
        if one is not None:
            found.append(one)


def test_the_background_audit_leaves_its_result(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "AUDIT_EVERY_S", 0.01)
    monkeypatch.setattr(app, "AUDIT_REST_S", 0.0)
    methods = Methods(control)
    assert methods.audit_summary({}) is None
    put(control.fib, "203.0.113.0/28", next(iter(control.fib.groups())))

    async def until_done() -> None:
        task = asyncio.create_task(control._audit_task())
        async with asyncio.timeout(60):
            while control.audited is None:
                await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(until_done())
    summary = methods.audit_summary({})
    assert summary is not None
    assert summary["differences"] == 1
    assert summary["age_s"] >= 0
    assert control.audited is not None
    assert asdict(control.audited)["first"] == ("203.0.113.0/28: in the segment, not in the RIB",)


def test_the_command_names_differences_and_repairs(router: Router) -> None:
    with router.control() as api:
        clean = router.cli("route", "audit")
        assert clean.code == 0
        assert clean.out.rstrip().endswith(": no differences")
        api.call("route.add", prefix="10.0.0.0/8", type="blackhole")
        found = router.cli("route", "audit", "--json")
        assert (found.code, found.json["differences"], found.json["rib"]) == (0, 0, True)
        damage(router)
        ended = router.cli("route", "audit")
        assert ended.code == 5
        assert ended.out.splitlines()[0] == "192.168.7.0/24: the table shows what no rule says"
        assert ended.out.rstrip().endswith(": 1 difference")
        mended = router.cli("route", "audit", "--repair")
        assert (mended.code, mended.out.rstrip()[-24:]) == (0, ": 1 difference, 1 mended")
        assert router.cli("route", "audit").code == 0
        damage(router)
    assert router.cli("route", "audit", "--repair").code == 3
    alone = router.cli("route", "audit", "--json")
    assert (alone.code, alone.json["differences"], alone.json["rib"]) == (5, 1, False)
    assert "the segment alone is checked" in alone.err


def test_diff_says_where_prefixes_go_and_would_go(router: Router, tmp_path: Path) -> None:
    file = str(tmp_path / "before.snapshot")
    with router.control() as api:
        api.call("route.add", prefix="10.0.0.0/8", type="blackhole")
        assert router.cli("route", "snapshot", file).code == 0
        api.call("route.add", prefix="10.0.0.0/8", via=[{"address": "192.0.2.9"}])
        api.call("route.add", prefix="10.1.0.0/16", via=[{"address": "192.0.2.9"}])
        ended = router.cli("route", "diff", file)
        assert ended.code == 5
        rows = [re.split(r"\s{2,}", line.strip()) for line in ended.out.splitlines()]
        assert rows[:3] == [
            ["prefixes", "now", "in the snapshot", "such as"],
            ["1", "192.0.2.9 on wan0", "blackhole", "10.0.0.0/8"],
            ["1", "192.0.2.9 on wan0", "no such route", "10.1.0.0/16"],
        ]
        assert ended.out.splitlines()[3].startswith(f"2 prefixes differ from {file}: ")
        found = router.cli("route", "diff", file, "--json")
        assert (found.code, found.json["prefixes"]) == (5, 2)
        assert found.json["changes"][1] == {
            "family": "ipv4",
            "prefixes": 1,
            "now": [{"action": "forward", "port": "wan0", "next_hop": "192.0.2.9", "weight": 1}],
            "then": None,
            "examples": ["10.1.0.0/16"],
        }
        assert {(one["prefix"], one["source"]) for one in api.stream("route.show", source="cli")} == {
            ("10.0.0.0/8", "cli"),
            ("10.1.0.0/16", "cli"),
        }  # nothing was loaded


def damage(router: Router) -> None:
    """One root entry that no rule says, written to the file by whoever may."""
    with FibReader.open(router.paths.routes) as reader:
        offset = layout(reader.limits).parts["ipv4_root"].offset
    mapping = attach(router.paths.routes, ROUTE, WRITE)
    mapping.view(offset + 2 * 0xC0A807, 2)[:] = b"\x01\0"
    mapping.close()


def test_peers_routes_take_part(router: Router) -> None:
    with router.control() as api, router.peers(api):
        found = router.cli("route", "audit", "--json")
        assert (found.code, found.json["differences"], found.json["first"]) == (0, 0, [])
        assert found.json["routes"] == found.json["rules"] > 8
