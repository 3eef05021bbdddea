"""The faults. Each changes one line, which must stand in its file exactly once, as a person might get it wrong."""

from __future__ import annotations

from dataclasses import dataclass

WORKER = "fastpath/worker"  # the variant that this machine runs


@dataclass(frozen=True, slots=True)
class Fault:
    """`old` becomes `new` in `file`; `modules` are compiled again; `test` must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str
    modules: tuple[str, ...] = ()


FIB = "dpdkrouter/fib"

FAULTS = (
    Fault(
        "table4-equal-depth",
        f"{FIB}/table4.pyx",
        "        if depth[i] <= length:",
        "        if depth[i] < length:",
        "tests/property/test_table_model.py::test_answers_as_the_model_does[/dev/shm-4]",
        (f"{FIB}/table4",),
    ),
    Fault(
        "table6-longer-leaf",
        f"{FIB}/table6.pyx",
        "            if not slots[slot] & DR_IPV6_CHILD and owner(slots[slot]) <= length:",
        "            if not slots[slot] & DR_IPV6_CHILD:",
        "tests/property/test_table_model.py::test_answers_as_the_model_does[/dev/shm-6]",
        (f"{FIB}/table6",),
    ),
    Fault(
        "rules-cover-skips-one",
        f"{FIB}/rules.pxd",
        "            at = find4(r, address & mask4(length), length)",
        "            at = find4(r, address & mask4(length + 1), length)",
        "tests/property/test_table_model.py::test_answers_as_the_model_does[/dev/shm-4]",
        (f"{FIB}/writer",),
    ),
    Fault(
        "decision-med-between-ases",
        "dpdkrouter/rib/decision.pxd",
        "            if (c.any_as or b.neighbour_as == a.neighbour_as) and b.med < a.med:",
        "            if b.med < a.med:",
        "tests/unit/test_rib_decision.py::test_med_is_not_compared_between_neighbouring_ases",
        ("dpdkrouter/rib/table",),
    ),
    Fault(
        "parse4-total-length",
        "fastpath/stages/parse4.pxd",
        "    if total < header or total > length:",
        "    if total < header:",
        "tests/burst/test_burst_drops.py::test_drop[ipv4_total_length]",
        (WORKER,),
    ),
    Fault(
        "parse6-header-not-counted",
        "fastpath/stages/parse6.pxd",
        "    if <uint32_t>dr_get_be16(ip + 4) + IPV6_HEADER > length:",
        "    if <uint32_t>dr_get_be16(ip + 4) > length:",
        "tests/burst/test_burst_drops.py::test_drop[ipv6_payload_length]",
        (WORKER,),
    ),
    Fault(
        "rewrite-ttl-one-passes",
        "fastpath/stages/rewrite.pxd",
        "    return DropReason.ttl_expired if ip[7 if ipv6 else 8] <= 1 else VERDICT_OK",
        "    return DropReason.ttl_expired if ip[7 if ipv6 else 8] < 1 else VERDICT_OK",
        "tests/burst/test_burst_drops.py::test_drop[ttl_expired]",
        (WORKER,),
    ),
    Fault(
        "rewrite-checksum-carry",
        "fastpath/stages/parse4.pxd",
        "        s += (0xFFFE - s) >> 63",
        "        s += (0xFFFF - s) >> 63",
        "tests/burst/test_burst_forward.py::test_every_old_checksum_gives_what_a_full_sum_gives",
        (WORKER,),
    ),
    Fault(
        "icmp-about-an-error",
        "fastpath/stages/icmp.pxd",
        "    return kind == 0 or kind == 8 or 13 <= kind <= 18      # queries and replies",
        "    return kind == 0 or kind >= 8",
        "tests/burst/test_burst_icmp.py::test_none_is_sent_about[icmp type 11]",
        (WORKER,),
    ),
    Fault(
        "programmer-forgets-move",
        f"{FIB}/programmer.py",
        "                self._fib.group_update(group, wanted, backup)",
        "                pass",
        "tests/unit/test_programmer.py::test_a_moved_next_hop_rewrites_its_group_for_all_routes",
    ),
    Fault(
        "config-route-family",
        "dpdkrouter/config/semantics.py",
        "            if family(hop.address) != family(route.prefix):",
        "            if False:",
        "tests/unit/test_config_semantics.py::test_a_contradiction_gives_one_problem",
    ),
)
