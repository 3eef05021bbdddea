"""The repair thread: groups are pointed away from a lost link or neighbour at once, whatever the RIB is busy with.

It waits for three things: the kernel's links in the namespace of the fast path's interfaces (RTM_NEWLINK), the
kernel's neighbours in the router's namespace (RTM_NEWNEIGH, state FAILED), and the links that the fast path writes
into its stats segment, which are looked at every LOOK_MS. A loss marks a port or an adjacency (groups.pyx: down, lost)
and rewrites the words of the groups that have it; no prefix is touched, so a million routes take as long as one.

Invariants: the thread runs without the GIL from its start to its end, so no Python code can hold it up, and takes
no lock but Groups.lock. It writes words of groups and bucket blocks only: members, adjacencies and routes are the
control thread's, which an eventfd tells to give the repaired groups the members that they have now. What comes back
(a link, a neighbour) only clears marks: the control thread knows when it is to be used.

Made, fed and closed by the control thread. rtnetlink(7), netlink(7); RFC 4861 7.3.3 (a neighbour that failed).
"""
import os
import threading

from libc.errno cimport EAGAIN, EINTR, ENOBUFS, errno
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset, strncmp
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport read, write

from dpdkrouter.fib.fib cimport Fib
from dpdkrouter.fib.groups cimport Groups, pthread_mutex_lock, pthread_mutex_unlock
from fastpath.atomic cimport dr_load_acquire_64
from fastpath.layout cimport (DR_ACTION_FORWARD, DR_ACTION_SHIFT, DR_MAX_PORTS, DR_PORT_SHIFT, dr_adjacency, dr_stats)
from fastpath.segment cimport Mapping

from dpdkrouter.errors import SegmentError
from fastpath.segment import READERS, STATS, attach

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned long n, int timeout_ms)
    enum:
        POLLIN

cdef extern from "<net/if.h>" nogil:
    enum:
        IFNAMSIZ
        IFF_UP

cdef extern from "<linux/rtnetlink.h>" nogil:
    struct nlmsghdr:
        uint32_t nlmsg_len
        uint16_t nlmsg_type
    struct rtattr:
        unsigned short rta_len
        unsigned short rta_type
    struct ifinfomsg:
        int ifi_index
        unsigned int ifi_flags
    enum:
        RTM_NEWLINK
        RTM_DELLINK
        RTM_NEWNEIGH
        IFLA_IFNAME

cdef extern from "<linux/neighbour.h>" nogil:
    struct ndmsg:
        int32_t ndm_ifindex
        uint16_t ndm_state
    enum:
        NDA_DST
        NUD_FAILED
        NUD_INCOMPLETE

cdef enum:
    LOOK_MS = 5
    LOWER_UP = 0x10000    # IFF_LOWER_UP: the carrier is there (net_device.h)
    BY_KERNEL = 1         # who says that a port's link is down
    BY_FAST_PATH = 2
    INTERFACES = 64       # that ports stand on
    BUFFER = 65536


cdef struct interface:
    char name[16]
    uint8_t port
    uint8_t down


cdef const uint8_t *attribute(const uint8_t *at, const uint8_t *end, int wanted, size_t *size) noexcept nogil:
    """The value of an attribute, or NULL."""
    cdef const rtattr *one
    while end - at >= <long>sizeof(rtattr):
        one = <const rtattr *>at
        if one.rta_len < sizeof(rtattr) or one.rta_len > end - at:
            return NULL
        if one.rta_type == wanted:
            size[0] = one.rta_len - sizeof(rtattr)
            return at + sizeof(rtattr)
        at += (one.rta_len + 3) & ~3
    return NULL


