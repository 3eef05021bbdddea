"""The decision for one prefix: RFC 4271 section 9.1.2.2 step by step, and the order between sources.

First every path that may not be used is set aside (refused by the import filter; loops, RFC 4271 9.1.2 and
RFC 4456 8; next hop not reachable). BGP paths, eBGP and iBGP together, are decided by the RFC; what wins stands
for BGP against the other sources, at the place of eBGP or iBGP that it came by. So local preference rules over
eBGP against iBGP, as the RFC wants, and kernel routes lie between the two, as the design wants.

Each step drops every path that is not as good as the best one in that step and writes the step into the
path it dropped; this is the reason that show commands print. MED is compared within each neighbouring AS
over the whole set, so the result does not depend on the order of arrival ("deterministic MED"). There is no
step for the oldest path. Called by Rib.decide.
"""
from libc.stdint cimport uint32_t, uint64_t

from dpdkrouter.rib.enums cimport Source, Step
from dpdkrouter.rib.records cimport (
    NONE, PATH_BEST, PATH_MULTIPATH, PATH_REJECTED, AttrRecord, HopRecord, Node, OriginRecord, PathRecord,
)


ctypedef struct Contest:
    PathRecord* paths
    AttrRecord* attrs
    HopRecord* hops
    OriginRecord* origins
    uint32_t* candidates   # scratch for the longest list of paths
    uint32_t* equal        # the same; paths equal up to METRIC, then the chosen multipath set, best first
    uint32_t chosen        # size of that set
    uint32_t multipath
    bint relaxed           # multipath over different AS paths of equal length
    bint any_as            # MED is compared between paths of different neighbouring ASes, too


cdef inline uint64_t step_key(const Contest* c, uint32_t path, Step step) noexcept nogil:
    """The value a step compares; the lowest wins."""
    cdef const PathRecord* record = &c.paths[path]
    cdef const AttrRecord* attr = &c.attrs[record.attr]
    if step == Step.LOCAL_PREF:
        return <uint64_t>0xFFFFFFFF - attr.local_pref
    if step == Step.AS_PATH:
        return attr.path_length
    if step == Step.ORIGIN:
        return attr.origin
    if step == Step.EBGP_OVER_IBGP:
        return c.origins[record.origin].source == Source.IBGP
    if step == Step.METRIC:
        return c.hops[attr.hopset].metric
    if step == Step.ROUTER_ID:
        return attr.originator_id if attr.originator_id else c.origins[record.origin].router_id
    if step == Step.CLUSTER_LIST:
        return attr.cluster_length
    if step == Step.PEER_ADDRESS:
        return c.origins[record.origin].address_rank
    if step == Step.PATH_ID:
        return (<uint64_t>record.origin << 32) | record.path_id
    return c.origins[record.origin].source


cdef inline uint32_t eliminate(const Contest* c, uint32_t* list_, uint32_t n, Step step) noexcept nogil:
    """Drop what is worse in `step`; returns how many are left, in their order."""
    cdef uint64_t best = <uint64_t>-1
    cdef uint64_t key
    cdef uint32_t i, left = 0
    if n < 2:
        return n
    for i in range(n):
        key = step_key(c, list_[i], step)
        if key < best:
            best = key
    for i in range(n):
        if step_key(c, list_[i], step) == best:
            list_[left] = list_[i]
            left += 1
        else:
            c.paths[list_[i]].step = step
    return left


cdef inline uint32_t eliminate_med(const Contest* c, uint32_t* list_, uint32_t n) noexcept nogil:
    """RFC 4271 9.1.2.2 c): drop a path when another of the same neighbouring AS, or any_as, has a lower MED."""
    cdef uint32_t i, j, left = 0
    cdef const AttrRecord* a
    cdef const AttrRecord* b
    cdef bint differ = False
    for i in range(1, n):
        if c.attrs[c.paths[list_[i]].attr].med != c.attrs[c.paths[list_[0]].attr].med:
            differ = True
            break
    if not differ:
        return n
    for i in range(n):
        a = &c.attrs[c.paths[list_[i]].attr]
        for j in range(n):
            b = &c.attrs[c.paths[list_[j]].attr]
            if (c.any_as or b.neighbour_as == a.neighbour_as) and b.med < a.med:
                c.paths[list_[i]].step = Step.MED
                break
    for i in range(n):
        if c.paths[list_[i]].step != Step.MED:
            list_[left] = list_[i]
            left += 1
    return left


