"""The UPDATE decoder: messages of one session in, routes for the RIB out. Sans-I/O.

Invariants: nothing that a peer sends raises; a message is taken whole or, when it ends the session, not at
all; every prefix that a malformed UPDATE announces is withdrawn. Withdrawals of a message come before its
announcements (RFC 4271 section 4.3). Attributes are packed in one form whatever the order, flags and ASN size
on the wire, so the RIB finds equal sets equal. One session, one thread; called by sources/bgp.py.

RFC 4271 sections 4.3 and 6.3, 4760 (families), 2545 (IPv6 next hops), 6793 (4-byte ASNs), 7606 (errors),
7607 (AS 0), 7911 (ADD-PATH), 8654 (extended messages), 1997, 4360, 5701, 8092 (communities), 4456
(reflection), 4724 section 2 (End-of-RIB).
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from dpdkrouter.bgp.columns cimport Columns, put_routes
from dpdkrouter.bgp.faults cimport Fault
from dpdkrouter.bgp.packing cimport SCRATCH, pack_attributes
from dpdkrouter.bgp.pathattrs cimport (
    AS_PATH, FAULTS, LOCAL_PREF, ORIGIN, Found, Rules, Span, be16, find_attributes, has,
)

from dpdkrouter.bgp.decoded import Decoded, Routes, reset_for
from dpdkrouter.bgp.faults import Fault as FaultName

cdef enum:
    HEADER = 19
    UPDATE = 2
    UNICAST = 1

cdef const char* ZEROS = b"\0" * 16
cdef const char* MARKER = b"\xff" * 16


# A part of an UPDATE that announces: NLRI or MP_REACH_NLRI.
ctypedef struct Reach:
    Span routes
    Span next_hop
    bint present


cdef class UpdateDecoder:
    """The decoder of one session, whose properties are `negotiated` (decoded.Negotiated)."""

    cdef Rules rules
    cdef Columns ipv4            # None: the family was not negotiated
    cdef Columns ipv6
    cdef bint add_path4
    cdef bint add_path6
    cdef uint32_t max_message
    cdef bytes local
    cdef uint8_t* scratch
    cdef list ends
    cdef uint32_t updates

    def __cinit__(self, negotiated):
        self.scratch = <uint8_t*>malloc(SCRATCH)
        if self.scratch == NULL:
            raise MemoryError("the UPDATE decoder needs memory")
        memset(&self.rules, 0, sizeof(Rules))
        self.rules.internal = negotiated.internal
        self.rules.as4 = negotiated.as4
        self.ipv4 = Columns(4) if "ipv4" in negotiated.families else None
        self.ipv6 = Columns(16) if "ipv6" in negotiated.families else None
        self.add_path4 = "ipv4" in negotiated.add_path
        self.add_path6 = "ipv6" in negotiated.add_path
        self.max_message = negotiated.max_message
        self.local = negotiated.local_address
        self.ends = []

    def __dealloc__(self):
        free(self.scratch)

    def decode(self, data):
        """Decode whole messages, one after the other; returns Decoded."""
        cdef const uint8_t[::1] view = data
        cdef Py_ssize_t left = view.shape[0]
        cdef const uint8_t* at = &view[0] if left else NULL
        cdef uint32_t size
        cdef Span where
        cdef Fault fault
        reset = None
        while left > 0:
            where.at, where.size = at, 0
            fault = self._header(at, left, &where)
            if fault == Fault.NONE:
                size = be16(at + 16)
                fault = self._update(at + HEADER, size - HEADER, &where)
            if fault != Fault.NONE:
                reset = reset_for(FaultName(<int>fault), where.at[:where.size])
                break
            at += size
            left -= size
        return self._take(reset)

    cdef object _take(self, object reset):
        cdef int i
        faults = {}
        for i in range(FAULTS):
            if self.rules.counts[i]:
                faults[FaultName(i)] = self.rules.counts[i]
                self.rules.counts[i] = 0
        routes = tuple([
            Routes(4 if columns.width == 4 else 6, *columns.take())
            for columns in (self.ipv4, self.ipv6) if columns is not None and columns.size
        ])
        found = Decoded(routes, self.updates, tuple(self.ends), faults, reset)
        self.updates = 0
        self.ends = []
        return found

    cdef Fault _header(self, const uint8_t* at, Py_ssize_t left, Span* where) except *:
        """RFC 4271 section 6.1; where: the erroneous field."""
        cdef uint32_t size
        if left < HEADER:
            return Fault.MESSAGE_LENGTH
        if memcmp(at, MARKER, 16) != 0:
            return Fault.MARKER
        size = be16(at + 16)
        where.at, where.size = at + 16, 2
        if size < HEADER or size > self.max_message or size > left:
            return Fault.MESSAGE_LENGTH
        if at[18] != UPDATE:
            where.at, where.size = at + 18, 1
            return Fault.NOT_UPDATE
        return Fault.NONE if size >= HEADER + 4 else Fault.MESSAGE_LENGTH

    cdef Fault _update(self, const uint8_t* body, uint32_t size, Span* where) except *:
        """One message; a fault other than NONE ends the session."""
        cdef Py_ssize_t before4 = self.ipv4.size if self.ipv4 is not None else 0
        cdef Py_ssize_t before6 = self.ipv6.size if self.ipv6 is not None else 0
        cdef Fault fault
        cdef Found found
        cdef uint32_t withdrawn = be16(body), attributes
        if withdrawn + 4 > size:
            return Fault.UPDATE_LENGTH
        attributes = be16(body + 2 + withdrawn)
        if withdrawn + 4 + attributes > size:
            return Fault.UPDATE_LENGTH
        memset(&found, 0, sizeof(Found))
        find_attributes(&found, &self.rules, body + 4 + withdrawn, attributes)
        where[0] = found.reset_at
        fault = found.reset
        if fault == Fault.NONE:
            fault = self._parts(
                &found,
                Span(body + 2, withdrawn),
                Span(body + 4 + withdrawn + attributes, size - 4 - withdrawn - attributes),
                where,
            )
        if fault != Fault.NONE:
            if self.ipv4 is not None:
                self.ipv4.size = before4
            if self.ipv6 is not None:
                self.ipv6.size = before6
        return fault

    cdef Fault _parts(self, Found* found, Span withdrawn, Span nlri, Span* where) except *:
        """The four places where routes can be, withdrawals first."""
        cdef Reach plain = Reach(nlri, found.next_hop, nlri.size != 0 and self.ipv4 is not None)
        cdef Reach other = Reach(Span(NULL, 0), Span(NULL, 0), False)
        cdef Columns columns = None
        if withdrawn.size == 0 and nlri.size == 0 and self._end(found):
            return Fault.NONE
        self.updates += 1
        if withdrawn.size and not self._put(self.ipv4, withdrawn, 0):
            where[0] = withdrawn
            return Fault.NETWORK_FIELD
        if found.mp_unreach.at != NULL:
            where[0] = found.mp_unreach_whole
            columns = self._family(found.mp_unreach)
            if not self._put(columns, Span(found.mp_unreach.at + 3, found.mp_unreach.size - 3), 0):
                return Fault.MP_ATTRIBUTE
        if found.mp_reach.at != NULL:
            where[0] = found.mp_reach_whole
            columns = self._family(found.mp_reach)
            if columns is None:
                self.rules.counts[<int>Fault.FAMILY] += 1
            elif not split_reach(found.mp_reach, columns.width, &other):
                return Fault.MP_ATTRIBUTE
        if found.fault != Fault.NONE and not plain.present and not other.present:
            where[0] = found.fault_at
            return found.fault  # RFC 7606 section 5.2
        if nlri.size and not self._announce(found, &plain, self.ipv4):
            where[0] = nlri
            return Fault.NETWORK_FIELD
        if other.present and not self._announce(found, &other, columns):
            where[0] = found.mp_reach_whole
            return Fault.MP_ATTRIBUTE
        return Fault.NONE

    cdef bint _end(self, const Found* found) except *:
        """Whether this is an End-of-RIB; noted then."""
        cdef Columns columns
        if found.count == 0 and found.fault == Fault.NONE:
            columns = self.ipv4
        elif found.count == 1 and found.mp_unreach.size == 3 and found.fault == Fault.NONE:
            columns = self._family(found.mp_unreach)
        else:
            return False
        if columns is not None:
            self.ends.append(4 if columns.width == 4 else 6)
        return True

    cdef Columns _family(self, Span attribute):
        """Where routes of a multiprotocol attribute's family go; None when it is not in use."""
        cdef uint16_t afi = be16(attribute.at)
        if attribute.at[2] != UNICAST or afi not in (1, 2):
            return None
        return self.ipv4 if afi == 1 else self.ipv6

    cdef bint _put(self, Columns columns, Span field, uint32_t chosen) except *:
        """Add a field's routes; False when it is syntactically incorrect."""
        cdef bint add_path
        cdef uint32_t ignored = 0
        if columns is None:
            self.rules.counts[<int>Fault.FAMILY] += 1
            return True
        columns.reserve(field.size)
        add_path = self.add_path4 if columns.width == 4 else self.add_path6
        if put_routes(columns, field.at, field.size, add_path, chosen, &ignored):
            return False
        self.rules.counts[<int>Fault.PREFIX] += ignored
        return True

    cdef bint _announce(self, const Found* found, Reach* reach, Columns columns) except *:
        """Add announced routes, as withdrawn when something is wrong with the attributes."""
        cdef Fault fault = found.fault
        cdef uint32_t size, chosen = 0
        cdef uint32_t width = 0 if columns is None else columns.width
        if fault == Fault.NONE:
            fault = self._missing(found, reach)
        if fault == Fault.NONE and columns is not None and not self._usable(reach, width):
            fault = Fault.UNUSABLE_NEXT_HOP
        if fault != Fault.NONE:
            self.rules.counts[<int>fault] += 1
        elif columns is not None:
            size = pack_attributes(found, &self.rules, reach.next_hop.at, width, self.scratch)
            chosen = columns.choose(self.scratch, size)
        return self._put(columns, reach.routes, chosen)

    cdef Fault _missing(self, const Found* found, const Reach* reach) noexcept:
        if not has(found, ORIGIN) or not has(found, AS_PATH) or reach.next_hop.at == NULL:
            return Fault.MISSING
        if self.rules.internal and not has(found, LOCAL_PREF):
            return Fault.MISSING
        return Fault.NONE

    cdef bint _usable(self, Reach* reach, uint32_t width) except *:
        """Whether packets can be sent to the next hop; takes the link-local one for a global one that is none.

        A speaker without a global address sends :: there (RFC 2545 leaves it no choice).
        """
        cdef const uint8_t* at = reach.next_hop.at
        if width == 16 and reach.next_hop.size == 32 and not sendable(at, 16):
            at += 16
            reach.next_hop.at = at
        if not sendable(at, width):
            return False
        return PyBytes_GET_SIZE(self.local) != width or memcmp(PyBytes_AS_STRING(self.local), at, width) != 0


cdef bint split_reach(Span attribute, int width, Reach* reach) noexcept:
    """AFI, SAFI, next hop, a reserved byte, routes (RFC 4760 section 3); False: the next hop's length is wrong."""
    cdef uint32_t length = attribute.at[3]
    if length + 5 > attribute.size or not (length == width or (width == 16 and length == 32)):
        return False
    reach.next_hop.at, reach.next_hop.size = attribute.at + 4, length
    reach.routes.at, reach.routes.size = attribute.at + 5 + length, attribute.size - 5 - length
    reach.present = reach.routes.size != 0
    return True


cdef bint sendable(const uint8_t* at, uint32_t width) noexcept:
    """Not 0/8, loopback, multicast or above; not ::, ::1, multicast."""
    if width == 4:
        return 0 < at[0] < 224 and at[0] != 127
    return at[0] != 0xFF and (memcmp(at, ZEROS, 15) != 0 or at[15] > 1)
