"""Reading what the fast path publishes: counters, port states, requests to resolve next hops."""

from dpdkrouter.segment.states import STAGES, FilterState, Header, LcoreState, MemberState, PortState
from dpdkrouter.segment.stats import StatsReader
from fastpath.reasons import DropReason, PuntClass

__all__ = [
    "STAGES",
    "DropReason",
    "FilterState",
    "Header",
    "LcoreState",
    "MemberState",
    "PortState",
    "PuntClass",
    "StatsReader",
]
