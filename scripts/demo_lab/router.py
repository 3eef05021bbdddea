"""The router of the demo: its configuration file, `dpdkrouter run` as a child, the processes below it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo_lab.topology import ANNOUNCED, ASN, ROUTER_ID, SITES
from dpdkrouter.cli import app
from dpdkrouter.errors import DpdkrouterError

if TYPE_CHECKING:
    from demo_lab.topology import Lab

BIN = Path(sys.executable).parent
STOP_S = 25
PROGRAMS = ("control", "fastpath", "bgp")

_HEAD = """\
# The router of scripts/demo.
[router]
name = "{name}"
id = "{router_id}"
asn = {asn}
namespace = "{namespace}"

[fastpath]
lcores = {lcores}
memory_mib = 128

[bgp]
announce = {announced}
restart_time = 30

[metrics]
listen = "127.0.0.1:{metrics_port}"

[table]                          # a lab's routes, not the Internet's
max_ipv4_routes = 100000
max_ipv6_routes = 50000
max_groups = 4096
max_adjacencies = 1024
max_ecmp_groups = 64
max_ipv4_extended = 256
ipv6_trie_mib = 8
"""
_PORT = """
[[port]]
name = "{name}"
device = "net_af_packet{number},iface={device},framecnt=4096"
addresses = {addresses}
description = "{description}"
"""
_NEIGHBOR = """
[[bgp.neighbor]]
address = "{address}"
asn = {asn}
import_policy = "accept"
export_policy = "accept"
accept_bogons = true
max_length_ipv4 = 25
families = ["ipv4", "ipv6"]
hold_time = 9
description = "{description}"
"""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


class Router:
    """`dpdkrouter run demo.toml`; a context manager. `log` holds what it and its three programs print."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.name = f"demo-{os.getpid()}"
        self.config = lab.directory / "demo.toml"
        self.log = lab.directory / "router.log"
        self.metrics_url = f"http://127.0.0.1:{free_port()}/metrics"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """What starts it."""
        return ("dpdkrouter", "run", str(self.config))

    def __enter__(self) -> Router:
        self.config.write_text(self._text())
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it; it ends with us, however we end."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *self.command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
            )  # fmt: skip

    def stop(self) -> None:
        """End it in order, and by force what does not end."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)  # a break may have stopped it
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        if process.poll() is None:
            process.kill()
            process.wait()

    def alive(self) -> bool:
        """False when `dpdkrouter run` gave up.

        By waitid, not poll(): a signal's exception in the middle of a poll() leaves its lock taken, and stop() would
        wait for ever.
        """
        if self._process is None:
            return False
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    @property
    def pid(self) -> int:
        """Of `dpdkrouter run`."""
        assert self._process is not None
        return self._process.pid

    def program_pid(self, program: str) -> int:
        """The pid of `control`, `fastpath` or `bgp`; LookupError while it does not run."""
        for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if program.encode() in words:
                return int(child)
        raise LookupError(f"dpdkrouter {program} does not run")

    def json(self, *words: str) -> Any:
        """What a show command says, for waiting: run in this process, which saves the start of a Python each time.

        LookupError when it has nothing to say. What is shown to the user goes through Screen.run.
        """
        answer = io.StringIO()
        try:
            with contextlib.redirect_stdout(answer):
                app(["--name", self.name, *words, "--json"], standalone_mode=False)
        except DpdkrouterError as error:
            raise LookupError(f"{' '.join(words)}: {error}") from None
        return json.loads(answer.getvalue())

    def _text(self) -> str:
        cpus = sorted(os.sched_getaffinity(0))
        text = _HEAD.format(
            name=self.name,
            router_id=ROUTER_ID,
            asn=ASN,
            namespace=self._lab.router_namespace,
            lcores=cpus[:2],
            announced=json.dumps(ANNOUNCED),
            metrics_port=self.metrics_url.split(":")[2].split("/")[0],
        )
        ports = [
            (site.port, f"AS {site.asn}, {site.name}", [f"{site.router4}/30", f"{site.router6}/64"]) for site in SITES
        ]
        ports.append(("lan0", "clients", ["203.0.113.1/24", "2001:db8:100::1/64"]))
        for number, (port, description, addresses) in enumerate(ports):
            text += _PORT.format(
                name=port,
                number=number,
                device=self._lab.device(port),
                addresses=json.dumps(addresses),
                description=description,
            )
        for site in SITES:
            text += _NEIGHBOR.format(address=site.peer4, asn=site.asn, description=site.name)
        return text
