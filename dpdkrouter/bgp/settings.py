"""From the configuration to what ExaBGP's configuration needs. Pure."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from dpdkrouter.bgp.configuration import BgpPeer, BgpSettings

if TYPE_CHECKING:
    from dpdkrouter.config.schema import BgpNeighbor, Config

_VERSIONS = {"ipv4": 4, "ipv6": 6}


def families(neighbor: BgpNeighbor) -> tuple[str, ...]:
    """The families of a neighbour: those given, else that of its address."""
    return neighbor.families or (f"ipv{neighbor.address.version}",)


def local_address(config: Config, neighbor: BgpNeighbor) -> str:
    """Own address of the session: the one given, else that of the port whose prefix covers the neighbour."""
    if neighbor.local_address is not None:
        return str(neighbor.local_address)
    for port in config.ports:
        for address in port.addresses:
            if neighbor.address in address.network:
                return str(address.ip)
    return next(str(a.ip) for p in config.ports for a in p.addresses if a.version == neighbor.address.version)


def next_hops(config: Config, neighbor: BgpNeighbor) -> dict[str, str]:
    """Own address to announce as next hop, by family: on the port of the session."""
    local = ip_address(local_address(config, neighbor))
    here = [port for port in config.ports if any(local == address.ip for address in port.addresses)]
    hops: dict[str, str] = {}
    for family in families(neighbor):
        found = [a.ip for p in [*here, *config.ports] for a in p.addresses if a.version == _VERSIONS[family]]
        if local.version == _VERSIONS[family]:
            hops[family] = str(local)
        elif found:
            hops[family] = str(found[0])
    return hops


def announced(config: Config) -> dict[str, list[str]]:
    """The announced prefixes by family."""
    prefixes = config.bgp.announce if config.bgp else ()
    return {
        family: [str(prefix) for prefix in prefixes if prefix.version == version]
        for family, version in _VERSIONS.items()
    }


def settings_of(config: Config) -> BgpSettings:
    """What ExaBGP is to do."""
    bgp = config.bgp
    if bgp is None:
        return BgpSettings(())
    return BgpSettings(
        tuple(
            BgpPeer(
                address=str(neighbor.address),
                asn=neighbor.asn,
                local_address=local_address(config, neighbor),
                local_asn=config.router.asn or 0,
                router_id=str(config.router.id),
                families=families(neighbor),
                passive=neighbor.passive,
                hold_time=neighbor.hold_time,
                description=neighbor.description,
                restart_time=bgp.restart_time,
            )
            for neighbor in bgp.neighbors
        )
    )
