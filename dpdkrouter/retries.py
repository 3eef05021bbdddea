"""Routes that the table refused, tried again when there may be room: nobody has to repair anything by hand.

Room appears when routes are withdrawn, when grace periods end, and when the table's maxima grow. `due` compares what is
free now with what was free when the last try ended; a try that nothing came of makes the next one wait longer, twice as
long each time up to MOST_S, so that routes that flap in a full table cost little. A try goes over the Loc-RIB in the
audit's steps of about a millisecond; between two of them the control process routes on.

Called by the control process, on its loop's thread. Time is an argument.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dpdkrouter.audit import Audit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpdkrouter.fib.fib import Fib
    from dpdkrouter.fib.programmer import Programmer
    from dpdkrouter.rib.table import Rib

log = logging.getLogger("control.fib")

LEAST_S, MOST_S = 1.0, 60.0


class Retries:
    """The refused routes of one table."""

    def __init__(self, rib: Rib, programmer: Programmer, fib: Fib) -> None:
        self._rib = rib
        self._programmer = programmer
        self._fib = fib
        self._free: tuple[int, ...] = ()  # when the last try ended; empty: try whatever is free
        self._pause = LEAST_S
        self._not_before = 0.0

    def due(self, now: float) -> bool:
        """Whether routes are refused that may find room now."""
        if not self._programmer.refused or now < self._not_before:
            return False
        if not self._free:
            return True
        return any(free > before for free, before in zip(self._room(), self._free, strict=True))

    def steps(self, now: float) -> Iterator[None]:
        """Try all of them once; the work is done between the items."""
        before = dict(self._programmer.refused)
        audit = Audit(self._rib, self._programmer, self._fib, repair=True)
        yield from audit.again()
        # What was refused while this went on may have been tried already: it is counted until the next try.
        meanwhile = {why: count - before.get(why, 0) for why, count in self._programmer.refused.items()}
        left = {why: audit.shortages.get(why, 0) + meanwhile.get(why, 0) for why in (*audit.shortages, *meanwhile)}
        self._programmer.refused = {why: count for why, count in left.items() if count}
        again = any(meanwhile.values())
        self._free = () if again else self._room()
        self._pause = LEAST_S if again or audit.mended else min(2 * self._pause, MOST_S)
        self._not_before = now + self._pause
        if audit.mended:
            log.info("%d routes that were refused have found room; %d have not", audit.mended, sum(left.values()))

    def _room(self) -> tuple[int, ...]:
        """Grows in one of its parts when there may be room for more, or less that wants it."""
        use = self._fib.reader.use().values()
        return (
            *(part.maximum - part.used for part in use),
            -self._fib.waiting,
            *(-n for n in self._rib.counts().prefixes),
        )
