"""Every metric series, declared once: name, type, help, labels. The unit is in the name.

All values come from elsewhere (metrics_server.py collects them at each scrape); nothing is counted here. Label
values are bounded by the configuration (ports, lcores, peers) or by enums (reasons, classes, sources, families,
parts). docs/metrics.md describes the same series for operators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from dpdkrouter.timings import Histogram


@dataclass(frozen=True, slots=True)
class Series:
    """One metric family; a counter's name ends in `_total`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


SERIES = (
    Series("dpdkrouter_fastpath_up", "gauge", "1 while the fast path runs and its ports are started."),
    Series(
        "dpdkrouter_build_info",
        "gauge",
        "1; the running fast path's build, DPDK and SIMD level, or this program's own while none runs.",
        ("version", "build_id", "dpdk", "simd"),
    ),
    # ports
    Series("dpdkrouter_port_received_packets_total", "counter", "Packets that workers received.", ("port",)),
    Series("dpdkrouter_port_received_bytes_total", "counter", "Bytes that workers received, without FCS.", ("port",)),
    Series("dpdkrouter_port_transmitted_packets_total", "counter", "Packets given to the device.", ("port",)),
    Series("dpdkrouter_port_transmitted_bytes_total", "counter", "Bytes given to the device, without FCS.", ("port",)),
    Series(
        "dpdkrouter_port_transmit_drops_total",
        "counter",
        "Packets that the device's TX queue had no room for.",
        ("port",),
    ),
    Series(
        "dpdkrouter_port_injected_packets_total", "counter", "Packets of the host stack, to be sent there.", ("port",)
    ),
    Series(
        "dpdkrouter_port_originated_packets_total", "counter", "ICMP errors of the router, to be sent there.", ("port",)
    ),
    Series(
        "dpdkrouter_port_extra_fragments_total",
        "counter",
        "Fragments beyond the first of each IPv4 packet that was too large, to be sent there.",
        ("port",),
    ),
    Series(
        "dpdkrouter_port_receive_missed_packets_total",
        "counter",
        "Packets the device had no descriptor for.",
        ("port",),
    ),
    Series("dpdkrouter_port_receive_errors_total", "counter", "Packets the device received with an error.", ("port",)),
    Series(
        "dpdkrouter_port_receive_no_mbuf_total", "counter", "Receptions that failed for want of an mbuf.", ("port",)
    ),
    Series("dpdkrouter_port_transmit_errors_total", "counter", "Packets the device failed to send.", ("port",)),
    Series("dpdkrouter_port_link_up", "gauge", "1 while the link is up.", ("port",)),
    Series("dpdkrouter_port_link_changes_total", "counter", "How often the link came up or was lost.", ("port",)),
    Series("dpdkrouter_bond_member_link_up", "gauge", "1 while the member's link is up.", ("port", "member")),
    Series("dpdkrouter_bond_member_active", "gauge", "1 while packets leave by the member.", ("port", "member")),
    # lcores: received = forwarded + punted + dropped
    Series("dpdkrouter_lcore_received_packets_total", "counter", "Packets received.", ("lcore",)),
    Series("dpdkrouter_lcore_forwarded_packets_total", "counter", "Received packets that were forwarded.", ("lcore",)),
    Series(
        "dpdkrouter_lcore_punted_packets_total", "counter", "Received packets handed to the host thread.", ("lcore",)
    ),
    Series("dpdkrouter_lcore_dropped_packets_total", "counter", "Received packets that were dropped.", ("lcore",)),
    Series(
        "dpdkrouter_lcore_cycles_total",
        "counter",
        "TSC cycles of polls that found packets or none.",
        ("lcore", "state"),
    ),
    Series("dpdkrouter_dropped_packets_total", "counter", "Packets dropped, each for one reason.", ("reason",)),
    Series("dpdkrouter_punted_packets_total", "counter", "Packets handed to the host thread.", ("class",)),
    Series(
        "dpdkrouter_punt_policed_packets_total",
        "counter",
        "Packets for the host stack beyond their class's rate.",
        ("class",),
    ),
    Series("dpdkrouter_neighbors", "gauge", "Neighbours with a MAC.", ("port",)),
    Series(
        "dpdkrouter_duplicate_addresses_total",
        "counter",
        "ARP packets and neighbour advertisements by which another station claimed an address of the port.",
        ("port",),
    ),
    # ingress filters
    Series("dpdkrouter_acl_packets_total", "counter", "Packets that a list has judged or counted.", ("acl",)),
    Series("dpdkrouter_acl_bytes_total", "counter", "Bytes of packets that a list has judged or counted.", ("acl",)),
    Series(
        "dpdkrouter_acl_rule_packets_total",
        "counter",
        "Packets that a rule was the one for, in lists of at most 256 rules.",
        ("acl", "rule"),
    ),
    Series(
        "dpdkrouter_acl_rule_bytes_total",
        "counter",
        "Bytes that a rule was the one for, in lists of at most 256 rules.",
        ("acl", "rule"),
    ),
    Series(
        "dpdkrouter_policer_packets_total", "counter", "Packets by their colour; red is dropped.", ("policer", "color")
    ),
    Series("dpdkrouter_policer_bytes_total", "counter", "Bytes by their colour; red is dropped.", ("policer", "color")),
    # table and routes
    Series("dpdkrouter_table_used", "gauge", "What a part of the route segment holds; ipv6_trie in bytes.", ("part",)),
    Series(
        "dpdkrouter_table_max", "gauge", "What a part of the route segment has room for; ipv6_trie in bytes.", ("part",)
    ),
    Series("dpdkrouter_routes", "gauge", "Best routes.", ("family", "source")),
    Series(
        "dpdkrouter_routes_refused",
        "gauge",
        "Best routes that the route segment has no room for; tried again when there is some.",
        ("reason",),
    ),
    Series("dpdkrouter_writer_heartbeat_age_seconds", "gauge", "Time since the route segment's writer showed life."),
    Series(
        "dpdkrouter_table_audit_differences",
        "gauge",
        "Where the route segment was not what the RIB says, by the last audit.",
    ),
    Series("dpdkrouter_table_audit_age_seconds", "gauge", "Time since the last audit in the background ended."),
    # how long changes take
    Series(
        "dpdkrouter_update_to_fib_seconds",
        "histogram",
        "From the oldest UPDATE in the RIB that a decision takes in to its last route in the route segment.",
    ),
    Series(
        "dpdkrouter_convergence_seconds",
        "histogram",
        "Decisions that changed something: deciding, resolving next hops, writing the route segment.",
    ),
    Series(
        "dpdkrouter_control_longest_hold_seconds",
        "gauge",
        "How long one task kept the control process's loop from the others at most, since the start.",
    ),
    Series("dpdkrouter_repairs_total", "counter", "Lost links and neighbours for which groups were rewritten."),
    Series("dpdkrouter_repaired_groups_total", "counter", "Groups that were rewritten for them."),
    Series(
        "dpdkrouter_repair_longest_seconds",
        "gauge",
        "The longest repair since the start: from the kernel's event to the last group.",
    ),
    # BGP
    Series(
        "dpdkrouter_bgp_feed_tap", "gauge", "1 while UPDATEs come from ExaBGP's tap; 0: by its slow JSON feed, or not."
    ),
    Series("dpdkrouter_bgp_session_up", "gauge", "1 while the session is Established.", ("peer",)),
    Series("dpdkrouter_bgp_prefixes_received", "gauge", "Paths received from the peer.", ("peer", "family")),
    Series(
        "dpdkrouter_bgp_prefixes_rejected",
        "gauge",
        "Paths of the peer that its import policy, or a check before it, refuses.",
        ("peer", "family"),
    ),
    Series("dpdkrouter_bgp_prefixes_announced", "gauge", "Prefixes of ours that the peer is told.", ("peer",)),
    Series(
        "dpdkrouter_bgp_treat_as_withdraw_total",
        "counter",
        "Malformed UPDATEs whose routes were taken as withdrawn (RFC 7606) since the session came up.",
        ("peer",),
    ),
    Series(
        "dpdkrouter_bgp_load_seconds",
        "gauge",
        "The last table load of the session: from its first UPDATE to the End-of-RIB of every family.",
        ("peer",),
    ),
    Series("dpdkrouter_bgp_updates_total", "counter", "UPDATE messages since the session came up.", ("peer",)),
    Series("dpdkrouter_bgp_flaps_total", "counter", "How often the Established session was lost.", ("peer",)),
)


class Page:
    """One scrape's samples. Only declared series, each with all its labels."""

    def __init__(self) -> None:
        self._series = {series.name: series for series in SERIES}
        self._families: dict[str, Metric] = {}

    def add(self, name: str, value: float, **labels: str) -> None:
        """A sample of a declared series; KeyError or ValueError for anything else."""
        series = self._series[name]
        if labels.keys() != set(series.labels):
            raise ValueError(f"{name}: labels {sorted(labels)}, declared are {sorted(series.labels)}")
        kind = CounterMetricFamily if series.kind == "counter" else GaugeMetricFamily
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = kind(series.name, series.help, labels=series.labels)
        assert isinstance(family, (CounterMetricFamily, GaugeMetricFamily))
        family.add_metric([labels[label] for label in series.labels], value)

    def add_histogram(self, name: str, histogram: Histogram) -> None:
        """The one sample of a declared histogram."""
        family = HistogramMetricFamily(name, self._series[name].help)
        family.add_metric([], histogram.buckets(), histogram.sum)
        self._families[name] = family

    def families(self) -> Iterator[Metric]:
        """What has samples, in the order of the declarations."""
        for name in self._series:
            if name in self._families:
                yield self._families[name]
