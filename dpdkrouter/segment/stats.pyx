"""Reads the stats segment of one fast path (fastpath/include/dr_layout.h, struct dr_stats).

Every counter has one writer, which stores it whole; a reader sees each value as of some recent moment, not all as
of one. Counters start from 0 with each fast path. Nothing here waits or writes. Used by control, CLI and metrics,
each with a reader of its own; one thread an object.
"""
import time
from pathlib import Path

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastpath.atomic cimport dr_fence, dr_load_acquire_32, dr_load_acquire_64, dr_load_relaxed_64
from fastpath.layout cimport (DR_BOND_MEMBERS, DR_BURST_BUCKETS, DR_FILTER_NONE, DR_FILTER_POLICER, DR_FILTERS,
                              DR_MAX_LCORES, DR_MAX_PORTS, DR_MEMBER_ACTIVE, DR_MEMBER_COLLECTING,
                              DR_MEMBER_DISTRIBUTING, DR_MEMBER_LINK, DR_NO_NUMA, DR_RESOLVE_RING, DR_RX_SLOTS,
                              dr_bond_member, dr_filter, dr_filter_counter, dr_lcore_stats, dr_port_counters,
                              dr_port_state, dr_resolve_request, dr_stats, dr_stats_header)
from fastpath.segment cimport Mapping

from dpdkrouter.errors import SegmentError
from dpdkrouter.segment.states import STAGES as _STAGES
from dpdkrouter.segment.states import FilterState, Header, LcoreState, MemberState, PortState
from fastpath.reasons import DropReason, PuntClass
from fastpath.segment import STATS as _STATS
from fastpath.segment import attach

_REASONS = tuple((name, int(reason)) for name, reason in DropReason.__members__.items())
_CLASSES = tuple((name, int(kind)) for name, kind in PuntClass.__members__.items())


cdef uint64_t count(const uint64_t *counter) noexcept:
    """A counter that its owner may be storing right now."""
    return dr_load_relaxed_64(counter)


cdef str text(const char *field, size_t size):
    """A zero-padded field of a name's bytes."""
    return (<const uint8_t *>field)[:size].partition(b"\0")[0].decode("utf-8", "replace")


cdef bint runs(uint64_t pid, uint64_t start):
    """Whether a process of this pid and start time exists (proc(5), /proc/PID/stat, fields 3 and 22)."""
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return len(words) > 19 and int(words[19]) == start and words[0] != b"Z"


