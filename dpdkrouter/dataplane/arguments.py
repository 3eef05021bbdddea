"""EAL's arguments and the mbuf pool's size, from the configuration. Pure but for `memory_node`.

Worker k (from 1) is EAL lcore k, pinned to the k-th CPU of `fastpath.lcores`; EAL lcore 0 is the host thread, free to
run on every CPU of the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpdkrouter.config.numa import ROOT, free_pages_by_node, home, workers_by_node
from dpdkrouter.config.paths import InstancePaths
from dpdkrouter.config.runtime import MIB
from fastpath.flows import BY_DEVICE, BY_LABEL
from fastpath.reasons import PuntClass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from dpdkrouter.config.schema import Config, Port

MBUF_OVERHEAD_BYTES = 128 + 64 + 64  # struct rte_mbuf, the pool's object header, alignment
HEADROOM_BYTES = 128  # RTE_PKTMBUF_HEADROOM
FRAME_OVERHEAD_BYTES = 14 + 8 + 4  # Ethernet, two VLAN tags, FCS, which some devices write too
TAG_BYTES = 4
MIN_DATA_ROOM_BYTES = 2048 + HEADROOM_BYTES
PAGE_BYTES = 4096
MAX_MBUFS = 262_143  # 2^18 - 1: a pool's ring holds 2^n - 1 without waste


def eal_arguments(config: Config, cpus: Iterable[int], node: int | None = None) -> list[str]:
    """What rte_eal_init gets. cpus: those the host thread may run on; node: the NUMA node to take all memory from.

    --in-memory leaves no file behind, whatever ends the process, and lets several routers share a machine.
    """
    fastpath = config.fastpath
    lcores = [f"0@({','.join(map(str, sorted(cpus)))})"]
    lcores += [f"{slot}@{cpu}" for slot, cpu in enumerate(fastpath.lcores, start=1)]
    devices = config.devices
    pci = [device.eal_argument for device in devices if device.is_pci]
    arguments = [
        "--lcores",
        ",".join(lcores),
        "--main-lcore",
        "0",
        *_memory(fastpath.memory_mib, node),
        "--no-telemetry",
    ]
    arguments += ["--in-memory"] if fastpath.hugepages else ["--no-huge", "--no-shconf"]
    arguments += ["--file-prefix", InstancePaths.of(config).eal.name, "--log-level", "lib.eal:4"]
    for address in pci:
        arguments += ["-a", address]
    if not pci:
        arguments.append("--no-pci")
    arguments += [f"--vdev={device.eal_argument}" for device in devices if not device.is_pci]
    return arguments + list(fastpath.eal_args)


def _memory(memory_mib: int, node: int | None) -> tuple[str, str]:
    """How much, and with --socket-mem from which nodes: EAL starts only when each has what it is asked for."""
    return ("-m", str(memory_mib)) if node is None else ("--socket-mem", "0," * node + str(memory_mib))


def memory_node(config: Config, page_bytes: int, root: Path = ROOT) -> int | None:
    """The node to take all of EAL's memory from, when all workers are on one, and it has that much; None: EAL chooses."""
    if not config.fastpath.hugepages or not page_bytes:
        return None
    free = free_pages_by_node(page_bytes, root)
    node = home(workers_by_node(config.fastpath.lcores, root), free)
    pages = -(-config.fastpath.memory_mib * MIB // page_bytes)
    return node if node is not None and free.get(node, 0) >= pages else None


def polling_slots(
    wanted: Sequence[int], lcores: Sequence[int], nodes: Mapping[int, int], node: int | None
) -> list[int]:
    """The slots (1, 2, .. in the order of `lcores`) of the workers that poll a port: those of the lcores that it names,
    else those of its device's NUMA node, else all. nodes: of the lcores; node: the device's."""
    if wanted:
        return [lcores.index(lcore) + 1 for lcore in wanted]
    near = [slot for slot, lcore in enumerate(lcores, 1) if node is not None and nodes.get(lcore) == node]
    return near or list(range(1, len(lcores) + 1))


def frame_mtu(config: Config, port: Port) -> int:
    """What the device of a port with sub-interfaces must take, in bytes: devices leave room for one tag beyond their MTU,
    and a second tag is in the packet for them. 0: the port has none."""
    within = [one.mtu + (TAG_BYTES if one.outer_vlan else 0) for one in config.ports if one.parent == port.name]
    return max(port.mtu, *within) if within else 0


def data_room_bytes(config: Config) -> int:
    """Room for the largest frame of any port in one mbuf: headroom, and a whole number of KiB, to which some devices
    round a buffer's size down."""
    largest = max((port.mtu for port in config.ports), default=1500)
    return max(MIN_DATA_ROOM_BYTES, HEADROOM_BYTES + -(-(largest + FRAME_OVERHEAD_BYTES) // 1024) * 1024)


def mbuf_count(config: Config) -> int:
    """Four fifths of the memory for mbufs; the rest is for rings, queues and EAL itself.

    An mbuf never straddles two pages, so without huge pages each takes whole ones.
    """
    each = data_room_bytes(config) + MBUF_OVERHEAD_BYTES
    if not config.fastpath.hugepages:
        each = -(-each // PAGE_BYTES) * PAGE_BYTES
    return min(MAX_MBUFS, config.fastpath.memory_mib * 2**20 * 4 // 5 // each)


def punt_rates(config: Config) -> list[int]:
    """Of each punt class in its order, [punt]'s key of the same name."""
    return [getattr(config.punt, one.name) for one in PuntClass]


def bgp_peers(config: Config) -> list[tuple[bytes, int]]:
    """The address of each BGP neighbour, and the hops that its packets must have left: RFC 5082 3."""
    peers = () if config.bgp is None else config.bgp.neighbors
    return [(one.address.packed, 256 - one.ttl_security if one.ttl_security else 0) for one in peers]


IDLE = {"poll": 0, "sleep": 1, "interrupt": 2}  # as fastpath/state.pxd has them


def hashing(config: Config) -> int:
    """What decides about flows over several next hops, as bits of fastpath.flows."""
    return BY_LABEL * config.fastpath.hash_flow_label | BY_DEVICE * config.fastpath.hash_by_device


def idle(config: Config) -> int:
    """`fastpath.idle`; auto: sleep when every port is a vdev, where polling only takes the CPU from the peers."""
    chosen = config.fastpath.idle
    if chosen == "auto":
        chosen = "poll" if any(device.is_pci for device in config.devices) else "sleep"
    return IDLE[chosen]
