"""Writer of the IPv6 table: the run-compressed trie that lookup6.pxd reads.

A rule longer than what the root looks at (24 bits in 2000::/3, else 12) ends in the slots of one node: level =
(length - 13) // 6, so that nodes below 2000::/3 begin at level 2. Inserting builds new nodes
aside and publishes them by one store into the entry above (`prepare`, which may find no memory, then
`commit`, which cannot fail); where the runs stay as they are, and in nodes wholly inside the rule's range,
leaves are changed in place, each by one store. A leaf shows its owner's length: an insertion changes leaves
whose owner is not longer, a withdrawal those whose owner has the rule's length, which inside its range is the
rule itself. So an operation cut off anywhere is simply done again. A withdrawal never needs memory. A node in
and below which no rule ends any more becomes a leaf of the node above. Called by Fib on the control thread.
Invariant: a leaf in a node of level k has an owner no longer than 18 + 6k.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from dpdkrouter.fib.arena cimport Arena
from dpdkrouter.fib.grace cimport RETIRED_NODE, Grace
from dpdkrouter.fib.node6 cimport (encode, entries_of, expand, first_level, is_leaf_throughout, level_of, node_at,
                                   node_base, owner, range_of, root_address, run_of, runs, runs_of, slot_at,
                                   stands_alone, starts_of, units_for)
from fastpath.atomic cimport dr_store_release_32
from fastpath.layout cimport (DR_IPV6_CHILD, DR_IPV6_GLOBAL, DR_IPV6_OTHER_BITS, DR_IPV6_ROOT, DR_IPV6_ROOT_BITS)
from fastpath.lookup6 cimport is_global6, root_bits6, root_index6

cdef enum:
    LEVELS = 20    # those of nodes: 12 bits and 20 times 6


cdef inline bint shows(uint32_t leaf, int length, bint only_same) noexcept nogil:
    """Whether a leaf is the operation's to change."""
    return owner(leaf) == length if only_same else owner(leaf) <= length


