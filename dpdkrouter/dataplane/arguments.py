"""EAL's arguments and the mbuf pool's size, from the configuration. Pure.

Worker k (from 1) is EAL lcore k, pinned to the k-th CPU of `fastpath.lcores`; EAL lcore 0 is the host thread, free to
run on every CPU of the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpdkrouter.config.paths import InstancePaths

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dpdkrouter.config.schema import Config

MBUF_OVERHEAD_BYTES = 128 + 64 + 64  # struct rte_mbuf, the pool's object header, alignment
HEADROOM_BYTES = 128  # RTE_PKTMBUF_HEADROOM
FRAME_OVERHEAD_BYTES = 14 + 8 + 4  # Ethernet, two VLAN tags, FCS, which some devices write too
MIN_DATA_ROOM_BYTES = 2048 + HEADROOM_BYTES
PAGE_BYTES = 4096
MAX_MBUFS = 262_143  # 2^18 - 1: a pool's ring holds 2^n - 1 without waste


def eal_arguments(config: Config, cpus: Iterable[int]) -> list[str]:
    """What rte_eal_init gets. cpus: those the host thread may run on.

    --in-memory leaves no file behind, whatever ends the process, and lets several routers share a machine.
    """
    fastpath = config.fastpath
    lcores = [f"0@({','.join(map(str, sorted(cpus)))})"]
    lcores += [f"{slot}@{cpu}" for slot, cpu in enumerate(fastpath.lcores, start=1)]
    devices = [port.device for port in config.ports]
    pci = [device.eal_argument for device in devices if device.is_pci]
    arguments = [
        "--lcores",
        ",".join(lcores),
        "--main-lcore",
        "0",
        "-m",
        str(fastpath.memory_mib),
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


def sleeps_when_idle(config: Config) -> bool:
    """`fastpath.idle`; auto: sleep when every port is a vdev, where polling only takes the CPU from the peers."""
    if config.fastpath.idle == "auto":
        return not any(port.device.is_pci for port in config.ports)
    return config.fastpath.idle == "sleep"
