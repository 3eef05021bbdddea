"""One rule at a time: the rule in the hash, the table that the fast path reads, and the journal between them.

Every operation goes: room is made sure of (nothing is published before) -> journal -> rule in the hash ->
table -> journal cleared. The rule comes before the table because a withdrawal finds its cover in the hash,
and so that an operation that a kill has cut off can be done again from its start: each step looks at what is
there and makes it what it should be. `recover` does that on attach; an insertion for which there is no longer
memory is undone instead, and then its table part had not begun. All allocators live in private memory and are
derived by a walk. Base of Fib; control thread only.
"""
import os
import time

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from dpdkrouter.fib.grace cimport RETIRED_EXTENDED, RETIRED_NODE, Grace, retired
from dpdkrouter.fib.groups cimport Groups
from dpdkrouter.fib.reader cimport FibReader, bind_rules4, bind_rules6
from dpdkrouter.fib.rules cimport (close4, close6, cover4, cover6, find4, find6, is_prefix4, is_prefix6, pack, place4,
                                   place6)
from dpdkrouter.fib.table4 cimport Table4
from dpdkrouter.fib.table6 cimport Table6
from fastpath.atomic cimport dr_fence, dr_store_release_32, dr_store_release_64
from fastpath.layout cimport (DR_IPV6_UNIT, DR_JOURNAL_GROUP, DR_JOURNAL_INSERT, DR_JOURNAL_NONE, DR_JOURNAL_WITHDRAW,
                              DR_SOURCE_STALE, dr_journal, dr_route_header, dr_rule4)
from fastpath.segment cimport Mapping

from dpdkrouter.errors import SegmentDamagedError, SegmentError
from dpdkrouter.fib.grace import start_time

cdef enum:
    VAIN_ASKS = 64         # refusals before the lcores are looked at again

RECOVERY_PATIENCE = 0.2
"""Seconds that attaching and cutting damage off wait for lcores; a live one reports within a millisecond."""


