"""A peer's OPEN in ExaBGP's JSON, as Capabilities (RFC 5492; codes 1, 2, 64, 69, 70)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dpdkrouter.bgp.events import Capabilities

if TYPE_CHECKING:
    from collections.abc import Iterable

_FAMILIES = {"ipv4/unicast": "ipv4", "ipv6/unicast": "ipv6"}


def capabilities_of(found: dict[str, Any]) -> Capabilities:
    """Decode the `open` object; raises KeyError, TypeError, ValueError, AttributeError."""
    by_name = {str(value.get("name")): value for value in found["capabilities"].values()}
    families = frozenset({"ipv4"})
    if "multiprotocol" in by_name:
        families = _known(by_name["multiprotocol"]["families"])
    restart = by_name.get("graceful restart")
    flags: dict[str, list[str]] = restart["address-family-flags"] if restart else {}
    add_path: dict[str, Any] = by_name.get("addpath", {})
    return Capabilities(
        families=families,
        hold_time=int(found["hold_time"]),
        router_id=str(found["router_id"]),
        route_refresh="route-refresh" in by_name,
        enhanced_refresh="enhanced-route-refresh" in by_name,
        restart_time=int(restart["time"]) if restart else None,
        restart_families=_known(flags),
        # ExaBGP 5.0.15 names a family's forwarding bit (RFC 4724 section 3) "restart".
        forwarding_kept=_known(name for name, set_flags in flags.items() if set_flags),
        add_path_sent=_known(name for name, mode in add_path.items() if "send" in str(mode)),
    )


def _known(names: Iterable[str]) -> frozenset[str]:
    return frozenset(_FAMILIES[name] for name in names if name in _FAMILIES)
