"""The Loc-RIB as packed arrays, both ways: a walk over all best routes, and what it says of given prefixes.

For the audit, which compares a million routes and must leave the loop its time: each call is short and bounded by
`limit` or by its arrays. What a call returns is of one moment; between calls the RIB may change. On the thread
of its Rib.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from dpdkrouter.rib.batch cimport Batch, load_address, store_address
from dpdkrouter.rib.index cimport hash_prefix, index_find
from dpdkrouter.rib.records cimport NODE_FREE, NODE_SOURCE, NONE, Node
from dpdkrouter.rib.store cimport Table, nodes_of
from dpdkrouter.rib.table cimport Rib

from dpdkrouter.rib.views import FamilyDelta


def best_routes(Rib rib, int family, uint32_t after=0, uint32_t limit=4096):
    """(FamilyDelta of the best routes among the next `limit` records, where to go on; 0: that was all)."""
    cdef int width = 4 if family == 4 else 16
    cdef Table* table = &rib.tables[0 if family == 4 else 1]
    cdef uint32_t start = after if after else 1
    cdef uint32_t end = table.nodes.size if table.nodes.size < start + <uint64_t>limit else start + limit
    cdef uint32_t at, out = 0
    cdef const Node* node
    if family not in (4, 6) or not limit:
        raise ValueError(f"best routes of family {family}, limit {limit}: family 4 or 6, limit from 1")
    if end <= start:
        return FamilyDelta(b"", b"", memoryview(b"").cast("I"), b""), 0
    cdef Py_ssize_t most = end - start
    cdef bytes prefixes = PyBytes_FromStringAndSize(NULL, most * width)
    cdef bytes lengths = PyBytes_FromStringAndSize(NULL, most)
    cdef bytes hopsets = PyBytes_FromStringAndSize(NULL, most * 4)
    cdef bytes sources = PyBytes_FromStringAndSize(NULL, most)
    for at in range(start, end):
        node = &nodes_of(table)[at]
        if node.length == NODE_FREE or node.hopset == NONE:
            continue
        store_address(<uint8_t*>PyBytes_AS_STRING(prefixes) + <uint64_t>out * width, width, node.hi, node.lo)
        (<uint8_t*>PyBytes_AS_STRING(lengths))[out] = node.length
        (<uint32_t*>PyBytes_AS_STRING(hopsets))[out] = node.hopset
        (<uint8_t*>PyBytes_AS_STRING(sources))[out] = node.state & NODE_SOURCE
        out += 1
    chunk = FamilyDelta(prefixes[:<Py_ssize_t>out * width], lengths[:out],
                        memoryview(hopsets[:<Py_ssize_t>out * 4]).cast("I"), sources[:out])
    return chunk, int(end) if end < table.nodes.size else 0


def best_of(Rib rib, int family, prefixes, lengths):
    """(hop set of each prefix's best route, u32 view, 0: none; its source, u8). ValueError as for a batch."""
    cdef Batch batch = Batch("best_of", family, prefixes, lengths)
    cdef Table* table = &rib.tables[0 if family == 4 else 1]
    cdef bytes hopsets = PyBytes_FromStringAndSize(NULL, batch.size * 4)
    cdef bytes sources = PyBytes_FromStringAndSize(NULL, batch.size)
    cdef uint32_t* hopset_out = <uint32_t*>PyBytes_AS_STRING(hopsets)
    cdef uint8_t* source_out = <uint8_t*>PyBytes_AS_STRING(sources)
    cdef uint64_t hi, lo
    cdef uint32_t at
    cdef Py_ssize_t i
    for i in range(batch.size):
        load_address(batch.prefixes + i * batch.width, batch.width, &hi, &lo)
        at = index_find(&table.index, nodes_of(table), hi, lo, batch.lengths[i],
                        hash_prefix(table.index.seed, hi, lo, batch.lengths[i]))
        hopset_out[i] = nodes_of(table)[at].hopset if at != NONE else NONE
        source_out[i] = nodes_of(table)[at].state & NODE_SOURCE if at != NONE else 0
    return memoryview(hopsets).cast("I"), sources
