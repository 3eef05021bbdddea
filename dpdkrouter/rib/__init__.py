"""The RIB: Adj-RIB-In of all sources, decision, Loc-RIB, next-hop resolution.

batch -> Store (store.pyx) -> decision (decision.pxd) -> Loc-RIB and Delta (table.pyx) -> NextHops
(nexthops.py) -> FIB writer.
"""
