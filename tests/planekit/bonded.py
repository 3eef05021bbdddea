"""A fast path with a wire and a bond: frames come in by the wire, and leave by the bond's members.

far0 -- near0 == net_af_packet == port0 | fast path | port1 == bond == members
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from lab.harness.waiting import wait_for
from planekit.counters import Counters
from planekit.fabric import Fabric
from planekit.process import Bond, FastPathProcess, Settings, instance
from planekit.wires import far_mac, near_mac

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from dpdkrouter.segment.states import MemberState, PortState

BOND = 1  # the port's number
UP_S = 60  # LACP takes 3 s to agree on a quiet machine


class Bonded:
    """A context manager: it runs, forwards 198.18.1.0/24 by the bond to `far`, and knows what its members do."""

    def __init__(
        self,
        name: str,
        folder: Path,
        namespace: str,
        wire: str,
        bond: Bond,
        *,
        lcores: tuple[int, ...] = (0,),
        subs: tuple[tuple[int, int, int], ...] = (),
        idle: str = "auto",
    ) -> None:
        """namespace: where the wire and the members are. wire: port0's interface, or its device. subs, idle: as in
        Settings."""
        device = wire if "," in wire else f"net_af_packet0,iface={wire}"
        settings = Settings(instance(name), (device,), lcores=lcores, bonds=(bond,), subs=subs, idle=idle)
        self.process = FastPathProcess(settings, folder, namespace, inside=True)
        self._ports = 2 + len(subs)
        self._stack = ExitStack()
        self.fabric: Fabric
        self.counters: Counters

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            paths = self.process.paths
            stack.callback(paths.stats.unlink, missing_ok=True)
            stack.callback(paths.routes.unlink, missing_ok=True)
            self.fabric = Fabric(paths.routes, (1500,) * self._ports, stats=paths.stats)
            stack.callback(self.fabric.close)
            stack.enter_context(self.process)
            self.process.await_ready()
            self.counters = Counters(paths.stats)
            stack.callback(self.counters.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def port(self) -> PortState:
        """The bond's."""
        return self.counters.reader.ports()[BOND]

    def await_members(self, what: str, wanted: Callable[[tuple[MemberState, ...]], bool]) -> None:
        """Until the members are as wanted, and the links of both ports up."""

        def there() -> bool:
            ports = self.counters.reader.ports()
            assert ports[0].link_up, ports[0]
            assert ports[BOND].link_up, ports[BOND]
            assert wanted(ports[BOND].members), ports[BOND].members
            return True

        wait_for(there, UP_S, what, 0.02)

    def await_link(self, up: bool) -> None:
        """Until the bond has one, or none."""
        wait_for(lambda: self.port.link_up == up, UP_S, f"the bond's link is {'up' if up else 'down'}", 0.02)

    def accounted(self) -> None:
        """All that came in is forwarded, punted or dropped, and so on, once nothing is on its way."""

        def right() -> bool:
            wrong = self.counters.snapshot().wrong()
            assert wrong == [], wrong
            return True

        wait_for(right, 10, "the counters' invariants", 0.02)


def bond_of(members: tuple[str, ...], mode: str, mac: bytes, *more: str) -> Bond:
    return Bond(members, mode, mac.hex(":"), more)


__all__ = ["BOND", "Bonded", "bond_of", "far_mac", "near_mac"]
