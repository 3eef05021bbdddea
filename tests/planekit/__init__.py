"""A whole fast path process under test: real DPDK vdevs, a route segment that the test writes, raw sockets outside.

    raw socket == far end -- veth -- near end == net_af_packet == fast path process      (Plane, on Wires)
    file of frames == net_pcap == fast path process == file of frames                    (capture.run)

Nothing is simulated. The namespace holds no address and no IPv6, so the kernel says nothing of its own and counters
move by the test's frames alone.
"""

from planekit.counters import Counters, Moved
from planekit.fabric import Fabric
from planekit.plane import Plane
from planekit.process import FastPathProcess

__all__ = ["Counters", "Fabric", "FastPathProcess", "Moved", "Plane"]
