"""Next-hop groups, adjacencies and interfaces; see groups.pyx."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from dpdkrouter.fib.grace cimport Grace
from fastpath.layout cimport DR_MAX_PORTS, dr_adjacency, dr_group_key, dr_interface, dr_journal, dr_route_header

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, void *attributes)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)

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
    # What the repair thread shares with the control thread (repair.pyx), under the lock:
    cdef pthread_mutex_t lock
    cdef dr_group_key *backup         # [max_groups + 1]: what stands in when no member can be used
    cdef uint8_t *repaired            # [max_groups + 1]: the word is not the key's
    cdef uint8_t *lost                # [max_adjacencies + 1]: its neighbour failed
    cdef uint8_t down[DR_MAX_PORTS]   # not 0: the port's link is down
    cdef uint32_t *spare              # bucket blocks that a repair may take
    cdef uint32_t *left               # those that it took out of use
    cdef uint32_t spares, lefts

    cdef int bind(self, dr_route_header *header) except -1
    cdef bint derive(self) except *
    cdef bint in_use(self, uint32_t group) noexcept
    cdef void release_retired(self, uint32_t kind, uint32_t what)
    cdef void redo(self) noexcept
    cdef object check_members(self, members)
    cdef uint32_t new_word(self, object members, uint32_t old_word) except 0xFFFFFFFF
    cdef int publish(self, uint32_t group, object members, uint32_t word) except -1
    cdef int copy_from(self, Groups old) except -1
    cdef int need_room(self, uint32_t n) except -1
    cdef int set_backup(self, uint32_t group, object members) except -1
    cdef int settle(self, uint32_t group) except -1
    cdef bint collect(self) noexcept
    cdef uint32_t free_blocks(self) noexcept
    cdef bint dead(self, uint32_t adjacency) noexcept nogil
    cdef bint repair(self, uint32_t group) noexcept nogil
    cdef uint32_t repair_all(self) noexcept nogil
