"""The host stack's control side: the router's namespace, the ports' TAP twins, and the kernel's neighbours.

namespace.py   make, enter and remove the named network namespace
sysctls.py     the kernel settings inside it, each with its reason
tun.py         queues of TAPs and TUNs: open one more (both processes), keeper, carrier
plan.py        pure: what a twin should be, and what has to change
taps.py        make the kernel agree: devices, MAC, MTU, addresses, default routes through host0
neighbour_table.py  pure: what neighbours mean, ageing, limits
rtnl.py        netlink messages as bytes
neighbours.py  the netlink socket in asyncio
"""

from dpdkrouter.host.namespace import Namespace, run_in
from dpdkrouter.host.neighbour_table import Counters, Neighbour
from dpdkrouter.host.neighbours import Neighbours
from dpdkrouter.host.plan import Twin, link_local
from dpdkrouter.host.setup import prepare
from dpdkrouter.host.taps import Taps
from dpdkrouter.host.tun import HOST_DEVICE, Kind, open_queue, set_carrier

__all__ = [
    "HOST_DEVICE",
    "Counters",
    "Kind",
    "Namespace",
    "Neighbour",
    "Neighbours",
    "Taps",
    "Twin",
    "link_local",
    "open_queue",
    "prepare",
    "run_in",
    "set_carrier",
]
