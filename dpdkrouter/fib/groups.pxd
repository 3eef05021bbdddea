"""Next-hop groups, adjacencies and interfaces; see groups.pyx."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from dpdkrouter.fib.grace cimport Grace
from fastpath.layout cimport dr_adjacency, dr_group_key, dr_interface, dr_journal, dr_route_header

cdef class Groups:
    cdef dr_route_header *header
    cdef uint32_t *word               # [max_groups + 1]
    cdef uint16_t *bucket             # [max_ecmp_groups][DR_BUCKETS]
    cdef dr_group_key *key            # [max_groups + 1]
    cdef dr_adjacency *adjacency      # [max_adjacencies + 1]
    cdef dr_interface *interface      # [DR_MAX_PORTS]
    cdef dr_journal *journal
    cdef uint32_t *routes             # [65536]: rules that point to the group
    cdef uint32_t *used_by            # [max_adjacencies + 1]: groups that have the adjacency as a member
    cdef list free_groups, free_buckets, free_adjacencies
    cdef Grace grace

    cdef void bind(self, dr_route_header *header)
    cdef bint derive(self) except *
    cdef bint in_use(self, uint32_t group) noexcept
    cdef void release_retired(self, uint32_t kind, uint32_t what)
    cdef void redo(self) noexcept
    cdef object check_members(self, members)
    cdef uint32_t new_word(self, object members, uint32_t old_word) except 0xFFFFFFFF
    cdef int publish(self, uint32_t group, object members, uint32_t word) except -1
    cdef int copy_from(self, Groups old) except -1
    cdef int need_room(self, uint32_t n) except -1
