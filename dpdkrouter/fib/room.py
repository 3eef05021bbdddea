"""How many more routes a table has room for: pure arithmetic over what `FibReader.use` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dpdkrouter.fib.records import Use

_IPV6_BYTES = 64
"""Of the trie a route takes, when too few are there to say. A whole Internet table comes to about half of it."""
_ENOUGH = 1000
"""IPv6 routes from which on those that are there say what others will take."""


def room(use: Mapping[str, Use]) -> dict[str, int]:
    """Routes that still fit, by what they are like.

    ipv4: up to /24; ipv4_longer: longer ones, each in a /24 that has none yet; ipv6: of the lengths, and as close
    together, as those that are there.
    """
    routes4 = _free(use["ipv4_routes"])
    trie, routes6 = use["ipv6_trie"], use["ipv6_routes"]
    each = max(1, trie.used // routes6.used) if routes6.used >= _ENOUGH else _IPV6_BYTES
    return {
        "ipv4": routes4,
        "ipv4_longer": min(routes4, _free(use["ipv4_extended"])),
        "ipv6": min(_free(routes6), _free(trie) // each),
    }


def _free(use: Use) -> int:
    return max(0, use.maximum - use.used)
