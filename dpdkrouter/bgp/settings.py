"""From the configuration to what ExaBGP's configuration needs. Pure but for `with_passwords`, which reads them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from dpdkrouter.bgp.configuration import BgpPeer, BgpSettings
from dpdkrouter.errors import BgpError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dpdkrouter.config.bgp import BgpNeighbor
    from dpdkrouter.config.rules import Prefix as Network
    from dpdkrouter.config.schema import Config

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


def next_hops(config: Config) -> dict[str, dict[str, str]]:
    """Own address to announce as next hop, by neighbour and family: on the port of the session."""
    return {
        str(neighbor.address): _next_hops(config, neighbor) for neighbor in (config.bgp.neighbors if config.bgp else ())
    }


def _next_hops(config: Config, neighbor: BgpNeighbor) -> dict[str, str]:
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


def announced(config: Config) -> dict[Network, Network | None]:
    """The announced prefixes, and of each the prefix that it depends on."""
    return {one.prefix: one.when for one in config.bgp.announce} if config.bgp else {}


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
                restart_time=bgp.restart_time if neighbor.graceful_restart else 0,
                add_path_receive=neighbor.add_path,
                ttl_security=neighbor.ttl_security,
                route_refresh=neighbor.route_refresh,
            )
            for neighbor in bgp.neighbors
        )
    )


def with_passwords(config: Config, settings: BgpSettings, environment: Mapping[str, str]) -> BgpSettings:
    """The settings with the peers' passwords, from their files and the environment; BgpError when one is not there."""
    if config.bgp is None:
        return settings
    neighbors = {str(neighbor.address): neighbor for neighbor in config.bgp.neighbors}
    return BgpSettings(
        tuple(replace(peer, password=_password(neighbors[peer.address], environment)) for peer in settings.peers)
    )


def _password(neighbor: BgpNeighbor, environment: Mapping[str, str]) -> str:
    if neighbor.password_file is not None:
        try:
            found = neighbor.password_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no text"
            raise BgpError(
                f"neighbour {neighbor.address}: its password_file {neighbor.password_file} can't be read: {reason}"
            ) from None
    elif neighbor.password_env is not None:
        found = environment.get(neighbor.password_env, "")
    else:
        return ""
    if not found:
        raise BgpError(
            f"neighbour {neighbor.address}: its password is empty: write it to "
            f"{neighbor.password_file or f'the environment variable {neighbor.password_env}'}"
        )
    return found
