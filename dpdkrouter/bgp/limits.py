"""How many prefixes a peer may send, and what is due when it sends more (RFC 4271 section 6.7, RFC 4486). Sans-I/O.

The RIB keeps the limit itself, so memory is bounded whatever arrives; here it is noticed, said once, and turned into what
is to be done. A closed session stays closed for `restart` seconds: until then each attempt is ended again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

log = logging.getLogger("control.bgp")

FAMILIES = ("ipv4", "ipv6")
CEASE = 6
CEASE_MAX_PREFIXES = 1  # RFC 4486 section 4
_ROOM = 0.95  # a discarded route is asked for again when the peer is that far below its limit


@dataclass(frozen=True, slots=True)
class Limits:
    """most: prefixes by family, None: any number. action: teardown, discard or warn. warning: percent of the limit."""

    most: tuple[int | None, int | None] = (None, None)
    action: str = "teardown"
    warning: int = 80
    restart: int = 0

    @property
    def kept(self) -> tuple[int, int]:
        """What the RIB takes of a peer at most; 0: any number."""
        return (0, 0) if self.action == "warn" else (self.most[0] or 0, self.most[1] or 0)


@dataclass(slots=True)
class LimitState:
    """What was said of one peer's number of prefixes, and until when its session stays closed."""

    limits: Limits
    peer: str
    warned: set[str] = field(default_factory=set)
    full: set[str] = field(default_factory=set)
    closed_until: float | None = None
    seen: tuple[int, int] = (0, 0)  # announcements not taken, as of the last look

    def reached(self, paths: tuple[int, int], over: tuple[int, int]) -> str:
        """What has become of the limits: the text of a limit that is exceeded now, for the first time, else "".

        paths: those of the peer in the RIB; over: announcements that the RIB did not take so far.
        """
        before, self.seen = self.seen, over
        for i, family in enumerate(FAMILIES):
            most = self.limits.most[i]
            if most is None:
                continue
            if paths[i] * 100 < most * self.limits.warning:
                self.warned.discard(family)
            elif family not in self.warned:
                self.warned.add(family)
                log.warning("peer %s: %d %s prefixes, %d are allowed", self.peer, paths[i], family, most)
            if (over[i] > before[i] or paths[i] > most) and family not in self.full:
                self.full.add(family)
                return f"more than {most} {family} prefixes"
        return ""

    def room_again(self, paths: tuple[int, int]) -> list[str]:
        """Families of which prefixes were discarded and have room now."""
        found = []
        for i, family in enumerate(FAMILIES):
            most = self.limits.most[i]
            if family in self.full and most is not None and paths[i] <= most * _ROOM:
                found.append(family)
                self.full.discard(family)
        return found

    def close(self, now: float) -> None:
        """The session is closed for having sent too much."""
        self.closed_until = now + self.limits.restart if self.limits.restart else float("inf")

    def open(self) -> None:
        """Let it come up again."""
        self.closed_until = None
        self.warned.clear()
        self.full.clear()
