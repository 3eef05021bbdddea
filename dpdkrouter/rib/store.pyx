"""Adj-RIB-In of every origin: what each said about which prefix, applied in batches.

An origin is one Adj-RIB-In: a peer, the static routes, the connected ones. A prefix has one node, a node a
list of paths, a path is known by (origin, path id).

Invariants: a batch is checked and its memory reserved before it is applied, so it is applied whole or not
at all. A node whose paths changed is in the dirty list exactly once, until Rib.decide. A node without paths
stays until then, because the Loc-RIB still shows its result. Applying says nothing about best routes. One
thread at a time.

RFC 4271 sections 3.2 and 9; RFC 7911 (path ids); RFC 4724 section 4.2 (stale marking).
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from dpdkrouter.rib.batch cimport Batch, batch_path_id, load_address
from dpdkrouter.rib.enums cimport Source
from dpdkrouter.rib.imports cimport ImportFilter
from dpdkrouter.rib.index cimport hash_prefix, index_find, index_insert, index_reserve
from dpdkrouter.rib.interns cimport Interns, attrs_of
from dpdkrouter.rib.records cimport (
    NODE_DIRTY, NONE, PATH_REJECTED, PATH_STALE, PATH_USED, RECORD_LISTED, RECORD_USED, AttrRecord, List, Node,
    OriginRecord, PathRecord, list_push, list_reserve, pool_give, pool_reserve, pool_take,
)

import os
import socket

cdef extern from *:
    void __builtin_prefetch(const void* address) noexcept nogil

cdef enum:
    AHEAD = 16        # prefixes whose slot is prefetched together
    MAX_ORIGINS = 65535


ctypedef struct Key:
    uint64_t hi
    uint64_t lo
    uint32_t tag
    uint8_t length


cdef inline void mark_dirty(Table* table, uint32_t node) noexcept nogil:
    cdef Node* record = &nodes_of(table)[node]
    if not record.state & NODE_DIRTY:
        record.state |= NODE_DIRTY
        list_push(&table.dirty, node)


cdef inline void attr_take(Interns interns, uint32_t attr) noexcept nogil:
    attrs_of(interns)[attr].refs += 1


cdef inline void attr_give(Interns interns, uint32_t attr) noexcept nogil:
    cdef AttrRecord* record = &attrs_of(interns)[attr]
    record.refs -= 1
    if record.refs == 0 and not record.flags & RECORD_LISTED:
        record.flags |= RECORD_LISTED
        list_push(&interns.idle_attrs, attr)


cdef inline uint32_t find_path(
    const Table* table, uint32_t node, uint16_t origin, uint32_t path_id, uint32_t* before, uint32_t* depth
) noexcept nogil:
    """A path of the node, the one before it in the list, and how many were passed."""
    cdef const PathRecord* paths = paths_of(table)
    cdef uint32_t path = nodes_of(table)[node].paths
    before[0] = NONE
    depth[0] = 0
    while path != NONE:
        if paths[path].origin == origin and paths[path].path_id == path_id:
            return path
        before[0] = path
        depth[0] += 1
        path = paths[path].next
    return NONE


cdef class Store:
    def __cinit__(
        self, *, asn=0, router_id=0, cluster_id=None, multipath=1, relaxed=False, any_as=False, backups=0
    ):
        cdef int i
        cdef uint64_t seed = int.from_bytes(os.urandom(8), "little")
        self.interns = Interns(asn, router_id, router_id if cluster_id is None else cluster_id, backups)
        for i in range(2):
            self.tables[i].nodes.item = sizeof(Node)
            self.tables[i].paths.item = sizeof(PathRecord)
            self.tables[i].index.seed = seed
        self.origin_size = 1
        self.origin_addresses = [None]
        self.filters = [None]
        self.free_origins = []
        self.resting_origins = []

    def __dealloc__(self):
        cdef int i
        for i in range(2):
            free(self.tables[i].nodes.base)
            free(self.tables[i].paths.base)
            free(self.tables[i].index.slots)
            free(self.tables[i].dirty.items)
        free(self.origins)

    # ---- origins

    def add_origin(self, source, *, peer_address=None, router_id=0, asn=0, imports=None, limits=(0, 0)):
        """A new, empty Adj-RIB-In; its id is given out again some time after remove_origin.

        imports: the ImportFilter of what it says, its own; None: all is taken as it comes. limits: how many paths
        of each family it may have, 0: any number.
        """
        cdef ImportFilter filter_ = imports
        cdef OriginRecord* moved
        cdef uint32_t origin_id, capacity
        if not Source.CONNECTED <= source <= Source.IBGP:
            raise ValueError(f"add_origin: source {source} is unknown")
        if not 0 <= router_id <= 0xFFFFFFFF:
            raise ValueError(f"add_origin: router id {router_id} is out of range")
        if peer_address is not None:
            packed_address(peer_address)
        if self.free_origins:
            origin_id = self.free_origins.pop()
        else:
            if self.origin_size > MAX_ORIGINS:
                raise ValueError(f"add_origin: all {MAX_ORIGINS} origins are in use")
            if self.origin_size >= self.origin_capacity:
                capacity = max(16, 2 * self.origin_capacity)
                moved = <OriginRecord*>realloc(self.origins, capacity * sizeof(OriginRecord))
                if moved == NULL:
                    raise MemoryError(f"the RIB cannot hold {capacity} origins")
                self.origins = moved
                self.origin_capacity = capacity
                memset(&self.origins[0], 0, sizeof(OriginRecord))
            origin_id = self.origin_size
            self.origin_size += 1
            self.origin_addresses.append(None)
            self.filters.append(None)
        memset(&self.origins[origin_id], 0, sizeof(OriginRecord))
        self.origins[origin_id].source = source
        self.origins[origin_id].router_id = router_id
        self.origins[origin_id].limit[0], self.origins[origin_id].limit[1] = limits
        self.origin_addresses[origin_id] = peer_address
        self.filters[origin_id] = filter_
        if filter_ is not None:
            self.origins[origin_id].by_verdict[0] = filter_.paths[0]
            self.origins[origin_id].by_verdict[1] = filter_.paths[1]
            self.origins[origin_id].accepts = filter_.accepts
        self._rank_addresses()
        return origin_id

    def _rank_addresses(self):
        """Give every origin the place of its peer's address, equal ones the same (RFC 4271 9.1.2.2 g)."""
        addresses = [packed_address(address) for address in self.origin_addresses]
        ranks = {address: rank for rank, address in enumerate(sorted(set(addresses)))}
        for origin_id in range(1, self.origin_size):
            self.origins[<uint32_t>origin_id].address_rank = ranks[addresses[origin_id]]

    def remove_origin(self, origin_id):
        """Flush and forget an origin; returns how many paths went."""
        count = self.flush(origin_id)
        self.origins[<uint32_t>origin_id].source = 0
        self.origin_addresses[origin_id] = None
        self.filters[origin_id] = None
        self.resting_origins.append(origin_id)
        return count

    def size_of(self, origin_id):
        """(paths, announcements that were not taken for its limits) of an origin, each as (IPv4, IPv6)."""
        cdef const OriginRecord* record
        self._check_origin("size_of", origin_id)
        record = &self.origins[<uint32_t>origin_id]
        return (record.paths[0], record.paths[1]), (record.over[0], record.over[1])

    def import_filter(self, origin_id):
        """The filter that add_origin was given."""
        self._check_origin("import_filter", origin_id)
        return self.filters[origin_id]

    cdef int _check_origin(self, str what, object origin_id) except -1:
        if not (isinstance(origin_id, int) and 0 < origin_id < self.origin_size
                and self.origins[<uint32_t>origin_id].source):
            raise ValueError(f"{what}: unknown origin id {origin_id}")
        return 0

    cdef int _check_attributes(self, str what, object attr_id) except -1:
        if not (isinstance(attr_id, int) and 0 < attr_id < self.interns.attr_pool.size
                and attrs_of(self.interns)[<uint32_t>attr_id].flags & RECORD_USED):
            raise ValueError(f"{what}: unknown attribute id {attr_id}")
        return 0

    # ---- attributes

    def attributes(self, attributes):
        """The id of an attribute set, equal sets one id; valid till the next decide or while in use."""
        return self.interns.intern_attributes(attributes)

    # ---- batches

    def announce(self, origin_id, family, prefixes, lengths, attr_id, path_ids=None):
        """Put paths in place of the origin's earlier ones; returns how many are new or changed.

        prefixes: n * 4 or n * 16 bytes, network order; lengths: n bytes; path_ids: n u32, native order.
        ValueError names the first element that is wrong, and nothing is applied then.
        """
        cdef Batch batch = Batch("announce", family, prefixes, lengths, path_ids)
        self._check_origin("announce", origin_id)
        self._check_attributes("announce", attr_id)
        return self._apply(batch, origin_id, NULL, attr_id)

    def withdraw(self, origin_id, family, prefixes, lengths, path_ids=None):
        """Take the origin's paths to these prefixes away; returns how many there were."""
        cdef Batch batch = Batch("withdraw", family, prefixes, lengths, path_ids)
        self._check_origin("withdraw", origin_id)
        return self._apply(batch, origin_id, NULL, 0)

    def apply(self, origin_id, family, prefixes, lengths, sets, attributes, path_ids=None):
        """Announce and withdraw in order, as the UPDATE decoder has it; returns how many paths changed.

        sets: n u32, native order: 0 withdraws, i announces with attributes[i - 1]. attributes: packed sets
        (packed.pxd). Otherwise as announce.
        """
        cdef Batch batch = Batch("apply", family, prefixes, lengths, path_ids)
        cdef Py_ssize_t i, count = len(attributes)
        cdef List ids = List(NULL, 0, 0)
        cdef const uint32_t[::1] chosen
        self._check_origin("apply", origin_id)
        if batch.size == 0:
            return 0
        chosen = memoryview(sets).cast("B").cast("I")
        if chosen.shape[0] != batch.size:
            raise ValueError(f"apply: {chosen.shape[0]} sets, but {batch.size} lengths")
        for i in range(batch.size):
            if chosen[i] > count:
                raise ValueError(f"apply: element {i} has set {chosen[i]}, but there are {count}")
        try:
            list_reserve(&ids, batch.size + 1)
            for packed in attributes:
                list_reserve(&ids, ids.size + 1)
                list_push(&ids, self.interns.intern_packed(packed))
            return self._apply_sets(batch, origin_id, chosen, &ids)
        finally:
            free(ids.items)

    cdef uint64_t _apply_sets(
        self, Batch batch, uint16_t origin, const uint32_t[::1] chosen, const List* ids
    ) except? 0xFFFFFFFFFFFFFFFF:
        """The element's set as the id of its attribute set."""
        cdef List attrs = List(NULL, 0, 0)
        cdef Py_ssize_t i
        try:
            list_reserve(&attrs, batch.size + 1)
            for i in range(batch.size):
                list_push(&attrs, ids.items[chosen[i] - 1] if chosen[i] else 0)
            return self._apply(batch, origin, attrs.items, 0)
        finally:
            free(attrs.items)

    cdef uint64_t _apply(
        self, Batch batch, uint16_t origin, const uint32_t* attrs, uint32_t attr
    ) except? 0xFFFFFFFFFFFFFFFF:
        """Reserve, then apply. attrs: the attribute set of each element; NULL: attr is that of all. 0 withdraws."""
        cdef Table* table = &self.tables[0 if batch.width == 4 else 1]
        cdef ImportFilter filter_ = self.filters[origin]
        cdef const uint16_t* verdicts = NULL
        cdef uint64_t changed = 0
        if filter_ is not None and (attrs != NULL or attr != 0):
            filter_.judge(batch, attrs, attr, self.interns)
            attrs, verdicts = filter_.attrs, filter_.verdicts
        if attrs != NULL or attr != 0:
            pool_reserve(&table.nodes, batch.size)
            pool_reserve(&table.paths, batch.size)
            list_reserve(&table.dirty, table.nodes.capacity)
            index_reserve(&table.index, batch.size)
        self._apply_all(table, batch, origin, attrs, attr, verdicts, &changed)
        return changed

    cdef void _apply_all(
        self, Table* table, Batch batch, uint16_t origin, const uint32_t* attrs, uint32_t attr,
        const uint16_t* verdicts, uint64_t* changed
    ) noexcept:
        cdef Key keys[AHEAD]
        cdef Py_ssize_t i, start, count
        cdef uint64_t slot
        cdef uint16_t verdict = 0
        for start in range(0, batch.size, AHEAD):
            count = min(AHEAD, batch.size - start)
            for i in range(count):
                load_address(batch.prefixes + (start + i) * batch.width, batch.width, &keys[i].hi, &keys[i].lo)
                keys[i].length = batch.lengths[start + i]
                keys[i].tag = hash_prefix(table.index.seed, keys[i].hi, keys[i].lo, keys[i].length)
                __builtin_prefetch(&table.index.slots[keys[i].tag & table.index.mask])
            for i in range(count if table.index.slots != NULL else 0):
                slot = table.index.slots[keys[i].tag & table.index.mask]
                if <uint32_t>(slot >> 32) == keys[i].tag:
                    __builtin_prefetch(&nodes_of(table)[<uint32_t>slot])
            for i in range(count):
                if attrs != NULL:
                    attr = attrs[start + i]
                if attr:
                    if verdicts != NULL:
                        verdict = verdicts[start + i]
                    changed[0] += put_path(
                        self, table, &keys[i], origin, batch_path_id(batch, start + i), attr, verdict
                    )
                else:
                    changed[0] += take_path(self, table, &keys[i], origin, batch_path_id(batch, start + i))

    # ---- whole origins

    def flush(self, origin_id):
        """Take all paths of an origin away; returns how many there were. Cost: one pass over all paths."""
        self._check_origin("flush", origin_id)
        return self._drop_all(0, origin_id, PATH_USED) + self._drop_all(1, origin_id, PATH_USED)

    def mark_stale(self, origin_id, family=None):
        """Mark an origin's paths stale, which changes no decision; returns how many were marked now."""
        cdef uint64_t marked = 0
        cdef uint32_t path
        cdef int which
        cdef uint16_t origin
        cdef PathRecord* record
        self._check_origin("mark_stale", origin_id)
        origin = origin_id
        for which in families("mark_stale", family):
            for path in range(1, self.tables[which].paths.size):
                record = &paths_of(&self.tables[which])[path]
                if record.origin == origin and record.flags & PATH_USED and not record.flags & PATH_STALE:
                    record.flags |= PATH_STALE
                    self.origins[origin].stale[which] += 1
                    marked += 1
        return marked

    def sweep_stale(self, origin_id, family=None):
        """Take away the paths of an origin that are still stale; returns how many there were."""
        self._check_origin("sweep_stale", origin_id)
        chosen = families("sweep_stale", family)
        return sum([self._drop_all(which, origin_id, PATH_STALE) for which in chosen])

    cdef uint64_t _drop_all(self, int which, uint16_t origin, uint8_t flags) noexcept:
        """Drop an origin's paths that have one of the flags."""
        cdef Table* table = &self.tables[which]
        cdef uint32_t path, before, depth
        cdef uint64_t dropped = 0
        cdef PathRecord* record
        for path in range(1, table.paths.size):
            record = &paths_of(table)[path]
            if record.flags & PATH_USED and record.flags & flags and record.origin == origin:
                find_path(table, record.node, origin, record.path_id, &before, &depth)
                drop_path(self, table, path, before)
                dropped += 1
        return dropped