cdef class Table6:
    """The readers' root and nodes, and the allocator of the nodes."""

    def __cinit__(self, uint32_t units, Grace grace):
        self.arena = Arena(units)
        self.grace = grace

    cdef void bind(self, uint32_t *root, uint8_t *trie) noexcept:
        self.root = root
        self.trie = trie

    # -- allocation --

    cdef bint derive(self) except *:
        """Find the free units: those in no node that can be reached. False when the trie is damaged."""
        cdef uint32_t i
        self.arena.forget()
        for i in range(DR_IPV6_ROOT):
            if self.root[i] & DR_IPV6_CHILD and not self.reach(self.root[i], first_level(root_address(i))):
                return False
        self.arena.rebuild()
        return True

    cdef bint reach(self, uint32_t entry, int level) except *:
        """Take the units of a node and of all below it; False when one cannot be a node or is another's too."""
        cdef uint8_t *node = node_at(self.trie, entry)
        cdef uint32_t *at = entries_of(node)
        cdef int slot
        if not self.is_node(entry, level, self.arena.taken):
            return False
        self.arena.take(entry & ~DR_IPV6_CHILD, units_for(runs_of(node)))
        for slot in range(64):
            if not starts_of(node)[0] >> slot & 1:
                continue
            if at[0] & DR_IPV6_CHILD and not (stands_alone(node, slot) and self.reach(at[0], level + 1)):
                return False
            at += 1
        return True

    cdef bint is_node(self, uint32_t entry, int level, const uint8_t *taken) noexcept:
        """Whether an entry names what can be a node, and whose units nobody has taken yet."""
        cdef uint32_t unit = entry & ~DR_IPV6_CHILD
        cdef uint8_t *node = node_at(self.trie, entry)
        cdef uint32_t end, i
        if level >= LEVELS or unit == 0 or unit >= self.arena.units or not starts_of(node)[0] & 1:
            return False
        end = unit + units_for(runs_of(node))
        if end > self.arena.units:
            return False
        for i in range(unit, end):
            if taken[i]:
                return False
        return True

    cdef void release(self, uint32_t unit) noexcept:
        """A node's grace period is over; nobody has changed it since it was retired."""
        self.arena.give(unit, units_for(runs_of(node_at(self.trie, unit))))

    cdef uint32_t build(self, const uint32_t *slots, int base) noexcept:
        """A new node with these slots, as a child entry; 0: the arena is full."""
        cdef uint64_t starts = runs(slots, base)
        cdef uint32_t count = 0
        cdef int slot
        for slot in range(64):
            count += <uint32_t>(starts >> slot) & 1
        cdef uint32_t unit = self.arena.alloc(units_for(count))
        if unit == 0:
            return 0
        encode(node_at(self.trie, unit), slots, starts)
        self.built[self.built_count] = unit
        self.built_count += 1
        return unit | DR_IPV6_CHILD

    cdef void discard(self) noexcept:
        """Take back what prepare() has built: it was never published."""
        cdef int i
        for i in range(self.built_count):
            self.release(self.built[i])
        self.built_count = 0
        self.publish_at = NULL

    cdef void replace(self, uint32_t *at, uint32_t entry) noexcept:
        """Publish an entry; the node that it led to until now, if any, is retired. The queue has room."""
        cdef uint32_t old = at[0]
        dr_store_release_32(at, entry)
        if old & DR_IPV6_CHILD:
            self.grace.retire(RETIRED_NODE, old & ~DR_IPV6_CHILD)

    # -- insertion --

    cdef void descend(self, path6 *path, uint64_t hi, uint64_t lo, int level) noexcept:
        """Follow an address until a leaf, or until the entry that leads to its node of `level`."""
        cdef uint32_t *at = &self.root[root_index6(hi)]
        cdef uint8_t *node
        path.first = path.levels = first_level(hi)
        path.entry[path.levels] = at
        while at[0] & DR_IPV6_CHILD and path.levels < level:
            node = node_at(self.trie, at[0])
            at = entries_of(node) + run_of(node, slot_at(hi, lo, node_base(path.levels)))
            path.levels += 1
            path.entry[path.levels] = at

    cdef bint prepare(self, uint64_t hi, uint64_t lo, int length, uint32_t leaf) noexcept:
        """Build what inserting needs; False, with nothing changed, when there is no memory for it."""
        cdef path6 path
        self.built_count = 0
        self.publish_at = NULL
        if length <= root_bits6(hi):
            return True
        self.descend(&path, hi, lo, level_of(length))
        if path.entry[path.levels][0] & DR_IPV6_CHILD:
            return self.prepare_node(path.entry[path.levels], hi, lo, length, leaf)
        return self.prepare_hang(&path, hi, lo, length, leaf)

    cdef bint prepare_node(self, uint32_t *at, uint64_t hi, uint64_t lo, int length, uint32_t leaf) noexcept:
        """The rule ends in the node at `at`.

        Build the node that takes its place, unless its runs stay the same.
        """
        cdef uint32_t slots[64]
        cdef int base = node_base(level_of(length))
        cdef int first = slot_at(hi, lo, base)
        cdef int slot
        expand(node_at(self.trie, at[0]), slots)
        for slot in range(first, first + range_of(length)):
            if not slots[slot] & DR_IPV6_CHILD and owner(slots[slot]) <= length:
                slots[slot] = leaf
        if runs(slots, base) == starts_of(node_at(self.trie, at[0]))[0]:
            return True    # commit() changes the leaves in place
        if not self.grace.has_room(1):
            return False
        self.publish = self.build(slots, base)
        if self.publish == 0:
            return False
        self.publish_at = at
        return True

    cdef bint prepare_hang(self, path6 *path, uint64_t hi, uint64_t lo, int length, uint32_t leaf) noexcept:
        """The way down ends at a leaf.

        Build the nodes from there to the rule's, and hang them in its place.
        """
        cdef uint32_t *at = path.entry[path.levels]
        cdef uint32_t *above
        cdef uint8_t *parent
        cdef uint32_t slots[64]
        cdef int level = path.levels - 1    # of the node that holds the leaf, if it is not the root
        cdef int slot
        cdef uint32_t top = self.chain(hi, lo, length, leaf, at[0], path.levels)
        if top == 0:
            self.discard()
            return False
        self.publish_at = at
        self.publish = top
        if level < path.first:
            return True
        above = path.entry[level]
        parent = node_at(self.trie, above[0])
        slot = slot_at(hi, lo, node_base(level))
        if stands_alone(parent, slot):
            return True
        expand(parent, slots)
        slots[slot] = top
        self.publish = self.build(slots, node_base(level)) if self.grace.has_room(1) else 0
        if self.publish == 0:
            self.discard()
            return False
        self.publish_at = above
        return True

    cdef uint32_t chain(self, uint64_t hi, uint64_t lo, int length, uint32_t leaf, uint32_t inherited,
                        int top) noexcept:
        """Nodes from the rule's level up to level `top`, all else showing `inherited`.

        The top one's entry, or 0.
        """
        cdef uint32_t slots[64]
        cdef uint32_t child = leaf
        cdef int level, slot, first, n = range_of(length)
        for level in range(level_of(length), top - 1, -1):
            first = slot_at(hi, lo, node_base(level))
            for slot in range(64):
                slots[slot] = child if first <= slot < first + n else inherited
            child = self.build(slots, node_base(level))
            if child == 0:
                return 0
            n = 1
        return child

    cdef void commit(self, uint64_t hi, uint64_t lo, int length, uint32_t leaf) noexcept:
        """Publish what prepare() has built for the same rule, and change the leaves inside its range."""
        cdef path6 path
        if length <= root_bits6(hi):
            self.paint_root(hi, length, leaf, False)
            return
        if self.publish_at != NULL:
            self.replace(self.publish_at, self.publish)
        self.built_count = 0
        self.descend(&path, hi, lo, level_of(length))
        self.paint_range(path.entry[path.levels], hi, lo, length, leaf, False)

    # -- changes in place --

    cdef void paint_root(self, uint64_t hi, int length, uint32_t leaf, bint only_same) noexcept:
        """A rule that ends in the root."""
        cdef uint32_t first = root_index6(hi)
        if is_global6(hi):
            self.paint_entries(first, <uint32_t>1 << (DR_IPV6_ROOT_BITS - length), length, leaf, only_same)
            return
        self.paint_entries(first, <uint32_t>1 << (DR_IPV6_OTHER_BITS - length), length, leaf, only_same)
        if hi == 0 and length < 3:    # 2000::/3 is within
            self.paint_entries(0, DR_IPV6_GLOBAL, length, leaf, only_same)

    cdef void paint_entries(self, uint32_t first, uint32_t count, int length, uint32_t leaf, bint only_same) noexcept:
        cdef uint32_t i
        for i in range(first, first + count):
            if self.root[i] & DR_IPV6_CHILD:
                self.paint_under(self.root[i], length, leaf, only_same)
            elif shows(self.root[i], length, only_same):
                dr_store_release_32(&self.root[i], leaf)

    cdef void paint_range(self, uint32_t *at, uint64_t hi, uint64_t lo, int length, uint32_t leaf,
                          bint only_same) noexcept:
        """Change the rule's runs in the node at `at`, where it ends, and in the nodes below them."""
        cdef uint8_t *node = node_at(self.trie, at[0])
        cdef uint32_t *entry = entries_of(node)
        cdef int first = slot_at(hi, lo, node_base(level_of(length)))
        cdef int run
        for run in range(run_of(node, first), run_of(node, first + range_of(length) - 1) + 1):
            if entry[run] & DR_IPV6_CHILD:
                self.paint_under(entry[run], length, leaf, only_same)
            elif shows(entry[run], length, only_same) and entry[run] != leaf:
                dr_store_release_32(&entry[run], leaf)

    cdef void paint_under(self, uint32_t entry, int length, uint32_t leaf, bint only_same) noexcept:
        cdef uint8_t *node = node_at(self.trie, entry)
        cdef uint32_t *at = entries_of(node)
        cdef int run
        for run in range(runs_of(node)):
            if at[run] & DR_IPV6_CHILD:
                self.paint_under(at[run], length, leaf, only_same)
            elif shows(at[run], length, only_same):
                dr_store_release_32(&at[run], leaf)

    cdef bint repaint(self, path6 *path, uint64_t hi, uint64_t lo, int length, uint32_t leaf) noexcept:
        """Show another leaf where a rule is shown.

        Its own runs, in place. False when no node of the rule's level is there.
        """
        if length <= root_bits6(hi):
            path.first = 0
            path.levels = -1
            self.paint_root(hi, length, leaf, True)
            return True
        self.descend(path, hi, lo, level_of(length))
        if path.levels < level_of(length) or not path.entry[path.levels][0] & DR_IPV6_CHILD:
            return False
        self.paint_range(path.entry[path.levels], hi, lo, length, leaf, True)
        return True

    cdef void replace_leaf(self, uint64_t hi, uint64_t lo, int length, uint32_t leaf) noexcept:
        """Another group for a rule that is in the table. Needs no memory."""
        cdef path6 path
        self.repaint(&path, hi, lo, length, leaf)

    # -- withdrawal --

    cdef void withdraw(self, uint64_t hi, uint64_t lo, int length, uint32_t cover) noexcept:
        """Show the cover where the rule was shown.

        Then give back what is no longer needed, if the queue has room.
        """
        cdef path6 path
        if self.repaint(&path, hi, lo, length, cover):    # else done before, and collapsed
            self.collapse(&path)

    cdef void collapse(self, path6 *path) noexcept:
        """From the path's last node upward, turn nodes in which no rule is left into leaves.

        Shrink the first that stays.
        """
        cdef uint32_t *at
        cdef uint8_t *node
        cdef int level
        for level in range(path.levels, path.first - 1, -1):
            at = path.entry[level]
            node = node_at(self.trie, at[0])
            if not self.grace.has_room(1):
                self.left_behind += 1
                return
            if not is_leaf_throughout(node, level):
                self.shrink(at, level)
                return
            self.replace(at, entries_of(node)[0])

    cdef void shrink(self, uint32_t *at, int level) noexcept:
        """Join the runs of a node that need not be apart, when that saves a unit and there is memory to do
        it.
        """
        cdef uint32_t slots[64]
        cdef uint8_t *node = node_at(self.trie, at[0])
        cdef int base = node_base(level)
        cdef uint64_t starts
        cdef uint32_t entry, count = 0
        cdef int slot
        expand(node, slots)
        starts = runs(slots, base)
        for slot in range(64):
            count += <uint32_t>(starts >> slot) & 1
        if units_for(count) >= units_for(runs_of(node)):
            return
        self.built_count = 0
        entry = self.build(slots, base)
        if entry:
            self.replace(at, entry)

    cdef void tidy(self) noexcept:
        """Collapse what could not be while the grace queue was full."""
        cdef path6 path
        cdef uint32_t i
        self.left_behind = 0
        for i in range(DR_IPV6_ROOT):
            if self.root[i] & DR_IPV6_CHILD:
                path.first = path.levels = first_level(root_address(i))
                path.entry[path.levels] = &self.root[i]
                self.tidy_under(&path)

    cdef void tidy_under(self, path6 *path) noexcept:
        """Collapse every node below, then the path's last one."""
        cdef uint32_t *at = path.entry[path.levels]
        cdef uint8_t *node = node_at(self.trie, at[0])
        cdef int run
        for run in range(runs_of(node)):
            if entries_of(node)[run] & DR_IPV6_CHILD:
                path.levels += 1
                path.entry[path.levels] = &entries_of(node)[run]
                self.tidy_under(path)
                path.levels -= 1
        if not self.grace.has_room(1):
            self.left_behind += 1
        elif is_leaf_throughout(node, path.levels):
            self.replace(at, entries_of(node)[0])
