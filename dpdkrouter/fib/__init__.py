"""The FIB writer and its readers: routes, next-hop groups and adjacencies in the route segment.

    Fib        (fib.pyx)     the one writer; control process only
    FibReader  (reader.pyx)  anybody who may read the segment's file: CLI, audit, metrics, tests
    Limits     (limits.py)   maxima, and the size of the segment that follows from them
    records.py               what both take and give

fib.pyx drives table4 and table6 (what the fast path reads), rules (every route, found by hash), groups, grace
(when memory may be used again) and journal (what a kill -9 leaves to be redone).
"""

from dpdkrouter.fib.fib import WITHDRAW, Fib
from dpdkrouter.fib.limits import Limits, segment_bytes
from dpdkrouter.fib.reader import FibReader
from dpdkrouter.fib.records import (
    Action,
    Adjacency,
    Applied,
    Interface,
    Lookup,
    Member,
    Refusal,
    RouteChunk,
    Source,
    TableFullError,
    Use,
)

__all__ = [
    "WITHDRAW",
    "Action",
    "Adjacency",
    "Applied",
    "Fib",
    "FibReader",
    "Interface",
    "Limits",
    "Lookup",
    "Member",
    "Refusal",
    "RouteChunk",
    "Source",
    "TableFullError",
    "Use",
    "segment_bytes",
]
