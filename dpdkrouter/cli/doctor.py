"""`doctor`: what this machine has of what the router needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpdkrouter.cli import render
from dpdkrouter.cli.instance import AsJson
from dpdkrouter.doctor.findings import EXIT_CODES, Finding, State, worst
from dpdkrouter.errors import ConfigErrors

if TYPE_CHECKING:
    from dpdkrouter.config.schema import Config

DEFAULT = Path("/etc/dpdkrouter/router.toml")
NOTHING_BUT_DEFAULTS = '[[port]]\nname = "port0"\ndevice = "net_null0"\n'
WHY = "the router starts with no configuration that has an error; what it needs of this machine follows from it"

File = Annotated[Path | None, typer.Argument(help=f"The router's configuration; {DEFAULT} when it is there.")]


def doctor(file: File = None, as_json: AsJson = False) -> None:
    """Examine this machine: what was found, why it matters, what mends it. Changes nothing; exit code: the worst state."""
    from dpdkrouter.config.load import parse
    from dpdkrouter.doctor import bonds, hardware, memory, software
    from dpdkrouter.doctor.subject import look
    from dpdkrouter.fib.limits import Limits, segment_bytes
    from dpdkrouter.nic.kernel import Kernel

    config, findings = _configuration(file)
    subject = look(
        Kernel(),
        config or parse(NOTHING_BUT_DEFAULTS, "defaults"),
        lambda c: segment_bytes(Limits(**c.table.model_dump())),
        configured=config is not None,
    )
    for part in (software, memory, hardware, bonds):
        findings += part.examine(subject)
    state = worst(findings)
    if as_json:
        render.as_json({"state": state, "findings": [_fields(finding) for finding in findings]})
    else:
        _show(findings)
    raise typer.Exit(EXIT_CODES[state])


def _configuration(file: Path | None) -> tuple[Config | None, list[Finding]]:
    """The configuration, or None when there is none or a wrong one."""
    from dpdkrouter.config.load import load

    if file is None and not DEFAULT.exists():
        found = f"no {DEFAULT}: the defaults are judged"
        commands = ("dpdkrouter doctor FILE", "docs/examples/, to start from")
        return None, [Finding("configuration", State.WARNING, found, WHY, commands)]
    try:
        config = load(file or DEFAULT)
    except ConfigErrors as error:
        mend = (f"dpdkrouter check {file or DEFAULT}",)
        return None, [Finding("configuration", State.FAILED, str(problem), WHY, mend) for problem in error.problems]
    return config, [Finding("configuration", State.OK, f"{file or DEFAULT}, {len(config.ports)} ports", WHY)]


def _fields(finding: Finding) -> dict[str, object]:
    return {
        "topic": finding.topic,
        "state": finding.state,
        "found": finding.found,
        "why": finding.why,
        "mend": list(finding.mend),
    }


def _show(findings: list[Finding]) -> None:
    width = max(len(finding.topic) for finding in findings)
    margin = " " * len(f"{State.WARNING}  ")
    for finding in findings:
        render.line(f"{finding.state.ljust(len(State.WARNING))}  {finding.topic.ljust(width)}  {finding.found}")
        if finding.state is not State.OK:
            render.line(f"{margin}{' ' * width}  why:  {finding.why}")
            for mend in finding.mend:
                render.line(f"{margin}{' ' * width}  mend: {mend}")
