"""The one writer of a route segment: its life as a file, batches of routes, stale marks, groups, adjacencies,
interfaces.

A batch is one generation (odd while it is applied) and is checked whole before anything of it is applied.
Single writer in the machine: the file's lock. Control thread only; blocks never, but up to 0.2 s in `attach` and
when damage is cut off, for the fast path's lcores to become quiescent. writer.pyx says how a rule goes in and what
a kill leaves.
"""
import contextlib
import logging
import time

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from dpdkrouter.fib.rules cimport home4, home6, is_prefix4, is_prefix6, mask4, mask_hi, mask_lo, rule6
from dpdkrouter.fib.writer cimport (FULL_EXTENDED, FULL_ROUTES4, FULL_ROUTES6, FULL_TRIE, INSERTED, OUTCOMES, REPLACED,
                                    UNCHANGED, WITHDRAWN, Writer)
from fastpath.atomic cimport dr_store_relaxed_64, dr_store_release_32, dr_store_release_64
from fastpath.layout cimport (DR_NAME, DR_ROUTE_MAGIC, DR_ROUTE_VERSION, DR_SOURCE_STALE, dr_part, dr_route_header,
                              dr_rule4)
from fastpath.segment cimport Mapping

from dpdkrouter.errors import SegmentDamagedError, SegmentError, SegmentMissingError
from dpdkrouter.fib.audit import SegmentAudit
from dpdkrouter.fib.carry import carry_over
from dpdkrouter.fib.limits import layout
from dpdkrouter.fib.mend import Mender
from dpdkrouter.fib.records import Applied, Refusal, Source
from fastpath.segment import ROUTE, WRITE, attach, create

log = logging.getLogger("control.fib")

WITHDRAW = 0
"""The group that means: take the route out."""

cdef enum:
    REFUSALS = 100         # listed one by one in Applied
    RECLAIM_EVERY = 256    # retired blocks
    AHEAD = 8              # routes whose memory is asked for before their turn

_KEYS = {FULL_ROUTES4: "max_ipv4_routes", FULL_ROUTES6: "max_ipv6_routes", FULL_EXTENDED: "max_ipv4_extended",
         FULL_TRIE: "ipv6_trie_mib"}

cdef extern from *:
    uint64_t __builtin_bswap64(uint64_t word) noexcept nogil
    void __builtin_prefetch(const void *p, int write, int locality) noexcept nogil


cdef inline uint32_t load4(const uint8_t *p) noexcept nogil:
    return <uint32_t>p[0] << 24 | <uint32_t>p[1] << 16 | <uint32_t>p[2] << 8 | p[3]


cdef inline uint64_t load6(const uint8_t *p) noexcept nogil:
    return __builtin_bswap64((<const uint64_t *>p)[0])


cdef void fill_header(dr_route_header *h, limits, bytes name):
    """Write what never changes; the magic makes the file a segment and comes last."""
    plan = layout(limits)
    h.version, h.header_bytes = DR_ROUTE_VERSION, sizeof(dr_route_header)
    h.segment_bytes, h.readers_bytes, h.layout_id = plan.segment_bytes, plan.readers_bytes, limits.layout_id
    h.max_ipv4_routes, h.max_ipv6_routes = limits.max_ipv4_routes, limits.max_ipv6_routes
    h.max_groups, h.max_adjacencies = limits.max_groups, limits.max_adjacencies
    h.max_ecmp_groups, h.max_ipv4_extended = limits.max_ecmp_groups, limits.max_ipv4_extended
    h.ipv6_trie_bytes = limits.ipv6_trie_mib << 20
    cdef dr_part *at = &h.interfaces    # limits.layout lists the parts as dr_route_header has them
    for i, planned in enumerate(plan.parts.values()):
        at[i].offset, at[i].bytes = planned.offset, planned.bytes
    memcpy(h.name, <const char *>name, min(len(name), DR_NAME - 1))
    h.created_ns = time.time_ns()
    # Above every epoch of an earlier segment: an lcore that still maps that one does not pass for quiescent here.
    h.grace_epoch = time.monotonic_ns()
    dr_store_release_64(&h.magic, DR_ROUTE_MAGIC)


