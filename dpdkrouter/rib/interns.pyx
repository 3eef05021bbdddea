"""Interned values of one Rib: attribute sets, the hop sets they point to, and the next hops to resolve.

Invariants: equal attribute sets have one id, and so have equal hop sets (addresses are compared in
canonical form); id 0 is never used; at most max_backed hop sets have a backup. An attribute set lives while
a path uses it and at least until the decision after it was interned or lost its last path. A hop set lives
while an attribute set or a prefix of the Loc-RIB uses it; its id rests for one decision after that, so that a
reader of a delta never finds another set under it. A next hop with a port needs no resolution; any other is
not reachable until set_next_hop says so.

Used by Store and Rib only, on their thread. RFC 4271 section 9.1.2 (AS loops), RFC 4456 section 8
(originator and cluster loops).
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from dpdkrouter.rib.batch cimport be32toh
from dpdkrouter.rib.enums cimport Step
from dpdkrouter.rib.index cimport mix
from dpdkrouter.rib.packed cimport (
    AS_SEQUENCE, AS_SET, CONFED_SET, HAS_LOCAL_PREF, HAS_ORIGINATOR, PackedHead, PackedHop,
)
from dpdkrouter.rib.records cimport (
    HOP_CHANGED, HOP_PUBLISHED, RECORD_LISTED, RECORD_USED, AttrRecord, HopRecord, list_push, list_reserve,
    pool_give, pool_reserve, pool_take,
)

import socket

from dpdkrouter.rib.attributes import Attributes, HopSet, Kind, NextHop


cdef class _NextHop:
    """Reachability of an address, and the hop sets that hold it."""

    cdef bint reachable
    cdef uint32_t metric
    cdef set hopsets

    def __cinit__(self):
        self.hopsets = set()


def canonical(address: str) -> str:
    """The one spelling of an IPv4 or IPv6 address that the RIB compares by."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, address))
    except (OSError, ValueError):
        raise ValueError(f"next hop {address!r} is not an IPv4 or IPv6 address") from None


