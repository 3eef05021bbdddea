"""Where an instance's files are. Pure, but for `find_instance`, which looks at what runs.

The run directory (mode 0750) is made by whichever program starts first; the route segment's only writer is
the control process, the stats segment's the fast path. Used by the three programs, the CLI and the run-time
checks.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dpdkrouter.config.rules import ROUTER_NAME
from dpdkrouter.errors import InstanceError, SegmentError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from dpdkrouter.config.schema import Config

RUN = Path("/run/dpdkrouter")
HUGEPAGES = Path("/dev/hugepages")
SHARED_MEMORY = Path("/dev/shm")
EAL = Path("/run/dpdk")  # where EAL has a directory for each --file-prefix; what it held stays when it is killed
NAME_VARIABLE = "DPDKROUTER_NAME"


@dataclass(frozen=True, slots=True)
class InstancePaths:
    """The files of one router."""

    name: str
    run: Path
    routes: Path
    stats: Path
    eal: Path

    @classmethod
    def for_name(cls, name: str, *, hugepages: bool = True, root: Path = Path("/")) -> Self:
        """The paths of the router of a name; `root` is another place for all of them, in tests."""
        memory = HUGEPAGES if hugepages else SHARED_MEMORY

        def place(path: Path) -> Path:
            return root / path.relative_to("/")

        segment = f"dpdkrouter-{name}"
        routes, stats = memory / f"{segment}.routes", memory / f"{segment}.stats"
        return cls(name, *map(place, (RUN / name, routes, stats, EAL / segment)))

    @classmethod
    def of(cls, config: Config, *, root: Path = Path("/")) -> Self:
        """The paths of a configuration's router."""
        return cls.for_name(config.router.name, hugepages=config.fastpath.hugepages, root=root)

    @classmethod
    def find(cls, name: str, *, root: Path = Path("/")) -> Self:
        """The paths of a router whose configuration is not at hand: its segments are where they exist."""
        paths = cls.for_name(name, root=root)
        plain = cls.for_name(name, hugepages=False, root=root)
        there = any(path.exists() for path in (paths.routes, paths.stats))
        return plain if not there and any(path.exists() for path in (plain.routes, plain.stats)) else paths

    @property
    def api_socket(self) -> Path:
        """The control process's API."""
        return self.run / "api.sock"

    @property
    def fastpath_socket(self) -> Path:
        """Where the fast path process takes orders."""
        return self.run / "fastpath.sock"

    @property
    def cli_routes(self) -> Path:
        """The routes that `route add` made, kept for a restart of the control process."""
        return self.run / "cli-routes.json"

    @property
    def announced(self) -> Path:
        """What `bgp announce` added and what ExaBGP was told, kept for a restart of the control process."""
        return self.run / "bgp-announced.json"

    @property
    def bgp_socket(self) -> Path:
        """Where ExaBGP's helper brings updates to the control process."""
        return self.run / "bgp.sock"

    def pid_file(self, program: str) -> Path:
        """The lock of `fastpath`, `control` or `bgp`: its process's id stands in it."""
        return self.run / f"{program}.lock"


def need_hugetlbfs(config: Config, mount: Path = HUGEPAGES) -> None:
    """SegmentError when a segment of `config` would land on whatever file system lies below the missing mount."""
    if config.fastpath.hugepages and not mount.is_mount():
        raise SegmentError(
            f"{mount}: no hugetlbfs is mounted there: mount -t hugetlbfs nodev {mount}, or set fastpath.hugepages = false"
        )


def running_pid(path: Path) -> int | None:
    """The process id in a pid file, if that process is alive."""
    try:
        text = path.read_text(encoding="ascii")[:32].strip()
    except (OSError, ValueError):
        return None
    if re.fullmatch(r"[1-9][0-9]{0,9}", text) is None or not Path("/proc", text).exists():
        return None
    return int(text)


def find_instance(
    name: str | None = None, *, environ: Mapping[str, str] | None = None, root: Path = Path("/")
) -> InstancePaths:
    """The router meant: the one named, or by DPDKROUTER_NAME, or the only one with a run directory.

    InstanceError lists those found when it can't tell. A router that was named need not run.
    """
    named = name or (os.environ if environ is None else environ).get(NAME_VARIABLE)
    if named:
        try:
            ROUTER_NAME.convert(named)
        except ValueError:
            raise InstanceError(f"router name: found {named!r}: must be {ROUTER_NAME.allowed}") from None
        return InstancePaths.find(named, root=root)
    run = root / RUN.relative_to("/")
    try:
        found = sorted(entry.name for entry in run.iterdir() if entry.is_dir())
    except FileNotFoundError:
        found = []
    except OSError as error:
        raise InstanceError(f"{run}: cannot be read: {error.strerror}") from None
    if len(found) == 1:
        return InstancePaths.find(found[0], root=root)
    if not found:
        raise InstanceError(f"no router runs here: {run} is empty; start one with `dpdkrouter run FILE`")
    raise InstanceError(f"{len(found)} routers are here: {', '.join(found)}; set {NAME_VARIABLE} to one of them")
