"""The fast path process's ingress filters: made before the workers start, lists replaced while they run.

Rules are built beside those in force, without the GIL, and published by one store; the former ones and the place of
their counters are free again when every worker has been quiescent since (tend()). Counters of a new list start from 0.
Any thread of the process, one call at a time: the GIL sees to that.
"""
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from dpdkrouter.errors import FastPathError
from fastpath.atomic cimport dr_fence, dr_load_acquire_32, dr_load_relaxed_64, dr_store_release_32, dr_store_release_64
from fastpath.dpdk.acl cimport (RTE_ACL_FIELD_TYPE_BITMASK, RTE_ACL_FIELD_TYPE_MASK, RTE_ACL_FIELD_TYPE_RANGE,
                                RTE_ACL_RULE_SZ, rte_acl_add_rules, rte_acl_build, rte_acl_config, rte_acl_create,
                                rte_acl_ctx, rte_acl_field, rte_acl_free, rte_acl_param, rte_acl_rule)
from fastpath.dpdk.eal cimport rte_errno, rte_free, rte_strerror
from fastpath.dpdk.meter cimport (RTE_COLORS, rte_meter_srtcm_config, rte_meter_srtcm_params,
                                  rte_meter_srtcm_profile_config)
from fastpath.layout cimport (DR_FILTER_ACL, DR_FILTER_NAME, DR_FILTER_POLICER, dr_filter, dr_filter_counter, dr_stats,
                              dr_stats_header)
from fastpath.memory cimport allocate
from fastpath.segment cimport Mapping
from fastpath.state cimport note_checks, router, worker

cdef enum:
    ANY_SOCKET = -1
    FIELDS4 = 9
    FIELDS6 = 15
    TERMINAL = 1                 # category of rules that decide, as a mask
    COUNTING = 2                 # and of those that only count

# A rule of one family as it is given: the index of each value in its tuple.
cdef enum:
    NUMBER = 0
    COUNTS = 1                   # it only counts
    PROTOCOL = 2                 # value, mask
    SOURCE = 4                   # address, prefix length
    TARGET = 6
    SOURCE_PORT = 8              # low, high
    TARGET_PORT = 10
    FLAGS = 12                   # value, mask
    ICMP_TYPE = 14               # low, high
    STATE = 16                   # value, mask

cdef uint32_t contexts = 0       # made so far: each has a name of its own


cdef class Rules:
    """The rules of one list, ready to be installed; freed with the object."""
    cdef acl *a
    cdef readonly int count

    def __cinit__(self):
        self.a = NULL

    def __dealloc__(self):
        self.free()

    cdef void free(self) noexcept:
        """No worker reads them."""
        if self.a != NULL:
            rte_acl_free(self.a.ipv4)
            rte_acl_free(self.a.ipv6)
            rte_free(self.a)
        self.a = NULL


cdef void put(rte_acl_field *f, object low, object high, int size):
    if size == 1:
        f.value.u8, f.mask_range.u8 = low, high
    elif size == 2:
        f.value.u16, f.mask_range.u16 = low, high
    else:
        f.value.u32, f.mask_range.u32 = low, high


cdef int put_prefix(rte_acl_field *f, object address, int length, int words) except -1:
    """An address of 32 bits a word, most significant first."""
    cdef int i
    for i in range(words):
        put(&f[i], address >> (32 * (words - 1 - i)) & 0xFFFFFFFF, min(max(length - 32 * i, 0), 32), 4)
    return 0


cdef int fill_rule(rte_acl_rule *r, tuple given, int words, uint32_t count) except -1:
    """words: of an address, 1 or 4. count: of all the list's rules; an earlier one has priority."""
    cdef rte_acl_field *f = r.field
    r.data.category_mask = COUNTING if given[COUNTS] else TERMINAL
    r.data.priority = <int32_t>(count - <uint32_t>given[NUMBER])
    r.data.userdata = given[NUMBER] + 1
    put(&f[0], given[PROTOCOL], given[PROTOCOL + 1], 1)
    put_prefix(&f[1], given[SOURCE], given[SOURCE + 1], words)
    put_prefix(&f[1 + words], given[TARGET], given[TARGET + 1], words)
    f = &f[1 + 2 * words]
    put(&f[0], given[SOURCE_PORT], given[SOURCE_PORT + 1], 2)
    put(&f[1], given[TARGET_PORT], given[TARGET_PORT + 1], 2)
    put(&f[2], given[FLAGS], given[FLAGS + 1], 1)
    put(&f[3], given[ICMP_TYPE], given[ICMP_TYPE + 1], 1)
    put(&f[4], given[STATE], given[STATE + 1], 1)
    put(&f[5], 0, 0, 1)
    return 0