cdef class Fib(Writer):
    """Made by create, attach or open; one per segment in the whole machine, which the file's lock sees to."""

    @classmethod
    def create(cls, path, limits, str name="router", stats_path=None, *, uint32_t grace_queue=65536):
        """Make an empty segment and publish it at `path`, in place of one that nobody writes."""
        with contextlib.suppress(SegmentMissingError, SegmentError):
            attach(path, ROUTE, WRITE, lock=True).close()
        fib = cls._unpublished(path, limits, name, stats_path, grace_queue)
        fib.mapping.publish()
        return fib

    @classmethod
    def _unpublished(cls, path, limits, str name, stats_path, uint32_t grace_queue):
        cdef Mapping mapping = create(path, layout(limits).segment_bytes)
        mapping.lock()
        fill_header(<dr_route_header *>mapping.base, limits, name.encode())
        cdef Fib fib = cls(mapping, stats_path, grace_queue)
        fib.recover()
        return fib

    @classmethod
    def attach(cls, path, stats_path=None, *, uint32_t grace_queue=65536):
        """Become the writer of the segment at `path`, finishing what another writer's death has cut off.

        Tables that contradict themselves are made what the rules say before anything is changed.
        """
        cdef Mapping mapping = attach(path, ROUTE, WRITE, lock=True)
        if not mapping.is_current():
            mapping.close()
            raise SegmentError(f"{path}: was replaced while it was being attached; try again")
        cdef Fib fib = cls(mapping, stats_path, grace_queue)
        try:
            fib._recover_or_mend()
        except BaseException:
            fib.close()
            raise
        return fib

    def _recover_or_mend(self):
        try:
            self.recover()
        except SegmentDamagedError as error:
            log.error("%s; trying to mend it", error)
            self._mend()

    def _mend(self):
        """Cut off what a walk must not follow, learn what is free, then let the tables show the rules again."""
        mender = Mender(self)
        cut = mender.cut()
        self.recover()
        audit = SegmentAudit(self.reader, mender)
        self.mending = True
        while audit.step():
            pass
        self.mending = False
        log.error("%s: %d entries cut off, %d of %d differences mended, the first: %s", self.mapping.path, len(cut),
                  audit.mended, audit.wrong, audit.differences[0] if audit.differences else "none")

    @classmethod
    def open(cls, path, limits, str name="router", stats_path=None, *, uint32_t grace_queue=65536):
        """attach(), or create() when there is none; other limits: a new segment with everything carried over.

        Raises ValueError, and leaves the old segment as it is, when groups or adjacencies in use do not fit.
        Routes that do not fit are counted in `carried_refused`.
        """
        try:
            old = cls.attach(path, stats_path, grace_queue=grace_queue)
        except SegmentMissingError:
            return cls.create(path, limits, name, stats_path, grace_queue=grace_queue)
        new = None
        try:
            if old.reader.limits == limits:
                return old
            new = cls._unpublished(path, limits, name, stats_path, grace_queue)
            carry_over(old, new)
            new.mapping.publish()
        except BaseException:
            if new is not None:
                new.close()
            old.close()
            raise
        old.supersede()
        return new

    def supersede(self) -> None:
        """Say to those who map this segment that another has its name, and let go of it."""
        dr_store_release_64(&self.header.superseded, 1)
        self.close()

    def close(self) -> None:
        """Stop being the writer; the segment stays as it is."""
        if self.mapping.base != NULL:
            self.header.writer_pid = 0
            self.mapping.close()

    def watch(self, stats_path) -> None:
        """From now on the fast path that publishes its stats segment there reads this table.

        None: nobody does.
        """
        self.grace.watch(stats_path)

    def counts(self) -> tuple:
        """(IPv4, IPv6) routes in the table."""
        return self.rules4.count, self.rules6.count

    @property
    def waiting(self) -> int:
        """Blocks that wait for the end of their grace period."""
        return self.grace.count

    def heartbeat(self, uint64_t now_ns) -> None:
        """Say that the writer lives (CLOCK_MONOTONIC), and give memory back whose grace period is over."""
        dr_store_relaxed_64(&self.header.heartbeat_ns, now_ns)
        self.begin()
        if self.grace.count == 0 and (self.table4.left_behind or self.table6.left_behind):
            self.table4.tidy()
            self.table6.tidy()
        self.end()

    # -- batches --

    def apply(self, int family, prefixes, lengths, groups, sources):
        """Insert, replace and withdraw routes, in order, as one generation.

        prefixes: n * 4 or n * 16 bytes, network order; lengths: n bytes; groups: uint16[n] or its bytes, host
        order, WITHDRAW to take a route out; sources: n bytes of Source. ValueError names the first offending
        element, and then nothing was applied. Withdrawing what is not there is `unchanged`.
        """
        if family not in (4, 6):
            raise ValueError(f"family {family}: 4 or 6")
        flat = [memoryview(column).cast("B") for column in (prefixes, lengths, groups, sources)]
        cdef Py_ssize_t n = len(flat[1])
        for name, column, size in zip(("prefixes", "lengths", "groups", "sources"), flat,
                                      (4 if family == 4 else 16, 1, 2, 1)):
            if len(column) != n * size:
                raise ValueError(f"{name}: {len(column)} bytes for {n} routes: {size} bytes each")
        if n == 0:
            return Applied(0, 0, 0, 0, 0, ())
        return self.apply_checked(family, flat[0], flat[1], flat[2].cast("H"), flat[3], n)

    cdef int check_group(self, Py_ssize_t i, uint16_t group, uint8_t source) except -1:
        if group == WITHDRAW:
            return 0
        if not self.hops.in_use(group):
            raise ValueError(f"route {i}: group {group} is not in use")
        if not Source.CONNECTED <= source <= Source.IBGP:
            raise ValueError(f"route {i}: source {source} is none of Source")
        return 0

    cdef int check4(self, const uint8_t[::1] prefixes, const uint8_t[::1] lengths, const uint16_t[::1] groups,
                    const uint8_t[::1] sources, Py_ssize_t n) except -1:
        cdef Py_ssize_t i
        for i in range(n):
            if lengths[i] > 32:
                raise ValueError(f"route {i}: length {lengths[i]}: from 0 to 32")
            if load4(&prefixes[i * 4]) & ~mask4(lengths[i]):
                raise ValueError(f"route {i}: {load4(&prefixes[i * 4]):#010x}/{lengths[i]} has host bits")
            self.check_group(i, groups[i], sources[i])
        return 0

    cdef int check6(self, const uint8_t[::1] prefixes, const uint8_t[::1] lengths, const uint16_t[::1] groups,
                    const uint8_t[::1] sources, Py_ssize_t n) except -1:
        cdef Py_ssize_t i
        for i in range(n):
            if lengths[i] > 128:
                raise ValueError(f"route {i}: length {lengths[i]}: from 0 to 128")
            if (load6(&prefixes[i * 16]) & ~mask_hi(lengths[i])
                    or load6(&prefixes[i * 16 + 8]) & ~mask_lo(lengths[i])):
                shown = bytes(prefixes[i * 16:i * 16 + 16]).hex(":", 2)
                raise ValueError(f"route {i}: {shown}/{lengths[i]} has host bits")
            self.check_group(i, groups[i], sources[i])
        return 0

    cdef object apply_checked(self, int family, const uint8_t[::1] prefixes, const uint8_t[::1] lengths,
                              const uint16_t[::1] groups, const uint8_t[::1] sources, Py_ssize_t n):
        cdef uint64_t counts[OUTCOMES]
        cdef Py_ssize_t i
        cdef int outcome
        if family == 4:
            self.check4(prefixes, lengths, groups, sources, n)
        else:
            self.check6(prefixes, lengths, groups, sources, n)
        for i in range(OUTCOMES):
            counts[i] = 0
        refused = []
        self.begin()
        for i in range(n):
            if i + AHEAD < n:
                self.fetch(family, &prefixes[(i + AHEAD) * (4 if family == 4 else 16)], lengths[i + AHEAD])
            if family == 4:
                if groups[i] == WITHDRAW:
                    outcome = self.withdraw4(load4(&prefixes[i * 4]), lengths[i])
                else:
                    outcome = self.put4(load4(&prefixes[i * 4]), lengths[i], sources[i], groups[i])
            elif groups[i] == WITHDRAW:
                outcome = self.withdraw6(load6(&prefixes[i * 16]), load6(&prefixes[i * 16 + 8]), lengths[i])
            else:
                outcome = self.put6(load6(&prefixes[i * 16]), load6(&prefixes[i * 16 + 8]), lengths[i], sources[i],
                                    groups[i])
            counts[outcome] += 1
            if outcome >= FULL_ROUTES4 and len(refused) < REFUSALS:
                refused.append(self._refusal(i, outcome))
            if self.grace.untagged >= RECLAIM_EVERY:
                self.reclaim()
        self.end()
        return Applied(counts[INSERTED], counts[REPLACED], counts[WITHDRAWN], counts[UNCHANGED],
                       counts[FULL_ROUTES4] + counts[FULL_ROUTES6] + counts[FULL_EXTENDED] + counts[FULL_TRIE],
                       tuple(refused), self._shortages({k: counts[k] for k in _KEYS if counts[k]}))

    cdef void fetch(self, int family, const uint8_t *prefix, int length) noexcept:
        """Ask for the lines that a route will need first; its memory's latency then overlaps with others' work."""
        cdef uint32_t index
        if family == 4:
            index = load4(prefix) >> 8
            __builtin_prefetch(&self.rules4.slot[home4(&self.rules4, load4(prefix), length)], 1, 3)
            __builtin_prefetch(&self.table4.root[index], 1, 3)
            __builtin_prefetch(&self.table4.depth[index], 1, 3)
        else:
            __builtin_prefetch(&self.rules6.slot[home6(&self.rules6, load6(prefix), load6(prefix + 8), length)], 1, 3)

    def _reason(self, int outcome):
        return "grace" if outcome >= FULL_EXTENDED and (self.grace.count != 0 or not self.derived) else "full"

    def _refusal(self, Py_ssize_t index, int outcome):
        return Refusal(index, self._reason(outcome), _KEYS[outcome])

    def _shortages(self, counts):
        return tuple((self._reason(outcome), _KEYS[outcome], n) for outcome, n in counts.items())

    # -- stale marks --

    def mark_stale(self, uint8_t source) -> int:
        """Mark all routes of a source; being applied again clears a route's mark. The number marked."""
        cdef uint64_t i, word
        cdef uint64_t marked = 0
        self.begin()
        for i in range(self.rules4.mask + 1):
            if self.rules4.slot[i].length_plus1 and self.rules4.slot[i].source == source:
                self.rules4.slot[i].source |= DR_SOURCE_STALE
                marked += 1
        for i in range(self.rules6.mask + 1):
            word = self.rules6.slot[i].word
            if word & 0xFF and (word >> 8) & 0xFF == source:
                dr_store_release_64(&self.rules6.slot[i].word, word | <uint64_t>DR_SOURCE_STALE << 8)
                marked += 1
        self.end()
        return marked

    def sweep_stale(self, uint8_t source, uint64_t limit=0xFFFFFFFF) -> int:
        """Withdraw up to `limit` routes of a source that are still marked.

        The number withdrawn (less than limit: all). Damaged rules stay, for the audit to name and to mend.
        """
        cdef uint64_t i
        cdef uint64_t swept = 0
        cdef uint8_t stale = source | DR_SOURCE_STALE
        self.begin()
        for i in range(self.rules4.mask + 1):    # closing a hole moves later rules up: look at the same slot again
            while swept < limit and self.swept4(i, stale):
                swept += 1
        for i in range(self.rules6.mask + 1):
            while swept < limit and self.swept6(i, stale):
                swept += 1
                if self.grace.untagged >= RECLAIM_EVERY:
                    self.reclaim()
        self.end()
        return swept

    cdef bint swept4(self, uint64_t slot, uint8_t stale) except -1:
        """Withdraw the rule in a slot if it is of a source, or leave it; whether it was."""
        cdef dr_rule4 rule = self.rules4.slot[slot]
        return (rule.source == stale and is_prefix4(rule.prefix, rule.length_plus1 - 1)
                and self.withdraw4(rule.prefix, rule.length_plus1 - 1) == WITHDRAWN)

    cdef bint swept6(self, uint64_t slot, uint8_t stale) except -1:
        cdef const rule6 *rule = &self.rules6.slot[slot]
        cdef uint64_t hi = __builtin_bswap64(rule.hi_be)
        cdef uint64_t lo = __builtin_bswap64(rule.lo_be)
        cdef int length = <int>(rule.word & 0xFF) - 1
        return ((rule.word >> 8) & 0xFF == stale and is_prefix6(hi, lo, length)
                and self.withdraw6(hi, lo, length) == WITHDRAWN)

    # -- groups, adjacencies, interfaces: one change each, one generation each --

    def _change(self, operation, *arguments):
        self.begin()
        try:
            if self.hops.collect():
                self.reclaim()
            return operation(*arguments)
        finally:
            self.end()

    def group_create(self, members, backup=()) -> int:
        """A new group of (adjacency, weight) members; TableFullError, ValueError.

        backup: members that a repair (repair.pyx) puts in their place when none of them can be used.
        """
        return self._change(self.hops.create, members, backup)

    def group_update(self, group, members, backup=None) -> None:
        """Other members for a group, by one store, and another backup, or None: the same.

        Flows of members that stay do not move but for fair shares.
        """
        self._change(self.hops.update, group, members, backup)

    def repaired_groups(self) -> list:
        """Groups that a repair has pointed away from their members: to be given the members that they have now."""
        return self.hops.repaired_groups()

    def group_release(self, group) -> None:
        """Give a group back that no route uses (ValueError else)."""
        self._change(self.hops.release, group)

    def groups(self) -> dict:
        """{id: its (adjacency, weight) members, by adjacency} of all groups in use."""
        return {group: self.hops.members(group) for group in self.reader.groups()}

    def group_members(self, group) -> tuple:
        """The (adjacency, weight) members of a group, by adjacency; empty: not in use."""
        return self.hops.members(group)

    def group_routes(self, uint16_t group) -> int:
        """How many routes point to a group."""
        return self.hops.routes[group] if group <= self.header.max_groups else 0

    def adjacency_create(self, value) -> int:
        """The index of a new adjacency; TableFullError, ValueError."""
        return self._change(self.hops.adjacency_create, value)

    def adjacencies(self) -> dict:
        """{index: Adjacency} of all in use."""
        return self.reader.adjacencies()

    def adjacency_set(self, index, value) -> None:
        """Change an adjacency for all groups that have it."""
        self._change(self.hops.adjacency_set, index, value)

    def adjacency_release(self, index) -> None:
        """Give an adjacency back that no group has (ValueError else)."""
        self._change(self.hops.adjacency_release, index)

    def interface_set(self, index, value) -> None:
        """Record port `index` as an Interface, or None: not configured."""
        self._change(self.hops.interface_set, index, value)

    def default_group_set(self, int family, uint32_t group) -> None:
        """Which group is the default route's alone, so that loose uRPF knows that route; 0: none."""
        if family not in (4, 6) or group and not self.hops.in_use(group):
            raise ValueError(f"default route's group {group} of family {family}: not in use")
        dr_store_release_32(&self.header.default_group[family == 6], group)

    # -- for carry.py --

    def restore_groups(self, Fib old) -> None:
        """Take over another segment's adjacencies and groups under the same numbers."""
        self.begin()
        self.hops.copy_from(old.hops)
        memcpy(self.header.default_group, old.header.default_group, sizeof(old.header.default_group))
        self.derive()
        self.end()

    def restore_routes(self, int family, chunk) -> None:
        """apply() of another segment's rules, stale marks and all.

        Those that do not fit, or are damaged, count in carried_refused.
        """
        cdef const uint8_t[::1] prefixes = chunk.prefixes
        cdef const uint8_t[::1] lengths = chunk.lengths
        cdef const uint8_t[::1] sources = chunk.sources
        cdef const uint16_t[::1] groups = memoryview(chunk.groups).cast("H")
        cdef Py_ssize_t i
        cdef int outcome
        self.begin()
        for i in range(len(chunk)):
            if not (self.hops.in_use(groups[i]) and (
                    is_prefix4(load4(&prefixes[i * 4]), lengths[i]) if family == 4
                    else is_prefix6(load6(&prefixes[i * 16]), load6(&prefixes[i * 16 + 8]), lengths[i]))):
                self.carried_refused += 1
                continue
            if family == 4:
                outcome = self.put4(load4(&prefixes[i * 4]), lengths[i], sources[i], groups[i])
            else:
                outcome = self.put6(load6(&prefixes[i * 16]), load6(&prefixes[i * 16 + 8]), lengths[i], sources[i],
                                    groups[i])
            self.carried_refused += outcome >= FULL_ROUTES4
        self.end()
