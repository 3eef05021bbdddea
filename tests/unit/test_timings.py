"""Histograms of how long changes take."""

from __future__ import annotations

from dpdkrouter.timings import BOUNDS, Histogram, Timings


def test_a_value_counts_in_every_bucket_that_holds_it() -> None:
    histogram = Histogram()
    for value in (0.0005, 0.001, 0.3, 100.0):
        histogram.observe(value)
    found = dict(histogram.buckets())
    assert [bound for bound, _ in histogram.buckets()] == [*map(str, BOUNDS), "+Inf"]
    assert (found["0.001"], found["0.005"], found["0.25"], found["0.5"], found["30.0"], found["+Inf"]) == (
        2,
        2,
        2,
        3,
        3,
        4,
    )
    assert histogram.sum == 100.3015


def test_the_oldest_update_counts() -> None:
    timings = Timings()
    timings.heard(1.0)
    timings.heard(3.0)
    timings.begun(4.0)
    timings.heard(4.5)
    timings.done(6.0, changed=True)
    assert (timings.update_to_fib.sum, timings.convergence.sum) == (5.0, 2.0)
    timings.begun(7.0)
    timings.done(7.25, changed=False)
    assert (timings.update_to_fib.sum, timings.convergence.sum) == (7.75, 2.0), "nothing came of the second"
    timings.heard(7.5)
    timings.begun(8.0)
    timings.heard(8.25)
    timings.begun(8.25)
    timings.done(8.5, changed=False)
    timings.done(8.75, changed=False)
    assert timings.update_to_fib.sum == 8.75, "a decision within another: from what the first took in"
    timings.begun(8.75)
    timings.done(8.75, changed=False)
    assert timings.update_to_fib.sum == 9.25, "what was heard meanwhile counts by the next one"
    timings.begun(9.0)
    timings.done(9.5, changed=True)
    assert (timings.update_to_fib.sum, timings.convergence.sum) == (9.25, 2.5), "nobody had said anything"


def test_longest_hold() -> None:
    timings = Timings()
    for late in (0.001, 0.2, 0.1):
        timings.rested(late)
    assert timings.longest_hold == 0.2
