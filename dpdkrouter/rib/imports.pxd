"""The import filter of one origin: checks and policy, compiled. See imports.pyx."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from dpdkrouter.rib.batch cimport Batch
from dpdkrouter.rib.interns cimport Interns
from dpdkrouter.rib.prefixset cimport Family, PrefixSet
from dpdkrouter.rib.records cimport AttrRecord


cdef enum:
    RULES = 64             # MAX_RULES of rib/policy.py
    VERDICTS = 73          # Verdict.RULE + RULES


# What the rules say of an attribute set, kept for the next route that has it.
ctypedef struct Known:
    uint64_t rules         # bit n: rule n matches it
    uint32_t serial        # AttrRecord.serial of the set that this was worked out for, 0: none
    uint8_t blackhole      # it has the BLACKHOLE community, and the peer may use it
    uint8_t foreign        # its first AS is not the peer's, which it has to be


# Sorted values, for binary search.
ctypedef struct Words:
    uint32_t* items
    uint32_t size


cdef class _Asked:
    cdef Words standard
    cdef Words path_has
    cdef Words origin_as
    cdef Words neighbour_as
    cdef bytes large               # 12 bytes each, network order
    cdef bint communities
    cdef uint32_t longer_than        # 0xFFFFFFFF: any length
    cdef bytes path_table          # an expression's automaton (aspath.py); empty: any path
    cdef const uint16_t* path_steps

    cdef bint holds(self, const AttrRecord* record, const char* packed) noexcept


cdef class ImportFilter:
    cdef readonly object policy
    cdef readonly object checks
    cdef PrefixSet bogons
    cdef PrefixSet own
    cdef list sets                 # PrefixSet of each rule, or None
    cdef list communities          # of each rule: what it removes, what it adds, as (standard, large) in packed form
    cdef list asked                # _Asked of each rule, or None
    cdef const Family* lists[2][RULES]   # into sets; NULL: any prefix
    cdef uint8_t accepts[VERDICTS]
    cdef uint8_t changes[RULES]    # whether the rule changes attributes
    cdef uint32_t first_as         # that a path must begin with; 0: any
    cdef uint8_t longest[2]        # prefix lengths that may be, IPv4 and IPv6
    cdef uint8_t least[2]          # prefix lengths that a blackhole has at least
    cdef bint listed               # a blackhole needs a prefix list that covers it
    cdef int rules
    cdef uint64_t always           # rules that ask nothing of attributes
    cdef bint asks                 # attribute sets have to be looked at
    cdef Known* known
    cdef uint32_t known_size
    cdef uint32_t* attrs           # of the last batch: the attribute set that each element gets, 0: withdrawn
    cdef uint16_t* verdicts        # of the last batch
    cdef Py_ssize_t room
    cdef uint64_t paths[2][VERDICTS]     # paths of the origin now, by family and verdict; kept by Store

    cdef int judge(self, Batch batch, const uint32_t* attrs, uint32_t attr, Interns interns) except -1
    cdef Known look_at(self, uint32_t attr, Interns interns) except *
    cdef int verdict(self, int which, uint64_t hi, uint64_t lo, int length, const Known* known) noexcept
    cdef int unlisted(self, int verdict) noexcept
    cdef uint32_t changed(self, uint32_t attr, int rule, bint blackhole, Interns interns) except 0
