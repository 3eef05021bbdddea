"""The ports' ingress filters of a running fast path: made from the configuration, shown and replaced by order.

A list is replaced as a whole: what a worker judges a burst by is either the old list or the new one. What is wrong with
the new one is said before anything changes. A replaced list lasts as long as the process; what the configuration names
stands again after a restart, or by reload(). Calls come one at a time: from the main thread before there are workers,
then from that of orders.py.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpdkrouter.config.filterchecks import rules_of
from dpdkrouter.errors import ConfigErrors, NotFoundError, RequestError
from dpdkrouter.filters.listfile import read
from dpdkrouter.filters.rules import pack
from fastpath.filters import Filters, build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dpdkrouter.config.filters import Acl
    from dpdkrouter.config.schema import Config
    from dpdkrouter.filters.rules import FilterRule
    from fastpath.router import Router
    from fastpath.segment import Mapping as Segment

log = logging.getLogger("fastpath")

GRACE_S = 5.0  # a worker is quiescent every few microseconds, or asleep for at most 10 ms
LOOK_S = 0.001


class IngressFilters:
    """All lists and policers of a configuration, bound to its ports."""

    def __init__(
        self, config: Config, router: Router, stats: Segment, rules: Mapping[str, Sequence[FilterRule]]
    ) -> None:
        """rules: of every list. The router's ports are open, its workers do not run."""
        self._config = config
        workers = [router.worker_address(slot) for slot in range(len(config.fastpath.lcores) + 1)]
        self._filters = Filters(router.address(), workers, stats, config.fastpath.filter_counters)
        self._policers = {
            one.name: self._filters.add_policer(one.name, one.cir, one.cbs, one.ebs) for one in config.policers
        }
        self._acls = {one.name: one for one in config.acls}
        self._numbers = {name: self._filters.add_list(name) for name in self._acls}
        self._rules: dict[str, Sequence[FilterRule]] = {}
        self._origin: dict[str, str] = {}
        for name, acl in self._acls.items():
            self._install(acl, rules[name], config.filename)
        for number, port in enumerate(config.ports):
            acl_in = None if port.acl_in is None else self._numbers[port.acl_in]
            policer_in = None if port.policer_in is None else self._policers[port.policer_in]
            self._filters.bind(number, acl_in, policer_in)

    def _install(self, acl: Acl, rules: Sequence[FilterRule], origin: str) -> float:
        """Build and publish a list; returns when the former one is freed, with the seconds that building took."""
        start = time.monotonic()
        packed = pack(rules, acl.default, self._policers)
        made = build(acl.name, packed.actions, packed.policers, packed.ipv4, packed.ipv6)
        took = time.monotonic() - start
        self._filters.install(self._numbers[acl.name], made)
        self._rules[acl.name], self._origin[acl.name] = rules, origin
        until = time.monotonic() + GRACE_S
        while not self._filters.tend() and time.monotonic() < until:
            time.sleep(LOOK_S)
        log.info("acl %s: %d rules of %s in force, built in %.2f s", acl.name, len(rules), origin, took)
        return took

    def close(self) -> None:
        """The workers have ended."""
        self._filters.close()

    # ---- orders

    def show(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        """`name`, or all lists: what they are and how often each rule has matched since the list is in force."""
        names = list(self._acls) if params.get("name") is None else [self._acl(params).name]
        return [self._shown(name) for name in names]

    def _shown(self, name: str) -> dict[str, Any]:
        counts = self._filters.counts(self._numbers[name])
        rules = self._rules[name]
        return {
            "name": name,
            "default": self._acls[name].default,
            "origin": self._origin[name],
            "ports": [port.name for port in self._config.ports if port.acl_in == name],
            "rules": [
                {"rule": number, "text": str(rule), "packets": packets, "bytes": octets}
                for number, (rule, (packets, octets)) in enumerate(zip(rules, counts[:-1], strict=True), 1)
            ],
            "default_packets": counts[-1][0],
            "default_bytes": counts[-1][1],
        }

    def replace(self, params: dict[str, Any]) -> dict[str, Any]:
        """`name`: a list whose rules shall be those of the rules file `file` alone, an absolute path."""
        acl, file = self._acl(params), Path(str(params.get("file", "")))
        return self._take(acl, partial(read, file, acl.name, list(self._policers)), str(file))

    def reload(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        """`name`, or all lists: the rules that the configuration gave at the start, and those that its file has now."""
        acls = list(self._acls.values()) if params.get("name") is None else [self._acl(params)]
        return [self._take(acl, partial(rules_of, self._config, acl), self._config.filename) for acl in acls]

    def _take(self, acl: Acl, rules: Callable[[], list[FilterRule]], origin: str) -> dict[str, Any]:
        try:
            found = rules()
        except ConfigErrors as error:
            raise RequestError(f"{error}\nacl {acl.name} stays as it is") from None
        return {"name": acl.name, "rules": len(found), "seconds": round(self._install(acl, found, origin), 3)}

    def _acl(self, params: Mapping[str, Any]) -> Acl:
        name = params.get("name")
        if not isinstance(name, str) or name not in self._acls:
            raise NotFoundError(
                f"acl: found {name!r}: must be one of {', '.join(self._acls) or 'none, for there is none'}"
            )
        return self._acls[name]