cdef inline void count_verdict(OriginRecord* owner, int which, const PathRecord* path, int step) noexcept nogil:
    owner.rejected[which] += step if path.flags & PATH_REJECTED else 0
    if owner.by_verdict[which] != NULL:
        owner.by_verdict[which][path.verdict] += step


cdef inline bint put_path(
    Store store, Table* table, const Key* key, uint16_t origin, uint32_t path_id, uint32_t attr,
    uint16_t verdict
) noexcept:
    """Put a path in place of the origin's earlier one; returns whether it is new or changed."""
    cdef OriginRecord* owner = &store.origins[origin]
    cdef int which = 0 if table == &store.tables[0] else 1
    cdef uint32_t path = NONE, before, depth = 0
    cdef uint32_t node = index_find(&table.index, nodes_of(table), key.hi, key.lo, key.length, key.tag)
    cdef Node* record
    cdef PathRecord* known
    if node != NONE:
        path = find_path(table, node, origin, path_id, &before, &depth)
    if path == NONE and owner.limit[which] and owner.paths[which] >= owner.limit[which]:
        owner.over[which] += 1
        return False
    if node == NONE:
        node = pool_take(&table.nodes)
        record = &nodes_of(table)[node]
        memset(record, 0, sizeof(Node))
        record.hi, record.lo, record.length = key.hi, key.lo, key.length
        index_insert(&table.index, key.tag, node)
    if path != NONE:
        known = &paths_of(table)[path]
        if known.flags & PATH_STALE:
            known.flags &= ~PATH_STALE
            owner.stale[which] -= 1
        if known.attr == attr and known.verdict == verdict:
            return False
        owner.looped[which] -= attrs_of(store.interns)[known.attr].excluded != 0
        count_verdict(owner, which, known, -1)
        attr_give(store.interns, known.attr)
        known.attr = attr
    else:
        path = pool_take(&table.paths)
        known = &paths_of(table)[path]
        known[0] = PathRecord(nodes_of(table)[node].paths, node, attr, path_id, origin, PATH_USED, 0, 0)
        nodes_of(table)[node].paths = path
        owner.paths[which] += 1
        if depth + 1 > table.longest:
            table.longest = depth + 1
    owner.looped[which] += attrs_of(store.interns)[attr].excluded != 0
    known.verdict = verdict
    known.flags &= ~PATH_REJECTED
    if owner.accepts != NULL and not owner.accepts[verdict]:
        known.flags |= PATH_REJECTED
    count_verdict(owner, which, known, 1)
    attr_take(store.interns, attr)
    mark_dirty(table, node)
    return True