cdef class Repair:
    """The thread of one Fib. links, neighbours: non-blocking rtnetlink sockets bound to their multicast group, which
    this takes over; interfaces: (name, port) of the kernel interfaces that ports stand on.
    """
    cdef Fib fib
    cdef Groups groups
    cdef int links, neighbours, stopping
    cdef readonly int told             # an eventfd: readable after each repair, and when a mark was cleared
    cdef interface interfaces[INTERFACES]
    cdef int interface_count
    cdef int32_t tap[DR_MAX_PORTS]     # index of each port's TAP, 0: none
    cdef bint held
    cdef Mapping mapping
    cdef const dr_stats *stats
    cdef bint any_lost                 # ever: before that what is usable needs no look
    cdef readonly uint64_t repairs     # losses that changed a group
    cdef readonly uint64_t groups_repaired
    cdef readonly uint64_t longest_ns  # from reading the kernel's event, or the fast path's word, to the last group
    cdef object thread

    def __init__(self, Fib fib, int links, int neighbours, interfaces):
        self.fib, self.groups = fib, fib.hops
        self.links, self.neighbours = links, neighbours
        self.told = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.stopping = os.eventfd(0, os.EFD_CLOEXEC)
        for name, port in list(interfaces)[:INTERFACES]:
            packed = name.encode()[:15]
            memset(&self.interfaces[self.interface_count], 0, sizeof(interface))
            memcpy(self.interfaces[self.interface_count].name, <const char *>packed, len(packed))
            self.interfaces[self.interface_count].port = port
            self.interface_count += 1
        memset(self.tap, 0, sizeof(self.tap))
        self.thread = threading.Thread(target=self._run, name="repair", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self.thread.start()

    def close(self) -> None:
        """End the thread and its descriptors; before the Fib is closed. A second call does nothing."""
        if self.stopping < 0:
            return
        os.eventfd_write(self.stopping, 1)
        if self.thread.ident is not None:
            self.thread.join()
        for fd in (self.links, self.neighbours, self.told, self.stopping):
            os.close(fd)
        self.stopping = -1
        self.stats = NULL
        if self.mapping is not None:
            self.mapping.close()

    # -- the control thread says what the thread has to know --

    def set_taps(self, indexes) -> None:
        """{port: index of its TAP in the router's namespace}: whose neighbours count."""
        pthread_mutex_lock(&self.groups.lock)
        memset(self.tap, 0, sizeof(self.tap))
        for port, index in indexes.items():
            self.tap[<int>port] = index
        pthread_mutex_unlock(&self.groups.lock)

    def hold(self, bint held) -> None:
        """While the fast path is absent nobody answers for neighbours: none of them counts as failed."""
        self.held = held

    def follow(self, stats_path) -> None:
        """Watch the links of the fast path that has its stats segment there now; none: none."""
        try:
            mapping = attach(stats_path, STATS, READERS)
        except SegmentError:
            mapping = None
        old = self.mapping
        pthread_mutex_lock(&self.groups.lock)
        self.mapping = mapping
        self.stats = <const dr_stats *>self.mapping.base if mapping is not None else NULL
        pthread_mutex_unlock(&self.groups.lock)
        if old is not None:
            old.close()

    # -- the thread --

    def _run(self):
        with nogil:
            self.loop()

    cdef void loop(self) noexcept nogil:
        cdef pollfd fds[3]
        cdef timespec begun
        fds[0] = pollfd(self.stopping, POLLIN, 0)
        fds[1] = pollfd(self.links, POLLIN, 0)
        fds[2] = pollfd(self.neighbours, POLLIN, 0)
        while True:
            if poll(fds, 3, LOOK_MS) < 0 and errno != EINTR:
                return
            clock_gettime(CLOCK_MONOTONIC, &begun)
            if fds[0].revents:
                return
            pthread_mutex_lock(&self.groups.lock)
            self.look(&begun, fds[1].revents != 0, fds[2].revents != 0)
            pthread_mutex_unlock(&self.groups.lock)

    cdef void look(self, const timespec *begun, bint links, bint neighbours) noexcept nogil:
        """Take what there is to know, and repair. Under the lock."""
        cdef int news = 0
        cdef uint32_t changed = 0
        cdef uint64_t one = 1, took
        cdef timespec now
        if links:
            news |= self.receive(self.links)
        if neighbours:
            news |= self.receive(self.neighbours)
        news |= self.look_at_ports()
        if not news:
            return
        changed = self.groups.repair_all()
        clock_gettime(CLOCK_MONOTONIC, &now)
        if changed:
            took = (now.tv_sec - begun.tv_sec) * <uint64_t>1000000000 + now.tv_nsec - begun.tv_nsec
            self.repairs += 1
            self.groups_repaired += changed
            if took > self.longest_ns:
                self.longest_ns = took
        write(self.told, &one, 8)

    cdef bint receive(self, int fd) noexcept nogil:
        """All events that are there; whether any mark changed."""
        cdef uint8_t buffer[BUFFER]
        cdef ssize_t size
        cdef bint news = False
        while True:
            size = read(fd, buffer, BUFFER)
            if size > 0:
                news |= self.messages(buffer, size)
            elif size == 0 or errno == EAGAIN:
                return news
            elif errno == ENOBUFS:    # events were lost: what they said is the control thread's to find out
                news |= self.forget()
            elif errno != EINTR:
                return news

    cdef bint forget(self) noexcept nogil:
        cdef int i
        for i in range(DR_MAX_PORTS):
            self.mark(i, BY_KERNEL, False)
        for i in range(self.interface_count):
            self.interfaces[i].down = 0
        memset(self.groups.lost, 0, self.groups.header.max_adjacencies + 1)
        return True

    cdef bint messages(self, const uint8_t *at, ssize_t size) noexcept nogil:
        cdef const uint8_t *end = at + size
        cdef const nlmsghdr *head
        cdef bint news = False
        while end - at >= <long>sizeof(nlmsghdr):
            head = <const nlmsghdr *>at
            if head.nlmsg_len < sizeof(nlmsghdr) or head.nlmsg_len > end - at:
                return news
            if head.nlmsg_type == RTM_NEWLINK or head.nlmsg_type == RTM_DELLINK:
                news |= self.link(at + 16, at + head.nlmsg_len, head.nlmsg_type == RTM_DELLINK)
            elif head.nlmsg_type == RTM_NEWNEIGH:
                news |= self.neighbour(at + 16, at + head.nlmsg_len)
            at += (head.nlmsg_len + 3) & ~<uint32_t>3
        return news

    cdef bint link(self, const uint8_t *at, const uint8_t *end, bint gone) noexcept nogil:
        """A port is down while any of its interfaces is down, without carrier or gone."""
        cdef const ifinfomsg *message = <const ifinfomsg *>at
        cdef const uint8_t *name
        cdef size_t size = 0
        cdef int i
        cdef bint news = False
        if end - at < <long>sizeof(ifinfomsg):
            return False
        name = attribute(at + sizeof(ifinfomsg), end, IFLA_IFNAME, &size)
        if name == NULL:
            return False
        for i in range(self.interface_count):
            if strncmp(<const char *>name, self.interfaces[i].name, min(size, <size_t>IFNAMSIZ)) == 0:
                self.interfaces[i].down = gone or not message.ifi_flags & IFF_UP or not message.ifi_flags & LOWER_UP
                news |= self.port_by_interfaces(self.interfaces[i].port)
        return news

    cdef bint port_by_interfaces(self, uint8_t port) noexcept nogil:
        cdef uint8_t down = 0
        cdef int i
        for i in range(self.interface_count):
            if self.interfaces[i].port == port:
                down |= self.interfaces[i].down
        return self.mark(port, BY_KERNEL, down != 0)

    cdef bint mark(self, uint32_t port, uint8_t who, bint down) noexcept nogil:
        cdef uint8_t before = self.groups.down[port]
        cdef uint8_t after = before & (<uint8_t>0xFF ^ who)
        self.groups.down[port] = after | who if down else after
        return self.groups.down[port] != before

    cdef bint look_at_ports(self) noexcept nogil:
        """What the fast path says of its ports; nothing before they are up."""
        cdef uint32_t port, ports
        cdef bint news = False
        if self.stats == NULL or not dr_load_acquire_64(&self.stats.header.ready):
            return False
        ports = self.stats.header.ports
        for port in range(ports if ports < <uint32_t>DR_MAX_PORTS else <uint32_t>DR_MAX_PORTS):
            news |= self.mark(port, BY_FAST_PATH, self.stats.port[port].link_up == 0)
        return news

    cdef bint neighbour(self, const uint8_t *at, const uint8_t *end) noexcept nogil:
        """A neighbour that failed is lost until it is usable, or until the control thread says what it is."""
        cdef const ndmsg *message = <const ndmsg *>at
        cdef const uint8_t *address
        cdef size_t size = 0
        cdef uint32_t port
        cdef bint failed
        if end - at < <long>sizeof(ndmsg) or self.held:
            return False
        failed = message.ndm_state & NUD_FAILED
        if message.ndm_state & NUD_INCOMPLETE or not (failed or self.any_lost):
            return False
        address = attribute(at + sizeof(ndmsg), end, NDA_DST, &size)
        if address == NULL or (size != 4 and size != 16):
            return False
        for port in range(DR_MAX_PORTS):
            if self.tap[port] and self.tap[port] == message.ndm_ifindex:
                return self.mark_neighbour(port, address, size, failed)
        return False

    cdef bint mark_neighbour(self, uint32_t port, const uint8_t *address, size_t size, bint failed) noexcept nogil:
        cdef uint32_t i
        cdef const dr_adjacency *one
        cdef uint64_t dst
        cdef bint news = False
        for i in range(1, self.groups.header.max_adjacencies + 1):
            one = &self.groups.adjacency[i]
            dst = dr_load_acquire_64(&one.dst)
            if (one.in_use and one.family == (4 if size == 4 else 6) and ((dst >> DR_PORT_SHIFT) & 0xFF) == port
                    and dst >> DR_ACTION_SHIFT == DR_ACTION_FORWARD and memcmp(one.nexthop, address, size) == 0
                    and self.groups.lost[i] != failed):
                self.groups.lost[i] = failed
                self.any_lost = news = True
        return news
