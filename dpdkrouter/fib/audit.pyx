"""The segment's own check: that what packets follow is what the rules say, entry for entry, in small steps.

Each check is local, so it holds at any moment at which no batch is being applied, and the walk may stop between any
two:
  rules    each is found where the hash looks for it, has a group in use, and all of its range shows it or longer ones
  entries  each shows a rule that is there and covers it, or nothing where nothing covers it
  groups   each group's word and buckets are what its key says
IPv4 entries carry their rule's length, so both directions together are complete. Of the IPv6 trie only its leaves
are known (walk6.pxd): each is compared with the longest rule at its first address, and the trie with the rules at
every address where an answer can change, which is complete too.

Seen from another process a step is repeated until no batch came between (reader.consistent); the writer's own needs
none of that, and may mend (mend.pyx). Nothing is written otherwise. Memory: a megabyte, and 4 bytes an extended block.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from dpdkrouter.fib.reader cimport FibReader
from dpdkrouter.fib.rules cimport cover6, find4, find6, mask4, mask_hi, mask_lo, rule6
from dpdkrouter.fib.walk6 cimport leaf6, leaf6_at, same_root6, word6
from fastpath.atomic cimport dr_load_acquire_16
from fastpath.layout cimport (DR_GROUP_MULTI, DR_IPV4_EXTENDED, DR_IPV6_UNIT, dr_group_key,
                              dr_route_header, dr_rule4)

from collections import Counter

from dpdkrouter.fib.buckets import shares
from dpdkrouter.fib.records import Difference

cdef extern from *:
    uint64_t __builtin_bswap64(uint64_t word) noexcept nogil
    int __builtin_clzll(unsigned long long word) noexcept nogil

cdef enum:
    RULES4 = 0
    ROOT4 = 1
    LENGTHS6 = 2
    RULES6 = 3
    LEAVES6 = 4
    GROUPS = 5
    DONE = 6
    BUCKETS6 = 1 << 16     # of the lengths in use below a /32
    ROOT = 1 << 24
    RULE_WORK = 8          # of a root entry's
    GROUP_WORK = 1000      # of a group of one member
    MULTI_WORK = 30000
    LISTED = 100

STEP = 200_000
"""Work of one step: about a millisecond."""


cdef inline uint64_t bucket6(uint64_t hi) noexcept nogil:
    return (hi >> 32) * <uint64_t>0x9E3779B97F4A7C15 >> 48


cdef class SegmentAudit:
    """One walk over a segment. reader: of it; mender: makes right what is wrong, when given."""

    def __cinit__(self, FibReader reader, mender=None):
        cdef const dr_route_header *h = reader.header
        cdef uint8_t *base = <uint8_t *>reader.mapping.base
        self.reader, self.mender, self.header = reader, mender, h
        self.depth = base + h.ipv4_depth.offset
        self.extended_depth = base + h.ipv4_extended_depth.offset
        self.root6 = <uint32_t *>(base + h.ipv6_root.offset)
        self.trie = base + h.ipv6_trie.offset
        self.units = <uint32_t>(h.ipv6_trie_bytes // DR_IPV6_UNIT)
        self.block_of = <uint32_t *>calloc(h.max_ipv4_extended, sizeof(uint32_t))
        self.lengths6 = <uint64_t *>calloc(2 * BUCKETS6, sizeof(uint64_t))
        if self.block_of == NULL or self.lengths6 == NULL:
            raise MemoryError
        self.differences = []
        self.buckets_of = {}

    def __dealloc__(self):
        free(self.block_of)
        free(self.lengths6)

    def step(self, uint64_t work=STEP) -> bool:
        """Go on for about so much work; whether there is more."""
        cdef place before = self.now
        counts = self.rules, self.entries, self.wrong, len(self.differences)

        def again():
            self.now = before
            self.rules, self.entries, self.wrong = counts[:3]
            del self.differences[counts[3]:]
            self.forward(work)

        if self.mender is None:
            self.reader.consistent(again)
        else:
            self.forward(work)
        return self.now.phase != DONE

    cdef object note(self, int family, uint64_t hi, uint64_t lo, int length, str what):
        """Count a difference, and list it when it is one of the first. IPv4 in lo."""
        self.wrong += 1
        if len(self.differences) < LISTED:
            packed = int(lo).to_bytes(4, "big") if family == 4 else (int(hi) << 64 | int(lo)).to_bytes(16, "big")
            self.differences.append(Difference(family, packed, length, what))

    cdef int forward(self, uint64_t work) except -1:
        """Some of the present phase; the next one begins with the next step."""
        cdef uint64_t end
        if self.mender is not None and not self.safe:
            self._cut()
        if self.now.phase == RULES4:
            end = min(self.now.at + work // RULE_WORK + 1, self.reader.rules4.mask + 1)
            self._rules4(end)
            self._next(end > self.reader.rules4.mask)
        elif self.now.phase == ROOT4:
            end = min(self.now.at + work, <uint64_t>ROOT)
            self._root4(end)
            self._next(end == ROOT)
        elif self.now.phase == LENGTHS6:
            end = min(self.now.at + work // 2 + 1, self.reader.rules6.mask + 1)
            self.count_lengths6(self.now.at, end)
            self.now.at = end
            self._next(end > self.reader.rules6.mask)
        elif self.now.phase == RULES6:
            end = min(self.now.at + work // (8 * RULE_WORK) + 1, self.reader.rules6.mask + 1)
            self._rules6(end)
            self._next(end > self.reader.rules6.mask)
        elif self.now.phase == LEAVES6:
            self._next(self._leaves6(work // (4 * RULE_WORK) + 1))
        elif self.now.phase == GROUPS:
            self._next(self._groups(work))
        return 0

    def _cut(self):
        """Mending puts rules in again, which walks through the table: nothing may lead astray then."""
        self.safe = True
        for family, address, bits in self.mender.cut():
            self.note(family, address >> 64, address & 0xFFFFFFFFFFFFFFFF, bits, "names no node or block of its own")
            self.mended += 1

    def _next(self, bint over):
        if over:
            self.now.phase += 1
            self.now.at = self.now.lo = 0

    # -- IPv4 --

    def _rules4(self, uint64_t end):
        cdef uint32_t where = 0
        cdef uint64_t at
        cdef dr_rule4 rule
        while True:
            with nogil:
                at = self.bad_rule4(self.now.at, end, &where)
            if at == end:
                break
            rule = self.reader.rules4.slot[at]
            self.now.at = at + 1
            if where != 1:
                self.note(4, 0, rule.prefix, min(rule.length_plus1 - 1, 32), "the table does not show this rule")
                if self.mender is not None:
                    self.mended += self.mender.show4(rule.prefix, rule.length_plus1 - 1, rule.group)
            else:
                self.note(4, 0, rule.prefix, min(rule.length_plus1 - 1, 32), "damaged rule")
                if self.mender is not None:
                    self.mended += self.mender.drop4(at)
                    self.now.at = at    # another may have moved there
        self.now.at = end

    cdef uint64_t bad_rule4(self, uint64_t at, uint64_t end, uint32_t *where) noexcept nogil:
        """The first slot in [at, end) whose rule is wrong, or end. where: 1: the rule itself is, 0: the table."""
        cdef dr_rule4 rule
        cdef int length
        for at in range(at, end):
            rule = self.reader.rules4.slot[at]
            if not rule.length_plus1:
                continue
            length = rule.length_plus1 - 1
            self.rules += 1
            where[0] = 1
            if (length > 32 or rule.prefix & ~mask4(length) or not self.in_use(rule.group)
                    or find4(&self.reader.rules4, rule.prefix, length) != <int64_t>at):
                return at
            where[0] = 0
            if not self.shows4(rule.prefix, length):
                return at
        return end

    cdef bint in_use(self, uint16_t group) noexcept nogil:
        cdef const dr_group_key *key = <const dr_group_key *>(<const uint8_t *>self.header
                                                              + self.header.group_keys.offset)
        return 0 < group <= self.header.max_groups and key[group].members != 0

    cdef bint shows4(self, uint32_t prefix, int length) noexcept nogil:
        """Whether every entry in a rule's range shows it or a longer one."""
        cdef const uint16_t *root = self.reader.tables.ipv4_root
        cdef uint32_t first = prefix >> 8
        cdef uint32_t n = <uint32_t>1 << (24 - length) if length <= 24 else 1
        cdef uint32_t index, low = 0, count = 256, i, block
        cdef bint right = True
        if length > 24:
            if not root[first] & DR_IPV4_EXTENDED:
                return False
            low, count = prefix & 0xFF, <uint32_t>1 << (32 - length)
        for index in range(first, first + n):
            if root[index] & DR_IPV4_EXTENDED:
                block = root[index] & ~DR_IPV4_EXTENDED
                if block >= self.header.max_ipv4_extended:
                    continue    # an entry's own fault, to be found there
                for i in range(block * 256 + low, block * 256 + low + count):
                    right = right & (self.extended_depth[i] >= length)
            else:
                right = right & (self.depth[index] >= length)
        return right

    cdef bint owned4(self, uint32_t address, int depth, uint16_t group, int deepest) noexcept nogil:
        """Whether an entry that shows a group, as of a rule of this length, does so by right."""
        cdef int64_t at
        if depth > deepest:
            return False
        at = find4(&self.reader.rules4, address & mask4(depth), depth)
        if at < 0:
            return depth == 0 and group == 0
        return self.reader.rules4.slot[at].group == group

    def _root4(self, uint64_t end):
        cdef uint64_t at
        self.entries += end - self.now.at
        while True:
            with nogil:
                at = self.bad_root4(self.now.at, end)
            if at == end:
                break
            self.now.at = at + 1
            self.note(4, 0, at << 8, 24, "the table shows what no rule says")
            if self.mender is not None:
                self.mended += self.mender.entry4(at, self.owns_block(at))
        self.now.at = end

    cdef uint64_t bad_root4(self, uint64_t at, uint64_t end) noexcept nogil:
        """The first root entry in [at, end) that is wrong, or its block is; or end."""
        cdef const uint16_t *root = self.reader.tables.ipv4_root
        cdef uint64_t seen = ROOT    # the last entry that was right, not extended
        cdef uint16_t entry
        cdef int depth
        for at in range(at, end):
            entry = dr_load_acquire_16(&root[at])
            if entry & DR_IPV4_EXTENDED:
                if not self.block_right(<uint32_t>at, entry & ~DR_IPV4_EXTENDED):
                    return at
                continue
            depth = self.depth[at]
            if (seen != ROOT and root[seen] == entry and self.depth[seen] == depth <= 24
                    and not ((at ^ seen) << 8) & mask4(depth)):
                continue    # of the same rule
            if not self.owned4(<uint32_t>(at << 8), depth, entry, 24):
                return at
            seen = at
        return end

    cdef bint block_right(self, uint32_t index, uint32_t block) noexcept nogil:
        """Whether an extended root entry names a block of its own in which every entry is right."""
        cdef const uint16_t *root = self.reader.tables.ipv4_root
        cdef const uint16_t *entry
        cdef const uint8_t *depth
        cdef uint32_t i, other
        if block >= self.header.max_ipv4_extended:
            return False
        other = self.block_of[block]
        if other and other - 1 != index and root[other - 1] == root[index]:
            return False
        self.block_of[block] = index + 1
        entry = self.reader.tables.ipv4_extended + <uint64_t>block * 256
        depth = self.extended_depth + <uint64_t>block * 256
        for i in range(256):
            if (i and entry[i] == entry[i - 1] and depth[i] == depth[i - 1] <= 32
                    and not (i ^ (i - 1)) & mask4(depth[i])):
                continue
            if not self.owned4(index << 8 | i, depth[i], entry[i], 32):
                return False
        return True

    cdef bint owns_block(self, uint32_t index) noexcept:
        """Whether an extended root entry names a block that is there and that no other entry names."""
        cdef uint16_t entry = self.reader.tables.ipv4_root[index]
        cdef uint32_t block = entry & ~DR_IPV4_EXTENDED
        return (entry & DR_IPV4_EXTENDED and block < self.header.max_ipv4_extended
                and self.block_of[block] == index + 1)

    # -- IPv6 --

    cdef void count_lengths6(self, uint64_t at, uint64_t end) noexcept nogil:
        """Note which lengths there are, those from /32 on by their first 32 bits: few are worth a probe then."""
        cdef uint64_t word
        cdef int length
        for at in range(at, end):
            word = self.reader.rules6.slot[at].word
            if not word & 0xFF:
                continue
            length = <int>(word & 0xFF) - 1
            if length < 32:
                self.short6 |= <uint32_t>1 << length
            elif length <= 128:
                self.lengths6[2 * bucket6(__builtin_bswap64(self.reader.rules6.slot[at].hi_be)) + (length >= 96)] |= \
                    <uint64_t>1 << (length - 32 & 63)

    cdef int64_t rule_at(self, uint64_t hi, uint64_t lo) noexcept nogil:
        """Slot of the longest rule that covers an address, by the lengths that there were when they were counted."""
        cdef const uint64_t *lengths = self.lengths6 + 2 * bucket6(hi)
        cdef int64_t at = self.longest6(lengths[1], 96, hi, lo)
        if at < 0:
            at = self.longest6(lengths[0], 32, hi, lo)
        return at if at >= 0 else self.longest6(self.short6, 0, hi, lo)

    cdef int64_t longest6(self, uint64_t lengths, int base, uint64_t hi, uint64_t lo) noexcept nogil:
        """Slot of the longest rule, of these lengths, that covers an address; -1: none."""
        cdef int length
        cdef int64_t at
        while lengths:
            length = 63 - __builtin_clzll(lengths)
            lengths ^= <uint64_t>1 << length
            length += base
            at = find6(&self.reader.rules6, hi & mask_hi(length), lo & mask_lo(length), length)
            if at >= 0:
                return at
        return -1

    cdef bint right6(self, uint64_t hi, uint64_t lo, const leaf6 *leaf) noexcept nogil:
        """Whether a leaf shows the longest rule at an address, and nothing beyond it.

        When not, all lengths are tried: one may be new.
        """
        if leaf.broken:
            return False
        return (self.shows6(leaf, self.rule_at(hi, lo))
                or self.shows6(leaf, cover6(&self.reader.rules6, hi, lo, 129)))

    cdef bint shows6(self, const leaf6 *leaf, int64_t at) noexcept nogil:
        cdef uint64_t word
        cdef int length
        if at < 0:
            return leaf.word == 0
        word = self.reader.rules6.slot[at].word
        length = <int>(word & 0xFF) - 1
        return leaf.word == word6(length, (word >> 16) & 0xFFFF) and not (
            (leaf.first_hi ^ leaf.last_hi) & mask_hi(length) or (leaf.first_lo ^ leaf.last_lo) & mask_lo(length))

    def _rules6(self, uint64_t end):
        cdef uint64_t where[3]
        cdef uint64_t at
        cdef rule6 *rule
        while True:
            with nogil:
                at = self.bad_rule6(self.now.at, end, where)
            if at == end:
                break
            rule = &self.reader.rules6.slot[at]
            self.now.at = at + 1
            hi, lo = __builtin_bswap64(rule.hi_be), __builtin_bswap64(rule.lo_be)
            if where[0]:
                self.note(6, hi, lo, min((rule.word & 0xFF) - 1, 128), "damaged rule")
                if self.mender is not None:
                    self.mended += self.mender.drop6(at)
                    self.now.at = at
            else:
                self.note(6, hi, lo, (rule.word & 0xFF) - 1, "at an end of this rule the table shows another one")
                if self.mender is not None:
                    self.mended += self.mender.answer6(where[1], where[2])
        self.now.at = end

    cdef uint64_t bad_rule6(self, uint64_t at, uint64_t end, uint64_t *where) noexcept nogil:
        """As bad_rule4. where: whether the rule itself is wrong, and else the address that shows a wrong group."""
        cdef rule6 *rule
        cdef leaf6 leaf
        cdef uint64_t hi, lo, next_hi, next_lo
        cdef int length, edge
        for at in range(at, end):
            rule = &self.reader.rules6.slot[at]
            if not rule.word & 0xFF:
                continue
            length = <int>(rule.word & 0xFF) - 1
            hi, lo = __builtin_bswap64(rule.hi_be), __builtin_bswap64(rule.lo_be)
            self.rules += 1
            where[0] = 1
            if (length > 128 or hi & ~mask_hi(length) or lo & ~mask_lo(length)
                    or not self.in_use((rule.word >> 16) & 0xFFFF)
                    or find6(&self.reader.rules6, hi, lo, length) != <int64_t>at):
                return at
            where[0] = 0
            next_lo = (lo | ~mask_lo(length)) + 1
            next_hi = (hi | ~mask_hi(length)) + (next_lo == 0)
            for edge in range(1 + (next_hi != 0 or next_lo != 0)):
                where[1], where[2] = (next_hi, next_lo) if edge else (hi, lo)
                leaf6_at(self.root6, self.trie, self.units, where[1], where[2], &leaf)
                if not self.right6(where[1], where[2], &leaf):
                    return at
        return end

    def _leaves6(self, uint64_t work):
        """Leaves from where the walk stands; whether that was the last one."""
        cdef uint64_t left = work
        cdef bint wrong
        cdef leaf6 leaf
        cdef uint64_t hi, lo
        while left:
            hi, lo = self.now.at, self.now.lo
            with nogil:
                wrong = self.bad_leaf6(&hi, &lo, &left, &leaf)
            if wrong:
                self.note(6, hi, lo, leaf.bits,
                          "damaged node" if leaf.broken else "the table shows what no rule says")
                if self.mender is not None:
                    self.mended += self.mender.answer6(hi, lo)
            lo = leaf.last_lo + <uint64_t>1
            hi = leaf.last_hi + <uint64_t>(lo == 0)
            self.now.at, self.now.lo = hi, lo
            if hi == 0 and lo == 0:
                return True
        return False

    cdef bint bad_leaf6(self, uint64_t *hi, uint64_t *lo, uint64_t *left, leaf6 *leaf) noexcept nogil:
        """Go on from an address to the first leaf that is wrong, or until the work or the trie ends."""
        while True:
            leaf6_at(self.root6, self.trie, self.units, hi[0], lo[0], leaf)
            self.entries += 1
            left[0] -= 1
            if not self.right6(hi[0], lo[0], leaf):
                return True
            same_root6(self.root6, leaf)
            if not left[0] or leaf.last_hi == leaf.last_lo == ~<uint64_t>0:
                return False
            lo[0] = leaf.last_lo + 1
            hi[0] = leaf.last_hi + (lo[0] == 0)

    # -- groups --

    def _groups(self, int64_t work):
        """Groups from where the walk stands; whether the last one was among them."""
        cdef const dr_group_key *key = <const dr_group_key *>(<const uint8_t *>self.header
                                                              + self.header.group_keys.offset)
        cdef uint64_t group = max(1, self.now.at)
        while group <= self.header.max_groups and work > 0:
            if key[group].members:
                work -= MULTI_WORK if key[group].members > 1 else GROUP_WORK
                what, own = self._group(group, key[group].members)
                if what:
                    self.wrong += 1
                    if len(self.differences) < LISTED:
                        self.differences.append(Difference(0, b"", int(group), what))
                    if self.mender is not None and what != "damaged key":
                        self.mended += self.mender.group(group, own)
            group += 1
        self.now.at = group
        return group > self.header.max_groups

    def _group(self, uint32_t group, int members):
        """(what is wrong with a group, or an empty text; whether its bucket block, if it has one, is its own)."""
        cdef uint32_t word = self.reader.tables.groups[group]
        cdef uint32_t block = word & ~DR_GROUP_MULTI
        weights = {member.adjacency: member.weight for member, _ in self.reader.group_members(group)}
        if len(weights) != members:
            return "damaged key", True
        if any(not self.reader.tables.adjacencies[<uint32_t>index].in_use for index in weights):
            return "a member is not in use", True
        if members == 1:
            wrong = word != next(iter(weights))
            return ("its word is not its only member" if wrong else ""), not wrong
        if not word & DR_GROUP_MULTI or block >= self.header.max_ecmp_groups:
            return "its word names no bucket block", False
        other = self.buckets_of.setdefault(block, group)
        if other != group and self.reader.tables.groups[<uint32_t>other] == word:
            return "its word names another group's bucket block", False
        self.buckets_of[block] = group
        right = Counter(self.reader.bucket_adjacencies(group)) == shares(weights)
        return ("" if right else "its buckets are not its members' shares"), True
