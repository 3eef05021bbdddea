"""The IPv6 table's writer; see table6.pyx."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from dpdkrouter.fib.arena cimport Arena
from dpdkrouter.fib.grace cimport Grace

cdef struct path6:               # the way down to a slot
    uint32_t *entry[21]          # [first]: the root's; [j]: the one in the node of level j - 1 that leads on
    int first                    # level of the first node
    int levels                   # level of the node that entry[levels], the last one, leads to

cdef class Table6:
    cdef uint32_t *root          # [DR_IPV6_ROOT]
    cdef uint8_t *trie
    cdef Arena arena
    cdef Grace grace
    cdef readonly uint32_t left_behind   # nodes that should have been retired but had no room in the queue
    # what prepare() has built and commit() publishes
    cdef uint32_t *publish_at    # NULL: nothing to publish
    cdef uint32_t publish
    cdef uint32_t built[20]      # units of the nodes built
    cdef int built_count

    cdef void bind(self, uint32_t *root, uint8_t *trie) noexcept
    cdef bint derive(self) except *
    cdef bint reach(self, uint32_t entry, int level) except *
    cdef bint is_node(self, uint32_t entry, int level, const uint8_t *taken) noexcept
    cdef uint32_t build(self, const uint32_t *slots, int base) noexcept
    cdef void replace(self, uint32_t *at, uint32_t entry) noexcept
    cdef void discard(self) noexcept
    cdef void descend(self, path6 *path, uint64_t hi, uint64_t lo, int level) noexcept
    cdef bint prepare(self, uint64_t hi, uint64_t lo, int length, uint32_t leaf) noexcept
    cdef uint32_t chain(self, uint64_t hi, uint64_t lo, int length, uint32_t leaf, uint32_t inherited, int top) noexcept
    cdef bint prepare_hang(self, path6 *path, uint64_t hi, uint64_t lo, int length, uint32_t leaf) noexcept
    cdef bint prepare_node(self, uint32_t *at, uint64_t hi, uint64_t lo, int length, uint32_t leaf) noexcept
    cdef void commit(self, uint64_t hi, uint64_t lo, int length, uint32_t leaf) noexcept
    cdef bint repaint(self, path6 *path, uint64_t hi, uint64_t lo, int length, uint32_t leaf) noexcept
    cdef void replace_leaf(self, uint64_t hi, uint64_t lo, int length, uint32_t leaf) noexcept
    cdef void withdraw(self, uint64_t hi, uint64_t lo, int length, uint32_t cover) noexcept
    cdef void collapse(self, path6 *path) noexcept
    cdef void shrink(self, uint32_t *at, int level) noexcept
    cdef void paint_root(self, uint64_t hi, int length, uint32_t leaf, bint only_same) noexcept
    cdef void paint_entries(self, uint32_t first, uint32_t count, int length, uint32_t leaf, bint only_same) noexcept
    cdef void paint_range(self, uint32_t *at, uint64_t hi, uint64_t lo, int length, uint32_t leaf,
                          bint only_same) noexcept
    cdef void paint_under(self, uint32_t entry, int length, uint32_t leaf, bint only_same) noexcept
    cdef void release(self, uint32_t unit) noexcept
    cdef void tidy(self) noexcept
    cdef void tidy_under(self, path6 *path) noexcept
