"""Read-only use of a route segment by anybody: look an address up both ways, walk the rules, decode groups.

Readers here take no part in grace periods: they copy, and compare the generation before and after (a seqlock;
odd: a batch is being applied). When the writer is gone for good, what stands there is read as it is.
The table side of a lookup is the fast path's own code. Any process that may open the file; one thread an
object.
"""
import time
from ipaddress import IPv4Network, IPv6Network

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from dpdkrouter.fib.rules cimport cover4, cover6, find4, find6, home4, home6, rule6, rules4, rules6
from fastpath.atomic cimport dr_fence, dr_load_acquire_32, dr_load_acquire_64, dr_load_relaxed_64
from fastpath.layout cimport (DR_ACTION_SHIFT, DR_IF_NEIGHBORS_FULL, DR_MAX_PORTS, DR_PORT_SHIFT, DR_SOURCE_STALE,
                              dr_adjacency, dr_group_key, dr_interface, dr_route_header, dr_rule4)
from fastpath.lookup4 cimport lookup4, lookup4_burst
from fastpath.lookup6 cimport lookup6, lookup6_burst
from fastpath.segment cimport Mapping
from fastpath.tables cimport group_adjacency, tables_bind

from dpdkrouter.errors import SegmentError
from dpdkrouter.fib.grace import start_time
from dpdkrouter.fib.limits import Limits
from dpdkrouter.fib.records import Action, Adjacency, Interface, Lookup, Member, RouteChunk, Source, Use
from fastpath.segment import ROUTE, WHOLE, attach

cdef extern from *:
    uint32_t __builtin_bswap32(uint32_t word) noexcept nogil
    uint64_t __builtin_bswap64(uint64_t word) noexcept nogil

cdef enum:
    BURST = 64


cdef int log2_of(uint64_t slots) noexcept:
    cdef int bits = 0
    while (<uint64_t>1 << bits) < slots:
        bits += 1
    return bits


cdef void bind_rules4(rules4 *rules, const dr_route_header *header) noexcept:
    """Point into the segment; every length counts as in use until somebody has counted."""
    cdef uint64_t slots = header.ipv4_rules.bytes // sizeof(dr_rule4)
    rules.slot = <dr_rule4 *>(<uint8_t *>header + header.ipv4_rules.offset)
    rules.mask, rules.shift, rules.limit = slots - 1, 64 - log2_of(slots), header.max_ipv4_routes
    for length in range(33):
        rules.lengths[length] = 1


cdef void bind_rules6(rules6 *rules, const dr_route_header *header) noexcept:
    cdef uint64_t slots = header.ipv6_rules.bytes // sizeof(rule6)
    rules.slot = <rule6 *>(<uint8_t *>header + header.ipv6_rules.offset)
    rules.mask, rules.shift, rules.limit = slots - 1, 64 - log2_of(slots), header.max_ipv6_routes
    for length in range(129):
        rules.lengths[length] = 1