cdef void define(rte_acl_config *c, int kind, int size, int group, uint32_t offset) noexcept:
    """The next field of a key."""
    cdef uint32_t i = c.num_fields
    c.defs[i].type = <uint8_t>kind
    c.defs[i].size = <uint8_t>size
    c.defs[i].field_index = <uint8_t>i
    c.defs[i].input_index = <uint8_t>group
    c.defs[i].offset = offset
    c.num_fields += 1


cdef void define_key(rte_acl_config *c, int words, uint32_t categories) noexcept:
    """filters.pxd's KEY_..., the fields in the order of fill_rule()."""
    cdef uint32_t i, ports = KEY4_PORTS if words == 1 else KEY6_PORTS
    cdef int group = 1
    memset(c, 0, sizeof(c[0]))
    c.num_categories = categories
    define(c, RTE_ACL_FIELD_TYPE_BITMASK, 1, 0, KEY_PROTOCOL)
    for i in range(2 * words):
        define(c, RTE_ACL_FIELD_TYPE_MASK, 4, group, KEY_SOURCE + 4 * i)
        group += 1
    define(c, RTE_ACL_FIELD_TYPE_RANGE, 2, group, ports)
    define(c, RTE_ACL_FIELD_TYPE_RANGE, 2, group, ports + 2)
    group += 1
    define(c, RTE_ACL_FIELD_TYPE_BITMASK, 1, group, ports + 4)
    define(c, RTE_ACL_FIELD_TYPE_RANGE, 1, group, ports + 5)
    define(c, RTE_ACL_FIELD_TYPE_BITMASK, 1, group, ports + 6)
    define(c, RTE_ACL_FIELD_TYPE_BITMASK, 1, group, ports + 7)


cdef rte_acl_ctx *build_family(str name, list rules, int words, uint32_t count, uint32_t categories) except? NULL:
    """A context of these rules; NULL: there are none."""
    global contexts
    cdef rte_acl_ctx *ctx
    cdef rte_acl_param param
    cdef rte_acl_config config
    cdef size_t size = RTE_ACL_RULE_SZ(FIELDS4 if words == 1 else FIELDS6), i
    cdef uint8_t *filled
    cdef uint32_t n = <uint32_t>len(rules)
    cdef int rc
    if n == 0:
        return NULL
    contexts += 1
    unique = f"acl{contexts}".encode()
    param.name = unique
    param.socket_id = ANY_SOCKET
    param.rule_size = <uint32_t>size
    param.max_rule_num = n
    what = f"acl {name}: {n} {'IPv4' if words == 1 else 'IPv6'} rules"
    ctx = rte_acl_create(&param)
    if ctx == NULL:
        raise FastPathError(f"{what}: {rte_strerror(rte_errno).decode()}: raise fastpath.memory_mib")
    define_key(&config, words, categories)
    filled = <uint8_t *>allocate(n * size, what)
    try:
        for i in range(n):
            fill_rule(<rte_acl_rule *>(filled + i * size), rules[i], words, count)
        with nogil:
            rc = rte_acl_add_rules(ctx, <rte_acl_rule *>filled, n)
            if rc == 0:
                rc = rte_acl_build(ctx, &config)
    finally:
        rte_free(filled)
    if rc != 0:
        rte_acl_free(ctx)
        raise FastPathError(f"{what}: librte_acl does not take them: {rte_strerror(-rc).decode()}: "
                            "raise fastpath.memory_mib")
    return ctx


