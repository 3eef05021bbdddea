"""The demo: a lab of real peers and hosts around a real router, driven and checked from the outside.

* __main__.py   the order of things: set up, steps, live view, clean up; signals and exit code
* topology.py   the drawing, addresses, routes; namespaces, veths, BIRDs
* router.py     the router's configuration file and its process
* steps.py      what is shown and checked, one function a step
* failover.py   one peer dies, and comes back
* observe.py    metrics and drops
* counters.py   what hosts and workers counted
* breaks.py     the faults of --break
* live.py       the summary until Ctrl-C
* sweep.py      what a demo that was killed left
* screen.py     headings, commands with their output, ticks
"""
