"""Writer of next-hop groups, adjacencies and interface records.

A group's word is its only member's adjacency, or names a block of 256 buckets that is filled before the word
is stored and never changed afterwards; so repointing a group is one store, whatever number of prefixes use
it. What a group is made of stands in its key; word and key change together by way of the journal (`redo`). An
adjacency's two words are each stored whole. Ids and indices are given anew only after a grace period, since a
packet on its way may still hold them. Control thread only, but for `repair` and what it needs, which the repair
thread (repair.pyx) calls without the GIL: what both touch is under `lock`, which nobody holds for more than some
hundred microseconds. A repair changes words, never keys: until the control thread has given the group other members,
its key says what it was made of and not what packets do.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from dpdkrouter.fib.grace cimport RETIRED_ADJACENCY, RETIRED_BUCKETS, RETIRED_GROUP, Grace
from fastpath.atomic cimport dr_load_relaxed_64, dr_store_release_32, dr_store_release_64
from fastpath.layout cimport (DR_ACTION_FORWARD, DR_ACTION_RESOLVE, DR_ACTION_SHIFT, DR_BUCKETS, DR_GROUP_MULTI,
                              DR_IF_CONFIGURED, DR_IF_NEIGHBORS_FULL, DR_JOURNAL_GROUP, DR_JOURNAL_NONE,
                              DR_MAX_MEMBERS, DR_MAX_PORTS, DR_NAME, DR_PORT_SHIFT,
                              dr_adjacency, dr_group_key, dr_interface, dr_journal, dr_route_header)

from dpdkrouter.fib.buckets import assign
from dpdkrouter.fib.records import Action, Member, TableFullError

__all__ = ["Groups"]


cdef uint64_t mac_word(bytes mac) except? 0xFFFFFFFFFFFFFFFF:
    if len(mac) != 6:
        raise ValueError(f"MAC address {mac.hex(':')}: not 6 bytes")
    return int.from_bytes(mac, "little")


cdef inline bint all_same(const uint16_t *found, int n) noexcept nogil:
    cdef int i
    for i in range(1, n):
        if found[i] != found[0]:
            return False
    return True


cdef class Groups:
    """Created by Fib; its checks raise ValueError that names what was found."""

    def __cinit__(self, uint32_t max_groups, uint32_t max_adjacencies, Grace grace):
        self.grace = grace
        # for every number that a rule can name: a damaged one may name a group that there cannot be
        self.routes = <uint32_t *>calloc(1 << 16, sizeof(uint32_t))
        self.used_by = <uint32_t *>calloc(max_adjacencies + 1, sizeof(uint32_t))
        self.backup = <dr_group_key *>calloc(max_groups + 1, sizeof(dr_group_key))
        self.repaired = <uint8_t *>calloc(max_groups + 1, 1)
        self.lost = <uint8_t *>calloc(max_adjacencies + 1, 1)
        if (self.routes == NULL or self.used_by == NULL or self.backup == NULL or self.repaired == NULL
                or self.lost == NULL or pthread_mutex_init(&self.lock, NULL)):
            raise MemoryError
        memset(self.down, 0, DR_MAX_PORTS)
        self.free_groups, self.free_buckets, self.free_adjacencies = [], [], []

    def __dealloc__(self):
        free(self.routes)
        free(self.used_by)
        free(self.backup)
        free(self.repaired)
        free(self.lost)
        free(self.spare)
        free(self.left)
        pthread_mutex_destroy(&self.lock)

    cdef int bind(self, dr_route_header *header) except -1:
        cdef uint8_t *base = <uint8_t *>header
        self.header = header
        self.spare = <uint32_t *>calloc(header.max_ecmp_groups + 1, sizeof(uint32_t))
        self.left = <uint32_t *>calloc(header.max_ecmp_groups + 1, sizeof(uint32_t))
        if self.spare == NULL or self.left == NULL:
            raise MemoryError
        self.word = <uint32_t *>(base + header.groups.offset)
        self.bucket = <uint16_t *>(base + header.buckets.offset)
        self.key = <dr_group_key *>(base + header.group_keys.offset)
        self.adjacency = <dr_adjacency *>(base + header.adjacencies.offset)
        self.interface = <dr_interface *>(base + header.interfaces.offset)
        self.journal = <dr_journal *>(base + header.journal.offset)
        return 0

    cdef bint derive(self) except *:
        """Find what is free from keys, words and in_use marks; False when a group names what is not there."""
        cdef uint32_t i, block
        cdef int m
        taken = bytearray(self.header.max_ecmp_groups)
        for i in range(self.spares):
            taken[self.spare[i]] = 1
        for i in range(self.lefts):
            taken[self.left[i]] = 1
        memset(self.used_by, 0, (self.header.max_adjacencies + 1) * sizeof(uint32_t))
        for i in range(1, self.header.max_groups + 1):
            if not self.key[i].members:
                continue
            if self.key[i].members > DR_MAX_MEMBERS:
                return False
            if self.word[i] & DR_GROUP_MULTI:
                block = self.word[i] & ~DR_GROUP_MULTI
                if block >= self.header.max_ecmp_groups or taken[block]:
                    return False
                taken[block] = 1
            for m in range(self.key[i].members):
                if self.key[i].member[m].adjacency > self.header.max_adjacencies:
                    return False
                self.used_by[self.key[i].member[m].adjacency] += 1
        self.free_groups = [i for i in range(self.header.max_groups, 0, -1) if not self.key[i].members]
        self.free_adjacencies = [i for i in range(self.header.max_adjacencies, 0, -1)
                                 if not self.adjacency[i].in_use]
        self.free_buckets = [i for i in range(self.header.max_ecmp_groups - 1, -1, -1) if not taken[i]]
        return True

    cdef bint in_use(self, uint32_t group) noexcept:
        return 0 < group <= self.header.max_groups and self.key[group].members != 0

    cdef void release_retired(self, uint32_t kind, uint32_t what):
        """A grace period is over: the id may be given again."""
        if kind == RETIRED_GROUP:
            dr_store_release_32(&self.word[what], 0)
            self.free_groups.append(what)
        elif kind == RETIRED_BUCKETS:
            self.free_buckets.append(what)
        elif kind == RETIRED_ADJACENCY:
            dr_store_release_64(&self.adjacency[what].dst, 0)
            self.free_adjacencies.append(what)

    # -- groups --

    cdef object check_members(self, members):
        """The members as a tuple of Member, in order of adjacency."""
        checked = tuple(sorted(Member(*member) for member in members))
        if not 1 <= len(checked) <= DR_MAX_MEMBERS:
            raise ValueError(f"group of {len(checked)} members: from 1 to {DR_MAX_MEMBERS}")
        if len({adjacency for adjacency, _ in checked}) != len(checked):
            raise ValueError(f"group with an adjacency twice: {checked}")
        for index, weight in checked:
            if not 0 < index <= self.header.max_adjacencies or not self.adjacency[index].in_use:
                raise ValueError(f"adjacency {index} of a group: not in use")
            if not 1 <= weight <= 65535:
                raise ValueError(f"weight {weight} of adjacency {index}: from 1 to 65535")
        return checked

    cdef uint32_t new_word(self, object members, uint32_t old_word) except 0xFFFFFFFF:
        """The word for these members, its buckets filled.

        `old_word`: whose buckets should stay where they are.
        """
        cdef uint16_t *bucket
        cdef uint32_t block
        cdef int i
        if len(members) == 1:
            return members[0][0]
        if old_word & DR_GROUP_MULTI:
            bucket = &self.bucket[(old_word & ~DR_GROUP_MULTI) * DR_BUCKETS]
            before = [bucket[i] for i in range(DR_BUCKETS)]
        else:
            before = [old_word] * DR_BUCKETS
        if not self.free_buckets and self.spares:
            self.spares -= 1
            self.free_buckets.append(self.spare[self.spares])
        if not self.free_buckets:
            raise TableFullError("bucket block for a group of several members", self.header.max_ecmp_groups,
                                 "max_ecmp_groups")
        after = assign(dict(members), before)
        block = self.free_buckets.pop()
        bucket = &self.bucket[block * DR_BUCKETS]
        for i in range(DR_BUCKETS):
            bucket[i] = after[i]
        return block | DR_GROUP_MULTI

    cdef int publish(self, uint32_t group, object members, uint32_t word) except -1:
        """Give a group its new key and word, as one by way of the journal."""
        cdef dr_group_key *key = &self.journal.next
        cdef int i
        for i in range(self.key[group].members):
            self.used_by[self.key[group].member[i].adjacency] -= 1
        memset(key, 0, sizeof(dr_group_key))
        key.members = len(members)
        for i in range(key.members):
            key.member[i].adjacency, key.member[i].weight = members[i]
            self.used_by[key.member[i].adjacency] += 1
        self.journal.group = group
        self.journal.word = word
        dr_store_release_32(&self.journal.op, DR_JOURNAL_GROUP)
        self.redo()
        return 0

    cdef void redo(self) noexcept:
        """Do what the journal says of a group, from the start."""
        cdef uint32_t group = self.journal.group
        if self.journal.next.members:    # a released group's word stays until its grace period is over
            dr_store_release_32(&self.word[group], self.journal.word)
        memcpy(&self.key[group], &self.journal.next, sizeof(dr_group_key))
        dr_store_release_32(&self.journal.op, DR_JOURNAL_NONE)

    cdef int copy_from(self, Groups old) except -1:
        """Take over all adjacencies and groups of another segment under the same numbers.

        ValueError when one has no place.
        """
        cdef uint32_t i, blocks = 0
        cdef dr_route_header *h = self.header
        for i in range(1, old.header.max_adjacencies + 1):
            if old.adjacency[i].in_use:
                if i > h.max_adjacencies:
                    raise ValueError(f"adjacency {i} is in use: table.max_adjacencies must be at least that")
                memcpy(&self.adjacency[i], &old.adjacency[i], sizeof(dr_adjacency))
        for i in range(1, old.header.max_groups + 1):
            if not old.key[i].members:
                continue
            if i > h.max_groups:
                raise ValueError(f"group {i} is in use: table.max_groups must be at least that")
            self.word[i] = old.word[i]
            if old.word[i] & DR_GROUP_MULTI:
                if blocks >= h.max_ecmp_groups:
                    raise ValueError(f"more than {blocks} groups of several members are in use: "
                                     f"table.max_ecmp_groups must be larger")
                memcpy(&self.bucket[blocks * DR_BUCKETS],
                       &old.bucket[(old.word[i] & ~DR_GROUP_MULTI) * DR_BUCKETS], DR_BUCKETS * sizeof(uint16_t))
                self.word[i] = blocks | DR_GROUP_MULTI
                blocks += 1
            memcpy(&self.key[i], &old.key[i], sizeof(dr_group_key))
        return 0

    cdef int need_room(self, uint32_t n) except -1:
        if not self.grace.has_room(n):
            raise TableFullError("place in the grace queue (an lcore hangs)", self.grace.size, "max_groups")
        return 0

    def create(self, members, backup=()) -> int:
        checked, stand_ins = self.check_members(members), self.check_members(backup) if backup else ()
        if not self.free_groups:
            raise TableFullError("group", self.header.max_groups, "max_groups")
        pthread_mutex_lock(&self.lock)
        try:
            word = self.new_word(checked, 0)
            group = self.free_groups.pop()
            self.set_backup(group, stand_ins)
            self.publish(group, checked, word)
            self.settle(group)
        finally:
            pthread_mutex_unlock(&self.lock)
        return group

    def update(self, uint32_t group, members, backup=None) -> None:
        """backup: None leaves it as it is."""
        cdef uint32_t old_word
        checked, stand_ins = self.check_members(members), self.check_members(backup) if backup else ()
        if not self.in_use(group):
            raise ValueError(f"group {group}: not in use")
        self.need_room(1)
        pthread_mutex_lock(&self.lock)
        try:
            old_word = self.word[group]
            word = self.new_word(checked, old_word)
            if backup is not None:
                self.set_backup(group, stand_ins)
            self.publish(group, checked, word)
            if old_word & DR_GROUP_MULTI:
                self.grace.retire(RETIRED_BUCKETS, old_word & ~DR_GROUP_MULTI)
            self.settle(group)
        finally:
            pthread_mutex_unlock(&self.lock)

    def release(self, uint32_t group) -> None:
        if not self.in_use(group):
            raise ValueError(f"group {group}: not in use")
        if self.routes[group]:
            raise ValueError(f"group {group}: {self.routes[group]} routes use it")
        self.need_room(2)
        pthread_mutex_lock(&self.lock)
        try:
            self.set_backup(group, ())
            self.publish(group, (), 0)
            self.repaired[group] = 0
            if self.word[group] & DR_GROUP_MULTI:
                self.grace.retire(RETIRED_BUCKETS, self.word[group] & ~DR_GROUP_MULTI)
            self.grace.retire(RETIRED_GROUP, group)
        finally:
            pthread_mutex_unlock(&self.lock)

    cdef int set_backup(self, uint32_t group, object members) except -1:
        """What stands in for a group's members; checked. Under the lock."""
        cdef dr_group_key *at = &self.backup[group]
        cdef int i
        for i in range(at.members):
            self.used_by[at.member[i].adjacency] -= 1
        at.members = len(members)
        for i in range(at.members):
            at.member[i].adjacency, at.member[i].weight = members[i]
            self.used_by[at.member[i].adjacency] += 1
        return 0

    # -- repairs --

    cdef int settle(self, uint32_t group) except -1:
        """After a new word: repair it as well, if it has to be; set blocks aside for repairs. Under the lock."""
        cdef uint32_t wanted
        self.repaired[group] = 0
        self.repair(group)
        wanted = min(self.header.max_ecmp_groups - self.free_blocks(), self.header.max_ecmp_groups // 4)
        while self.spares < wanted and self.free_buckets:
            self.spare[self.spares] = self.free_buckets.pop()
            self.spares += 1
        return 0

    cdef bint collect(self) noexcept:
        """Retire the blocks that repairs took out of use; whether there were any."""
        cdef bint any_left
        pthread_mutex_lock(&self.lock)
        any_left = self.lefts != 0
        while self.lefts and self.grace.has_room(2):
            self.lefts -= 1
            self.grace.retire(RETIRED_BUCKETS, self.left[self.lefts])
        pthread_mutex_unlock(&self.lock)
        return any_left

    cdef uint32_t free_blocks(self) noexcept:
        return <uint32_t>len(self.free_buckets) + self.spares

    cdef bint dead(self, uint32_t adjacency) noexcept nogil:
        """Whether a next hop was lost since its group was written."""
        cdef uint64_t dst = dr_load_relaxed_64(&self.adjacency[adjacency].dst)
        cdef uint64_t action = dst >> DR_ACTION_SHIFT
        if action != DR_ACTION_FORWARD and action != DR_ACTION_RESOLVE:
            return False
        return self.lost[adjacency] or self.down[(dst >> DR_PORT_SHIFT) % DR_MAX_PORTS]

    cdef bint repair(self, uint32_t group) noexcept nogil:
        """Point a group away from what was lost, to its other members or else to its backup, by one store.

        Under the lock. Whether the word changed; a group that has nothing else stays as it is. Only flows of lost
        members move; the others' shares are kept among them. Without a spare block one live member takes all.
        """
        cdef uint32_t word = self.word[group], block
        cdef uint16_t instead[DR_BUCKETS]
        cdef const uint16_t *old = NULL
        cdef uint16_t *new
        cdef int i, n = 0, wrong = 0
        if word & DR_GROUP_MULTI:
            old = &self.bucket[(word & ~DR_GROUP_MULTI) * DR_BUCKETS]
            for i in range(DR_BUCKETS):
                if self.dead(old[i]):
                    wrong += 1
                else:
                    instead[n] = old[i]
                    n += 1
        else:
            wrong = self.dead(word)
        if not wrong:
            return False
        for i in range(self.backup[group].members if n == 0 else 0):
            if not self.dead(self.backup[group].member[i].adjacency):
                instead[n] = self.backup[group].member[i].adjacency
                n += 1
        if n == 0:
            return False
        if all_same(instead, n) or not self.spares:
            dr_store_release_32(&self.word[group], instead[0])
        else:
            self.spares -= 1
            block = self.spare[self.spares]
            new = &self.bucket[block * DR_BUCKETS]
            wrong = 0
            for i in range(DR_BUCKETS):
                if old != NULL and not self.dead(old[i]):
                    new[i] = old[i]
                else:
                    new[i] = instead[wrong % n]
                    wrong += 1
            dr_store_release_32(&self.word[group], block | DR_GROUP_MULTI)
        if old != NULL:
            self.left[self.lefts] = word & ~DR_GROUP_MULTI
            self.lefts += 1
        self.repaired[group] = 1
        return True

    cdef uint32_t repair_all(self) noexcept nogil:
        """Repair every group; how many words changed. Under the lock."""
        cdef uint32_t group, changed = 0
        for group in range(1, self.header.max_groups + 1):
            if self.key[group].members:
                changed += self.repair(group)
        return changed

    def repaired_groups(self) -> list:
        """Groups whose word a repair has changed and whose members are still the old ones."""
        return [group for group in range(1, self.header.max_groups + 1) if self.repaired[group]]

    def members(self, uint32_t group) -> tuple:
        if not self.in_use(group):
            return ()
        return tuple(Member(self.key[group].member[i].adjacency, self.key[group].member[i].weight)
                     for i in range(self.key[group].members))

    # -- adjacencies --

    def adjacency_create(self, value) -> int:
        if not self.free_adjacencies:
            raise TableFullError("adjacency", self.header.max_adjacencies, "max_adjacencies")
        cdef uint32_t index = self.free_adjacencies[len(self.free_adjacencies) - 1]
        self.adjacency_store(index, value)    # may raise
        self.free_adjacencies.pop()
        self.adjacency[index].in_use = 1
        return index

    def adjacency_set(self, uint32_t index, value) -> None:
        if not 0 < index <= self.header.max_adjacencies or not self.adjacency[index].in_use:
            raise ValueError(f"adjacency {index}: not in use")
        self.adjacency_store(index, value)

    def adjacency_store(self, uint32_t index, value) -> None:
        """Store an adjacency so that a worker never sends with a MAC of one state and a port of another."""
        cdef dr_adjacency *at = &self.adjacency[index]
        cdef uint64_t port = value.port
        cdef uint64_t dst = mac_word(value.dst) | port << DR_PORT_SHIFT | <uint64_t>value.action << DR_ACTION_SHIFT
        cdef uint64_t src = mac_word(value.src)
        cdef bytes next_hop = value.next_hop
        if not 0 <= value.port < DR_MAX_PORTS or not 0 <= value.mtu <= 65535:
            raise ValueError(f"adjacency with port {value.port}, MTU {value.mtu}: out of range")
        if len(next_hop) not in (0, 4, 16):
            raise ValueError(f"adjacency with a next hop of {len(next_hop)} bytes: 0, 4 or 16")
        if src != at.src and at.dst >> DR_ACTION_SHIFT == Action.FORWARD:    # until both words are new: resolve
            dr_store_release_64(&at.dst, at.dst & ~(<uint64_t>0xFF << DR_ACTION_SHIFT)
                                | <uint64_t>Action.RESOLVE << DR_ACTION_SHIFT)
        self.lost[index] = 0    # who says what it does knows more than the repair did
        at.mtu = value.mtu
        at.family = 0 if not next_hop else 4 if len(next_hop) == 4 else 6
        memset(at.nexthop, 0, 16)
        memcpy(at.nexthop, <const char *>next_hop, len(next_hop))
        dr_store_release_64(&at.src, src)
        dr_store_release_64(&at.dst, dst)

    def adjacency_release(self, uint32_t index) -> None:
        if not 0 < index <= self.header.max_adjacencies or not self.adjacency[index].in_use:
            raise ValueError(f"adjacency {index}: not in use")
        if self.used_by[index]:
            raise ValueError(f"adjacency {index}: {self.used_by[index]} groups use it")
        self.need_room(1)
        self.adjacency[index].in_use = 0
        self.grace.retire(RETIRED_ADJACENCY, index)

    # -- interfaces --

    def interface_set(self, uint32_t index, value) -> None:
        cdef dr_interface *at
        if index >= DR_MAX_PORTS:
            raise ValueError(f"interface {index}: from 0 to {DR_MAX_PORTS - 1}")
        at = &self.interface[index]
        if value is None:
            dr_store_release_32(&at.flags, 0)
            return
        cdef bytes name = value.name.encode()
        cdef bytes ipv4 = value.ipv4 or bytes(4)
        cdef bytes ipv6 = value.ipv6 or bytes(16)
        cdef bytes local = value.ipv6_link_local or bytes(16)
        if not 0 < len(name) < DR_NAME or (len(ipv4), len(ipv6), len(local)) != (4, 16, 16):
            raise ValueError(f"interface {value.name!r}: name of 1 to {DR_NAME - 1} bytes, addresses packed")
        memset(at.name, 0, DR_NAME)
        memcpy(at.name, <const char *>name, len(name))
        at.mtu = value.mtu
        memcpy(&at.ipv4_be, <const char *>ipv4, 4)
        memcpy(at.ipv6, <const char *>ipv6, 16)
        memcpy(at.ipv6_link_local, <const char *>local, 16)
        dr_store_release_32(&at.flags, DR_IF_CONFIGURED | (DR_IF_NEIGHBORS_FULL if value.full else 0))
