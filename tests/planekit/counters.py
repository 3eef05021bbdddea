"""The stats segment's counters at one moment, what moved between two, and what must always hold of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpdkrouter.segment import DropReason, PuntClass, StatsReader
from fastpath.segment import STATS, attach
from statskit import place_of

if TYPE_CHECKING:
    from pathlib import Path

# Counted by the host thread or about our own packets: no dispositions of received ones (fastpath/reasons.pxd).
AFTERWARDS = range(DropReason.park_full, len(DropReason))


@dataclass(frozen=True)
class Lcore:
    """One slot: host thread 0, workers from 1."""

    rx: int
    forwarded: int
    punted: int
    dropped: int
    originated: int
    injected: int
    drops: tuple[int, ...]
    punts: tuple[int, ...]
    policed: tuple[int, ...]


@dataclass(frozen=True)
class Port:
    """One port's counters, of all lcores together."""

    rx: int
    tx: int
    tx_drops: int
    injected: int
    originated: int
    fragments: int


@dataclass(frozen=True)
class Snapshot:
    lcores: tuple[Lcore, ...]
    ports: tuple[Port, ...]

    def total(self, name: str) -> int:
        return sum(getattr(lcore, name) for lcore in self.lcores)

    def wrong(self) -> list[str]:
        """What DESIGN.md promises of the counters and does not hold; to be looked at when nothing is on its way."""
        found = []
        for slot, lcore in enumerate(self.lcores[1:], start=1):
            received = (lcore.rx, lcore.forwarded + lcore.punted + lcore.dropped)
            reasons = (lcore.dropped, sum(lcore.drops[: AFTERWARDS.start]))
            classes = (lcore.punted, sum(lcore.punts))
            for what, (left, right) in {
                "rx = forwarded + punted + dropped": received,
                "dropped = sum of reasons": reasons,
                "punted = sum of classes": classes,
                "policed = sum of classes": (lcore.drops[DropReason.punt_policed], sum(lcore.policed)),
            }.items():
                if left != right:
                    found.append(f"worker {slot}: {what}: {left} != {right}")
        host = self.lcores[0]
        if (host.rx, host.forwarded, host.punted, host.dropped) != (0, 0, 0, 0):
            found.append(f"the host thread received: {host}")
        sent = sum(port.tx + port.tx_drops for port in self.ports)
        given = self.total("forwarded") + self.total("injected") + self.total("originated")
        given += sum(port.fragments for port in self.ports)
        if sent != given:
            found.append(f"tx = forwarded + injected + originated + extra fragments - tx drops: {sent} != {given}")
        by_port = {name: [getattr(port, name) for port in self.ports] for name in ("rx", "injected", "originated")}
        return found + [
            f"{name}: lcores say {self.total(name)}, ports {counts}"
            for name, counts in by_port.items()
            if self.total(name) != sum(counts)
        ]


@dataclass(frozen=True)
class Moved:
    """The counters that moved, zeroes left out."""

    rx: int
    forwarded: int
    punted: int
    dropped: int
    originated: int
    injected: int
    tx_drops: int
    fragments: int
    drops: dict[str, int]
    punts: dict[str, int]
    policed: dict[str, int]

    @classmethod
    def between(cls, before: Snapshot, after: Snapshot) -> Moved:
        def difference(name: str) -> int:
            return after.total(name) - before.total(name)

        def named(name: str, names: type[DropReason] | type[PuntClass]) -> dict[str, int]:
            totals = {
                member.name: sum(getattr(lcore, name)[member] for lcore in after.lcores)
                - sum(getattr(lcore, name)[member] for lcore in before.lcores)
                for member in names
            }
            return {key: value for key, value in totals.items() if value}

        return cls(
            rx=difference("rx"),
            forwarded=difference("forwarded"),
            punted=difference("punted"),
            dropped=difference("dropped"),
            originated=difference("originated"),
            injected=difference("injected"),
            tx_drops=sum(port.tx_drops for port in after.ports) - sum(port.tx_drops for port in before.ports),
            fragments=sum(port.fragments for port in after.ports) - sum(port.fragments for port in before.ports),
            drops=named("drops", DropReason),
            punts=named("punts", PuntClass),
            policed=named("policed", PuntClass),
        )


class Counters:
    """A reader of one stats segment. Per-slot drops are read where the layout says that they are."""

    def __init__(self, path: Path) -> None:
        self.reader = StatsReader(path)
        self._mapping = attach(path, STATS)
        self._view = self._mapping.view()

    def close(self) -> None:
        self._view.release()
        self._mapping.close()
        self.reader.close()

    def _words(self, field: str, count: int) -> tuple[int, ...]:
        offset, size = place_of(field)
        return tuple(
            int.from_bytes(self._view[offset + i * size : offset + (i + 1) * size], "little") for i in range(count)
        )

    def snapshot(self) -> Snapshot:
        lcores = tuple(
            Lcore(
                c.rx_packets,
                c.forwarded,
                c.punted,
                c.dropped,
                c.originated,
                c.injected,
                self._words(f"lcore[{c.slot}].drops[0]", len(DropReason)),
                self._words(f"lcore[{c.slot}].punts[0]", len(PuntClass)),
                self._words(f"lcore[{c.slot}].policed[0]", len(PuntClass)),
            )
            for c in self.reader.lcores()
        )
        ports = tuple(
            Port(p.rx_packets, p.tx_packets, p.tx_drops, p.injected, p.originated, p.fragments)
            for p in self.reader.ports()
        )
        return Snapshot(lcores, ports)
