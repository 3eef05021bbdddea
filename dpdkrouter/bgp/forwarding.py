"""Whether packets were forwarded as before since a peer was last heard: RFC 4724 section 3's forwarding state.

The forwarding state is the route segment. The launcher finds what was in it before ExaBGP ran and says so in ExaBGP's
environment; graceful.py asks at each OPEN. Imports nothing of ExaBGP's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SEGMENT, KEPT = "DPDKROUTER_SEGMENT", "DPDKROUTER_KEPT"


class Forwarding:
    """What can be said about the forwarding state. segment None: nothing, so it was not kept."""

    def __init__(self, segment: Path | None, kept: frozenset[str]) -> None:
        self._segment = segment
        self._kept = kept
        self._first = self._identity()
        self._during: dict[str, tuple[int, int] | None] = {}  # by peer: the segment of its last session

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Forwarding:
        """As the launcher says."""
        segment = environment.get(SEGMENT)
        return cls(Path(segment) if segment else None, frozenset(environment.get(KEPT, "").split()))

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._segment.stat() if self._segment is not None else None
        except OSError:
            return None
        return None if found is None else (found.st_dev, found.st_ino)

    def established(self, peer: str) -> None:
        """A session with a peer is up."""
        self._during[peer] = self._identity()

    def is_kept(self, peer: str, family: str) -> bool:
        """Whether packets of a family have been forwarded as before since the last session with a peer."""
        now = self._identity()
        if now is None:
            return False
        if peer in self._during:
            return self._during[peer] == now
        return family in self._kept and self._first == now
