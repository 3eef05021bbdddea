"""The tap's frames, decoded: bytes in, events out; sans-I/O. The counterpart of Feed (feed.py) for frames.py's streams.

One TapFeed a connection. Lines go through a Feed; UPDATEs through the decoder that belongs to their session's epoch.
After a session reset the rest of that session is ignored: its end is on its way. Only a stream that can't be one of
the tap's raises (FeedBrokenError); what a peer sends never does.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from dpdkrouter.bgp.decoded import MAX_EXTENDED_MESSAGE, Negotiated
from dpdkrouter.bgp.events import Event, Hello, Received
from dpdkrouter.bgp.feed import Feed
from dpdkrouter.bgp.frames import HEADER, LINE, MAX_FRAME, SESSION, UPDATES
from dpdkrouter.bgp.update import UpdateDecoder
from dpdkrouter.errors import FeedBrokenError


def negotiated_of(found: dict[str, Any]) -> Negotiated:
    """The body of a SESSION frame; raises KeyError, TypeError, ValueError."""
    return Negotiated(
        families=frozenset(found["families"]) & {"ipv4", "ipv6"},
        add_path=frozenset(found["add_path"]),
        as4=bool(found["as4"]),
        internal=bool(found["internal"]),
        max_message=min(int(found["max_message"]), MAX_EXTENDED_MESSAGE),
        local_address=ipaddress.ip_address(found["local_address"]).packed,
    )


class TapFeed:
    """The decoder of one connection. `late`: UPDATE frames of sessions that are not known or were reset."""

    def __init__(self) -> None:
        self.lines = Feed()
        self.late = 0
        self._data = bytearray()
        self._sessions: dict[int, tuple[str, UpdateDecoder]] = {}

    def receive(self, data: bytes) -> list[Event]:
        """The events of the frames that `data` completes."""
        self._data += data
        events: list[Event] = []
        at = 0
        view = memoryview(self._data)
        try:
            while len(view) - at >= HEADER.size:
                kind, size, epoch = HEADER.unpack_from(view, at)
                if kind not in (LINE, SESSION, UPDATES) or size > MAX_FRAME:
                    raise FeedBrokenError(
                        f"the tap sent a frame of kind {kind} with {size} bytes: the helper starts over"
                    )
                end = at + HEADER.size + size
                if end > len(view):
                    break
                self._frame(kind, epoch, view[at + HEADER.size : end], events)
                at = end
        finally:
            view.release()
        del self._data[:at]
        return events

    def _frame(self, kind: int, epoch: int, body: memoryview, events: list[Event]) -> None:
        if kind == LINE:
            for event in self.lines.receive(bytes(body) + b"\n"):
                if isinstance(event, Hello):
                    self._hello(event)
                events.append(event)
        elif kind == SESSION:
            self._begin(json.loads(bytes(body)))
        elif epoch in self._sessions:
            peer, decoder = self._sessions[epoch]
            decoded = decoder.decode(body)
            if decoded.reset is not None:
                del self._sessions[epoch]
            events.append(Received(peer, epoch, decoded))
        else:
            self.late += 1

    def _hello(self, hello: Hello) -> None:
        for state in hello.peers:
            if state.session is not None:
                self._begin(state.session)

    def _begin(self, found: dict[str, Any]) -> None:
        try:
            peer, epoch, negotiated = str(found["peer"]), int(found["epoch"]), negotiated_of(found)
        except (KeyError, TypeError, ValueError) as error:
            raise FeedBrokenError(f"the tap described a session as {found!r}: {error!r}") from None
        if epoch in self._sessions:
            return
        for former in [number for number, (owner, _) in self._sessions.items() if owner == peer]:
            del self._sessions[former]
        self._sessions[epoch] = (peer, UpdateDecoder(negotiated))