cdef inline bint breaks_tie(const Contest* c, uint32_t a, uint32_t b) noexcept nogil:
    """Whether path a is before b by the steps after METRIC."""
    cdef uint64_t x, y
    cdef int step
    for step in range(<int>Step.ROUTER_ID, <int>Step.PATH_ID + 1):
        x = step_key(c, a, <Step>step)
        y = step_key(c, b, <Step>step)
        if x != y:
            return x < y
    return False


cdef inline void choose_multipath(Contest* c, uint32_t best, uint32_t n) noexcept nogil:
    """From c.equal[:n] keep the best and the next by the tie-break, c.multipath in all; only unicast ones."""
    cdef uint32_t i, j, path, left = 0
    cdef const AttrRecord* attr = &c.attrs[c.paths[best].attr]
    cdef uint64_t as_path = attr.path_hash
    if not c.hops[attr.hopset].shares:
        c.equal[0] = best
        c.chosen = 1
        return
    for i in range(n):
        attr = &c.attrs[c.paths[c.equal[i]].attr]
        if c.hops[attr.hopset].shares and (c.relaxed or attr.path_hash == as_path):
            c.equal[left] = c.equal[i]
            left += 1
    for i in range(1, left):
        path = c.equal[i]
        j = i
        while j > 0 and breaks_tie(c, path, c.equal[j - 1]):
            c.equal[j] = c.equal[j - 1]
            j -= 1
        c.equal[j] = path
    c.chosen = left if left < c.multipath else c.multipath


cdef inline uint32_t contest(Contest* c, uint32_t* list_, uint32_t n) noexcept nogil:
    """The best of n > 0 usable paths that compete on attributes; c.equal[:c.chosen] is its multipath set."""
    cdef uint32_t i, equal
    n = eliminate(c, list_, n, Step.LOCAL_PREF)
    n = eliminate(c, list_, n, Step.AS_PATH)
    n = eliminate(c, list_, n, Step.ORIGIN)
    n = eliminate_med(c, list_, n)
    n = eliminate(c, list_, n, Step.EBGP_OVER_IBGP)
    n = eliminate(c, list_, n, Step.METRIC)
    equal = n
    for i in range(n):
        c.equal[i] = list_[i]
    n = eliminate(c, list_, n, Step.ROUTER_ID)
    n = eliminate(c, list_, n, Step.CLUSTER_LIST)
    n = eliminate(c, list_, n, Step.PEER_ADDRESS)
    n = eliminate(c, list_, n, Step.PATH_ID)
    c.paths[list_[0]].step = Step.BEST
    if equal > 1 and c.multipath > 1:
        choose_multipath(c, list_[0], equal)
    else:
        c.equal[0] = list_[0]
        c.chosen = 1
    return list_[0]


cdef inline uint32_t gather(Contest* c, uint32_t first) noexcept nogil:
    """Put the usable paths of a prefix into c.candidates and note why the others are not."""
    cdef uint32_t path = first, n = 0
    cdef PathRecord* record
    cdef const AttrRecord* attr
    while path != NONE:
        record = &c.paths[path]
        attr = &c.attrs[record.attr]
        record.flags &= ~(PATH_BEST | PATH_MULTIPATH)
        record.step = Step.PENDING
        if record.flags & PATH_REJECTED:
            record.step = Step.POLICY
        elif attr.excluded:
            record.step = attr.excluded
        elif not c.hops[attr.hopset].reachable:
            record.step = Step.NEXT_HOP
        else:
            c.candidates[n] = path
            n += 1
        path = record.next
    return n


