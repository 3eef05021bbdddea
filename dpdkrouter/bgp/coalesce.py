"""Consecutive updates of one peer, family and attributes become one: arrays stay large, order stays right.

An Update's withdrawals apply before its announcements. So announcements may join withdrawals that came
before, and more announcements of the same attributes may follow; a withdrawal after an announcement begins
a new Update.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpdkrouter.bgp.events import Event, Update

if TYPE_CHECKING:
    from dpdkrouter.bgp.attributes import BgpAttributes
    from dpdkrouter.bgp.nlri import Packed


class _Arrays:
    """Packed routes that grow; path ids appear when the first route has one."""

    def __init__(self) -> None:
        self.prefixes = bytearray()
        self.lengths = bytearray()
        self.path_ids = bytearray()

    def add(self, routes: Packed) -> None:
        if routes.path_ids and not self.path_ids:
            self.path_ids += bytes(4 * len(self.lengths))
        if routes.path_ids:
            self.path_ids += routes.path_ids
        elif self.path_ids:
            self.path_ids += bytes(4 * len(routes.lengths))
        self.prefixes += routes.prefixes
        self.lengths += routes.lengths


class Coalescer:
    """Collects events in order; at most one Update is open, and any other event closes it."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._peer = ""
        self._family = ""
        self._attributes: BgpAttributes | None = None
        self._announced = _Arrays()
        self._withdrawn = _Arrays()
        self._messages = 0

    def withdraw(self, peer: str, family: str, routes: Packed) -> None:
        """Add withdrawn routes."""
        if (peer, family) != (self._peer, self._family) or self._attributes is not None:
            self._begin(peer, family)
        self._withdrawn.add(routes)
        self._messages += 1

    def announce(self, peer: str, family: str, attributes: BgpAttributes, routes: Packed) -> None:
        """Add announced routes."""
        same = (peer, family) == (self._peer, self._family)
        if not same or (self._attributes is not None and self._attributes != attributes):
            self._begin(peer, family)
        self._attributes = attributes
        self._announced.add(routes)
        self._messages += 1

    def event(self, event: Event) -> None:
        """Add any other event."""
        self._close()
        self._events.append(event)

    def take(self) -> list[Event]:
        """All events so far; the collection is empty then."""
        self._close()
        events, self._events = self._events, []
        return events

    def _begin(self, peer: str, family: str) -> None:
        self._close()
        self._peer, self._family = peer, family

    def _close(self) -> None:
        if self._messages:
            self._events.append(
                Update(
                    peer=self._peer,
                    family=self._family,
                    attributes=self._attributes,
                    announced=bytes(self._announced.prefixes),
                    announced_lengths=bytes(self._announced.lengths),
                    announced_path_ids=bytes(self._announced.path_ids),
                    withdrawn=bytes(self._withdrawn.prefixes),
                    withdrawn_lengths=bytes(self._withdrawn.lengths),
                    withdrawn_path_ids=bytes(self._withdrawn.path_ids),
                    messages=self._messages,
                )
            )
        self._peer = self._family = ""
        self._attributes = None
        self._announced, self._withdrawn = _Arrays(), _Arrays()
        self._messages = 0
