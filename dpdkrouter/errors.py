"""Every error of dpdkrouter, as one tree; the CLI prints `str(error)` and ends with `error.exit_code`.

    DpdkrouterError                1  base: never raised itself
    ├── ConfigError                2  the configuration is wrong; nothing was started
    │   └── ConfigErrors           2  ... with every problem found at once
    ├── InstanceError              3  no running router, or no way to say which one is meant
    ├── ControlUnreachableError    3  the control process does not answer on its API socket
    ├── RequestError               1  the control process answered and refused the request
    │   └── NotFoundError          4  ... since what it names is not there
    ├── AlreadyRunningError        1  this program of this router runs already
    ├── SegmentError               1  a shared-memory segment cannot be made or used
    │   ├── SegmentMissingError    3  ... it is not there: its program never ran
    │   ├── SegmentVersionError    1  ... it has another layout version (both are named)
    │   ├── SegmentDamagedError    1  ... what it holds contradicts itself
    │   └── SegmentSpaceError      1  ... its pages cannot be reserved
    ├── SnapshotError              1  a snapshot of the table cannot be written, or is none
    ├── ApiError                   1  the API socket cannot be made
    ├── MetricsError               1  the metrics page cannot be served
    ├── FastPathError              1  EAL, a port or a worker failed to start
    ├── HostError                  1  a namespace, TAP, route or neighbour of the host stack failed
    ├── BgpError                   1  ExaBGP cannot be configured or started
    │   └── FeedBrokenError        1  ... or what comes from it is no feed
    └── NicError                   1  a NIC cannot be bound or restored; every problem found is a line
        ├── NicAddressError        2  ... what was given is no PCI address
        └── NicMissingError        4  ... this machine has no such device

A message says what was found, where, and what to do about it. Outcomes that are expected (a route that is not
there, a table that is full) are values, not errors. Exit code 2 is also what the CLI's own usage errors give.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


class DpdkrouterError(Exception):
    """Base of all errors that dpdkrouter raises on purpose."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration file, or on the machine it is for.

    `line` counts from 1; None when no line is to blame. `key` is a path such as `port[1].addresses[0]`.
    `found` and `allowed` are ready to print: `found {found}: {allowed}`.
    """

    file: str
    line: int | None
    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.key}: found {self.found}: {self.allowed}"

    def sort_key(self) -> tuple[str, int, str, str]:
        """Order by file, line, key; problems without a line come first."""
        return (self.file, self.line or 0, self.key, self.allowed)


class ConfigError(DpdkrouterError):
    """The configuration is wrong; nothing was started."""

    exit_code = 2


class ConfigErrors(ConfigError):
    """All problems found in one configuration, sorted by file and line; `str()` gives one line each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=Problem.sort_key))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class InstanceError(DpdkrouterError):
    """No router runs on this machine, or several do and none was named."""

    exit_code = 3


class ControlUnreachableError(DpdkrouterError):
    """The control process does not answer on its API socket."""

    exit_code = 3


class RequestError(DpdkrouterError):
    """The control process refused a request."""


class NotFoundError(RequestError):
    """What a request names is not there."""

    exit_code = 4


class AlreadyRunningError(DpdkrouterError):
    """This program of this router runs already."""


class SegmentError(DpdkrouterError):
    """A shared-memory segment cannot be made or used."""


class SegmentMissingError(SegmentError):
    """The segment's file is not there."""

    exit_code = 3


class SegmentVersionError(SegmentError):
    """The segment was written with another layout version."""


class SegmentDamagedError(SegmentError):
    """What the segment holds contradicts itself."""


class SegmentSpaceError(SegmentError):
    """The segment's pages cannot be reserved."""


class SnapshotError(DpdkrouterError):
    """A snapshot of the table cannot be written, or is damaged."""


class ApiError(DpdkrouterError):
    """The API socket cannot be made."""


class MetricsError(DpdkrouterError):
    """The metrics page cannot be served."""


class FastPathError(DpdkrouterError):
    """EAL, a port or a worker failed to start."""


class HostError(DpdkrouterError):
    """A namespace, TAP, route or neighbour of the host stack failed."""


class BgpError(DpdkrouterError):
    """ExaBGP cannot be configured or started."""


class FeedBrokenError(BgpError):
    """What comes over the feed's socket is neither JSON lines nor frames of the tap."""


class NicError(DpdkrouterError):
    """A NIC cannot be bound or restored."""


class NicAddressError(NicError):
    """What was given is no PCI address."""

    exit_code = 2


class NicMissingError(NicError):
    """This machine has no such device."""

    exit_code = 4