cdef bytes packed_address(str address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


cdef enum:
    IDLE_AT_ONCE = 8192    # attribute sets freed by one decision; a few milliseconds


cdef uint32_t u32(object value, str what) except? 0xFFFFFFFF:
    if not 0 <= value <= 0xFFFFFFFF:
        raise ValueError(f"{what} {value} is out of range, allowed: 0 to 4294967295")
    return <uint32_t>value


cdef int check_hops(object kind, object hops) except -1:
    if kind == Kind.UNICAST and not hops:
        raise ValueError("attributes of kind unicast need at least one next hop")
    if kind == Kind.GLEAN and (len(hops) != 1 or hops[0].port is None or hops[0].address is not None):
        raise ValueError("attributes of kind glean need one next hop with a port and no address")
    if kind not in (Kind.UNICAST, Kind.GLEAN) and hops:
        raise ValueError(f"attributes of kind {kind.name.lower()} cannot have next hops")
    for hop in hops:
        if hop.address is None and kind != Kind.GLEAN:
            raise ValueError("a unicast next hop needs an address")
        if not 1 <= hop.weight <= 65535:
            raise ValueError(f"weight {hop.weight} of next hop {hop.address} is not in 1 to 65535")
    return 0


cdef int describe(Interns interns, bytes packed, AttrRecord* record) except -1:
    """Fill in what the decision reads; raises ValueError for what is no packed set."""
    cdef const char* start = PyBytes_AS_STRING(packed)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(packed)
    cdef PackedHead head
    cdef Py_ssize_t path, clusters
    memset(record, 0, sizeof(AttrRecord))
    if size >= <Py_ssize_t>sizeof(PackedHead):
        memcpy(&head, start, sizeof(PackedHead))
        path = sizeof(PackedHead) + head.hops * sizeof(PackedHop)
        clusters = path + <Py_ssize_t>head.path_bytes + 4 * head.communities + 8 * head.extended + 12 * head.large
    if size < <Py_ssize_t>sizeof(PackedHead) or size != clusters + 4 * head.clusters:
        raise ValueError(f"{size} bytes are no packed attributes")
    record.flags = RECORD_USED | RECORD_LISTED
    record.local_pref = head.local_pref if head.present & HAS_LOCAL_PREF else 100
    record.med = head.med
    record.originator_id = head.originator_id
    record.origin = head.origin
    record.cluster_length = head.clusters
    if describe_path(interns, <const uint8_t*>start + path, head.path_bytes, record):
        raise ValueError("packed attributes hold an AS path that ends within a segment")
    if record.excluded:
        return 0
    if interns.router_id and head.present & HAS_ORIGINATOR and head.originator_id == interns.router_id:
        record.excluded = Step.ORIGINATOR_LOOP
    elif interns.cluster_id and holds(<const uint8_t*>start + clusters, head.clusters, interns.cluster_id):
        record.excluded = Step.CLUSTER_LOOP
    return 0


cdef bint holds(const uint8_t* words, uint32_t count, uint32_t wanted) noexcept:
    """Whether one of the 32-bit words, in network order, is `wanted`."""
    cdef uint32_t i, word
    for i in range(count):
        memcpy(&word, words + 4 * i, 4)
        if be32toh(word) == wanted:
            return True
    return False


cdef bint describe_path(Interns interns, const uint8_t* path, uint32_t size, AttrRecord* record) noexcept:
    """Length (RFC 4271 9.1.2.2 a, RFC 5065 5.3), neighbouring AS, hash, AS loop. True: it is cut off."""
    cdef uint32_t at = 0, length = 0, word
    cdef uint64_t hash_ = size
    cdef uint8_t kind, count
    cdef bint first = True
    while at < size:
        if at + 2 > size or at + 2 + 4 * <uint32_t>path[at + 1] > size:
            return True
        kind, count = path[at], path[at + 1]
        if kind == 0 or kind > CONFED_SET or count == 0:
            return True
        if kind == AS_SEQUENCE:
            length += count
        elif kind == AS_SET:
            length += 1
        if first and (kind == AS_SEQUENCE or kind == AS_SET):
            first = False
            if kind == AS_SEQUENCE:
                memcpy(&word, path + at + 2, 4)
                record.neighbour_as = be32toh(word)
        if interns.asn and holds(path + at + 2, count, interns.asn):
            record.excluded = Step.AS_LOOP
        at += 2 + 4 * <uint32_t>count
    for at in range(0, size, 2):
        hash_ = mix(hash_ ^ (<uint64_t>path[at] << 8 | path[at + 1]))
    record.path_hash = hash_
    record.path_length = <uint16_t>min(length, <uint32_t>65535)
    return False


cdef class Interns:
    def __cinit__(self, asn, router_id, cluster_id, max_backed):
        self.asn = u32(asn, "AS number")
        self.router_id = u32(router_id, "router id")
        self.cluster_id = u32(cluster_id, "cluster id")
        self.attr_pool.item = sizeof(AttrRecord)
        self.hop_pool.item = sizeof(HopRecord)
        self.attr_ids = {}
        self.attr_packed = [None]
        self.hop_ids = {}
        self.hop_addresses = {}
        self.hop_values = [None]
        self.hop_unions = [None]
        self.unions = {}
        self.next_hops = {}
        self.tracking = {}
        self.max_backed = max_backed

    def __dealloc__(self):
        free(self.attr_pool.base)
        free(self.hop_pool.base)
        free(self.idle_attrs.items)
        free(self.touched_hops.items)
        free(self.resting_hops.items)

    # ---- attribute sets

    cdef uint32_t intern_attributes(self, object attributes) except 0:
        check_hops(attributes.kind, attributes.next_hops)
        for value, what in ((attributes.local_pref, "local preference"), (attributes.med, "MED"),
                            (attributes.originator_id, "originator id")):
            u32(value or 0, what)
        return self.intern_packed(attributes.pack())

    cdef uint32_t intern_packed(self, bytes packed) except 0:
        """The id of a packed attribute set; ValueError when it is none."""
        cdef object known = self.attr_ids.get(packed)
        cdef uint32_t attr_id
        cdef AttrRecord record
        if known is not None:
            return known
        describe(self, packed, &record)
        pool_reserve(&self.attr_pool, 1)
        list_reserve(&self.idle_attrs, self.attr_pool.capacity)
        record.hopset = self._packed_hops(packed)
        self.serial += 1
        record.serial = self.serial
        hops_of(self)[record.hopset].attr_refs += 1
        attr_id = pool_take(&self.attr_pool)
        attrs_of(self)[attr_id] = record
        list_push(&self.idle_attrs, attr_id)
        if attr_id == len(self.attr_packed):
            self.attr_packed.append(packed)
        else:
            self.attr_packed[attr_id] = packed
        self.attr_ids[packed] = attr_id
        return attr_id

    cdef uint32_t _packed_hops(self, bytes packed) except 0:
        """The hop set of a packed set. One next hop without a port, as BGP has it, is found by its bytes."""
        cdef const PackedHead* head = <const PackedHead*>PyBytes_AS_STRING(packed)
        cdef const PackedHop* hop = <const PackedHop*>(head + 1)
        cdef uint32_t hop_id
        if head.kind != 0 or head.hops != 1 or hop.on_port or hop.weight != 1:
            attributes = Attributes.unpack(packed)
            check_hops(attributes.kind, attributes.next_hops)
            return self.intern_hops(attributes.kind, attributes.next_hops)
        key = hop.address[:16 if hop.family == 6 else 4]
        known = self.hop_addresses.get(key)
        if known is None:
            attributes = Attributes.unpack(packed)
            hop_id = self.intern_hops(attributes.kind, attributes.next_hops)
            self.hop_addresses[key] = hop_id
            return hop_id
        return known

    cdef object attributes_of(self, uint32_t attr_id):
        return Attributes.unpack(self.attr_packed[attr_id])

    cdef int release_idle_attributes(self) except -1:
        """Free sets that nothing uses, some of those that are listed: a lost peer leaves hundreds of thousands."""
        cdef uint32_t _i, attr_id
        cdef AttrRecord* record
        for _i in range(min(self.idle_attrs.size, <uint64_t>IDLE_AT_ONCE)):
            self.idle_attrs.size -= 1
            attr_id = self.idle_attrs.items[self.idle_attrs.size]
            record = &attrs_of(self)[attr_id]
            record.flags &= ~RECORD_LISTED
            if record.refs:
                continue
            record.flags = 0
            del self.attr_ids[self.attr_packed[attr_id]]
            self.attr_packed[attr_id] = None
            hops_of(self)[record.hopset].attr_refs -= 1
            self.release_hops(record.hopset)
            pool_give(&self.attr_pool, attr_id)
        return 0

    # ---- hop sets

    cdef uint32_t intern_hops(self, object kind, object hops) except 0:
        canonical_hops = tuple(
            hop if hop.address is None else NextHop(canonical(hop.address), hop.port, hop.weight)
            for hop in hops
        )
        return self.intern_hopset(HopSet(kind, tuple(sorted(canonical_hops, key=repr))))

    cdef uint32_t intern_hopset(self, object value) except 0:
        known = self.hop_ids.get(value)
        cdef uint32_t hop_id
        if known is not None:
            return known
        pool_reserve(&self.hop_pool, 1)
        list_reserve(&self.touched_hops, self.hop_pool.capacity)
        list_reserve(&self.resting_hops, self.hop_pool.capacity)
        hop_id = pool_take(&self.hop_pool)
        memset(&hops_of(self)[hop_id], 0, sizeof(HopRecord))
        hops_of(self)[hop_id].flags = RECORD_USED
        hops_of(self)[hop_id].shares = value.kind == Kind.UNICAST
        self.backed += 1 if value.backup else 0
        if hop_id == len(self.hop_values):
            self.hop_values.append(value)
            self.hop_unions.append(None)
        else:
            self.hop_values[hop_id] = value
        self.hop_ids[value] = hop_id
        for address in self._tracked_addresses(value):
            if address not in self.next_hops:
                self.next_hops[address] = _NextHop()
            if not (<_NextHop>self.next_hops[address]).hopsets:
                self.tracking[address] = True
            (<_NextHop>self.next_hops[address]).hopsets.add(hop_id)
        self.refresh_hops(hop_id)
        hops_of(self)[hop_id].flags &= ~HOP_CHANGED
        return hop_id

    def _tracked_addresses(self, value):
        if value.kind != Kind.UNICAST:
            return []
        return sorted({hop.address for hop in value.next_hops + value.backup if hop.port is None})

    cdef object hopset_of(self, uint32_t hop_id):
        if not 0 < hop_id < len(self.hop_values) or self.hop_values[hop_id] is None:
            raise ValueError(f"unknown hopset id {hop_id}")
        return self.hop_values[hop_id]

    cdef uint32_t union_of(self, const uint32_t* hop_ids, uint32_t n) except 0:
        """The hop set of several unicast ones; a shared next hop counts once, with its largest weight."""
        cdef uint32_t hop_id, i
        ids = sorted({hop_ids[i] for i in range(n)})
        if len(ids) == 1:
            return ids[0]
        key = b"".join([value.to_bytes(4, "little") for value in ids])
        known = self.unions.get(key)
        if known is not None:
            return known
        weights = {}
        for value in ids:
            for hop in self.hop_values[value].next_hops:
                weights[hop.address, hop.port] = max(weights.get((hop.address, hop.port), 0), hop.weight)
        hop_id = self.intern_hops(
            Kind.UNICAST, [NextHop(address, port, weight) for (address, port), weight in weights.items()]
        )
        self._remember_union(key, hop_id, ids)
        return hop_id

    cdef uint32_t backed_by(self, uint32_t hop_id, uint32_t backup) except 0:
        """The hop set of a unicast one that another stands in for; the first alone when there are too many."""
        cdef Backed* recent = &self.recent[(hop_id * 31 + backup) % 256]
        cdef uint32_t pair = hop_id
        if recent.both and recent.hopset == hop_id and recent.backup == backup:
            return recent.both
        key = b"b%d,%d" % (hop_id, backup)
        known = self.unions.get(key)
        if known is not None:
            recent[0] = Backed(hop_id, backup, known)
            return known
        if self.backed >= self.max_backed:
            return hop_id
        first = self.hop_values[hop_id].next_hops
        second = tuple([hop for hop in self.hop_values[backup].next_hops if hop not in first])
        if second:
            pair = self.intern_hopset(HopSet(Kind.UNICAST, first, second))
        self._remember_union(key, pair, [hop_id, backup])
        return pair

    def _remember_union(self, key, hop_id, ids):
        """Until one of these is freed."""
        self.unions[key] = hop_id
        for value in {hop_id, *ids}:
            if self.hop_unions[value] is None:
                self.hop_unions[value] = {}
            self.hop_unions[value][key] = (hop_id, *ids)

    cdef int release_hops(self, uint32_t hop_id) except -1:
        """Free a hop set that nothing uses any more."""
        cdef HopRecord* record = &hops_of(self)[hop_id]
        cdef _NextHop next_hop
        if record.flags & RECORD_LISTED or not record.flags & RECORD_USED:
            return 0
        if record.attr_refs or record.node_refs:
            return 0
        record.flags = 0
        value = self.hop_values[hop_id]
        del self.hop_ids[value]
        hops = value.next_hops
        self.backed -= 1 if value.backup else 0
        if (value.kind == Kind.UNICAST and not value.backup and len(hops) == 1 and hops[0].port is None
                and hops[0].weight == 1):
            self.hop_addresses.pop(packed_address(hops[0].address), None)
        self.hop_values[hop_id] = None
        memset(self.recent, 0, sizeof(self.recent))
        for key, members in (self.hop_unions[hop_id] or {}).items():
            del self.unions[key]
            for member in members:
                if member != hop_id:
                    self.hop_unions[member].pop(key, None)
        self.hop_unions[hop_id] = None
        for address in self._tracked_addresses(value):
            next_hop = self.next_hops.get(address)
            if next_hop is not None:
                next_hop.hopsets.discard(hop_id)
                if not next_hop.hopsets:
                    self.tracking[address] = False
                    if not next_hop.reachable:
                        del self.next_hops[address]
        list_push(&self.resting_hops, hop_id)
        return 0

    cdef tuple publish(self):
        """End of a decision: which hop sets the Loc-RIB uses now and did not, and the other way round."""
        cdef uint32_t i, hop_id
        cdef HopRecord* record
        added, released = [], []
        for i in range(self.touched_hops.size):
            hop_id = self.touched_hops.items[i]
            record = &hops_of(self)[hop_id]
            record.flags &= ~RECORD_LISTED
            if record.node_refs and not record.flags & HOP_PUBLISHED:
                record.flags |= HOP_PUBLISHED
                added.append(hop_id)
            elif not record.node_refs and record.flags & HOP_PUBLISHED:
                record.flags &= ~HOP_PUBLISHED
                released.append(hop_id)
        for i in range(self.resting_hops.size):
            pool_give(&self.hop_pool, self.resting_hops.items[i])
        self.resting_hops.size = 0
        for i in range(self.touched_hops.size):
            self.release_hops(self.touched_hops.items[i])
        self.touched_hops.size = 0
        self.release_idle_attributes()
        return tuple(added), tuple(released)

    # ---- next hops

    cdef int refresh_hops(self, uint32_t hop_id) except -1:
        """Work out a hop set's reachability and metric; returns whether that may change a decision."""
        cdef bint reachable = False
        cdef uint32_t metric = 0xFFFFFFFF
        cdef _NextHop next_hop
        cdef HopRecord* record
        value = self.hop_values[hop_id]
        if value.kind != Kind.UNICAST:
            reachable, metric = True, 0
        else:
            for hop in value.next_hops:
                if hop.port is not None:
                    reachable, metric = True, 0
                    continue
                next_hop = self.next_hops[hop.address]
                if next_hop.reachable:
                    reachable = True
                    metric = min(metric, next_hop.metric)
        record = &hops_of(self)[hop_id]
        if record.reachable != reachable or record.metric != metric:
            record.reachable = reachable
            record.metric = metric
            record.flags |= HOP_CHANGED
            return record.attr_refs != 0
        return 0

    cdef int set_next_hop(self, object address, bint reachable, uint32_t metric) except -1:
        cdef _NextHop next_hop
        cdef str name = canonical(address)
        next_hop = self.next_hops.get(name)
        if next_hop is None:
            next_hop = self.next_hops[name] = _NextHop()
        next_hop.reachable = reachable
        next_hop.metric = metric if reachable else 0
        for hop_id in next_hop.hopsets:
            if self.refresh_hops(hop_id):
                self.reachability_changed = True
        if not next_hop.hopsets and not reachable:
            del self.next_hops[name]
        return 0

    def hopsets_using(self, address):
        """Ids of the hop sets that hold this next hop and that prefixes of the Loc-RIB use."""
        cdef _NextHop next_hop = self.next_hops.get(address)
        if next_hop is None:
            return []
        return [hop_id for hop_id in next_hop.hopsets if hops_of(self)[<uint32_t>hop_id].node_refs]

    def take_tracking(self):
        """(came, went): next hops that need resolution, and those that no longer do, since the last call."""
        came = sorted(address for address, there in self.tracking.items() if there)
        went = sorted(address for address, there in self.tracking.items() if not there)
        self.tracking.clear()
        return came, went
