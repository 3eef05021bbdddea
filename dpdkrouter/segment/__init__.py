"""Reading what the fast path publishes: counters, port states, requests to resolve next hops."""

from dpdkrouter.segment.states import Header, LcoreState, PortState
from dpdkrouter.segment.stats import StatsReader
from fastpath.reasons import DropReason, PuntClass

__all__ = ["DropReason", "Header", "LcoreState", "PortState", "PuntClass", "StatsReader"]
