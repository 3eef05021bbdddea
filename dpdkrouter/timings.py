"""How long changes take on their way through the control process: histograms of seconds.

`heard` when something that a peer said is in the RIB, `begun` when a decision takes in all that was heard, `done` when
what it changed is in the route segment. Time is an argument; the control process's loop is the only caller.
"""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Histogram:
    """Counts by upper bound in seconds, as Prometheus has them."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """One value."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """(upper bound, how many are not above it), the last one +Inf."""
        total, found = 0, []
        for bound, count in zip([*map(str, BOUNDS), "+Inf"], self._counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Timings:
    """update_to_fib: from the oldest UPDATE of a decision to the last route of it in the segment; convergence: the
    decisions themselves, those that nothing came of left out; longest_hold: how long something kept the loop from
    others at most, in seconds.
    """

    def __init__(self) -> None:
        self.update_to_fib = Histogram()
        self.convergence = Histogram()
        self.longest_hold = 0.0
        self._heard: float | None = None
        self._taken: float | None = None
        self._begun = 0.0

    def heard(self, now: float) -> None:
        """A peer's change waits for its decision from now on."""
        if self._heard is None:
            self._heard = now

    def begun(self, now: float) -> None:
        """A decision takes in all that was heard; also while another one goes on, which then ends with it."""
        if self._taken is None:
            self._taken, self._heard = self._heard, None
        self._begun = now

    def rested(self, late: float) -> None:
        """The loop had its turn so many seconds later than was asked for."""
        self.longest_hold = max(self.longest_hold, late)

    def done(self, now: float, *, changed: bool) -> None:
        """It has been carried out; changed: there was something to do."""
        if changed:
            self.convergence.observe(now - self._begun)
        if self._taken is not None:
            self.update_to_fib.observe(now - self._taken)
            self._taken = None
