"""Making the readers' part of a segment what its rules say, one wrong place at a time, while packets pass.

The audit calls it where it has found a difference. The rules are believed; a rule that is itself damaged goes (the
RIB brings it again, if it has it). Every answer on the way is the wrong one from before or the right one, except
where a whole IPv6 node was lost: until its rules are in again they are covered by shorter ones. Memory that a damaged
entry named is not given back until the next start. Each method says whether it could (1 or 0: no memory). Control
thread only, between batches.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from dpdkrouter.fib.groups cimport Groups
from dpdkrouter.fib.node6 cimport (entries_of, first_level, node_at, node_base, root_address, runs_of, stands_alone,
                                   starts_of, units_for)
from dpdkrouter.fib.rules cimport close4, close6, cover4, cover6, find4, is_prefix6, mask_hi, mask_lo, rule6
from dpdkrouter.fib.table4 cimport Table4
from dpdkrouter.fib.table6 cimport Table6
from dpdkrouter.fib.walk6 cimport leaf6, leaf6_at, word6
from dpdkrouter.fib.writer cimport Writer
from fastpath.atomic cimport dr_store_release_16, dr_store_release_32, dr_store_release_64
from fastpath.layout cimport DR_GROUP_MULTI, DR_IPV4_EXTENDED, DR_IPV6_CHILD, DR_IPV6_ROOT, DR_IPV6_STRIDE

from dpdkrouter.fib.records import TableFullError

cdef extern from *:
    ctypedef uint64_t u128 "unsigned __int128"
    uint64_t __builtin_bswap64(uint64_t word) noexcept nogil


cdef class Mender:
    """Of the segment that `writer` writes."""

    def __cinit__(self, Writer writer):
        self.writer = writer

    cdef int show4(self, uint32_t prefix, int length, uint16_t group) except -1:
        """Let the table show a rule."""
        cdef Table4 table = self.writer.table4
        cdef uint16_t entry = table.root[prefix >> 8]
        if entry & DR_IPV4_EXTENDED and entry & ~DR_IPV4_EXTENDED >= table.blocks:
            return self.entry4(prefix >> 8, False)
        if not table.fits(prefix, length):
            return 0
        self.writer.begin()
        table.insert(prefix, length, group)
        self.writer.end()
        return 1

    cdef int entry4(self, uint32_t index, bint own_block) except -1:
        """Set a root entry, or each of its block's, to the longest rule that covers it."""
        cdef Table4 table = self.writer.table4
        cdef uint32_t first = 0, n = 1, i
        cdef uint16_t *entry = &table.root[index]
        cdef uint8_t *depth = &table.depth[index]
        cdef int64_t at
        cdef int done = 1
        if own_block:
            first = (entry[0] & ~DR_IPV4_EXTENDED) << 8
            n, entry, depth = 256, table.extended + first, table.extended_depth + first
        self.writer.begin()
        for i in range(n):
            at = cover4(&self.writer.rules4, index << 8 | i, 33 if own_block else 25)
            dr_store_release_16(&entry[i], 0 if at < 0 else self.writer.rules4.slot[at].group & ~DR_IPV4_EXTENDED)
            depth[i] = 0 if at < 0 else self.writer.rules4.slot[at].length_plus1 - 1
        if not own_block:
            done = self.put_within4(index)
        self.writer.end()
        return done

    cdef int put_within4(self, uint32_t index) except -1:
        """Show the rules longer than /24 in a /24 again, the shorter ones first."""
        cdef uint32_t prefix
        cdef int length
        cdef int64_t at
        for length in range(25, 33):
            for prefix in range(index << 8, (index << 8) + 256, 1 << (32 - length)):
                at = find4(&self.writer.rules4, prefix, length)
                if at >= 0:
                    if not self.writer.table4.fits(prefix, length):
                        return 0
                    self.writer.table4.insert(prefix, length, self.writer.rules4.slot[at].group & ~DR_IPV4_EXTENDED)
        return 1

    cdef int drop4(self, uint64_t slot) except -1:
        """Take a damaged rule out of the hash."""
        self.writer.begin()
        close4(&self.writer.rules4, self.writer.journal, slot)
        self.writer.count_rules()
        self.writer.end()
        return 1

    cdef int drop6(self, uint64_t slot) except -1:
        """Take a damaged rule out of the hash."""
        self.writer.begin()
        close6(&self.writer.rules6, self.writer.journal, slot)
        self.writer.count_rules()
        self.writer.end()
        return 1

    cdef int answer6(self, uint64_t hi, uint64_t lo) except -1:
        """Set the leaf that answers for an address to the longest rule that covers all of it, then put those within
        it in again.
        """
        cdef leaf6 leaf
        cdef int length = 129
        cdef int64_t at
        cdef uint32_t value = 0
        leaf6_at(self.writer.table6.root, self.writer.table6.trie, self.writer.table6.arena.units, hi, lo, &leaf)
        while True:
            at = cover6(&self.writer.rules6, leaf.first_hi, leaf.first_lo, length)
            if at < 0:
                length = -1
                break
            length = <int>(self.writer.rules6.slot[at].word & 0xFF) - 1
            if not ((leaf.first_hi ^ leaf.last_hi) & mask_hi(length) or (leaf.first_lo ^ leaf.last_lo)
                    & mask_lo(length)):
                value = word6(length, (self.writer.rules6.slot[at].word >> 16) & 0xFFFF)
                break
        self.writer.begin()
        dr_store_release_32(leaf.at, value)
        cdef int done = self.put_within6(leaf.first_hi, leaf.first_lo, leaf.last_hi, leaf.last_lo, length)
        self.writer.end()
        return done

    cdef int put_within6(self, uint64_t first_hi, uint64_t first_lo, uint64_t last_hi, uint64_t last_lo,
                         int longer) except -1:
        """Show again the rules longer than this that meet a range of addresses. One pass over all rules."""
        cdef uint64_t i, hi, lo, end_hi, end_lo
        cdef rule6 *rule
        cdef int length
        cdef uint32_t leaf
        for i in range(self.writer.rules6.mask + 1):
            rule = &self.writer.rules6.slot[i]
            length = <int>(rule.word & 0xFF) - 1
            hi, lo = __builtin_bswap64(rule.hi_be), __builtin_bswap64(rule.lo_be)
            if length <= longer or not is_prefix6(hi, lo, length):
                continue
            end_hi, end_lo = hi | ~mask_hi(length), lo | ~mask_lo(length)
            if (hi > last_hi or hi == last_hi and lo > last_lo
                    or end_hi < first_hi or end_hi == first_hi and end_lo < first_lo):
                continue
            leaf = word6(length, (rule.word >> 16) & 0xFFFF)
            if not self.writer.table6.prepare(hi, lo, length, leaf):
                return 0
            self.writer.table6.commit(hi, lo, length, leaf)
        return 1

    # -- cutting off what a walk must not follow --

    def cut(self) -> list:
        """Let every entry that names no node or block of its own show its cover: (family, address, bits) of each.

        Until then no walk through the tables is safe: a damaged entry may lead anywhere, also in a circle. The rules
        that are no longer shown are for the audit to bring back. Something cut off: nothing is free until the next
        grace period is over, since an entry may have named what was.
        """
        found = []
        self.writer.begin()
        self.cut4(found)
        self.cut6(found)
        self.cut_groups()
        if found:
            self.writer.withhold()
        dr_store_release_64(&self.writer.header.generation, (self.writer.header.generation | 1) + 1)
        self.writer.settle()
        return found

    cdef int cut4(self, list found) except -1:
        cdef Table4 table = self.writer.table4
        cdef uint8_t[::1] taken = bytearray(table.blocks)
        cdef uint32_t i, block
        cdef int64_t at
        for i in range(1 << 24):
            if not table.root[i] & DR_IPV4_EXTENDED:
                continue
            block = table.root[i] & ~DR_IPV4_EXTENDED
            if block < table.blocks and not taken[block]:
                taken[block] = 1
                continue
            at = cover4(&self.writer.rules4, i << 8, 25)
            dr_store_release_16(&table.root[i], 0 if at < 0 else self.writer.rules4.slot[at].group & ~DR_IPV4_EXTENDED)
            table.depth[i] = 0 if at < 0 else self.writer.rules4.slot[at].length_plus1 - 1
            found.append((4, i << 8, 24))
        return 0

    cdef int cut6(self, list found) except -1:
        cdef uint8_t[::1] taken = bytearray(self.writer.table6.arena.units)
        cdef uint32_t i
        cdef uint64_t hi
        for i in range(DR_IPV6_ROOT):
            if self.writer.table6.root[i] & DR_IPV6_CHILD:
                hi = root_address(i)
                self.cut_under(&self.writer.table6.root[i], first_level(hi), hi, 0, taken, found)
        return 0

    cdef int cut_under(self, uint32_t *at, int level, uint64_t hi, uint64_t lo, uint8_t[::1] taken,
                       list found) except -1:
        """Of the entry at this address that should lead to a node of this level, and of all below it."""
        cdef Table6 table = self.writer.table6
        cdef uint8_t *node = node_at(table.trie, at[0])
        cdef uint32_t *entry = entries_of(node)
        cdef int base = node_base(level)
        cdef int slot, shift = 128 - DR_IPV6_STRIDE - base
        cdef u128 place
        if not table.is_node(at[0], level, &taken[0]):
            self.cut_entry(at, base, hi, lo, found)
            return 0
        memset(&taken[at[0] & ~DR_IPV6_CHILD], 1, units_for(runs_of(node)))
        for slot in range(64):
            if not starts_of(node)[0] >> slot & 1:
                continue
            if entry[0] & DR_IPV6_CHILD:
                place = (<u128>hi << 64 | <u128>lo) + (<u128>slot << shift if shift >= 0 else slot >> -shift)
                if stands_alone(node, slot):
                    self.cut_under(entry, level + 1, <uint64_t>(place >> 64), <uint64_t>place, taken, found)
                else:
                    self.cut_entry(entry, base, <uint64_t>(place >> 64), <uint64_t>place, found)
            entry += 1
        return 0

    cdef int cut_entry(self, uint32_t *at, int bits, uint64_t hi, uint64_t lo, list found) except -1:
        """Show the longest rule that covers all of what follows these bits of an address."""
        cdef int64_t cover = cover6(&self.writer.rules6, hi, lo, bits + 1)
        cdef uint64_t word = 0 if cover < 0 else self.writer.rules6.slot[cover].word
        dr_store_release_32(at, word6(<int>(word & 0xFF) - 1, (word >> 16) & 0xFFFF))
        found.append((6, int(hi) << 64 | int(lo), bits))
        return 0

    cdef int cut_groups(self) except -1:
        """Let a group whose word names no bucket block of its own use its first member."""
        cdef Groups hops = self.writer.hops
        cdef uint8_t[::1] taken = bytearray(self.writer.header.max_ecmp_groups)
        cdef uint32_t i, block
        for i in range(1, self.writer.header.max_groups + 1):
            if not hops.key[i].members or not hops.word[i] & DR_GROUP_MULTI:
                continue
            block = hops.word[i] & ~DR_GROUP_MULTI
            if block >= self.writer.header.max_ecmp_groups or taken[block]:
                dr_store_release_32(&hops.word[i], hops.key[i].member[0].adjacency)
            else:
                taken[block] = 1
        return 0

    cdef int group(self, uint32_t group, bint own_block) except -1:
        """Give a group the word and the buckets that its key says; its first member alone while no block is free."""
        cdef Groups hops = self.writer.hops
        members = hops.members(group)
        try:
            self.writer.begin()
            if not own_block:
                dr_store_release_32(&hops.word[group], members[0][0])
            hops.update(group, members)
        except (TableFullError, ValueError):
            return 0
        finally:
            self.writer.end()
        return 1
