"""Writer of the IPv4 table: DIR-24-8 painted in place, one entry a store.

Each entry has a depth byte, the length of the rule that it shows (0 with group 0: none). Inserting paints the
entries of the prefix's range whose depth is not greater; withdrawing repaints those whose depth is the same,
which are the rule's own, with the covering rule. An entry is stored before its depth, so an operation cut off
anywhere can simply be done again. Rules longer than /24 live in a block of 256 entries, which is filled
before one store of the root entry publishes it, and retired when its last rule longer than /24 has gone.
Called by Fib on the control thread; `fits` is asked before `insert`.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free

from dpdkrouter.fib.grace cimport RETIRED_EXTENDED, Grace
from fastpath.atomic cimport dr_store_relaxed_16, dr_store_release_16
from fastpath.layout cimport DR_IPV4_EXTENDED

cdef enum:
    ROOT = 1 << 24    # entries


cdef inline void paint(uint16_t *entry, uint8_t *depth, uint32_t n, int length, uint16_t group) noexcept nogil:
    """Insert: what is not more specific shows the new rule."""
    cdef uint32_t i
    for i in range(n):
        if depth[i] <= length:
            dr_store_release_16(&entry[i], group)
            depth[i] = <uint8_t>length


cdef inline void repaint(uint16_t *entry, uint8_t *depth, uint32_t n, int length, uint16_t cover,
                         int cover_length) noexcept nogil:
    """Withdraw: what showed the rule shows its cover."""
    cdef uint32_t i
    for i in range(n):
        if depth[i] == length:
            dr_store_release_16(&entry[i], cover)
            depth[i] = <uint8_t>cover_length


cdef class Table4:
    """The readers' root and blocks, and the depths beside them."""

    def __cinit__(self, uint32_t blocks, Grace grace):
        self.blocks = blocks
        self.grace = grace
        self.free_list = <uint16_t *>calloc(blocks, sizeof(uint16_t))
        if self.free_list == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.free_list)

    cdef void bind(self, uint16_t *root, uint16_t *extended, uint8_t *depth, uint8_t *extended_depth) noexcept:
        self.root = root
        self.extended = extended
        self.depth = depth
        self.extended_depth = extended_depth

    cdef bint derive(self) except *:
        """Find the free blocks.

        Those that no root entry names. False when two entries name one, or a block is not there.
        """
        cdef uint8_t[::1] taken = bytearray(self.blocks)
        cdef uint32_t i, block
        for i in range(<uint32_t>ROOT):
            if self.root[i] & DR_IPV4_EXTENDED:
                block = self.root[i] & ~DR_IPV4_EXTENDED
                if block >= self.blocks or taken[block]:
                    return False
                taken[block] = 1
        self.free_count = 0
        for block in range(self.blocks):
            if not taken[self.blocks - 1 - block]:
                self.release(self.blocks - 1 - block)
        return True

    cdef void release(self, uint32_t block) noexcept:
        """A block's grace period is over."""
        self.free_list[self.free_count] = <uint16_t>block
        self.free_count += 1

    cdef bint fits(self, uint32_t prefix, int length) noexcept:
        """Whether insert() has the block that it may need."""
        return length <= 24 or self.free_count != 0 or self.root[prefix >> 8] & DR_IPV4_EXTENDED

    cdef void insert(self, uint32_t prefix, int length, uint16_t group) noexcept:
        cdef uint32_t i, block
        cdef uint32_t first = prefix >> 8
        if length > 24:
            self.insert_extended(prefix, length, group)
            return
        for i in range(first, first + (<uint32_t>1 << (24 - length))):
            if self.root[i] & DR_IPV4_EXTENDED:
                block = (self.root[i] & ~DR_IPV4_EXTENDED) << 8
                paint(self.extended + block, self.extended_depth + block, 256, length, group)
            elif self.depth[i] <= length:
                dr_store_release_16(&self.root[i], group)
                self.depth[i] = <uint8_t>length

    cdef void insert_extended(self, uint32_t prefix, int length, uint16_t group) noexcept:
        cdef uint32_t index = prefix >> 8
        cdef uint32_t low = prefix & 0xFF
        cdef uint32_t n = <uint32_t>1 << (32 - length)
        cdef uint32_t block, base, i
        if self.root[index] & DR_IPV4_EXTENDED:
            base = (self.root[index] & ~DR_IPV4_EXTENDED) << 8
            paint(self.extended + base + low, self.extended_depth + base + low, n, length, group)
            return
        self.free_count -= 1
        block = self.free_list[self.free_count]
        base = block << 8
        for i in range(256):
            dr_store_relaxed_16(&self.extended[base + i], self.root[index])
            self.extended_depth[base + i] = self.depth[index]
        paint(self.extended + base + low, self.extended_depth + base + low, n, length, group)
        dr_store_release_16(&self.root[index], DR_IPV4_EXTENDED | block)

    cdef void withdraw(self, uint32_t prefix, int length, uint16_t cover, int cover_length) noexcept:
        cdef uint32_t i, block, n
        cdef uint32_t first = prefix >> 8
        if length > 24:
            if self.root[first] & DR_IPV4_EXTENDED:
                block = (self.root[first] & ~DR_IPV4_EXTENDED) << 8 | (prefix & 0xFF)
                n = <uint32_t>1 << (32 - length)
                repaint(self.extended + block, self.extended_depth + block, n, length, cover, cover_length)
                self.collapse(first)
            return
        for i in range(first, first + (<uint32_t>1 << (24 - length))):
            if self.root[i] & DR_IPV4_EXTENDED:
                block = (self.root[i] & ~DR_IPV4_EXTENDED) << 8
                repaint(self.extended + block, self.extended_depth + block, 256, length, cover, cover_length)
            elif self.depth[i] == length:
                dr_store_release_16(&self.root[i], cover)
                self.depth[i] = <uint8_t>cover_length

    cdef void collapse(self, uint32_t index) noexcept:
        """Give a block up when nothing in it is longer than /24: then all its entries are the same."""
        cdef uint32_t block = self.root[index] & ~DR_IPV4_EXTENDED
        cdef uint32_t base = block << 8
        cdef uint32_t i
        cdef uint8_t deepest = 0
        for i in range(256):
            deepest = self.extended_depth[base + i] if self.extended_depth[base + i] > deepest else deepest
        if deepest > 24:
            return
        if not self.grace.has_room(1):
            self.left_behind += 1
            return
        self.depth[index] = deepest    # unused until the store below
        dr_store_release_16(&self.root[index], self.extended[base])
        self.grace.retire(RETIRED_EXTENDED, block)

    cdef void tidy(self) noexcept:
        """Collapse what could not be while the grace queue was full."""
        cdef uint32_t i
        self.left_behind = 0
        for i in range(<uint32_t>ROOT):
            if self.root[i] & DR_IPV4_EXTENDED:
                self.collapse(i)
