"""What becomes of a route that a peer sent: the checks and the import policy, before it takes part in the decision.

A filter belongs to one origin. Store asks it about each batch: `judge` gives each element a verdict (which
check or rule spoke) and the attribute set that the path gets. A refused path stays in the Adj-RIB-In as it was
received, so that show commands find it with its verdict; the decision passes over it.

In order: no policy at an eBGP peer (RFC 8212 section 2), a path that does not begin with the peer's AS (RFC 4271
section 6.3, treated as RFC 7606 section 7.2 has it: the route is as good as withdrawn), bogons (RFC 6890) and own
prefixes, prefixes that are too long, the rules, the policy's default. What the rules ask of attributes is worked
out once for each attribute set; what remains for each prefix is a question to each prefix list of the rules that
are left.

Invariants: verdicts and changes of one attribute set and prefix never change while the filter lives. `known` is indexed
by attribute id and valid while the set's serial is the one noted. One thread.

RFC 7999: a route with the BLACKHOLE community of a peer that may use it is of kind blackhole, as long as `least`
says at least, and a rule's prefix list matches when it covers it, so a peer blackholes only what it may announce
(section 3.3); of an eBGP peer it is taken by a rule with a prefix list only. It gets NO_EXPORT, so that it stays
here (section 3.2).
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from dpdkrouter.rib.batch cimport be32toh, load_address
from dpdkrouter.rib.enums cimport Verdict
from dpdkrouter.rib.interns cimport attrs_of
from dpdkrouter.rib.packed cimport AS_SEQUENCE, HAS_LOCAL_PREF, HAS_MED, PackedHead, PackedHop
from dpdkrouter.rib.prefixset cimport has_prefix

import struct
from dataclasses import replace

from dpdkrouter.rib.attributes import Attributes, Kind
from dpdkrouter.rib.policy import BLACKHOLE as _BLACKHOLE, Change, Entry, kept_here


cdef enum:
    PATH_SYMBOLS = 20      # SYMBOLS of rib/aspath.py, and its numbers of what is no digit
    PATH_MATCHED = 1
    SYMBOL_SPACE = 10
    SYMBOL_START = 18
    SYMBOL_END = 19

# By AS path segment type - 1: {a,b}, "a b", (a b), [a,b]. A sequence has no ends.
cdef uint8_t[4] SEGMENT_BEGIN = [12, 0, 14, 16]
cdef uint8_t[4] SEGMENT_BETWEEN = [11, 10, 10, 11]
cdef uint8_t[4] SEGMENT_END = [13, 0, 15, 17]


# Where the parts of a packed attribute set begin (packed.pxd).
ctypedef struct Parts:
    PackedHead head
    const uint8_t* path
    const uint8_t* standard
    const uint8_t* large


cdef inline Parts parts_of(const char* packed) noexcept:
    cdef Parts parts
    memcpy(&parts.head, packed, sizeof(PackedHead))
    parts.path = <const uint8_t*>packed + sizeof(PackedHead) + parts.head.hops * sizeof(PackedHop)
    parts.standard = parts.path + parts.head.path_bytes
    parts.large = parts.standard + 4 * <Py_ssize_t>parts.head.communities + 8 * <Py_ssize_t>parts.head.extended
    return parts


cdef inline uint32_t word_at(const uint8_t* place) noexcept:
    cdef uint32_t word
    memcpy(&word, place, 4)
    return be32toh(word)


cdef inline bint within(const Words* words, uint32_t value) noexcept:
    cdef uint32_t low = 0, high = words.size, middle
    while low < high:
        middle = (low + high) >> 1
        if words.items[middle] == value:
            return True
        if words.items[middle] < value:
            low = middle + 1
        else:
            high = middle
    return False


cdef bint any_within(const Words* words, const uint8_t* values, uint32_t count) noexcept:
    cdef uint32_t i
    for i in range(count):
        if within(words, word_at(values + 4 * i)):
            return True
    return False


cdef int fill(Words* words, object values) except -1:
    cdef uint32_t i
    words.items = <uint32_t*>malloc(max(1, len(values)) * sizeof(uint32_t))
    if words.items == NULL:
        raise MemoryError("a policy rule's values need memory")
    for i, value in enumerate(sorted(values)):
        words.items[i] = value
    words.size = len(values)
    return 0


cdef const uint16_t* walk(const uint16_t* state, const uint16_t* steps, uint32_t symbol) noexcept:
    return steps + <uint32_t>state[symbol] * PATH_SYMBOLS


cdef const uint16_t* walk_number(const uint16_t* state, const uint16_t* steps, uint32_t number) noexcept:
    """The digits of an AS number."""
    cdef uint32_t digits[10]
    cdef int i = 0
    while True:
        digits[i] = number % 10
        number //= 10
        i += 1
        if number == 0:
            break
    while i:
        i -= 1
        state = walk(state, steps, digits[i])
    return state


cdef bint path_matches(const uint16_t* steps, const Parts* parts) noexcept:
    """PathExpression.matches (aspath.py) for a packed path: the symbols of its text, one after the other."""
    cdef const uint16_t* state = walk(steps, steps, SYMBOL_START)
    cdef uint32_t at = 0, i, kind, count
    while at < parts.head.path_bytes:
        kind = parts.path[at] - 1
        count = parts.path[at + 1]
        if at:
            state = walk(state, steps, SYMBOL_SPACE)
        if kind != AS_SEQUENCE - 1:
            state = walk(state, steps, SEGMENT_BEGIN[kind])
        for i in range(count):
            if i:
                state = walk(state, steps, SEGMENT_BETWEEN[kind])
            state = walk_number(state, steps, word_at(parts.path + at + 2 + 4 * i))
        if kind != AS_SEQUENCE - 1:
            state = walk(state, steps, SEGMENT_END[kind])
        at += 2 + 4 * count
    return walk(state, steps, SYMBOL_END) == steps + PATH_SYMBOLS * PATH_MATCHED


cdef class _Asked:
    """What one rule asks of attributes: Match (rib/policy.py) for packed sets."""

    def __cinit__(self, match):
        fill(&self.standard, match.communities.standard)
        fill(&self.path_has, match.path_has)
        fill(&self.origin_as, match.origin_as)
        fill(&self.neighbour_as, match.neighbour_as)
        self.large = b"".join([struct.pack("!III", *large) for large in sorted(match.communities.large)])
        self.communities = bool(match.communities)
        self.longer_than = 0xFFFFFFFF if match.longer_than is None else match.longer_than
        self.path_table = b"" if match.path is None else match.path.table
        self.path_steps = <const uint16_t*>PyBytes_AS_STRING(self.path_table) if self.path_table else NULL

    def __dealloc__(self):
        free(self.standard.items)
        free(self.path_has.items)
        free(self.origin_as.items)
        free(self.neighbour_as.items)

    cdef bint holds(self, const AttrRecord* record, const char* packed) noexcept:
        cdef Parts parts = parts_of(packed)
        if self.longer_than != 0xFFFFFFFF and record.path_length <= self.longer_than:
            return False
        if self.neighbour_as.size and not within(&self.neighbour_as, record.neighbour_as):
            return False
        if (self.origin_as.size or self.path_has.size) and not asked_of_path(self, &parts):
            return False
        if self.path_steps != NULL and not path_matches(self.path_steps, &parts):
            return False
        if not self.communities or any_within(&self.standard, parts.standard, parts.head.communities):
            return True
        return shares_large(self.large, parts.large, parts.head.large)


cdef bint shares_large(bytes ours, const uint8_t* theirs, uint32_t count) noexcept:
    cdef const uint8_t* wanted = <const uint8_t*>PyBytes_AS_STRING(ours)
    cdef Py_ssize_t i, j
    for i in range(PyBytes_GET_SIZE(ours) // 12):
        for j in range(count):
            if memcmp(wanted + 12 * i, theirs + 12 * j, 12) == 0:
                return True
    return False


cdef bint asked_of_path(_Asked asked, const Parts* parts) noexcept:
    """Whether the AS path has what is asked for: some AS, and the AS that originated the route."""
    cdef uint32_t at = 0, last = 0, count
    cdef bint found = asked.path_has.size == 0
    while at < parts.head.path_bytes:
        count = parts.path[at + 1]
        last = word_at(parts.path + at + 2 + 4 * (count - 1)) if parts.path[at] == AS_SEQUENCE else 0
        found = found or any_within(&asked.path_has, parts.path + at + 2, count)
        at += 2 + 4 * count
    return found and (asked.origin_as.size == 0 or (last != 0 and within(&asked.origin_as, last)))


cdef class ImportFilter:
    """policy: None is the lack of one, which refuses all."""

    def __cinit__(self, policy, checks):
        rules = policy.rules if policy is not None else ()
        if len(rules) > RULES:
            raise ValueError(f"policy {policy.name} has {len(rules)} rules, allowed: at most {RULES}")
        self.policy, self.checks = policy, checks
        self.bogons, self.own = orlonger(checks.bogons), orlonger(checks.own)
        self.sets = [None if rule.entries is None else PrefixSet(rule.entries) for rule in rules]
        self.asked = [_Asked(rule.match) if rule.match else None for rule in rules]
        self.communities = [(wire(rule.change.remove), wire(rule.change.add)) for rule in rules]
        self.rules = len(rules)
        self.longest[0], self.longest[1] = checks.longest
        self.first_as, self.listed = checks.first_as, checks.blackhole_listed
        self.least[0], self.least[1] = checks.blackhole_least
        self.asks = checks.blackhole or checks.first_as != 0
        self.accepts[<int>Verdict.DEFAULT] = policy is not None and policy.default
        for i, rule in enumerate(rules):
            self.accepts[<int>Verdict.RULE + <int>i] = rule.accept
            self.changes[<int>i] = rule.accept and rule.change != Change()
            if self.asked[i] is None:
                self.always |= <uint64_t>1 << <int>i
            else:
                self.asks = True
            for which in range(2):
                if self.sets[i] is not None:
                    self.lists[<int>which][<int>i] = &(<PrefixSet>self.sets[i]).families[<int>which]

    def __dealloc__(self):
        free(self.known)
        free(self.attrs)
        free(self.verdicts)

    cdef int judge(self, Batch batch, const uint32_t* attrs, uint32_t attr, Interns interns) except -1:
        """Fill `attrs` and `verdicts` for a batch; attrs as Store._apply takes them. Raises before anything changes."""
        cdef int which = 0 if batch.width == 4 else 1
        cdef Known known = Known(self.always, 0, 0, 0)
        cdef uint32_t seen = 0, changed_from = 0, changed_to = 0
        cdef int changed_by = -1, verdict, rule
        cdef uint64_t hi, lo
        cdef Py_ssize_t i
        if batch.size > self.room:
            resize(<void**>&self.attrs, batch.size * sizeof(uint32_t))
            resize(<void**>&self.verdicts, batch.size * sizeof(uint16_t))
            self.room = batch.size
        for i in range(batch.size):
            if attrs != NULL:
                attr = attrs[i]
            self.attrs[i] = attr
            self.verdicts[i] = 0
            if attr == 0:
                continue
            if attr != seen:
                seen = attr
                if self.asks:
                    known = self.look_at(attr, interns)
            load_address(batch.prefixes + i * batch.width, batch.width, &hi, &lo)
            verdict = self.verdict(which, hi, lo, batch.lengths[i], &known)
            self.verdicts[i] = verdict
            rule = verdict - <int>Verdict.RULE
            if not self.accepts[verdict] or not (known.blackhole or (rule >= 0 and self.changes[rule])):
                continue
            if attr != changed_from or rule != changed_by:
                changed_to = self.changed(attr, rule, known.blackhole, interns)
                changed_from, changed_by = attr, rule
            self.attrs[i] = changed_to
        return 0

    cdef int verdict(self, int which, uint64_t hi, uint64_t lo, int length, const Known* known) noexcept:
        cdef uint64_t left = known.rules
        cdef int rule
        if self.policy is None:
            return Verdict.NO_POLICY
        if known.foreign:
            return Verdict.FIRST_AS
        if has_prefix(&self.bogons.families[which], hi, lo, length, True):
            return Verdict.BOGON
        if has_prefix(&self.own.families[which], hi, lo, length, True):
            return Verdict.OWN
        if length > self.longest[which] and not known.blackhole:
            return Verdict.TOO_LONG
        if known.blackhole and length < self.least[which]:
            return Verdict.SHORT_BLACKHOLE
        for rule in range(self.rules):
            if left >> rule & 1 and (
                self.lists[which][rule] == NULL
                or has_prefix(self.lists[which][rule], hi, lo, length,
                              known.blackhole and self.accepts[<int>Verdict.RULE + rule])
            ):
                if known.blackhole and self.listed and self.lists[which][rule] == NULL:
                    return self.unlisted(<int>Verdict.RULE + rule)
                return <int>Verdict.RULE + rule
        return self.unlisted(Verdict.DEFAULT) if known.blackhole and self.listed else Verdict.DEFAULT

    cdef int unlisted(self, int verdict) noexcept:
        """What is said of a blackhole that no prefix list covers: what refuses it anyway, or that."""
        return Verdict.UNLISTED_BLACKHOLE if self.accepts[verdict] else verdict

    cdef Known look_at(self, uint32_t attr, Interns interns) except *:
        """What the rules say of an attribute set, from the notes or worked out now."""
        cdef const AttrRecord* record = &attrs_of(interns)[attr]
        cdef const char* packed
        cdef uint32_t size = max(attr + 1, 2 * self.known_size)
        cdef Known found = Known(self.always, record.serial, 0, 0)
        cdef Parts parts
        cdef Words wanted
        cdef uint32_t blackhole = _BLACKHOLE
        cdef int rule
        if attr >= self.known_size:
            resize(<void**>&self.known, size * sizeof(Known))
            memset(&self.known[self.known_size], 0, (size - self.known_size) * sizeof(Known))
            self.known_size = size
        if self.known[attr].serial == record.serial:
            return self.known[attr]
        packed = PyBytes_AS_STRING(interns.attr_packed[attr])
        found.foreign = self.first_as != 0 and record.neighbour_as != self.first_as
        if self.checks.blackhole:
            parts = parts_of(packed)
            wanted = Words(&blackhole, 1)
            found.blackhole = any_within(&wanted, parts.standard, parts.head.communities)
        for rule in range(self.rules):
            if self.asked[rule] is not None and (<_Asked>self.asked[rule]).holds(record, packed):
                found.rules |= <uint64_t>1 << rule
        self.known[attr] = found
        return found

    cdef uint32_t changed(self, uint32_t attr, int rule, bint blackhole, Interns interns) except 0:
        """The id of the attribute set that a rule makes of another; rule < 0: the policy's default."""
        cdef bytes packed = interns.attr_packed[attr]
        change = self.policy.rules[rule].change if rule >= 0 else Change()
        if blackhole:
            value = kept_here(change.apply(Attributes.unpack(packed)))
            value = replace(value, kind=Kind.BLACKHOLE, next_hops=())
            return interns.intern_packed(value.pack())
        if change.add or change.remove:
            packed = with_communities(packed, self.communities[rule][0], self.communities[rule][1])
        return interns.intern_packed(with_values(packed, change.local_pref, change.med))

    def counts(self):
        """Paths of the origin by verdict, each as (IPv4, IPv6); only those that have some."""
        cdef int verdict
        return {
            self.text(verdict): (self.paths[0][verdict], self.paths[1][verdict])
            for verdict in range(1, <int>Verdict.RULE + self.rules)
            if self.paths[0][verdict] or self.paths[1][verdict]
        }

    def text(self, verdict):
        """A verdict in words."""
        if verdict == Verdict.NO_POLICY:
            return "no import policy (RFC 8212)"
        if verdict == Verdict.FIRST_AS:
            return f"AS path does not begin with the peer's AS {self.checks.first_as} (RFC 4271 6.3)"
        if verdict == Verdict.BOGON:
            return "bogon (RFC 6890)"
        if verdict == Verdict.OWN:
            return "within a prefix of our own ports"
        if verdict == Verdict.TOO_LONG:
            return "longer than /{} (IPv4) or /{} (IPv6)".format(*self.checks.longest)
        if verdict == Verdict.SHORT_BLACKHOLE:
            return "blackhole shorter than /{} (IPv4) or /{} (IPv6)".format(*self.checks.blackhole_least)
        if verdict == Verdict.UNLISTED_BLACKHOLE:
            return "blackhole that no prefix list covers (RFC 7999)"
        if verdict == Verdict.DEFAULT:
            return f"policy {self.policy.name}: default"
        return f"policy {self.policy.name}: rule {self.policy.rules[verdict - Verdict.RULE].name}"