cdef class Writer:
    """A mapped route segment and everything that changes it."""

    def __init__(self, Mapping mapping, stats_path=None, uint32_t grace_queue=65536):
        self.mapping = mapping
        self.header = h = <dr_route_header *>mapping.base
        self.journal = <dr_journal *>(mapping.base + h.journal.offset)
        self.grace = Grace(stats_path, grace_queue)
        self.grace.bind(h)
        bind_rules4(&self.rules4, h)
        bind_rules6(&self.rules6, h)
        self.table4 = Table4(h.max_ipv4_extended, self.grace)
        self.table4.bind(<uint16_t *>(mapping.base + h.ipv4_root.offset),
                         <uint16_t *>(mapping.base + h.ipv4_extended.offset), mapping.base + h.ipv4_depth.offset,
                         mapping.base + h.ipv4_extended_depth.offset)
        self.table6 = Table6(h.ipv6_trie_bytes // DR_IPV6_UNIT, self.grace)
        self.table6.bind(<uint32_t *>(mapping.base + h.ipv6_root.offset), mapping.base + h.ipv6_trie.offset)
        self.hops = Groups(h.max_groups, h.max_adjacencies, self.grace)
        self.hops.bind(h)
        self.reader = FibReader(mapping)
        h.writer_start = start_time(os.getpid())
        h.writer_pid = os.getpid()

    # -- recovery and grace periods --

    cdef int recover(self) except -1:
        """Make the state whole, and learn from it what is free."""
        # odd, and another than the last writer's: who reads what that one has left reads again
        dr_store_release_64(&self.header.generation, (self.header.generation | 1) + 2)
        if self.journal.op in (DR_JOURNAL_INSERT, DR_JOURNAL_WITHDRAW) and not self.journal_right():
            raise SegmentError(f"{self.mapping.path}: damaged: the journal names no prefix; remove the file")
        if self.journal.op == DR_JOURNAL_WITHDRAW and self.journal.hole:
            if self.journal.family == 4:
                close4(&self.rules4, self.journal, (self.journal.hole - 1) & self.rules4.mask)
            else:
                close6(&self.rules6, self.journal, (self.journal.hole - 1) & self.rules6.mask)
        elif self.journal.op == DR_JOURNAL_GROUP:
            if not 0 < self.journal.group <= self.header.max_groups:
                raise SegmentError(f"{self.mapping.path}: damaged: the journal names group {self.journal.group}")
            self.hops.redo()
        self.count_rules()
        self.grace.raise_epoch()
        if self.mapping.temporary:    # not published: nobody reads it
            self.derive()
        self.settle()
        if not self.derived:    # an lcore hangs: nothing is free yet, but the tables must be sound
            self.derive()
            self.withhold()
        self.redo()
        self.end()
        return 0

    cdef bint journal_right(self) noexcept:
        """Whether the journal's operation names a prefix, and a group that there can be."""
        cdef dr_journal *j = self.journal
        if j.group > self.header.max_groups:
            return False
        return is_prefix4(<uint32_t>j.lo, j.length) if j.family == 4 else is_prefix6(j.hi, j.lo, j.length)

    cdef int redo(self) except -1:
        """Do the journal's operation again."""
        cdef dr_journal *j = self.journal
        cdef uint32_t op = j.op
        cdef bint old_group = j.old_group != 0    # a replacement: it never needs memory
        cdef uint32_t leaf = <uint32_t>j.length << 16 | j.group
        if op == DR_JOURNAL_WITHDRAW and j.family == 4:
            if self.withdraw4(<uint32_t>j.lo, j.length) == UNCHANGED:
                self.uncover4(<uint32_t>j.lo, j.length)
        elif op == DR_JOURNAL_WITHDRAW:
            if self.withdraw6(j.hi, j.lo, j.length) == UNCHANGED:
                self.uncover6(j.hi, j.lo, j.length)
        elif op == DR_JOURNAL_INSERT and j.family == 4:
            place4(&self.rules4, <uint32_t>j.lo, j.length, j.source, j.group)
            if self.table4.fits(<uint32_t>j.lo, j.length):
                self.table4.insert(<uint32_t>j.lo, j.length, j.group)
            else:
                self.withdraw4(<uint32_t>j.lo, j.length)
        elif op == DR_JOURNAL_INSERT:
            place6(&self.rules6, j.hi, j.lo, j.length, j.source, j.group)
            if old_group:
                self.table6.replace_leaf(j.hi, j.lo, j.length, leaf)
            elif self.table6.prepare(j.hi, j.lo, j.length, leaf):
                self.table6.commit(j.hi, j.lo, j.length, leaf)
            else:
                self.withdraw6(j.hi, j.lo, j.length)
        dr_store_release_32(&j.op, DR_JOURNAL_NONE)
        if op:
            self.count_rules()
        return 0

    cdef void count_rules(self) noexcept:
        """Rules by length, and routes by group."""
        cdef uint64_t i
        cdef dr_rule4 *r4
        cdef uint64_t word
        memset(self.rules4.lengths, 0, sizeof(self.rules4.lengths))
        memset(self.rules6.lengths, 0, sizeof(self.rules6.lengths))
        memset(self.hops.routes, 0, 65536 * sizeof(uint32_t))
        self.rules4.count = self.rules6.count = 0
        for i in range(self.rules4.mask + 1):
            r4 = &self.rules4.slot[i]
            if 0 < r4.length_plus1 <= 33 and r4.group <= self.header.max_groups:
                self.rules4.count += 1
                self.rules4.lengths[r4.length_plus1 - 1] += 1
                self.hops.routes[r4.group] += 1
        for i in range(self.rules6.mask + 1):
            word = self.rules6.slot[i].word
            if 0 < word & 0xFF <= 129 and (word >> 16) & 0xFFFF <= self.header.max_groups:
                self.rules6.count += 1
                self.rules6.lengths[(word & 0xFF) - 1] += 1
                self.hops.routes[(word >> 16) & 0xFFFF] += 1

    cdef int derive(self) except -1:
        """Find what is free, once everything that was ever retired has had its grace period."""
        cdef retired old
        while self.grace.pop(&old):
            pass
        for part, whole in (("ipv4_extended", self.table4.derive()), ("ipv6_trie", self.table6.derive()),
                            ("groups", self.hops.derive())):
            if not whole:
                raise SegmentDamagedError(
                    f"{self.mapping.path}: damaged in {part}; remove the file and start again")
        self.derived = True
        return 0

    cdef int settle(self) except -1:
        """Wait a moment until the lcores have passed a quiescent state and it is known what is free."""
        deadline = time.monotonic() + RECOVERY_PATIENCE
        while not self.derived and time.monotonic() < deadline:
            self.reclaim()
            time.sleep(0.0005)
        return 0

    cdef void withhold(self):
        """Hand nothing out until all that was ever retired has had its grace period: derive() comes then."""
        self.derived = False
        self.table4.free_count = 0
        self.table6.arena.forget()
        self.hops.free_groups, self.hops.free_buckets, self.hops.free_adjacencies = [], [], []
        self.grace.raise_epoch()

    cdef int reclaim(self) except -1:
        """Give back what no lcore can hold any more."""
        cdef retired old
        if self.mending or self.grace.count == 0 and self.derived:
            return 0
        self.grace.look()
        if not self.derived:
            if self.grace.passed >= self.header.grace_epoch:
                self.derive()
            return 0
        while self.grace.pop(&old):
            self.in_vain = 0
            if old.kind == RETIRED_EXTENDED:
                self.table4.release(old.what)
            elif old.kind == RETIRED_NODE:
                self.table6.release(old.what)
            else:
                self.hops.release_retired(old.kind, old.what)
        return 0

    cdef bint reclaim_for_more(self) except *:
        """Called when something did not fit.

        Whether it is worth another try. Looks at the lcores now and then only.
        """
        if self.grace.count == 0 and self.derived:
            return False
        self.in_vain += 1
        if self.in_vain % VAIN_ASKS != 1:
            return False
        self.reclaim()
        return True

    cdef int begin(self) except -1:
        if self.mapping.base == NULL:
            raise SegmentError(f"{self.mapping.path}: closed")
        dr_store_release_64(&self.header.generation, self.header.generation | 1)
        dr_fence()
        return 0

    cdef int end(self) except -1:
        cdef dr_route_header *h = self.header
        self.reclaim()
        h.ipv4_routes, h.ipv6_routes = self.rules4.count, self.rules6.count
        if self.derived:
            h.used_groups = h.max_groups - len(self.hops.free_groups)
            h.used_adjacencies = h.max_adjacencies - len(self.hops.free_adjacencies)
            h.used_ecmp_groups = h.max_ecmp_groups - self.hops.free_blocks()
            h.used_ipv4_extended = h.max_ipv4_extended - self.table4.free_count
            h.used_ipv6_trie_bytes = <uint64_t>self.table6.arena.used * DR_IPV6_UNIT
        dr_store_release_64(&h.generation, (h.generation | 1) + 1)
        return 0

    # -- one rule --

    cdef void log4(self, uint32_t op, uint32_t prefix, int length, uint8_t source, uint16_t group,
                   uint16_t old_group) noexcept:
        self.log6(op, 0, prefix, length, source, group, old_group, 4)

    cdef void log6(self, uint32_t op, uint64_t hi, uint64_t lo, int length, uint8_t source, uint16_t group,
                   uint16_t old_group, uint8_t family=6) noexcept:
        """Write the operation down; old_group: that of the rule that is replaced."""
        cdef dr_journal *j = self.journal
        j.family, j.length, j.source, j.group, j.old_group = family, <uint8_t>length, source, group, old_group
        j.hole, j.hi, j.lo = 0, hi, lo
        dr_store_release_32(&j.op, op)

    cdef int put4(self, uint32_t prefix, int length, uint8_t source, uint16_t group) except -1:
        """Insert or replace one IPv4 rule; the outcome."""
        cdef int64_t found = find4(&self.rules4, prefix, length)
        cdef dr_rule4 old
        if found >= 0:
            old = self.rules4.slot[found]
            if old.group == group:    # a new source, or no longer stale
                dr_store_release_64(&self.rules4.slot[found], prefix | pack(length, source, group) << 32)
                return UNCHANGED if (old.source & ~DR_SOURCE_STALE) == (source & ~DR_SOURCE_STALE) else REPLACED
            self.hops.routes[old.group] -= 1
        elif self.rules4.count >= self.rules4.limit:
            return FULL_ROUTES4
        elif not self.table4.fits(prefix, length):
            if not self.reclaim_for_more() or not self.table4.fits(prefix, length):
                return FULL_EXTENDED
        self.log4(DR_JOURNAL_INSERT, prefix, length, source, group, old.group if found >= 0 else 0)
        place4(&self.rules4, prefix, length, source, group)
        self.table4.insert(prefix, length, group)
        dr_store_release_32(&self.journal.op, DR_JOURNAL_NONE)
        self.hops.routes[group] += 1
        return REPLACED if found >= 0 else INSERTED

    cdef int withdraw4(self, uint32_t prefix, int length) except -1:
        cdef int64_t found = find4(&self.rules4, prefix, length)
        if found < 0:
            return UNCHANGED
        self.hops.routes[self.rules4.slot[found].group] -= 1
        self.log4(DR_JOURNAL_WITHDRAW, prefix, length, 0, 0, 0)
        close4(&self.rules4, self.journal, found)
        self.rules4.count -= 1
        self.rules4.lengths[length] -= 1
        self.uncover4(prefix, length)
        dr_store_release_32(&self.journal.op, DR_JOURNAL_NONE)
        return WITHDRAWN

    cdef void uncover4(self, uint32_t prefix, int length) noexcept:
        """Show the covering rule where a withdrawn one was shown."""
        cdef int64_t cover = cover4(&self.rules4, prefix, length)
        if cover < 0:
            self.table4.withdraw(prefix, length, 0, 0)
        else:
            self.table4.withdraw(prefix, length, self.rules4.slot[cover].group,
                                 self.rules4.slot[cover].length_plus1 - 1)

    cdef int put6(self, uint64_t hi, uint64_t lo, int length, uint8_t source, uint16_t group) except -1:
        """Insert or replace one IPv6 rule; the outcome."""
        cdef int64_t found = find6(&self.rules6, hi, lo, length)
        cdef uint32_t leaf = <uint32_t>length << 16 | group
        if found >= 0:
            return self.replace6(found, hi, lo, length, source, group)
        if self.rules6.count >= self.rules6.limit:
            return FULL_ROUTES6
        if not self.table6.prepare(hi, lo, length, leaf):
            if not self.reclaim_for_more() or not self.table6.prepare(hi, lo, length, leaf):
                return FULL_TRIE
        self.log6(DR_JOURNAL_INSERT, hi, lo, length, source, group, 0)
        place6(&self.rules6, hi, lo, length, source, group)
        self.table6.commit(hi, lo, length, leaf)
        dr_store_release_32(&self.journal.op, DR_JOURNAL_NONE)
        self.hops.routes[group] += 1
        return INSERTED

    cdef int replace6(self, int64_t found, uint64_t hi, uint64_t lo, int length, uint8_t source,
                      uint16_t group) except -1:
        cdef uint64_t old = self.rules6.slot[found].word
        cdef uint16_t old_group = (old >> 16) & 0xFFFF
        if old_group == group:    # a new source, or no longer stale
            dr_store_release_64(&self.rules6.slot[found].word, pack(length, source, group))
            return UNCHANGED if <uint8_t>(old >> 8) & ~DR_SOURCE_STALE == source & ~DR_SOURCE_STALE else REPLACED
        self.log6(DR_JOURNAL_INSERT, hi, lo, length, source, group, old_group)
        place6(&self.rules6, hi, lo, length, source, group)
        self.table6.replace_leaf(hi, lo, length, <uint32_t>length << 16 | group)
        dr_store_release_32(&self.journal.op, DR_JOURNAL_NONE)
        self.hops.routes[group] += 1
        self.hops.routes[old_group] -= 1
        return REPLACED

    cdef int withdraw6(self, uint64_t hi, uint64_t lo, int length) except -1:
        cdef int64_t found = find6(&self.rules6, hi, lo, length)
        if found < 0:
            return UNCHANGED
        self.hops.routes[(self.rules6.slot[found].word >> 16) & 0xFFFF] -= 1
        self.log6(DR_JOURNAL_WITHDRAW, hi, lo, length, 0, 0, 0)
        close6(&self.rules6, self.journal, found)
        self.rules6.count -= 1
        self.rules6.lengths[length] -= 1
        self.uncover6(hi, lo, length)
        dr_store_release_32(&self.journal.op, DR_JOURNAL_NONE)
        return WITHDRAWN

    cdef void uncover6(self, uint64_t hi, uint64_t lo, int length) noexcept:
        cdef int64_t cover = cover6(&self.rules6, hi, lo, length)
        cdef uint64_t word
        cdef uint32_t leaf = 0
        if cover >= 0:
            word = self.rules6.slot[cover].word
            leaf = <uint32_t>((word & 0xFF) - 1) << 16 | <uint32_t>(word >> 16) & 0xFFFF
        self.table6.withdraw(hi, lo, length, leaf)