cdef class StatsReader:
    """The stats segment at `path`, mapped read-only; errors as segment.attach raises them.

    The mapping stays readable after the fast path has gone; reopen_if_replaced() goes on to its successor's.
    """
    cdef readonly str path
    cdef object mapping        # Mapping; None once closed
    cdef const dr_stats *stats

    def __init__(self, path):
        self.path = str(path)
        self.use(attach(path, _STATS))

    cdef int use(self, Mapping mapping) except -1:
        self.mapping = mapping
        self.stats = <const dr_stats *>mapping.base
        return 0

    cdef int check(self) except -1:
        if self.stats == NULL:
            raise SegmentError(f"{self.path}: this reader was closed; open another one")
        return 0

    def close(self) -> None:
        """Unmap. A second call does nothing."""
        self.stats = NULL
        if self.mapping is not None:
            self.mapping.close()
            self.mapping = None

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def reopen_if_replaced(self) -> bool:
        """True when another fast path's segment stood at the path and is read now; else the old one stays."""
        self.check()
        if self.mapping.is_current():
            return False
        try:
            new = attach(self.path, _STATS)
        except SegmentError:
            return False
        old = self.mapping
        self.use(new)
        old.close()
        return True

    # -- the fast path and its lcores --

    def header(self) -> Header:
        """Who writes the segment; a few microseconds, for it asks /proc."""
        self.check()
        cdef const dr_stats_header *h = &self.stats.header
        cdef uint64_t beat = dr_load_acquire_64(&h.heartbeat_ns)
        age = max(0.0, (time.monotonic_ns() - beat) / 1e9) if beat else float("inf")
        return Header(
            pid=h.pid, alive=h.pid != 0 and runs(h.pid, h.pid_start), simd=text(h.simd, sizeof(h.simd)),
            dpdk=text(h.dpdk, sizeof(h.dpdk)), build_id=text(h.build_id, sizeof(h.build_id)), tsc_hz=h.tsc_hz,
            started_ns=h.started_ns, lcores=self.lcore_slots(), ports=self.port_slots(),
            name=text(h.name, sizeof(h.name)), heartbeat_age_s=age, ready=dr_load_acquire_64(&h.ready) != 0,
            hashing=h.hashing)

    cdef uint32_t lcore_slots(self) noexcept:
        cdef uint32_t used = self.stats.header.lcores
        return used if used < <uint32_t>DR_MAX_LCORES else <uint32_t>DR_MAX_LCORES

    cdef uint32_t port_slots(self) noexcept:
        cdef uint32_t used = self.stats.header.ports
        return used if used < <uint32_t>DR_MAX_PORTS else <uint32_t>DR_MAX_PORTS

    def lcores(self) -> tuple:
        """Counters of every lcore in use, the host thread's slot 0 included."""
        self.check()
        return tuple(self.lcore(slot) for slot in range(self.lcore_slots())
                     if dr_load_acquire_32(&self.stats.lcore[slot].online) or slot == 0)

    cdef object lcore(self, uint32_t slot):
        cdef const dr_lcore_stats *c = &self.stats.lcore[slot]
        return LcoreState(
            slot=slot, cpu=c.cpu, polls=count(&c.polls), cycles_busy=count(&c.cycles_busy),
            cycles_idle=count(&c.cycles_idle), rx_packets=count(&c.rx_packets), forwarded=count(&c.forwarded),
            punted=count(&c.punted), dropped=count(&c.dropped), originated=count(&c.originated),
            injected=count(&c.injected), bursts=tuple([count(&c.bursts[i]) for i in range(DR_BURST_BUCKETS)]),
            stage_cycles={name: count(&c.stage_cycles[i]) for i, name in enumerate(_STAGES)},
            sampled_polls=count(&c.sampled_polls), sampled_packets=count(&c.sampled_packets))

    # -- ports --

    def ports(self) -> tuple:
        """Every port, in the order of the configuration: the index is the port's number."""
        self.check()
        return tuple([self.port(number) for number in range(self.port_slots())])

    cdef object port(self, uint32_t number):
        cdef const dr_port_state *s = &self.stats.port[number]
        cdef const dr_port_counters *c
        cdef uint64_t rx_packets = 0, rx_bytes = 0, tx_packets = 0, tx_bytes = 0, tx_drops = 0
        cdef uint64_t injected = 0, originated = 0, fragments = 0
        cdef uint32_t slot
        for slot in range(self.lcore_slots()):
            c = &self.stats.lcore[slot].port[number]
            rx_packets += count(&c.rx_packets)
            rx_bytes += count(&c.rx_bytes)
            tx_packets += count(&c.tx_packets)
            tx_bytes += count(&c.tx_bytes)
            tx_drops += count(&c.tx_drops)
            injected += count(&c.injected)
            originated += count(&c.originated)
            fragments += count(&c.fragments)
        return PortState(
            name=text(s.name, sizeof(s.name)), driver=text(s.driver, sizeof(s.driver)), mac=s.mac[:6],
            link_up=s.link_up != 0, speed_mbps=s.speed_mbps, link_changes=s.link_changes, rx_queues=s.rx_queues,
            tx_queues=s.tx_queues, rx_lcores=self.rx_lcores(s), rss=text(s.rss, sizeof(s.rss)),
            offloads=text(s.offloads, sizeof(s.offloads)), mtu=s.mtu, numa=None if s.numa == DR_NO_NUMA else s.numa,
            parent=self.parent(s), vlan=s.vlan, outer_vlan=s.outer_vlan, members=self.members(s),
            rx_missed=count(&s.rx_missed), rx_errors=count(&s.rx_errors), rx_no_mbuf=count(&s.rx_no_mbuf),
            tx_errors=count(&s.tx_errors),
            rx_packets=rx_packets, rx_bytes=rx_bytes, tx_packets=tx_packets, tx_bytes=tx_bytes, tx_drops=tx_drops,
            injected=injected, originated=originated, fragments=fragments)

    cdef object parent(self, const dr_port_state *s):
        """The name of the port whose device a sub-interface shares."""
        if not 0 < s.parent <= self.port_slots():
            return ""
        return text(self.stats.port[s.parent - 1].name, sizeof(s.name))

    cdef object members(self, const dr_port_state *s):
        cdef uint32_t n = s.members if s.members < DR_BOND_MEMBERS else DR_BOND_MEMBERS, i
        return tuple([self.member(&s.member[i]) for i in range(n)])

    cdef object member(self, const dr_bond_member *m):
        return MemberState(
            device=text(m.device, sizeof(m.device)), link_up=m.flags & DR_MEMBER_LINK != 0, speed_mbps=m.speed_mbps,
            link_changes=m.link_changes, active=m.flags & DR_MEMBER_ACTIVE != 0,
            collecting=m.flags & DR_MEMBER_COLLECTING != 0, distributing=m.flags & DR_MEMBER_DISTRIBUTING != 0,
            partner=m.partner[:6])

    cdef object rx_lcores(self, const dr_port_state *s):
        """The CPU that polls each RX queue."""
        cdef uint32_t queues = s.rx_queues if s.rx_queues < DR_RX_SLOTS else DR_RX_SLOTS, q
        return tuple([self.stats.lcore[s.rx_slot[q]].cpu for q in range(queues) if s.rx_slot[q] < DR_MAX_LCORES])

    # -- dispositions --

    def drops(self) -> dict:
        """{drop reason's name: packets}, every reason, over all lcores."""
        self.check()
        return {name: self.dropped(index) for name, index in _REASONS}

    def punts(self) -> dict:
        """{punt class's name: packets}, every class, over all lcores."""
        self.check()
        return {name: self.punted(index) for name, index in _CLASSES}

    def policed(self) -> dict:
        """{punt class's name: packets beyond its rate}, every class, over all lcores."""
        self.check()
        return {name: self.beyond(index) for name, index in _CLASSES}

    def punt_rates(self) -> dict:
        """{punt class's name: packets a second that a worker takes}; of neighbor, on each port. 0: any number."""
        self.check()
        return {name: self.stats.header.punt_pps[index] for name, index in _CLASSES}

    cdef uint64_t dropped(self, uint32_t reason) noexcept:
        cdef uint64_t total = 0
        cdef uint32_t slot
        for slot in range(self.lcore_slots()):
            total += count(&self.stats.lcore[slot].drops[reason])
        return total

    cdef uint64_t punted(self, uint32_t kind) noexcept:
        cdef uint64_t total = 0
        cdef uint32_t slot
        for slot in range(self.lcore_slots()):
            total += count(&self.stats.lcore[slot].punts[kind])
        return total

    cdef uint64_t beyond(self, uint32_t kind) noexcept:
        cdef uint64_t total = 0
        cdef uint32_t slot
        for slot in range(self.lcore_slots()):
            total += count(&self.stats.lcore[slot].policed[kind])
        return total

    # -- ingress filters --

    def filters(self) -> tuple:
        """What the ACLs and policers have counted, the policers last; nothing while they change (retry)."""
        self.check()
        cdef uint64_t before = dr_load_acquire_64(&self.stats.header.filter_generation)
        cdef uint32_t i, k, room = self.stats.header.filter_counters
        cdef const dr_filter *f
        cdef size_t end = sizeof(dr_stats) + <size_t>room * self.lcore_slots() * sizeof(dr_filter_counter)
        if before & 1 or end > (<Mapping>self.mapping).bytes:
            return ()
        found = []
        for i in range(<uint32_t>DR_FILTERS):
            f = &self.stats.filter[i]
            if f.kind == DR_FILTER_NONE or f.count > room or f.first > room - f.count:
                continue
            counts = tuple([self.filter_count(room, f.first + k) for k in range(f.count)])
            found.append(FilterState(text(f.name, sizeof(f.name)), f.kind == DR_FILTER_POLICER, counts))
        dr_fence()
        return tuple(found) if dr_load_acquire_64(&self.stats.header.filter_generation) == before else ()

    cdef tuple filter_count(self, uint32_t room, uint32_t at):
        """(packets, bytes) over all lcores."""
        cdef const dr_filter_counter *c = <const dr_filter_counter *>(<const uint8_t *>self.stats + sizeof(dr_stats))
        cdef uint64_t packets = 0, octets = 0
        cdef uint32_t slot
        for slot in range(self.lcore_slots()):
            packets += count(&c[<size_t>slot * room + at].packets)
            octets += count(&c[<size_t>slot * room + at].bytes)
        return packets, octets

    # -- next hops to resolve --

    def resolve_requests(self, uint64_t tail) -> tuple:
        """(new tail, [(family, port, address), ...]): what the host thread asks for since `tail`, 0 at first.

        One load when there is nothing new. The ring is lossy: a reader that is late goes on with the oldest request
        that stands there, and the host thread asks again.
        """
        self.check()
        cdef uint64_t head = dr_load_acquire_64(&self.stats.resolve.head)
        cdef dr_resolve_request request
        if head == tail:
            return tail, []
        # The slot at head - ring is the one that the writer fills next, perhaps already. A tail beyond head is of
        # an earlier fast path.
        cdef uint64_t ring = <uint64_t>DR_RESOLVE_RING
        if tail > head or head - tail >= ring:
            tail = head - ring + 1 if head >= ring else 0
        requests = []
        while tail < head:
            if self.copy_request(tail, &request):
                requests.append((request.family, request.port, request.address[:4 if request.family == 4 else 16]))
            tail += 1
        return tail, requests

    cdef bint copy_request(self, uint64_t position, dr_resolve_request *request) noexcept:
        """Copy the request at a position; False when the writer came round meanwhile."""
        cdef const dr_resolve_request *slot = &self.stats.resolve.slot[position % <uint64_t>DR_RESOLVE_RING]
        if dr_load_acquire_64(&slot.seq) != position + 1:
            return False
        memcpy(request, slot, sizeof(dr_resolve_request))
        dr_fence()
        # The writer stores the sequence number last: until then only its head says that it is in this slot.
        return (dr_load_acquire_64(&slot.seq) == position + 1
                and dr_load_acquire_64(&self.stats.resolve.head) - position < <uint64_t>DR_RESOLVE_RING)