cdef class FibReader:
    """A whole route segment, mapped read-only (or the writer's own mapping).

    patience: seconds to wait for a batch to end before SegmentError says that the writer never pauses.
    """

    def __init__(self, Mapping mapping, double patience=5.0):
        self.mapping = mapping
        self.patience = patience
        self.header = <const dr_route_header *>mapping.base
        tables_bind(&self.tables, mapping.base)
        bind_rules4(&self.rules4, self.header)
        bind_rules6(&self.rules6, self.header)

    @classmethod
    def open(cls, path, double patience=5.0):
        """Map the segment at `path`; errors as segment.attach raises them."""
        return cls(attach(path, ROUTE, WHOLE), patience)

    def close(self) -> None:
        self.mapping.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    # -- the header --

    @property
    def limits(self):
        """The maxima that the segment was made for; SegmentError when they are not those."""
        h = self.header
        try:
            found = Limits(h.max_ipv4_routes, h.max_ipv6_routes, h.max_groups, h.max_adjacencies, h.max_ecmp_groups,
                           h.max_ipv4_extended, h.ipv6_trie_bytes >> 20)
        except ValueError as error:
            raise SegmentError(f"{self.mapping.path}: damaged: {error}; remove the file") from error
        if found.layout_id != h.layout_id:
            raise SegmentError(f"{self.mapping.path}: damaged: made for other maxima than {found}; remove the file")
        return found

    @property
    def name(self) -> str:
        return bytes(self.header.name[:16]).rstrip(b"\0").decode()

    @property
    def generation(self) -> int:
        return dr_load_acquire_64(&self.header.generation)

    @property
    def grace_epoch(self) -> int:
        """What an lcore that holds nothing from the table stores as its quiescent word."""
        return dr_load_acquire_64(&self.header.grace_epoch)

    @property
    def heartbeat_ns(self) -> int:
        return dr_load_acquire_64(&self.header.heartbeat_ns)

    def default_group(self, int family) -> int:
        """The group that the family's default route alone has; 0: none."""
        return dr_load_acquire_32(&self.header.default_group[family == 6])

    @property
    def writer_pid(self) -> int:
        """Process that writes the segment; 0: nobody does, or it is gone."""
        pid = self.header.writer_pid
        return pid if pid and start_time(pid) == self.header.writer_start else 0

    @property
    def superseded(self) -> bool:
        """Whether a new file has taken this one's name: open that."""
        return dr_load_acquire_64(&self.header.superseded) != 0

    def use(self) -> dict:
        """How full each part is, as of the last batch.

        {part: Use}, routes, groups and so on as counts, the trie in bytes.
        """
        h = self.header
        return {
            "ipv4_routes": Use(h.ipv4_routes, h.max_ipv4_routes, "max_ipv4_routes"),
            "ipv6_routes": Use(h.ipv6_routes, h.max_ipv6_routes, "max_ipv6_routes"),
            "groups": Use(h.used_groups, h.max_groups, "max_groups"),
            "adjacencies": Use(h.used_adjacencies, h.max_adjacencies, "max_adjacencies"),
            "ecmp_groups": Use(h.used_ecmp_groups, h.max_ecmp_groups, "max_ecmp_groups"),
            "ipv4_extended": Use(h.used_ipv4_extended, h.max_ipv4_extended, "max_ipv4_extended"),
            "ipv6_trie": Use(h.used_ipv6_trie_bytes, h.ipv6_trie_bytes, "ipv6_trie_mib"),
        }

    # -- consistent reading --

    def consistent(self, read):
        """read() between two looks at the generation that agree; retried until they do."""
        deadline = time.monotonic() + self.patience
        while True:
            before = dr_load_acquire_64(&self.header.generation)
            if not before & 1 or not self.writer_pid:
                dr_fence()
                try:
                    value = read()
                except ValueError:    # half of one rule and half of another, unless nothing has changed
                    if dr_load_acquire_64(&self.header.generation) == before:
                        raise
                    continue
                dr_fence()
                if dr_load_acquire_64(&self.header.generation) == before:
                    return value
            if time.monotonic() > deadline:
                raise SegmentError(f"{self.mapping.path}: the writer was busy for {self.patience:g} s; try again")
            time.sleep(0.0005)

    # -- lookups --

    def lookup(self, address):
        """One address (IPv4Address or IPv6Address) looked up by the fast path's code and among the rules."""
        cdef int family = address.version
        value = int(address)
        cdef uint64_t hi = value >> 64
        cdef uint64_t lo = value & 0xFFFFFFFFFFFFFFFF

        def read():
            rule = self.find_rule(family, hi, lo)
            table_group = lookup4(&self.tables, <uint32_t>lo) if family == 4 else lookup6(&self.tables, hi, lo)
            if rule is None:
                return Lookup(None, 0, False, 0, table_group, self.group_members(table_group))
            prefix, source, group = rule
            return Lookup(prefix, source & ~DR_SOURCE_STALE, bool(source & DR_SOURCE_STALE), group, table_group,
                          self.group_members(group))
        return self.consistent(read)

    cdef object find_rule(self, int family, uint64_t hi, uint64_t lo):
        """(prefix, source, group) of the longest rule that covers an address, or None."""
        cdef int64_t at
        cdef rule6 *rule
        if family == 4:
            at = cover4(&self.rules4, <uint32_t>lo, 33)
            if at < 0:
                return None
            length = self.rules4.slot[at].length_plus1 - 1
            return (IPv4Network((self.rules4.slot[at].prefix, length), strict=False), self.rules4.slot[at].source,
                    self.rules4.slot[at].group)
        at = cover6(&self.rules6, hi, lo, 129)
        if at < 0:
            return None
        rule = &self.rules6.slot[at]
        prefix = int(__builtin_bswap64(rule.hi_be)) << 64 | int(__builtin_bswap64(rule.lo_be))
        length = max(0, int(rule.word & 0xFF) - 1)
        return (IPv6Network((prefix, length), strict=False), (rule.word >> 8) & 0xFF, (rule.word >> 16) & 0xFFFF)

    def table_groups(self, int family, addresses, int burst=BURST) -> bytes:
        """Groups (uint16[n], host order) of packed addresses (network order), by the fast path's burst code.

        Each answer is of one moment, as for a packet; all of them are not. burst: 1 to 64 addresses a call.
        """
        if family not in (4, 6) or not 1 <= burst <= BURST:
            raise ValueError(f"family {family}, burst {burst}: family 4 or 6, burst from 1 to {BURST}")
        view = memoryview(addresses).cast("B")
        size = 4 if family == 4 else 16
        if len(view) % size:
            raise ValueError(f"{len(view)} bytes of addresses: not a multiple of {size}")
        cdef Py_ssize_t n = len(view) // size
        out = bytearray(2 * n)
        if n:
            if family == 4:
                self._burst4(view, out, n, burst)
            else:
                self._burst6(view, out, n, burst)
        return bytes(out)

    def _burst4(self, const uint8_t[::1] view, uint8_t[::1] out, Py_ssize_t n, int burst):
        cdef uint32_t dst[BURST]
        cdef Py_ssize_t done = 0
        cdef int i, part
        cdef const uint8_t *a
        with nogil:
            while done < n:
                part = burst if n - done > burst else <int>(n - done)
                for i in range(part):
                    a = &view[(done + i) * 4]
                    dst[i] = <uint32_t>a[0] << 24 | <uint32_t>a[1] << 16 | <uint32_t>a[2] << 8 | a[3]
                lookup4_burst(&self.tables, dst, <uint16_t *>&out[done * 2], part)
                done += part

    def _burst6(self, const uint8_t[::1] view, uint8_t[::1] out, Py_ssize_t n, int burst):
        cdef uint64_t hi[BURST]
        cdef uint64_t lo[BURST]
        cdef Py_ssize_t done = 0
        cdef int i, part
        cdef const uint64_t *a
        with nogil:
            while done < n:
                part = burst if n - done > burst else <int>(n - done)
                for i in range(part):
                    a = <const uint64_t *>&view[(done + i) * 16]
                    hi[i] = __builtin_bswap64(a[0])
                    lo[i] = __builtin_bswap64(a[1])
                lookup6_burst(&self.tables, hi, lo, <uint16_t *>&out[done * 2], part)
                done += part

    # -- groups and adjacencies --

    cdef object group_members(self, int group):
        cdef const dr_group_key *key
        if not 0 < group <= <int>self.header.max_groups:
            return ()
        key = <const dr_group_key *>(<uint8_t *>self.mapping.base + self.header.group_keys.offset) + group
        members = [Member(key.member[i].adjacency, key.member[i].weight) for i in range(min(key.members, 64))]
        return tuple((m, self.adjacency(m.adjacency)) for m in members if m.adjacency <= self.header.max_adjacencies)

    def group(self, int group) -> tuple:
        """((Member, Adjacency), ...) of a group; empty when it is not in use."""
        return self.consistent(lambda: self.group_members(group))

    def groups(self) -> list:
        """Ids of all groups in use."""
        cdef const dr_group_key *key = <const dr_group_key *>(<uint8_t *>self.mapping.base
                                                              + self.header.group_keys.offset)
        return [i for i in range(1, self.header.max_groups + 1) if key[i].members]

    def adjacencies(self) -> dict:
        """{index: Adjacency} of all in use."""
        return {i: self.adjacency(i) for i in range(1, self.header.max_adjacencies + 1)
                if self.tables.adjacencies[i].in_use}

    def adjacency(self, uint32_t index):
        """One adjacency, decoded."""
        if index > self.header.max_adjacencies:
            raise ValueError(f"adjacency {index}: from 0 to {self.header.max_adjacencies}")
        cdef const dr_adjacency *a = &self.tables.adjacencies[index]
        cdef uint64_t dst = dr_load_acquire_64(&a.dst)
        cdef uint64_t src = dr_load_acquire_64(&a.src)
        size = {4: 4, 6: 16}.get(a.family, 0)
        return Adjacency(Action(int(dst >> DR_ACTION_SHIFT)), int(dst >> DR_PORT_SHIFT) & 0xFF,
                         int(dst).to_bytes(8, "little")[:6], int(src).to_bytes(8, "little")[:6],
                         a.mtu, bytes(a.nexthop[:size]))

    def bucket_adjacencies(self, uint16_t group) -> list:
        """What group_adjacency gives for each of the 256 values of a flow hash's top byte."""
        if group > self.header.max_groups:
            raise ValueError(f"group {group}: from 0 to {self.header.max_groups}")
        return [group_adjacency(&self.tables, group, <uint32_t>bucket << 24) for bucket in range(256)]

    def interfaces(self) -> dict:
        """{port: Interface} of the configured ones."""
        found = {}
        cdef const dr_interface *i
        for port in range(DR_MAX_PORTS):
            i = &self.tables.interfaces[port]
            flags = dr_load_acquire_32(&i.flags)
            if flags:
                ipv4 = int(i.ipv4_be).to_bytes(4, "little")
                ipv6, local = bytes(i.ipv6[:16]), bytes(i.ipv6_link_local[:16])
                found[port] = Interface(bytes(i.name[:16]).rstrip(b"\0").decode(), i.mtu, ipv4 if any(ipv4) else b"",
                                        ipv6 if any(ipv6) else b"", local if any(local) else b"",
                                        flags & DR_IF_NEIGHBORS_FULL != 0)
        return found

    # -- rules --

    def routes(self, int family, after=None, Py_ssize_t limit=65536):
        """A RouteChunk: the rules at about `limit` places of the hash. Go on with after=chunk.after until
        that is None.

        A rule that is there during the whole walk is in exactly one chunk, whatever else changes meanwhile.
        """
        cdef uint64_t start = 0 if after is None else after
        cdef uint64_t slots = self.rules4.mask + 1 if family == 4 else self.rules6.mask + 1
        if family not in (4, 6) or limit < 1 or start >= slots:
            raise ValueError(f"routes of family {family} after {after}, limit {limit}: out of range")
        cdef uint64_t end = min(slots, start + <uint64_t>limit)
        columns = self.consistent(lambda: self._chunk(family, start, end))
        return RouteChunk(*columns, int(end) if end < slots else None)

    def _chunk(self, int family, uint64_t start, uint64_t end):
        """Packed columns of the rules whose home is in [start, end)."""
        cdef Py_ssize_t n = (self.fill4(start, end, 0, NULL, NULL, NULL, NULL) if family == 4
                             else self.fill6(start, end, 0, NULL, NULL, NULL, NULL))
        prefixes, lengths, groups, sources = bytes(n * (4 if family == 4 else 16)), bytes(n), bytes(n * 2), bytes(n)
        cdef uint8_t *to_prefix = <uint8_t *>PyBytes_AS_STRING(prefixes)
        cdef uint8_t *to_length = <uint8_t *>PyBytes_AS_STRING(lengths)
        cdef uint16_t *to_group = <uint16_t *>PyBytes_AS_STRING(groups)
        cdef uint8_t *to_source = <uint8_t *>PyBytes_AS_STRING(sources)
        with nogil:
            if family == 4:
                self.fill4(start, end, n, to_prefix, to_length, to_group, to_source)
            else:
                self.fill6(start, end, n, to_prefix, to_length, to_group, to_source)
        return prefixes, lengths, groups, sources

    cdef Py_ssize_t fill4(self, uint64_t start, uint64_t end, Py_ssize_t room, uint8_t *prefixes, uint8_t *lengths,
                          uint16_t *groups, uint8_t *sources) noexcept nogil:
        """Rules whose home is in [start, end), the first `room` of them copied; how many there are.

        They stand there or in the cluster that goes on behind.
        """
        cdef uint64_t i, home
        cdef uint64_t mask = self.rules4.mask
        cdef Py_ssize_t n = 0
        cdef dr_rule4 rule
        for i in range(mask + 1):
            rule = self.rules4.slot[(start + i) & mask]
            if rule.length_plus1:
                home = home4(&self.rules4, rule.prefix, rule.length_plus1 - 1)
                if ((home - start) & mask) < end - start:
                    if n < room:
                        (<uint32_t *>prefixes)[n] = __builtin_bswap32(rule.prefix)
                        lengths[n], groups[n], sources[n] = rule.length_plus1 - 1, rule.group, rule.source
                    n += 1
            elif start + i >= end:
                break
        return n

    cdef Py_ssize_t fill6(self, uint64_t start, uint64_t end, Py_ssize_t room, uint8_t *prefixes, uint8_t *lengths,
                          uint16_t *groups, uint8_t *sources) noexcept nogil:
        """fill4 for IPv6."""
        cdef uint64_t i, home
        cdef uint64_t mask = self.rules6.mask
        cdef Py_ssize_t n = 0
        cdef rule6 *rule
        cdef int length
        for i in range(mask + 1):
            rule = &self.rules6.slot[(start + i) & mask]
            length = <int>(rule.word & 0xFF) - 1
            if length >= 0:
                home = home6(&self.rules6, __builtin_bswap64(rule.hi_be), __builtin_bswap64(rule.lo_be), length)
                if ((home - start) & mask) < end - start:
                    if n < room:
                        memcpy(prefixes + n * 16, rule, 16)
                        lengths[n], groups[n] = <uint8_t>length, (rule.word >> 16) & 0xFFFF
                        sources[n] = (rule.word >> 8) & 0xFF
                    n += 1
            elif start + i >= end:
                break
        return n

    def groups_of(self, int family, prefixes, lengths) -> tuple:
        """(groups, uint16[n]; sources, uint8[n], bit 7: stale) of the rules with exactly these prefixes; 0: none."""
        cdef const uint8_t[::1] packed = memoryview(prefixes).cast("B")
        cdef const uint8_t[::1] length = memoryview(lengths).cast("B")
        cdef Py_ssize_t n = length.shape[0]
        if family not in (4, 6) or packed.shape[0] != n * (4 if family == 4 else 16):
            raise ValueError(f"prefixes: {packed.shape[0]} bytes for {n} routes of family {family}")
        groups, sources = bytes(n * 2), bytes(n)
        if n:
            self.consistent(lambda: self._find_all(family, packed, length, groups, sources, n))
        return groups, sources

    def _find_all(self, int family, const uint8_t[::1] packed, const uint8_t[::1] length, bytes groups, bytes sources,
                  Py_ssize_t n):
        cdef uint16_t *to_group = <uint16_t *>PyBytes_AS_STRING(groups)
        cdef uint8_t *to_source = <uint8_t *>PyBytes_AS_STRING(sources)
        cdef Py_ssize_t i
        cdef int64_t at
        cdef uint64_t word
        with nogil:
            for i in range(n):
                if family == 4:
                    at = find4(&self.rules4, __builtin_bswap32((<const uint32_t *>&packed[0])[i]), length[i])
                    word = 0 if at < 0 else dr_load_relaxed_64(&self.rules4.slot[at]) >> 32
                else:
                    at = find6(&self.rules6, __builtin_bswap64((<const uint64_t *>&packed[0])[i * 2]),
                               __builtin_bswap64((<const uint64_t *>&packed[0])[i * 2 + 1]), length[i])
                    word = 0 if at < 0 else self.rules6.slot[at].word
                to_group[i], to_source[i] = (word >> 16) & 0xFFFF, (word >> 8) & 0xFF

    def sources(self, int family) -> dict:
        """{(Source, stale): routes} by a walk over all rules."""
        cdef uint64_t counts[256]
        cdef uint64_t i
        known = {int(source) for source in Source}
        for i in range(256):
            counts[i] = 0
        if family == 4:
            for i in range(self.rules4.mask + 1):
                counts[self.rules4.slot[i].source] += self.rules4.slot[i].length_plus1 != 0
        else:
            for i in range(self.rules6.mask + 1):
                counts[(self.rules6.slot[i].word >> 8) & 0xFF] += (self.rules6.slot[i].word & 0xFF) != 0
        return {(Source(i & ~DR_SOURCE_STALE), bool(i & DR_SOURCE_STALE)): counts[i]
                for i in range(256) if counts[i] and (i & ~DR_SOURCE_STALE) in known}
