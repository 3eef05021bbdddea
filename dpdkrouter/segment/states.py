"""What a stats segment says, as plain values: counts since the fast path started, in host units."""

from dataclasses import dataclass

STAGES = ("receive", "parse", "filter", "lookup4", "lookup6", "choose", "rewrite", "dispose", "transmit")
"""The pipeline's stages in the order of fastpath/stages/profile.pxd."""


@dataclass(frozen=True, slots=True)
class Header:
    """The fast path that writes the segment."""

    pid: int
    alive: bool  # a process of this pid and start time exists
    simd: str
    dpdk: str
    build_id: str
    tsc_hz: int
    started_ns: int  # CLOCK_REALTIME
    lcores: int  # with the host thread's slot 0
    ports: int
    name: str
    heartbeat_age_s: float  # since the host thread's last sign of life; inf: none yet
    ready: bool  # ports are up and workers run
    hashing: int  # of flows over next hops: bits of fastpath.flows


@dataclass(frozen=True, slots=True)
class LcoreState:
    """One lcore's counters. Slot 0 is the host thread."""

    slot: int
    cpu: int
    polls: int
    cycles_busy: int
    cycles_idle: int
    rx_packets: int
    forwarded: int
    punted: int
    dropped: int
    originated: int
    injected: int
    bursts: tuple[int, ...]  # received bursts of 0, 1, 2-3, 4-7, 8-15, 16-31, 32-63, 64 packets
    stage_cycles: dict[str, int]  # of the sampled polls, by stage
    sampled_polls: int
    sampled_packets: int


@dataclass(frozen=True, slots=True)
class MemberState:
    """One member of a bond."""

    device: str  # its name for EAL
    link_up: bool
    speed_mbps: int
    link_changes: int
    active: bool  # packets leave by it
    collecting: bool  # with LACP: takes packets
    distributing: bool  # with LACP: so does the other side
    partner: bytes  # with LACP: the other side's system, a MAC; zero: none was heard


@dataclass(frozen=True, slots=True)
class PortState:
    """One port: what it is, the device's own counts, and the lcores' counts added up."""

    name: str
    driver: str
    mac: bytes
    link_up: bool
    speed_mbps: int
    link_changes: int
    rx_queues: int
    tx_queues: int
    rx_lcores: tuple[int, ...]  # of each RX queue: the CPU that polls it
    rss: str  # headers that the device hashes to spread packets over its queues
    offloads: str  # of the device's, those in use
    mtu: int
    numa: int | None
    parent: str  # of a sub-interface: the port whose device it shares; empty: it has its own
    vlan: int  # of a sub-interface, else 0
    outer_vlan: int  # of one within another VLAN, else 0
    members: tuple[MemberState, ...]  # of a bond, else empty
    rx_missed: int
    rx_errors: int
    rx_no_mbuf: int
    tx_errors: int
    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int
    tx_drops: int
    injected: int
    originated: int
    fragments: int  # beyond the first of a packet


@dataclass(frozen=True, slots=True)
class FilterState:
    """An ACL or a policer."""

    name: str
    policer: bool
    counts: tuple[tuple[int, int], ...]  # packets, bytes: of an ACL's rules, then its default; green, yellow, red