cdef bytes with_values(bytes packed, object local_pref, object med):
    """A packed set with another local preference, MED or both."""
    cdef bytes changed = PyBytes_FromStringAndSize(PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed))
    cdef PackedHead* head = <PackedHead*>PyBytes_AS_STRING(changed)
    if local_pref is not None:
        head.local_pref = local_pref
        head.present |= HAS_LOCAL_PREF
    if med is not None:
        head.med = med
        head.present |= HAS_MED
    return changed


cdef bytes with_communities(bytes packed, tuple gone, tuple added):
    """A packed set without the communities that a change removes, and with those that it adds at the end."""
    cdef Parts parts = parts_of(PyBytes_AS_STRING(packed))
    cdef const char* start = PyBytes_AS_STRING(packed)
    cdef Py_ssize_t standard_at = <const char*>parts.standard - start
    cdef Py_ssize_t extended_at = standard_at + 4 * <Py_ssize_t>parts.head.communities
    cdef Py_ssize_t large_at = <const char*>parts.large - start
    cdef Py_ssize_t clusters_at = large_at + 12 * <Py_ssize_t>parts.head.large
    cdef bytes standard = edited(packed[standard_at:extended_at], 4, gone[0], added[0])
    cdef bytes large = edited(packed[large_at:clusters_at], 12, gone[1], added[1])
    cdef bytes changed = b"".join(
        (packed[:standard_at], standard, packed[extended_at:large_at], large, packed[clusters_at:])
    )
    cdef PackedHead* head = <PackedHead*>PyBytes_AS_STRING(changed)
    if len(standard) > 4 * 65535 or len(large) > 12 * 65535:
        raise ValueError("an attribute set cannot hold more than 65535 communities")
    head.communities = <uint16_t>(len(standard) // 4)
    head.large = <uint16_t>(len(large) // 12)
    return changed


cdef tuple wire(object communities):
    """(standard, large) communities as in packed sets, sorted."""
    return (
        tuple([struct.pack("!I", value) for value in sorted(communities.standard)]),
        tuple([struct.pack("!III", *value) for value in sorted(communities.large)]),
    )


cdef bytes edited(bytes values, Py_ssize_t size, tuple gone, tuple added):
    """Packed communities, each `size` bytes, without those gone, then those added that are not there."""
    cdef list kept = [values[at:at + size] for at in range(0, len(values), size)]
    if gone:
        kept = [value for value in kept if value not in gone]
    kept.extend([value for value in added if value not in kept])
    return b"".join(kept)


cdef PrefixSet orlonger(object prefixes):
    return PrefixSet([Entry(prefix, prefix.prefixlen, prefix.max_prefixlen) for prefix in prefixes])


cdef int resize(void** base, uint64_t size) except -1:
    cdef void* moved = realloc(base[0], size)
    if moved == NULL:
        raise MemoryError(f"an import filter needs {size} bytes")
    base[0] = moved
    return 0
