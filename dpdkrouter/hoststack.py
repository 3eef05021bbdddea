"""The control process's side of the host stack: TAP twins, kernel neighbours, and what they mean for adjacencies.

TAPs need the ports' MACs, which the fast path tells; until it has come up once there is nothing to keep. While it is
absent nothing changes: neighbours are held, TAPs keep their carrier by the keeper queues.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from dpdkrouter.errors import HostError
from dpdkrouter.fib.records import Interface
from dpdkrouter.host import sysctls
from dpdkrouter.host.announce import Announcer
from dpdkrouter.host.duplicates import Duplicates, Own
from dpdkrouter.host.neighbours import Neighbours
from dpdkrouter.host.plan import Twin, link_local
from dpdkrouter.host.setup import prepare
from dpdkrouter.host.taps import Taps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AsyncExitStack

    from dpdkrouter.config.schema import Config
    from dpdkrouter.fib.programmer import Programmer
    from dpdkrouter.rib.nexthops import NextHops
    from dpdkrouter.segment import MemberState, PortState

log = logging.getLogger("control.host")

Address = IPv4Address | IPv6Address


class HostStack:
    """One router's TAPs and neighbours. `neighbours`: MACs by (port, address) as the adjacencies have them."""

    def __init__(self, config: Config, programmer: Programmer) -> None:
        self._config = config
        self._programmer = programmer
        self._numbers = {port.name: number for number, port in enumerate(config.ports)}
        self._taps = Taps(config.router.namespace)
        self._kernel: Neighbours | None = None
        self._duplicates = Duplicates(config.router.namespace)
        self._announcer = Announcer(config.router.namespace)
        self._own: list[Own] = []
        self._in_use_of: dict[int, str] = {}  # the member by which an active-backup bond sends
        self._started = asyncio.Event()
        self._managed: set[tuple[int, Address]] = set()
        self.neighbours: dict[tuple[int, Address], bytes] = {
            (port, ip_address(address)): mac for (port, address), mac in programmer.adopted_neighbours.items()
        }
        self._settled = False
        self._full: set[int] = set()
        self._macs: dict[int, bytes] = {}
        self.pid = 0

    async def start(self, stack: AsyncExitStack) -> None:
        """Make the namespace."""
        await asyncio.to_thread(prepare, self._config.router.namespace)
        stack.callback(self._close)

    def _close(self) -> None:
        if self._kernel is not None:
            self._kernel.close()
        self._duplicates.close()
        self._announcer.close()
        self._taps.close()

    # ---- the fast path

    async def fast_path_up(self, pid: int, ports: Sequence[PortState]) -> None:
        """Its ports are up: make the twins, tell the segment the ports' MACs, follow the kernel's neighbours."""
        self.pid = pid
        twins = []
        for number, (port, state) in enumerate(zip(self._config.ports, ports, strict=True)):
            twins.append(Twin(port.name, state.mac, port.mtu, port.addresses))
            self._programmer.set_port(number, state.mac, port.mtu)
            self._macs[number] = state.mac
            self._programmer.set_interface(number, self._interface(number, state.mac))
        for line in await asyncio.to_thread(self._taps.apply, twins):
            log.info("%s", line)
        self._own = [Own(one.name, one.mac, (*(a.ip for a in one.addresses), link_local(one.mac).ip)) for one in twins]
        await asyncio.to_thread(self._duplicates.open)
        await asyncio.to_thread(self._announcer.open)
        self._duplicates.watch(self._own)
        if self._kernel is None:
            await self._follow_kernel()
        else:
            self._kernel.set_ports(self._taps.indexes())
            self._kernel.release()

    def taps(self) -> dict[int, int]:
        """The index of each port's TAP in the router's namespace."""
        return {self._numbers[name]: index for name, index in self._taps.indexes().items()}

    def fast_path_gone(self) -> None:
        """It ended: keep everything as it is."""
        if self.pid:
            log.warning("fast path: pid %d is gone; routes, adjacencies and TAPs stay", self.pid)
            self.pid = 0
            if self._kernel is not None:
                self._kernel.hold()

    def _interface(self, number: int, mac: bytes) -> Interface:
        """The addresses that ICMP errors of a port come from: its first of each kind."""
        port = self._config.ports[number]
        ipv4 = next((a.packed for a in port.addresses if a.version == 4), b"")
        ipv6 = next((a.packed for a in port.addresses if a.version == 6 and not a.is_link_local), b"")
        local = next((a.packed for a in port.addresses if a.version == 6 and a.is_link_local), link_local(mac).packed)
        return Interface(port.name, port.mtu, ipv4, ipv6, local, number in self._full)

    async def _follow_kernel(self) -> None:
        kernel = Neighbours(self._config.router.namespace, self._taps.indexes(), in_use=self._in_use, most=self._most())
        kernel.set_static({(n.port, n.address): bytes.fromhex(n.mac.replace(":", "")) for n in self._config.neighbors})
        await kernel.start()
        known = {(self._numbers[one.port], one.address): one.mac for one in kernel.usable() if one.mac is not None}
        for key in self.neighbours.keys() - known.keys():
            # adopted from the segment, unknown to the kernel: ask, and forget it when no answer comes
            kernel.resolve(self._config.ports[key[0]].name, key[1])
            self._set(*key, None)
        for (port, address), mac in known.items():
            self._set(port, address, mac)
        self._kernel = kernel
        self._note_full()
        for port, address in self._managed:
            kernel.manage(self._config.ports[port].name, address)
        if self._settled:
            kernel.unmanage_others()
        self._started.set()

    def _in_use(self, key: tuple[str, Address]) -> bool:
        """Whether a neighbour is one that routes go through."""
        return (self._numbers[key[0]], key[1]) in self._managed

    def link(self, number: int, up: bool) -> None:
        """A port's link changed: the twin's carrier follows."""
        name = self._config.ports[number].name
        log.info("port %s: link %s", name, "up" if up else "down")
        with contextlib.suppress(HostError):  # the twin is not there yet: it is made with the carrier up
            self._taps.set_link(name, up)
            if up and self._kernel is not None:
                self._kernel.verify(name)

    def members(self, number: int, members: Sequence[MemberState]) -> None:
        """A bond's members as they are now: when another one took over, the links on it are told our addresses."""
        bond = self._config.ports[number]
        now = next((one.device for one in members if one.active), None)
        if bond.bond_mode != "active-backup" or now is None:
            return
        before, self._in_use_of[number] = self._in_use_of.get(number, now), now
        if before != now:
            log.info("port %s: %s took over from %s", bond.name, now, before)
            for port, own in zip(self._config.ports, self._own, strict=True):
                if bond.name in (port.name, port.parent):
                    self._announcer.announce(own)

    # ---- neighbours

    def neighbour_counts(self) -> dict[str, tuple[int, int]]:
        """By port: its neighbours with a MAC, and how often another station claimed an address of ours there."""
        found = Counter(port for port, _ in self.neighbours)
        return {
            port.name: (found[number], self._duplicates.counts[port.name])
            for number, port in enumerate(self._config.ports)
        }

    async def changes(self) -> None:
        """Wait for neighbours to change and put them into the adjacencies."""
        await self._started.wait()
        assert self._kernel is not None
        for one in await self._kernel.changes():
            self._set(self._numbers[one.port], one.address, one.mac)
        self._note_full()

    def _most(self) -> dict[str, int]:
        """How many neighbours each port may have. The kernel has room for gc_thresh3 in a family, for the whole host."""
        usual = max(1, min(sysctls.neighbour_limits().values()) // 2)
        return {port.name: port.neighbor_limit or usual for port in self._config.ports}

    def _note_full(self) -> None:
        """Tell the fast path which ports have as many neighbours as they may: it asks for no others there."""
        assert self._kernel is not None
        for number, port in enumerate(self._config.ports):
            full = self._kernel.full(port.name)
            if full != (number in self._full):
                self._full ^= {number}
                self._programmer.set_interface(number, self._interface(number, self._macs[number]))
                if full:
                    log.warning("port %s: %d neighbours; others are not resolved", port.name, self._most()[port.name])
                else:
                    log.info("port %s: room for neighbours again", port.name)

    def _set(self, port: int, address: Address, mac: bytes | None) -> None:
        self._programmer.set_neighbour(port, address, mac)
        if mac is None:
            self.neighbours.pop((port, address), None)
        else:
            self.neighbours[port, address] = mac

    def resolve(self, port: int, address: Address) -> None:
        """The fast path waits for this next hop."""
        if self._kernel is not None and port < len(self._config.ports):
            self._kernel.resolve(self._config.ports[port].name, address)

    def routes_settled(self) -> None:
        """All sources have said everything since the start: next hops of the former control process are let go."""
        self._settled = True
        if self._kernel is not None:
            self._kernel.unmanage_others()

    def keep_resolved(self, next_hops: NextHops) -> None:
        """Have the kernel keep the next hops of routes resolved, and no others."""
        wanted = {
            (member.port, ip_address(member.address))
            for address in next_hops.tracked()
            for member in next_hops.resolution(address).members
            if member.address is not None
        }
        if self._kernel is not None:
            for port, address in wanted - self._managed:
                self._kernel.manage(self._config.ports[port].name, address)
            for port, address in self._managed - wanted:
                self._kernel.unmanage(self._config.ports[port].name, address)
        self._managed = wanted
