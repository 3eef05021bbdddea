"""The fast path process's memory: one `router` with its ports, rings, workers and host thread, made from Python
before the workers start and driven by its main thread, which is the host thread.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

import os

from dpdkrouter.errors import FastPathError
from fastpath.atomic cimport dr_fence, dr_load_acquire_32, dr_store_release_32, dr_store_release_64
from fastpath.bytes cimport dr_put_be16
from fastpath.bond cimport Bond, distributes
from fastpath.dpdk.eal cimport (RTE_INTR_EVENT_ADD, lcore_function, rte_eal_remote_launch, rte_eal_wait_lcore,
                                rte_epoll_ctl, rte_errno, rte_get_tsc_hz, rte_rdtsc, rte_strerror)
from fastpath.dpdk.ethdev cimport (RTE_ETH_SPEED_NUM_UNKNOWN, RTE_ETH_TX_OFFLOAD_VLAN_INSERT,
                                   rte_eth_dev_get_port_by_name, rte_eth_dev_info,
                                   rte_eth_dev_info_get, rte_eth_dev_rx_intr_ctl_q, rte_eth_dev_socket_id,
                                   rte_eth_link, rte_eth_link_get_nowait, rte_eth_macaddr_get, rte_eth_stats,
                                   rte_eth_stats_get, rte_ether_addr)
from fastpath.dpdk.mbuf cimport rte_pktmbuf_pool_create
from fastpath.dpdk.ring cimport RING_F_SC_DEQ, RING_F_SP_ENQ, rte_ring_count, rte_ring_create
from fastpath.host cimport host
from fastpath.layout cimport (DR_NO_NUMA, DR_OFFLINE, DR_RX_SLOTS, DR_STATS_MAGIC, DR_STATS_VERSION, dr_port_state,
                              dr_stats, dr_stats_header)
from fastpath.memory cimport allocate
from fastpath.port cimport close_device, offload_names, open_device, opened, rss_names
from fastpath.reasons cimport PuntClass
from fastpath.segment cimport Mapping
from fastpath.stages.classify cimport peer_hash
from fastpath.stages.hostio cimport from_host0, from_taps, take_punts
from fastpath.stages.idle cimport offline, online, quiescent
from fastpath.stages.parking cimport tend_parks
from fastpath.stages.pipeline cimport route_origin
from fastpath.stages.police cimport bucket_init
from fastpath.stages.tags cimport TYPE_CUSTOMER, TYPE_SERVICE
from fastpath.stages.transmit cimport flush
from fastpath.state cimport (CLASSES, ICMP_SOURCES, IDLE_INTERRUPT, MAX_RX, OPTIONS_DROP, OPTIONS_FORWARD,
                             OPTIONS_PUNT, PORTS, PUNT_RING, URPF_LOOSE, URPF_OFF, URPF_STRICT, VLANS, note_checks,
                             peer, router, rx_pair, worker)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int POLLIN
    int poll(pollfd *fds, unsigned long n, int timeout_ms) noexcept

cdef extern from "<sys/epoll.h>" nogil:
    int EPOLL_CLOEXEC
    uint32_t EPOLLIN
    int epoll_create1(int flags) noexcept

cdef extern from "<unistd.h>" nogil:
    long write(int fd, const void *buf, size_t n) noexcept
    int close(int fd) noexcept

cdef enum:
    LINKS_MS = 5                 # between two looks at what the drivers say of their links
    HANDOVER_RING = 1024
    MBUF_CACHE = 256
    ICMP_PPS = 1000              # errors a worker may originate about what a port received; RFC 1812 4.3.2.8
    ICMP_BURST = 200
    ICMP_SOURCE_PPS = 200        # to a source's prefix
    ICMP_SOURCE_BURST = 100

_URPF = {"off": URPF_OFF, "strict": URPF_STRICT, "loose": URPF_LOOSE}
_OPTIONS = {"forward": OPTIONS_FORWARD, "punt": OPTIONS_PUNT, "drop": OPTIONS_DROP}


cdef uint64_t now_ns(int clock) noexcept nogil:
    cdef timespec t
    clock_gettime(clock, &t)
    return <uint64_t>t.tv_sec * 1_000_000_000 + <uint64_t>t.tv_nsec


cdef void set_text(char *out, str text, size_t room):
    """A NUL-terminated copy, cut to fit."""
    cdef bytes raw = text.encode()[:room - 1]
    memset(out, 0, room)
    memcpy(out, <const char *>raw, len(raw))


cdef class Router:
    """Made once; open_port() for each port in order, then bind(), start(), poll() in a loop, stop()."""
    cdef router *r
    cdef host *h
    cdef list workers            # list of int: addresses of worker structs, slot 1 on
    cdef list cpus               # the CPU of each; its EAL lcore id is its slot
    cdef Mapping stats
    cdef Mapping table           # route segment, readers' part
    cdef rte_ether_addr own_macs[PORTS]    # what the devices came with
    cdef bint inserts[PORTS]     # whether the device puts tags on
    cdef dict bonds              # by port, of those whose device is one
    cdef list retired            # (generation, Mapping) that workers may still read
    cdef bint running

    def __init__(self, stats: Mapping, cpus: list[int], mbufs: int, data_room: int, idle: int) -> None:
        """stats: writable, zeroed. cpus: one a worker, whose EAL lcore id is 1, 2, ... in this order.
        mbufs, data_room (bytes): the one pool. idle: 0 poll, 1 sleep, 2 wait for interrupts."""
        self.r = <router *>allocate(sizeof(router), "the router")
        self.h = <host *>allocate(sizeof(host), "the host thread")
        self.stats = stats
        self.cpus = list(cpus)
        self.workers = []
        self.retired = []
        self.bonds = {}
        self.r.stats = <dr_stats *>stats.base
        self.r.workers = len(cpus)
        self.r.idle = idle
        self.r.pool = rte_pktmbuf_pool_create(b"mbufs", mbufs, MBUF_CACHE, 0, data_room, -1)
        if self.r.pool == NULL:
            raise FastPathError(f"no memory for {mbufs} mbufs of {data_room} bytes "
                                f"({rte_strerror(rte_errno).decode()}): raise fastpath.memory_mib")
        self.make_workers()

    cdef int make_workers(self) except -1:
        cdef worker *w
        cdef uint32_t slot, c
        cdef uint64_t hz = rte_get_tsc_hz()
        for slot in range(self.r.workers + 1):
            w = <worker *>allocate(sizeof(worker), "a worker")
            w.router = self.r
            w.slot = slot
            w.epoll = -1
            self.r.wake[slot] = -1
            w.stats = &self.r.stats.lcore[slot]
            w.stats.quiescent = DR_OFFLINE
            w.stats.online = 1
            for c in range(<uint32_t>PORTS):
                bucket_init(&w.icmp[c], hz, ICMP_PPS, ICMP_BURST, rte_rdtsc())
            for c in range(<uint32_t>ICMP_SOURCES):
                bucket_init(&w.icmp_source[c], hz, ICMP_SOURCE_PPS, ICMP_SOURCE_BURST, rte_rdtsc())
            self.r.punt[slot] = rte_ring_create(f"punt{slot}".encode(), PUNT_RING, -1, RING_F_SP_ENQ | RING_F_SC_DEQ)
            if self.r.punt[slot] == NULL:
                raise FastPathError("no memory for a punt ring: raise fastpath.memory_mib")
            if slot == 0:
                self.h.w = w
            else:
                self.workers.append(<size_t>w)
        self.h.router = self.r
        self.h.hz = hz
        self.h.host0 = -1
        for slot in range(<uint32_t>PORTS):
            self.h.tap[slot] = -1
        return 0

    def police_punts(self, pps: list[int]) -> None:
        """Packets a second that a worker hands to the host thread, of each PuntClass in its order; of class neighbor,
        for each port. A tenth of it may come at once. Before start(); without this call there is no limit."""
        cdef worker *w
        cdef uint32_t slot, c
        cdef uint64_t hz = rte_get_tsc_hz(), now = rte_rdtsc()
        for c in range(<uint32_t>CLASSES):
            self.r.stats.header.punt_pps[c] = pps[c]
        for slot in range(self.r.workers + 1):
            w = self.worker_at(slot)
            for c in range(<uint32_t>CLASSES):
                bucket_init(&w.classes[c], hz, pps[c], max(1, pps[c] // 10), now)
            for c in range(<uint32_t>PORTS):
                w.neighbor[c] = w.classes[<int>PuntClass.neighbor]

    def set_peers(self, addresses: list[tuple[bytes, int]]) -> None:
        """BGP comes from these addresses, 4 or 16 bytes each, with at least so many hops left. Before start(), once."""
        cdef uint64_t size = 2, hi, lo, at
        cdef peer *made
        while size < 2 * len(addresses):
            size *= 2
        made = <peer *>allocate(size * sizeof(peer), "the table of BGP peers")
        for address, least in addresses:
            high = len(address) - 8 if len(address) == 16 else 0
            hi = int.from_bytes(address[:high], "big")
            lo = int.from_bytes(address[high:], "big")
            at = peer_hash(hi, lo)
            while made[at & (size - 1)].family:
                at += 1
            made[at & (size - 1)] = peer(hi=hi, lo=lo, family=4 if len(address) == 4 else 6, least_hops=least)
        self.r.peers_mask = size - 1
        self.r.peers = made

    cdef worker *worker_at(self, uint32_t slot) except NULL:
        return self.h.w if slot == 0 else <worker *><size_t>self.workers[slot - 1]

    def device_node(self, device: str) -> int | None:
        """The NUMA node of a device that EAL has; None: of none, or there is no such device."""
        cdef uint16_t dev
        cdef int node
        if rte_eth_dev_get_port_by_name(device.encode(), &dev) != 0:
            return None
        node = rte_eth_dev_socket_id(dev)
        return node if node >= 0 else None

    def open_port(self, name: str, device: str, mtu: int, mac: bytes, slots: list[int], exact: bool = False,
                  frame_mtu: int = 0, bond: Bond | None = None) -> int:
        """Open and start a device as the next port, spread its RX queues over the workers of these slots. Returns its
        number. mac: 6 bytes; empty: the device's own. exact: each slot is to have a queue, in this order; otherwise the
        ones that poll the fewest come first. frame_mtu: the port has sub-interfaces, and its device takes packets of so
        many bytes, of which all but the first tag are a part; 0: none. bond: what the device is, if it is one."""
        cdef opened o
        cdef uint32_t port = self.r.ports, slot, q, owner = 0
        cdef rte_ether_addr address
        cdef worker *w
        memset(&o, 0, sizeof(o))
        # a bond has no RX interrupts, whatever its members have
        open_device(name, device, bond.names if bond else [], max(mtu, frame_mtu), mac, self.r.workers + 1, len(slots),
                    self.r.idle == IDLE_INTERRUPT and bond is None, frame_mtu > 0, self.r.pool, &o)
        if exact and o.rx_queues < len(slots):
            raise FastPathError(f"port {name}: port.lcores has {len(slots)} lcores, but the device has {o.rx_queues} "
                                f"RX queues here: list at most {o.rx_queues}")
        rte_eth_macaddr_get(o.dev, &address)
        self.own_macs[port] = o.own_mac
        self.r.port[port].dev = o.dev
        self.r.port[port].parent = PORTS
        self.inserts[port] = o.tx_offloads & RTE_ETH_TX_OFFLOAD_VLAN_INSERT != 0
        self.r.port[port].mtu = mtu
        memcpy(&self.r.port[port].mac, &address, 6)
        if self.r.port[port].mac == 0:
            # net_null and net_ring have none: a locally administered one, by the port's number
            self.r.port[port].mac = <uint64_t>(port + 1) << 40 | 0x02
        left = []
        for q in range(o.rx_queues):
            left = left or list(slots)                     # each has one before one has two
            slot = left[0] if exact else self.least_loaded(left)
            left.remove(slot)
            w = self.worker_at(slot)
            if w.n_rx == MAX_RX:
                raise FastPathError(f"port {name}: worker {slot} polls {MAX_RX} queues already: "
                                    "give fastpath.lcores more CPUs, or the devices fewer queues")
            w.rx[w.n_rx] = rx_pair(dev=o.dev, queue=q, port=port)
            w.n_rx += 1
            owner = owner or slot
            if q < DR_RX_SLOTS:
                self.r.stats.port[port].rx_slot[q] = slot
        self.r.port[port].owner = owner
        self.spread_tx(port, o.tx_queues)
        self.r.port[port].present = 1
        self.r.ports = port + 1
        self.describe_port(port, name, &o)
        if bond is not None:
            self.add_bond(port, bond)
        return port

    cdef int add_bond(self, uint32_t port, Bond bond) except -1:
        """Its members are shown, and with LACP its owner lends it turns."""
        cdef worker *w = self.worker_at(self.r.port[port].owner)
        self.bonds[port] = bond
        bond.describe(&self.r.stats.port[port])
        if bond.lacp:
            self.r.lacp |= <uint32_t>1 << port
            w.lacp[w.n_lacp] = port
            w.n_lacp += 1
        return 0

    def open_sub_interface(self, name: str, parent: int, vlan: int, outer_vlan: int, mtu: int) -> int:
        """The next port, for frames of port `parent` with this VLAN's tag, within the outer one's if that is not 0. The
        parent was opened with a frame_mtu. Returns its number."""
        cdef uint32_t port = self.r.ports, above = parent
        cdef dr_port_state *s = &self.r.stats.port[port]
        self.r.port[port].dev = self.r.port[above].dev
        self.r.port[port].parent = above
        self.r.port[port].mac = self.r.port[above].mac
        self.r.port[port].mtu = mtu
        self.r.port[port].owner = self.r.port[above].owner
        self.expect_tags(port, above, vlan, outer_vlan)
        if outer_vlan == 0 and self.inserts[above]:
            self.r.port[port].tag_by_device = vlan
        else:
            self.r.port[port].tag_bytes = 8 if outer_vlan else 4
        self.spread_tx(port, self.r.stats.port[above].tx_queues)
        self.r.port[port].present = 1
        self.r.ports = port + 1
        self.r.lacp |= (self.r.lacp >> above & 1) << port
        memcpy(s, &self.r.stats.port[above], sizeof(s[0]))
        s.members = 0
        set_text(s.name, name, sizeof(s.name))
        s.mtu = mtu
        s.parent = above + 1
        s.vlan = vlan
        s.outer_vlan = outer_vlan
        return port

    cdef int expect_tags(self, uint32_t port, uint32_t above, uint16_t vlan, uint16_t outer_vlan) except -1:
        """Frames with these tags are the port's; and what it writes before its own."""
        cdef uint8_t *tags = <uint8_t *>&self.r.tags[port]
        cdef uint8_t *by_vlan
        if self.r.vlans[above] == NULL:
            self.r.vlans[above] = <uint8_t *>allocate(2 * VLANS, "the VLANs of a port")
        by_vlan = self.r.vlans[above]
        if outer_vlan:
            if by_vlan[VLANS + outer_vlan] == 0:
                self.r.inner_vlans[port] = <uint8_t *>allocate(VLANS, "the VLANs of a port")
                by_vlan[VLANS + outer_vlan] = port
            self.r.inner_vlans[by_vlan[VLANS + outer_vlan]][vlan] = port
            dr_put_be16(tags, TYPE_SERVICE)
            dr_put_be16(tags + 2, outer_vlan)
            tags += 4
        else:
            by_vlan[vlan] = port
        dr_put_be16(tags, TYPE_CUSTOMER)
        dr_put_be16(tags + 2, vlan)
        self.r.port[above].tagged = 1
        return 0

    def set_checks(self, port: int, urpf: str, ip_options: str) -> None:
        """What a port asks of the packets that it receives, in the configuration's words. No worker runs meanwhile."""
        self.r.urpf[<uint32_t>port] = _URPF[urpf]
        self.r.options[<uint32_t>port] = _OPTIONS[ip_options]
        note_checks(self.r, port)

    def address(self) -> int:
        """Where what the workers read is, for fastpath.filters."""
        return <size_t>self.r

    def worker_address(self, slot: int) -> int:
        """Where a worker's state is, for who takes its turns himself instead of start()."""
        return <size_t>self.worker_at(slot)

    cdef uint32_t least_loaded(self, list slots) except 0:
        cdef uint32_t slot, best = slots[0]
        for slot in slots:
            if self.worker_at(slot).n_rx < self.worker_at(best).n_rx:
                best = slot
        return best

    cdef int spread_tx(self, uint32_t port, uint32_t queues) except -1:
        """Queue k is worker k+1's, the one after the last worker's the host thread's; who has none hands over."""
        cdef uint32_t slot, owner = self.r.port[port].owner
        cdef worker *w
        for slot in range(self.r.workers + 1):
            self.worker_at(slot).tx[port].queue = -1
        if queues >= self.r.workers:
            for slot in range(1, self.r.workers + 1):
                self.worker_at(slot).tx[port].queue = slot - 1
            if queues > self.r.workers:
                self.worker_at(0).tx[port].queue = self.r.workers
                return 0
        else:
            self.worker_at(owner).tx[port].queue = 0
        self.r.port[port].handover = rte_ring_create(f"handover{port}".encode(), HANDOVER_RING, -1, RING_F_SC_DEQ)
        if self.r.port[port].handover == NULL:
            raise FastPathError("no memory for a handover ring: raise fastpath.memory_mib")
        w = self.worker_at(owner)
        w.drain[w.n_drain] = port
        w.n_drain += 1
        return 0

    cdef int describe_port(self, uint32_t port, str name, opened *o) except -1:
        cdef dr_port_state *s = &self.r.stats.port[port]
        cdef rte_eth_dev_info info
        rte_eth_dev_info_get(o.dev, &info)
        set_text(s.name, name, sizeof(s.name))
        set_text(s.driver, info.driver_name.decode(), sizeof(s.driver))
        memcpy(s.mac, &self.r.port[port].mac, 6)
        s.mtu = self.r.port[port].mtu
        s.rx_queues = o.rx_queues
        s.tx_queues = o.tx_queues
        s.numa = <uint16_t>o.socket if o.socket >= 0 else DR_NO_NUMA
        set_text(s.rss, rss_names(o.rss), sizeof(s.rss))
        set_text(s.offloads, offload_names(o), sizeof(s.offloads))
        s.present = 1
        return 0

    def mac(self, port: int) -> bytes:
        """The port's MAC, 6 bytes."""
        return (<char *>&self.r.port[port].mac)[:6]

    def bind(self, table: Mapping) -> None:
        """Look routes up in this segment from now on. The former mapping is closed when no worker reads it any more."""
        if self.table is not None:
            self.retired.append((self.r.generation + 1, self.table))
        self.table = table
        self.r.base = table.base
        dr_store_release_32(&self.r.generation, self.r.generation + 1)
        if not self.running:
            self.close_retired()

    cdef int close_retired(self) except -1:
        cdef uint32_t slot
        for generation, mapping in list(self.retired):
            for slot in range(self.r.workers + 1):
                if self.running and self.worker_at(slot).generation < generation:
                    return 0
            mapping.close()
            self.retired.remove((generation, mapping))
        return 0

    def set_tap(self, port: int, fd: int) -> None:
        """The queue of the port's twin that this process reads and writes; non-blocking; -1: none."""
        self.h.tap[port] = fd

    def missing_taps(self) -> list[int]:
        """Ports whose twin has no open queue: never had, or its device vanished."""
        return [port for port in range(self.r.ports) if self.h.tap[port] < 0]

    def host0_missing(self) -> bool:
        """True while no queue of the TUN is open."""
        return self.h.host0 < 0

    def set_host0(self, fd: int) -> None:
        """The queue of the TUN through which the kernel reaches far destinations; non-blocking; -1: none."""
        self.h.host0 = fd

    def hash_flows(self, how: int) -> None:
        """What decides which member of a next-hop group a flow takes: bits of fastpath.flows. Before describe()."""
        self.r.hashing = how

    def describe(self, name: str, simd: str, dpdk: str, build_id: str) -> None:
        """Fill in the stats segment's header: a reader accepts the segment from here on."""
        cdef dr_stats_header *s = &self.r.stats.header
        s.version = DR_STATS_VERSION
        s.header_bytes = sizeof(dr_stats_header)
        s.segment_bytes = self.stats.file_bytes
        s.pid = os.getpid()
        with open("/proc/self/stat", "rb") as stat:
            s.pid_start = int(stat.read().rpartition(b")")[2].split()[19])
        s.tsc_hz = rte_get_tsc_hz()
        s.started_ns = now_ns(CLOCK_REALTIME)
        s.lcores = self.r.workers + 1
        s.ports = self.r.ports
        s.hashing = self.r.hashing
        set_text(s.name, name, sizeof(s.name))
        set_text(s.simd, simd, sizeof(s.simd))
        set_text(s.dpdk, dpdk, sizeof(s.dpdk))
        set_text(s.build_id, build_id, sizeof(s.build_id))
        self.update_links()
        dr_store_release_64(&s.magic, DR_STATS_MAGIC)

    def start(self, entry: int) -> None:
        """Launch the workers; entry: worker.entry() of the chosen variant. A table must be bound."""
        cdef lcore_function f = <lcore_function><size_t>entry
        cdef uint32_t slot
        self.running = True
        for slot in range(1, self.r.workers + 1):
            self.r.stats.lcore[slot].cpu = self.cpus[slot - 1]
            self.wait_by_interrupt(self.worker_at(slot))
            if rte_eal_remote_launch(f, self.worker_at(slot), slot) != 0:
                raise FastPathError(f"the worker on CPU {self.cpus[slot - 1]} could not be started")
        dr_store_release_64(&self.r.stats.header.ready, 1)

    cdef int wait_by_interrupt(self, worker *w) except -1:
        """Give a worker what it waits by. Not one that others give packets to: they would have to wake it by a call;
        nor one that polls a bond, which has no interrupt, and LACP to keep up."""
        cdef uint32_t k
        if self.r.idle != IDLE_INTERRUPT or (w.n_drain and self.r.workers > 1):
            return 0
        for k in range(w.n_rx):
            if w.rx[k].port in self.bonds:
                return 0
        self.r.wake[w.slot] = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        w.epoll = epoll_create1(EPOLL_CLOEXEC)
        w.woken.epdata.event = EPOLLIN
        if w.epoll < 0 or rte_epoll_ctl(w.epoll, RTE_INTR_EVENT_ADD, self.r.wake[w.slot], &w.woken) != 0:
            raise FastPathError("no descriptors for a worker to wait by: raise the limit of open files")
        for k in range(w.n_rx):
            if rte_eth_dev_rx_intr_ctl_q(w.rx[k].dev, w.rx[k].queue, w.epoll, RTE_INTR_EVENT_ADD, NULL) < 0:
                raise FastPathError(f"RX queue {w.rx[k].queue} of port {w.rx[k].port} has no interrupt: "
                                    'use fastpath.idle = "sleep" or "poll"')
        return 0

    def poll(self, ms: int) -> bool:
        """Move packets for about `ms` milliseconds; sleeps in poll(2) while nothing comes. True, and back at once, when
        a driver says that a link is not as the stats segment has it."""
        cdef uint64_t look = rte_rdtsc(), between = self.h.hz // 1000 * LINKS_MS
        cdef uint64_t until = look + self.h.hz // 1000 * <uint64_t>ms
        cdef bint moved = False
        with nogil:
            online(self.h.w)
            while rte_rdtsc() < until:
                if rte_rdtsc() >= look:
                    look = rte_rdtsc() + between
                    moved = links_moved(self.r)
                    if moved:
                        break
                if turn(self.h) == 0:
                    offline(self.h.w)
                    wait(self.h, 1)
                    online(self.h.w)
            offline(self.h.w)
        if self.retired:
            self.close_retired()
        return moved

    def update_links(self, dead: frozenset[int] = frozenset()) -> list[tuple[int, bool]]:
        """Read link states and the devices' own counters into the stats segment; ports whose link changed.
        dead: ports that have no link whatever the driver says."""
        cdef uint32_t port, up, links
        cdef rte_eth_link link
        cdef rte_eth_stats counts
        cdef dr_port_state *s
        changed = []
        self.r.links_dead = sum([1 << number for number in dead])
        for port in range(self.r.ports):
            s = &self.r.stats.port[port]
            memset(&link, 0, sizeof(link))
            if get_link(self.r, port, &link):
                up = link.link_status and port not in dead
                if s.link_up != up:
                    s.link_changes += 1
                    changed.append((port, bool(up)))
                s.link_up = up
                # 0: unknown, as of most virtual devices
                s.speed_mbps = link.link_speed if up and link.link_speed != RTE_ETH_SPEED_NUM_UNKNOWN else 0
                links = self.r.links_up & ~(<uint32_t>1 << port) | up << port
                dr_store_release_32(&self.r.links_up, links)
            if self.r.port[port].parent == PORTS and rte_eth_stats_get(self.r.port[port].dev, &counts) == 0:
                s.rx_missed = counts.imissed
                s.rx_errors = counts.ierrors
                s.rx_no_mbuf = counts.rx_nombuf
                s.tx_errors = counts.oerrors
            if port in self.bonds:
                (<Bond>self.bonds[port]).update(s)
        dr_store_release_64(&self.r.stats.header.heartbeat_ns, now_ns(CLOCK_MONOTONIC))
        return changed

    def stop(self) -> None:
        """End the workers, stop and close the ports. The last call."""
        cdef uint32_t port, slot
        dr_store_release_32(&self.r.stop, 1)
        if self.running:
            for slot in range(1, self.r.workers + 1):
                rte_eal_wait_lcore(slot)
                if self.worker_at(slot).epoll >= 0:
                    close(self.worker_at(slot).epoll)
                    close(self.r.wake[slot])
        self.running = False
        dr_store_release_64(&self.r.stats.header.ready, 0)
        for port in range(self.r.ports):
            if port in self.bonds:
                (<Bond>self.bonds[port]).close()
            elif self.r.port[port].parent == PORTS:
                close_device(self.r.port[port].dev, &self.own_macs[port])
        for slot in range(self.r.workers + 1):
            dr_store_release_64(&self.r.stats.lcore[slot].quiescent, DR_OFFLINE)