cdef inline bint take_path(
    Store store, Table* table, const Key* key, uint16_t origin, uint32_t path_id
) noexcept:
    """Take a path of the origin away; returns whether it was there."""
    cdef uint32_t path, before, depth
    cdef uint32_t node = index_find(&table.index, nodes_of(table), key.hi, key.lo, key.length, key.tag)
    if node == NONE:
        return False
    path = find_path(table, node, origin, path_id, &before, &depth)
    if path == NONE:
        return False
    drop_path(store, table, path, before)
    return True


cdef inline void drop_path(Store store, Table* table, uint32_t path, uint32_t before) noexcept:
    """Unlink and free a path; `before` is the one before it in its node's list, or NONE."""
    cdef PathRecord* record = &paths_of(table)[path]
    cdef Node* node = &nodes_of(table)[record.node]
    cdef OriginRecord* owner = &store.origins[record.origin]
    cdef int which = 0 if table == &store.tables[0] else 1
    if before == NONE:
        node.paths = record.next
    else:
        paths_of(table)[before].next = record.next
    if node.best == path:
        node.best = NONE
    owner.paths[which] -= 1
    owner.stale[which] -= (record.flags & PATH_STALE) != 0
    owner.looped[which] -= attrs_of(store.interns)[record.attr].excluded != 0
    count_verdict(owner, which, record, -1)
    attr_give(store.interns, record.attr)
    mark_dirty(table, record.node)
    record.flags = 0
    pool_give(&table.paths, path)


cdef bytes packed_address(object address):
    """Sortable bytes of a peer's address; no address first, IPv4 before IPv6."""
    if address is None:
        return b""
    try:
        if ":" in address:
            return b"6" + socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
        return b"4" + socket.inet_pton(socket.AF_INET, address)
    except OSError:
        raise ValueError(f"add_origin: peer address {address!r} is not an IPv4 or IPv6 address") from None


cdef tuple families(str what, object family):
    if family is None:
        return (0, 1)
    if family != 4 and family != 6:
        raise ValueError(f"{what}: family {family!r} is unknown, allowed: 4 and 6")
    return (0,) if family == 4 else (1,)
