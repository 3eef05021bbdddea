"""The host stack's control side: the router's namespace, the ports' TAP twins, and the kernel's neighbours.

namespace.py        make, enter and remove the named network namespace
sysctls.py          the kernel settings inside it, each with its reason
setup.py            both of these at once: `prepare`
tun.py              queues of TAPs and TUNs: open one more (both processes), keeper, carrier
plan.py             pure: what a twin should be, and what has to change
taps.py             make the kernel agree: devices, MAC, MTU, addresses, default routes through host0
neighbour_table.py  pure: what neighbours mean, ageing, limits
rtnl.py             netlink messages as bytes
neighbours.py       the netlink socket in asyncio

Nothing is imported here: the fast path process needs tun.py alone, and pyroute2 would cost it
0.1 s at each start.
"""
