"""The last events of the sessions, as `bgp log` shows them: a bounded list, time as an argument.

What happens to a session is told: up, lost and why, NOTIFICATIONs in words, a limit that was exceeded. ExaBGP's attempts
to connect are not. Owned by Sessions, in the control process's loop.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

KEPT = 1000


@dataclass(frozen=True, slots=True)
class LogEntry:
    """at: in the caller's clock."""

    at: float
    peer: str
    text: str


class SessionLog:
    """The newest KEPT entries."""

    def __init__(self) -> None:
        self._entries: deque[LogEntry] = deque(maxlen=KEPT)

    def add(self, at: float, peer: str, text: str) -> None:
        """Something happened to a peer's session."""
        self._entries.append(LogEntry(at, peer, text))

    def entries(self, peer: str | None = None) -> list[LogEntry]:
        """The oldest first; of one peer, or of all."""
        return [entry for entry in self._entries if peer in (None, entry.peer)]
