"""What must not go away, looked at all the time and from outside: routes in the segment, prefixes of ours at BIRDs.

with Watch(router, birds, ["203.0.113.0/24"]) as watch:
    router.kill("bgp")
    ...
watch.check()
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Protocol

    from lab.harness.router import Router

    class Peer(Protocol):
        """A daemon that is told our prefixes."""

        def learnt(self) -> set[str]:
            """The prefixes that it has by BGP."""


EVERY_S = 0.05
LOOKS = 10  # at least
LOOKS_S = 30.0  # how long they may take


class Watch:
    """A context manager; the segment is mapped anew at each look."""

    def __init__(self, router: Router, peers: Sequence[Peer] = (), announced: Sequence[str] = ()) -> None:
        self._router, self._peers, self._announced = router, peers, set(announced)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch")
        self.before = router.routes()
        self.missed: list[tuple[float, set[str]]] = []
        self.looks = 0

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end = time.monotonic() + LOOKS_S
        while kind is None and self.looks <= LOOKS and time.monotonic() < end:  # on a busy machine each takes long
            time.sleep(EVERY_S)
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        start = time.monotonic()
        while not self._stop.wait(EVERY_S):
            missed = self.before - self._router.routes()
            for peer in self._peers:
                missed |= self._announced - peer.learnt()
            if missed:
                self.missed.append((time.monotonic() - start, missed))
            self.looks += 1

    def check(self) -> None:
        """Nothing was missing at any time, and no route has come."""
        assert self.looks > LOOKS
        assert self.missed == []
        assert self._router.routes() == self.before