cdef inline uint32_t between_sources(Contest* c, uint32_t n) noexcept nogil:
    """The best of c.candidates[:n], n > 0, over all sources."""
    cdef uint32_t* list_ = c.candidates
    cdef uint32_t i, swap, best, bgp = 0
    cdef int source, top = Source.IBGP
    for i in range(n):
        source = c.origins[c.paths[list_[i]].origin].source
        if source < top:
            top = source
        if source == Source.EBGP or source == Source.IBGP:
            swap = list_[bgp]
            list_[bgp] = list_[i]
            list_[i] = swap
            bgp += 1
    if top <= Source.CLI:
        return contest(c, list_, eliminate(c, list_, n, Step.SOURCE))
    if bgp == 0 or bgp == n:
        return contest(c, list_, n)
    best = contest(c, list_, bgp)
    if c.origins[c.paths[best].origin].source == Source.EBGP:
        for i in range(bgp, n):
            c.paths[list_[i]].step = Step.SOURCE
        return best
    c.paths[best].step = Step.SOURCE
    return contest(c, list_ + bgp, n - bgp)


cdef inline uint32_t decide_prefix(Contest* c, const Node* node) noexcept nogil:
    """The best path of a prefix or NONE; marks it and its multipath set c.equal[:c.chosen]."""
    cdef uint32_t best, i, n = gather(c, node.paths)
    c.chosen = 0
    if n == 0:
        return NONE
    best = between_sources(c, n)
    c.paths[best].flags |= PATH_BEST
    for i in range(c.chosen if c.chosen > 1 else 0):
        c.paths[c.equal[i]].flags |= PATH_MULTIPATH
    return best


cdef inline bint is_bgp(const Contest* c, uint32_t path) noexcept nogil:
    cdef int source = c.origins[c.paths[path].origin].source
    return source == Source.EBGP or source == Source.IBGP


cdef inline bint stands_before(const Contest* c, uint32_t a, uint32_t b) noexcept nogil:
    """Whether path a is rather to be used than b, two of BGP or two of other sources; writes no step."""
    cdef const AttrRecord* x = &c.attrs[c.paths[a].attr]
    cdef const AttrRecord* y = &c.attrs[c.paths[b].attr]
    cdef int steps[7]
    cdef int i
    cdef uint64_t key_a, key_b
    steps[0], steps[1], steps[2], steps[3] = Step.SOURCE, Step.LOCAL_PREF, Step.AS_PATH, Step.ORIGIN
    steps[4], steps[5], steps[6] = Step.MED, Step.EBGP_OVER_IBGP, Step.METRIC
    for i in range(1 if is_bgp(c, a) else 0, 7):
        if steps[i] == Step.MED:
            if not (c.any_as or x.neighbour_as == y.neighbour_as):
                continue
            key_a, key_b = x.med, y.med
        else:
            key_a, key_b = step_key(c, a, <Step>steps[i]), step_key(c, b, <Step>steps[i])
        if key_a != key_b:
            return key_a < key_b
    return breaks_tie(c, a, b)


cdef inline uint32_t backup_path(const Contest* c, const Node* node, uint32_t best) noexcept nogil:
    """The first of the usable unicast paths that go by another hop set than the best, or NONE; after decide_prefix.

    Compared two by two: what a third says about MEDs (9.1.2.2 c) does not count here.
    """
    cdef uint32_t path = node.paths, hopset = c.attrs[c.paths[best].attr].hopset
    cdef uint32_t found[2]    # the first of other sources, and of BGP
    cdef const PathRecord* record
    cdef const AttrRecord* attr
    cdef bint bgp
    found[0], found[1] = NONE, NONE
    if c.origins[c.paths[best].origin].source == Source.CONNECTED:
        return NONE
    while path != NONE:
        record = &c.paths[path]
        attr = &c.attrs[record.attr]
        if (
            attr.hopset != hopset and not record.flags & PATH_REJECTED and not attr.excluded
            and c.hops[attr.hopset].reachable and c.hops[attr.hopset].shares
        ):
            bgp = is_bgp(c, path)
            if found[bgp] == NONE or stands_before(c, path, found[bgp]):
                found[bgp] = path
        path = record.next
    if found[0] == NONE or found[1] == NONE:
        return found[0] if found[1] == NONE else found[1]
    return found[step_key(c, found[1], Step.SOURCE) < step_key(c, found[0], Step.SOURCE)]
