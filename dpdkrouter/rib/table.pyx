"""The RIB: decides dirty prefixes, keeps the Loc-RIB, and answers what is in it.

The Loc-RIB of a prefix is three fields of its node: hop set, source and best path. `decide` runs the
decision (decision.pxd) for the prefixes whose paths or next hops changed, and returns only what came out
differently, as packed arrays for the FIB writer.

Invariants: replaying all deltas in order gives the Loc-RIB; a hop set's node_refs is the number of prefixes
that point to it; ids in Delta.released are in no prefix. Between a batch and the next decide the Loc-RIB
still shows the last decision. Sans-I/O, no clock; one thread at a time (the control process's loop).

RFC 4271 section 9.1; RFC 4456; RFC 7911. Multipath is off by default.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memmove
from libc.stdlib cimport free

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from dpdkrouter.rib.batch cimport Batch, load_address, mask_hi, mask_lo, store_address
from dpdkrouter.rib.decision cimport Contest, backup_path, decide_prefix
from dpdkrouter.rib.index cimport hash_prefix, index_find, index_remove
from dpdkrouter.rib.interns cimport attrs_of, hops_of
from dpdkrouter.rib.records cimport (
    HOP_CHANGED, NODE_DIRTY, NODE_FREE, NODE_SOURCE, NONE, PATH_BEST, PATH_MULTIPATH, PATH_REJECTED,
    PATH_STALE, PATH_USED,
    RECORD_LISTED, AttrRecord, HopRecord, Node, PathRecord, list_push, list_reserve, pool_give,
)
from dpdkrouter.rib.store cimport Store, Table, nodes_of, paths_of

from array import array

from dpdkrouter.rib.enums import Source, Step
from dpdkrouter.rib.views import Chunk, Counts, Delta, FamilyDelta, OriginCounts, Path, Route, SourceCounts

cdef extern from *:
    void __builtin_prefetch(const void* address) noexcept nogil


cdef class Rib(Store):
    """The RIB of one router.

    asn, router_id, cluster_id (default: router_id): ours, to find loops; 0 = do not check. multipath: how
    many paths may share a prefix; relaxed: AS paths that differ but are equally long may share, too. any_as: MED
    is compared between paths of different neighbouring ASes, too. backups: how many hop sets may name next hops that
    stand in (0: none); beyond that prefixes have a hop set without.
    """

    def __cinit__(
        self, *, asn=0, router_id=0, cluster_id=None, multipath=1, relaxed=False, any_as=False, backups=0
    ):
        if not 1 <= multipath <= 1024:
            raise ValueError(f"multipath {multipath} is out of range, allowed: 1 to 1024")
        self.multipath = multipath
        self.relaxed = relaxed
        self.any_as = any_as

    def __dealloc__(self):
        free(self.candidates.items)
        free(self.equal.items)

    # ---- decision

    @property
    def undecided(self):
        """How many prefixes wait for the next decision, and attribute sets for a look at whether they are used."""
        return self.tables[0].dirty.size + self.tables[1].dirty.size + self.interns.idle_attrs.size

    def decide(self, limit=0xFFFFFFFF):
        """Decide the dirty prefixes, the oldest `limit` of each family; returns what changed in the Loc-RIB.

        Be done with the last delta before: ids it released may mean something else afterwards.
        """
        cdef HopRecord* hops = hops_of(self.interns)
        cdef uint32_t i, most = limit
        if self.interns.reachability_changed:
            self._requeue(&self.tables[0])
            self._requeue(&self.tables[1])
            for i in range(1, self.interns.hop_pool.size):
                hops[i].flags &= ~HOP_CHANGED
            self.interns.reachability_changed = False
        ipv4 = self._decide_family(&self.tables[0], 4, most)
        ipv6 = self._decide_family(&self.tables[1], 16, most)
        added, released = self.interns.publish()
        if self.undecided == 0:  # until then a prefix may still count as an origin's
            self.free_origins.extend(self.resting_origins)
            self.resting_origins.clear()
        return Delta(ipv4, ipv6, added, released)

    cdef int _requeue(self, Table* table) except -1:
        """Mark the prefixes dirty whose next hops changed. One pass over all paths."""
        cdef uint32_t path
        cdef const PathRecord* record
        cdef Node* node
        cdef const AttrRecord* attrs = attrs_of(self.interns)
        cdef const HopRecord* hops = hops_of(self.interns)
        for path in range(1, table.paths.size):
            record = &paths_of(table)[path]
            if record.flags & PATH_USED and hops[attrs[record.attr].hopset].flags & HOP_CHANGED:
                node = &nodes_of(table)[record.node]
                if not node.state & NODE_DIRTY:
                    node.state |= NODE_DIRTY
                    list_push(&table.dirty, record.node)
        return 0

    cdef int _contest(self, Table* table, Contest* contest) except -1:
        list_reserve(&self.candidates, table.longest)
        list_reserve(&self.equal, table.longest)
        contest.paths = paths_of(table)
        contest.attrs = attrs_of(self.interns)
        contest.hops = hops_of(self.interns)
        contest.origins = self.origins
        contest.candidates = self.candidates.items
        contest.equal = self.equal.items
        contest.multipath = self.multipath
        contest.relaxed = self.relaxed
        contest.any_as = self.any_as
        return 0

    cdef object _decide_family(self, Table* table, int width, uint32_t limit):
        cdef uint32_t count = min(table.dirty.size, limit)
        cdef bytes prefixes = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>count * width)
        cdef bytes lengths = PyBytes_FromStringAndSize(NULL, count)
        cdef bytes hopsets = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>count * 4)
        cdef bytes sources = PyBytes_FromStringAndSize(NULL, count)
        cdef uint8_t* prefix_out = <uint8_t*>PyBytes_AS_STRING(prefixes)
        cdef uint8_t* length_out = <uint8_t*>PyBytes_AS_STRING(lengths)
        cdef uint32_t* hopset_out = <uint32_t*>PyBytes_AS_STRING(hopsets)
        cdef uint8_t* source_out = <uint8_t*>PyBytes_AS_STRING(sources)
        cdef uint32_t i, best, hopset, out = 0
        cdef uint8_t source
        cdef Contest contest
        cdef Node* node
        self._contest(table, &contest)
        for i in range(count):
            if i + 8 < count:
                __builtin_prefetch(&nodes_of(table)[table.dirty.items[i + 8]])
            node = &nodes_of(table)[table.dirty.items[i]]
            node.state &= ~NODE_DIRTY
            best = decide_prefix(&contest, node)
            if best == NONE:
                hopset, source = NONE, 0
            else:
                source = self.origins[contest.paths[best].origin].source
                if contest.chosen > 1:
                    hopset = self._union(&contest)
                else:
                    hopset = self._backed(&contest, node, best)
            if hopset != node.hopset or source != node.state & NODE_SOURCE:
                store_address(prefix_out + <uint64_t>out * width, width, node.hi, node.lo)
                length_out[out] = node.length
                hopset_out[out] = hopset
                source_out[out] = source
                out += 1
            self._settle(table, 0 if width == 4 else 1, node, best, hopset)
            if node.paths == NONE:
                index_remove(&table.index, hash_prefix(table.index.seed, node.hi, node.lo, node.length),
                             table.dirty.items[i])
                pool_give(&table.nodes, table.dirty.items[i])
                node.length = NODE_FREE
        table.dirty.size -= count
        memmove(table.dirty.items, table.dirty.items + count, table.dirty.size * sizeof(uint32_t))
        return FamilyDelta(prefixes[:<Py_ssize_t>out * width], lengths[:out],
                           memoryview(hopsets[:<Py_ssize_t>out * 4]).cast("I"), sources[:out])

    cdef uint32_t _union(self, Contest* contest) except 0:
        """The hop set of the chosen multipath set; making one may move the records."""
        cdef uint32_t i, hopset
        for i in range(contest.chosen):
            contest.equal[i] = contest.attrs[contest.paths[contest.equal[i]].attr].hopset
        hopset = self.interns.union_of(contest.equal, contest.chosen)
        contest.hops = hops_of(self.interns)
        return hopset

    cdef uint32_t _backed(self, Contest* contest, const Node* node, uint32_t best) except 0:
        """The best path's hop set, and with it that of the path which would be best without it; may move the records.

        Paths of a multipath set need none: each stands in for the others. Nor do connected routes.
        """
        cdef uint32_t hopset = contest.attrs[contest.paths[best].attr].hopset
        cdef uint32_t second
        if not self.interns.max_backed or not contest.hops[hopset].shares:
            return hopset
        second = backup_path(contest, node, best)
        if second != NONE:
            hopset = self.interns.backed_by(hopset, contest.attrs[contest.paths[second].attr].hopset)
            contest.hops = hops_of(self.interns)
        return hopset

    cdef int _settle(self, Table* table, int which, Node* node, uint32_t best, uint32_t hopset) except -1:
        """Write a decision's result into the Loc-RIB and count it."""
        cdef HopRecord* hops = hops_of(self.interns)
        cdef uint16_t origin = paths_of(table)[best].origin if best != NONE else 0
        if node.hopset != hopset:
            table.best += (hopset != NONE) - <int>(node.hopset != NONE)
            table.by_length[node.length] += (hopset != NONE) - <int>(node.hopset != NONE)
            if node.hopset != NONE:
                hops[node.hopset].node_refs -= 1
                if hops[node.hopset].node_refs == 0:
                    self._touch(node.hopset)
            if hopset != NONE:
                hops[hopset].node_refs += 1
                if hops[hopset].node_refs == 1:
                    self._touch(hopset)
            node.hopset = hopset
        if node.origin != origin:
            if node.origin:
                self.origins[node.origin].best[which] -= 1
            if origin:
                self.origins[origin].best[which] += 1
            node.origin = origin
        node.best = best
        node.state = self.origins[origin].source if origin else 0
        return 0

    cdef int _touch(self, uint32_t hopset) except -1:
        cdef HopRecord* record = &hops_of(self.interns)[hopset]
        if not record.flags & RECORD_LISTED:
            record.flags |= RECORD_LISTED
            list_push(&self.interns.touched_hops, hopset)
        return 0

    # ---- hop sets and next hops

    def hopset(self, hopset_id):
        """Kind and next hops of a hop set."""
        return self.interns.hopset_of(hopset_id)

    def set_next_hop(self, address, reachable, metric=0):
        """Say whether a next hop can be reached and how far it is; the next decide takes it into account."""
        if not 0 <= metric <= 0xFFFFFFFF:
            raise ValueError(f"set_next_hop: metric {metric} of {address} is out of range")
        self.interns.set_next_hop(address, reachable, metric)

    # ---- views

    cdef bytes _prefix(self, const Node* node, int width):
        cdef uint8_t buffer[16]
        store_address(buffer, width, node.hi, node.lo)
        return buffer[:width]

    cdef object _route(self, Table* table, int width, const Node* node):
        cdef uint32_t metric = 0
        cdef const AttrRecord* attr
        source = Source(node.state & NODE_SOURCE)
        if node.best != NONE:
            attr = &attrs_of(self.interns)[paths_of(table)[node.best].attr]
            if source in (Source.EBGP, Source.IBGP):
                metric = hops_of(self.interns)[attr.hopset].metric
            else:
                metric = attr.med
        return Route(self._prefix(node, width), node.length, source, node.hopset, metric)

    def lookup(self, family, address, *, max_length=128):
        """The best route that covers an address (packed, network order), no longer than max_length, or None.

        Cost: one probe for each prefix length that the Loc-RIB holds.
        """
        cdef bytes packed = bytes(address)
        cdef int width = 4 if family == 4 else 16
        cdef Table* table = &self.tables[0 if width == 4 else 1]
        cdef uint64_t hi, lo
        cdef uint32_t node
        cdef int length
        if family not in (4, 6) or len(packed) != width:
            raise ValueError(f"lookup: {packed!r} is not an address of family {family}")
        load_address(<const uint8_t*>PyBytes_AS_STRING(packed), width, &hi, &lo)
        for length in range(min(<int>max_length, 8 * width), -1, -1):
            if table.by_length[length] == 0:
                continue
            hi &= mask_hi(length)
            lo &= mask_lo(length)
            node = index_find(&table.index, nodes_of(table), hi, lo, length,
                              hash_prefix(table.index.seed, hi, lo, length))
            if node != NONE and nodes_of(table)[node].hopset != NONE:
                return self._route(table, width, &nodes_of(table)[node])
        return None

    cdef uint32_t _find(self, Table* table, bytes prefix, int length) except? 0xFFFFFFFF:
        cdef uint64_t hi, lo
        cdef Batch checked = Batch("paths", 4 if table == &self.tables[0] else 6, prefix, bytes([length]))
        load_address(checked.prefixes, checked.width, &hi, &lo)
        return index_find(&table.index, nodes_of(table), hi, lo, length,
                          hash_prefix(table.index.seed, hi, lo, length))

    def best_source(self, family, prefix, length):
        """The source of the best route to exactly this prefix (packed, network order), 0: there is none."""
        cdef Table* table = &self.tables[0 if family == 4 else 1]
        cdef uint32_t node
        if family not in (4, 6):
            raise ValueError(f"best_source: family {family!r} is unknown, allowed: 4 and 6")
        node = self._find(table, bytes(prefix), length)
        return 0 if node == NONE or nodes_of(table)[node].hopset == NONE else nodes_of(table)[node].state & NODE_SOURCE

    def paths(self, family, prefix, length):
        """Every path of a prefix (packed, network order), the best first, with the step that dropped it."""
        cdef Table* table = &self.tables[0 if family == 4 else 1]
        cdef uint32_t node, path = NONE
        cdef const PathRecord* record
        cdef const HopRecord* hop
        if family not in (4, 6):
            raise ValueError(f"paths: family {family!r} is unknown, allowed: 4 and 6")
        node = self._find(table, bytes(prefix), length)
        if node != NONE:
            path = nodes_of(table)[node].paths
        found = []
        while path != NONE:
            record = &paths_of(table)[path]
            hop = &hops_of(self.interns)[attrs_of(self.interns)[record.attr].hopset]
            found.append(Path(
                record.origin, Source(self.origins[record.origin].source),
                self.origin_addresses[record.origin], record.path_id, record.attr,
                self.interns.attributes_of(record.attr), bool(hop.reachable),
                hop.metric if hop.reachable else 0, bool(record.flags & PATH_STALE),
                bool(record.flags & PATH_BEST), bool(record.flags & PATH_MULTIPATH),
                bool(record.flags & PATH_REJECTED), Step(record.step), self._verdict(record),
            ))
            path = record.next
        found.sort(key=lambda one: (not one.best, not one.multipath, -one.step, one.origin_id, one.path_id))
        return found

    cdef str _verdict(self, const PathRecord* path):
        filter_ = self.filters[path.origin]
        return "" if filter_ is None else filter_.text(path.verdict)

    def walk(self, family, *, origin=None, best_only=True, after=None, limit=1000):
        """Up to about `limit` paths, from where the chunk before ended (`after`), in no order.

        A prefix that stays during the whole walk is seen once, whatever else changes. origin: only its paths.
        """
        cdef int width = 4 if family == 4 else 16
        cdef Table* table = &self.tables[0 if width == 4 else 1]
        cdef uint32_t node, path, wanted = origin or 0
        cdef uint32_t start = 1 if after is None else after
        cdef bint only_best = best_only
        cdef const Node* record
        cdef const PathRecord* one
        if family not in (4, 6):
            raise ValueError(f"walk: family {family!r} is unknown, allowed: 4 and 6")
        prefixes, lengths, best, words = bytearray(), bytearray(), bytearray(), [[], [], [], []]
        for node in range(start, table.nodes.size):
            if len(lengths) >= limit:
                break
            record = &nodes_of(table)[node]
            if record.length == NODE_FREE or (only_best and record.best == NONE):
                continue
            path = record.best if only_best else record.paths
            while path != NONE:
                one = &paths_of(table)[path]
                if not wanted or one.origin == wanted:
                    prefixes += self._prefix(record, width)
                    lengths.append(record.length)
                    best.append(bool(one.flags & PATH_BEST))
                    for column, value in zip(words, (one.origin, one.attr, one.path_id, record.hopset)):
                        column.append(value)
                path = NONE if only_best else one.next
        else:
            node = table.nodes.size
        columns = [memoryview(array("I", column)).toreadonly() for column in words]
        return Chunk(bytes(prefixes), bytes(lengths), *columns, bytes(best),
                     node if node < table.nodes.size else None)

    def counts(self):
        """Paths and best paths of every origin and source, and how large the RIB is."""
        cdef uint32_t i
        origins, sources = [], {}
        for i in range(1, self.origin_size):
            if not self.origins[i].source:
                continue
            source = Source(self.origins[i].source)
            one = OriginCounts(
                i, source, self.origin_addresses[i], pair(self.origins[i].paths), pair(self.origins[i].best),
                pair(self.origins[i].stale), pair(self.origins[i].looped),
                pair(self.origins[i].rejected),
            )
            origins.append(one)
            sources.setdefault(source, []).append(one)
        per_source = tuple(
            SourceCounts(source, total([one.paths for one in ones]), total([one.best for one in ones]))
            for source, ones in sorted(sources.items())
        )
        return Counts(tuple(origins), per_source, (self.tables[0].best, self.tables[1].best),
                      len(self.interns.attr_ids), len(self.interns.hop_ids), self._memory())

    def _memory(self):
        cdef uint64_t size = 0
        cdef int i
        for i in range(2):
            size += <uint64_t>self.tables[i].nodes.capacity * sizeof(Node)
            size += <uint64_t>self.tables[i].paths.capacity * sizeof(PathRecord)
            size += <uint64_t>self.tables[i].dirty.capacity * sizeof(uint32_t)
            size += (self.tables[i].index.mask + 1) * sizeof(uint64_t)
        size += <uint64_t>self.interns.attr_pool.capacity * sizeof(AttrRecord)
        return size + <uint64_t>self.interns.hop_pool.capacity * sizeof(HopRecord)


cdef tuple pair(const uint64_t* values):
    return values[0], values[1]


cdef tuple total(list pairs):
    return sum([one[0] for one in pairs]), sum([one[1] for one in pairs])