def build(str name, bytes actions, bytes policers, list rules4, list rules6) -> Rules:
    """Rules that are in force once they are installed; takes seconds for ten thousand, most of them without the GIL.

    actions, policers: of each rule in the list's order, the default's last; a policer's number or NONE. rules4, rules6:
    of each family, as the tuples that filters.pxd describes.
    """
    cdef Rules made = Rules()
    cdef uint32_t n = <uint32_t>len(actions) - 1
    cdef acl *a = <acl *>allocate(sizeof(acl) + 2 * (n + 1), f"acl {name}")
    made.a = a
    made.count = n
    a.rules = n
    a.categories = CATEGORIES if ACTION_COUNT in actions else 1
    a.action = <uint8_t *>a + sizeof(acl)
    a.policer = a.action + n + 1
    memcpy(a.action, <const char *>actions, n + 1)
    memcpy(a.policer, <const char *>policers, n + 1)
    a.ipv4 = build_family(name, rules4, 1, n, a.categories)
    a.ipv6 = build_family(name, rules6, 4, n, a.categories)
    return made


cdef class Filters:
    """All lists and policers. add_...(), then bind() ports, before the workers start; install() any time."""
    cdef router *r
    cdef filters *all
    cdef list works              # addresses of filter_work, to be freed
    cdef list workers            # addresses of worker: slots from 1 on
    cdef Mapping stats
    cdef uint32_t room           # counters of each lcore
    cdef list places             # (first, count) of counters in use
    cdef list in_force           # Rules of each list; None: not yet
    cdef list names              # of the lists
    cdef list retired            # (generation, Rules)
    cdef readonly list policers  # names of the policers

    def __init__(self, router_address: int, worker_addresses: list[int], stats: Mapping, room: int) -> None:
        """worker_addresses: of all, the host thread's first. room: counters of each lcore, behind the rest."""
        cdef filter_work *work
        cdef worker *w
        cdef uint32_t i
        self.r = <router *><size_t>router_address
        self.all = <filters *>allocate(sizeof(filters), "filters")
        memset(self.all.list_of, NONE, FILTERED_PORTS)
        memset(self.all.policer_of, NONE, FILTERED_PORTS)
        self.stats = stats
        self.room = room // 4 * 4
        self.places, self.in_force, self.names, self.retired, self.policers = [], [], [], [], []
        self.works, self.workers = [], worker_addresses[1:]
        if stats.bytes < sizeof(dr_stats) + <size_t>self.room * len(worker_addresses) * sizeof(dr_filter_counter):
            raise FastPathError(f"{stats.path}: no room for {room} counters of filters")
        self.header().filter_counters = self.room
        for i in range(<uint32_t>len(worker_addresses)):
            w = <worker *><size_t>worker_addresses[i]
            work = <filter_work *>allocate(sizeof(filter_work), "filters")
            work.all = self.all
            work.counters = self.counters(i)
            w.filters = work
            self.works.append(<size_t>work)

    cdef dr_stats_header *header(self) noexcept:
        return &(<dr_stats *>self.stats.base).header

    cdef dr_filter_counter *counters(self, uint32_t slot) noexcept:
        return <dr_filter_counter *>(<uint8_t *>self.stats.base + sizeof(dr_stats)) + <size_t>slot * self.room

    def add_policer(self, name: str, cir: int, cbs: int, ebs: int) -> int:
        """A policer of these bytes per second and bytes, for each worker; its number."""
        cdef uint32_t number = <uint32_t>len(self.policers), i
        cdef rte_meter_srtcm_params params
        params.cir, params.cbs, params.ebs = cir, cbs, ebs
        self.all.policers[number].first = self.place(name, RTE_COLORS)
        if rte_meter_srtcm_profile_config(&self.all.policers[number].profile, &params) != 0:
            raise FastPathError(f"policer {name}: librte_meter does not take cir {cir}, cbs {cbs}, ebs {ebs}")
        for i in range(<uint32_t>len(self.works)):
            rte_meter_srtcm_config(&(<filter_work *><size_t>self.works[i]).meter[number],
                                   &self.all.policers[number].profile)
        self.policers.append(name)
        self.publish(MAX_LISTS + number, name, DR_FILTER_POLICER, self.all.policers[number].first, RTE_COLORS)
        return number

    def add_list(self, name: str) -> int:
        """A list's number; its rules are to be installed."""
        self.names.append(name)
        self.in_force.append(None)
        return len(self.names) - 1

    def bind(self, port: int, number: int | None, policer: int | None) -> None:
        """What filters a port; None: nothing does. No worker runs meanwhile."""
        cdef uint64_t bit = <uint64_t>1 << <uint32_t>port
        self.all.list_of[port] = NONE if number is None else number
        self.all.policer_of[port] = NONE if policer is None else policer
        if number is not None or policer is not None:
            self.r.filtered |= bit
        else:
            self.r.filtered &= ~bit
        note_checks(self.r, port)

    cdef uint32_t place(self, str name, uint32_t count) except? 0xFFFFFFFF:
        """Where so many counters are free; they are set to 0."""
        cdef uint32_t at = 0, slot
        for first, used in sorted(self.places):
            if first - at >= count:
                break
            at = first + used
        if count > self.room or at > self.room - count:
            raise FastPathError(f"{name}: no room for {count} more counters beside those in use: raise "
                                f"fastpath.filter_counters, now {self.room}")
        self.places.append((at, count))
        for slot in range(<uint32_t>len(self.works)):
            memset(self.counters(slot) + at, 0, count * sizeof(dr_filter_counter))
        return at

    def install(self, number: int, rules: Rules) -> None:
        """These rules are a list's from now on. FastPathError: no room for their counters, and all stays as it is."""
        cdef Rules made = rules
        cdef acl **where = &self.all.list[<uint32_t>number]
        self.tend()
        made.a.first = self.place(f"acl {self.names[number]}", made.a.rules + 1)
        dr_store_release_64(where, <uint64_t><size_t>made.a)
        dr_store_release_32(&self.r.generation, self.r.generation + 1)
        if self.in_force[number] is not None:
            self.retired.append((self.r.generation, self.in_force[number]))
        self.in_force[number] = made
        self.publish(number, self.names[number], DR_FILTER_ACL, made.a.first, made.a.rules + 1)

    cdef int publish(self, uint32_t at, str name, uint32_t kind, uint32_t first, uint32_t count) except -1:
        """Say in the stats segment what counts where."""
        cdef dr_filter *f = &(<dr_stats *>self.stats.base).filter[at]
        cdef uint64_t generation = self.header().filter_generation
        cdef bytes raw = name.encode()[:DR_FILTER_NAME - 1]
        dr_store_release_64(&self.header().filter_generation, generation + 1)
        dr_fence()
        memset(f.name, 0, DR_FILTER_NAME)
        memcpy(f.name, <const char *>raw, len(raw))
        f.kind, f.first, f.count = kind, first, count
        dr_store_release_64(&self.header().filter_generation, generation + 2)
        return 0

    def tend(self) -> bool:
        """Free what no worker reads any more; True when nothing waits for that."""
        cdef Rules old
        cdef uint32_t seen = self.r.generation
        for address in self.workers:
            seen = min(seen, dr_load_acquire_32(&(<worker *><size_t>address).generation))
        for generation, old in list(self.retired):
            if generation <= seen:
                self.places.remove((old.a.first, old.a.rules + 1))
                self.retired.remove((generation, old))
                old.free()
        return not self.retired

    def counts(self, number: int) -> list[tuple[int, int]]:
        """Packets and bytes of each of a list's rules, the default's last."""
        cdef Rules rules = self.in_force[number]
        return [self.count(rules.a.first + i) for i in range(rules.count + 1)]

    cdef tuple count(self, uint32_t at):
        cdef uint64_t packets = 0, octets = 0
        cdef uint32_t slot
        for slot in range(<uint32_t>len(self.works)):
            packets += dr_load_relaxed_64(&self.counters(slot)[at].packets)
            octets += dr_load_relaxed_64(&self.counters(slot)[at].bytes)
        return packets, octets

    def close(self) -> None:
        """Free all. The workers have ended."""
        cdef Rules rules
        for rules in [one for _, one in self.retired] + [one for one in self.in_force if one is not None]:
            rules.free()
        for address in self.works:
            rte_free(<void *><size_t>address)
        self.works, self.in_force, self.retired = [], [], []
        rte_free(self.all)
        self.all = NULL