cdef bint get_link(const router *r, uint32_t port, rte_eth_link *link) noexcept nogil:
    """What the driver says; False: nothing. With LACP a link is up only when the other side takes packets, too."""
    cdef uint16_t dev = r.port[port].dev
    if rte_eth_link_get_nowait(dev, link) != 0:
        return False
    if r.lacp >> port & 1 and link.link_status and not distributes(dev):
        link.link_status = 0
    return True


cdef bint links_moved(const router *r) noexcept nogil:
    """Whether a link is not as update_links() has written it."""
    cdef uint32_t port
    cdef rte_eth_link link
    for port in range(r.ports):
        memset(&link, 0, sizeof(link))
        if get_link(r, port, &link) and (
                link.link_status != 0 and not r.links_dead >> port & 1) != (r.links_up >> port & 1):
            return True
    return False


cdef void wake_owners(host *h) noexcept nogil:
    """Workers that sleep while this thread has given them something to send. It was put into the ring before the fence,
    and they look at the ring once more after theirs: one of the two sees the other."""
    cdef uint32_t port, owner
    cdef uint64_t one = 1
    if h.router.idle != IDLE_INTERRUPT:
        return
    dr_fence()
    for port in range(h.router.ports):
        owner = h.router.port[port].owner
        if (h.router.port[port].handover is not NULL and dr_load_acquire_32(&h.router.asleep[owner])
                and rte_ring_count(h.router.port[port].handover)):
            write(h.router.wake[owner], &one, sizeof(one))


cdef uint32_t turn(host *h) noexcept nogil:
    """One turn of the host thread. Returns how many packets moved."""
    cdef uint64_t now = rte_rdtsc()
    cdef uint32_t moved = take_punts(h, now)
    moved += from_taps(h)
    moved += from_host0(h)
    tend_parks(h, now)
    if h.w.n_origin:                                       # about parked packets that went on
        route_origin(h.w, &h.b)
    flush(h.w)
    wake_owners(h)
    quiescent(h.w)
    return moved


cdef void wait(host *h, int ms) noexcept nogil:
    """Until the kernel sends something, or `ms`: the punt rings have no descriptor and are looked at that often."""
    cdef pollfd fds[PORTS + 1]
    cdef uint32_t i
    for i in range(h.router.ports):
        fds[i].fd = h.tap[i]
        fds[i].events = POLLIN
    fds[h.router.ports].fd = h.host0
    fds[h.router.ports].events = POLLIN
    poll(fds, h.router.ports + 1, ms)
