"""Second pass: what contradicts something else in the same file. Pure; the file's schema is valid here.

Each check yields (key path, what is allowed); the loader adds file, line and the value found. A
contradiction between two entries is reported at the later one and names the first. Called by load.py only.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

from dpdkrouter.config.bgp import BgpNeighbor
from dpdkrouter.config.bonds import check_bonds
from dpdkrouter.config.devices import Device
from dpdkrouter.config.filterchecks import check_filters
from dpdkrouter.config.locate import KeyPath, render
from dpdkrouter.config.policies import check_policies
from dpdkrouter.config.rules import Address, Prefix, end_of_subnet
from dpdkrouter.config.schema import Config, Port
from dpdkrouter.config.topology import Topology, family

Contradiction = tuple[KeyPath, str]
Found = Iterator[Contradiction]


def _repeated(entries: Iterable[tuple[KeyPath, Hashable]]) -> Found:
    """Entries that are equal to an earlier one."""
    first: dict[Hashable, KeyPath] = {}
    for path, value in entries:
        if value in first:
            yield path, f"must be listed once, but is {render(first[value])} too"
        else:
            first[value] = path


def check_repetition(config: Config) -> Found:
    """Nothing that identifies something is there twice."""
    ports, routes = list(enumerate(config.ports)), list(enumerate(config.routes))
    yield from _repeated((("fastpath", "lcores", i), lcore) for i, lcore in enumerate(config.fastpath.lcores))
    yield from _repeated((("port", i, "name"), port.name) for i, port in ports)
    yield from _repeated((path, device.name) for path, device in config.placed_devices)
    for i, port in ports:
        yield from _repeated((("port", i, "lcores", j), lcore) for j, lcore in enumerate(port.lcores))
    yield from _repeated(
        (("port", i, "addresses", j), address.ip) for i, port in ports for j, address in enumerate(port.addresses)
    )
    yield from _repeated((("route", i, "prefix"), route.prefix) for i, route in routes)
    for i, route in routes:
        yield from _repeated((("route", i, "via", j), hop.address) for j, hop in enumerate(route.via))
    yield from _repeated((("neighbor", i, "address"), n.address) for i, n in enumerate(config.neighbors))
    if config.bgp is None:
        return
    yield from _repeated((("bgp", "announce", i), one.prefix) for i, one in enumerate(config.bgp.announce))
    yield from _repeated((("bgp", "neighbor", i, "address"), n.address) for i, n in enumerate(config.bgp.neighbors))
    yield from _repeated((("bgp", "prefix_list", i, "name"), n.name) for i, n in enumerate(config.bgp.prefix_lists))
    yield from _repeated((("bgp", "policy", i, "name"), n.name) for i, n in enumerate(config.bgp.policies))
    for i, neighbor in enumerate(config.bgp.neighbors):
        yield from _repeated(
            (("bgp", "neighbor", i, "families", j), name) for j, name in enumerate(neighbor.families or ())
        )


def check_ports(config: Config, topology: Topology) -> Found:
    """Ports do not share interfaces or prefixes; IPv6 has its least MTU (RFC 8200 section 5)."""
    claimed: dict[str, tuple[KeyPath, Device]] = {}
    for path, device in config.placed_devices:
        for name in device.claimed:
            user, other = claimed.setdefault(name, (path, device))
            if user != path and device.name != other.name:
                yield path, f"must not use interface {name}, which port[{user[1]}] uses"
    for i, port in enumerate(config.ports):
        for j, lcore in enumerate(port.lcores):
            if lcore not in config.fastpath.lcores:
                known = ", ".join(map(str, config.fastpath.lcores))
                yield ("port", i, "lcores", j), f"must be one of fastpath.lcores: {known}"
        if port.mtu < 1280 and any(address.version == 6 for address in port.addresses):
            yield ("port", i, "mtu"), "must be at least 1280 on a port with an IPv6 address"
    yield from _overlaps(config, topology)


def check_sub_interfaces(config: Config) -> Found:
    """A port has a device or a parent; a sub-interface has a VLAN of its own there, and nothing that is its parent's."""
    above: dict[str, Port] = {}
    for i, port in enumerate(config.ports):
        if [port.device is None, not port.bond, port.parent is None].count(False) != 1:
            yield ("port", i, "device"), "must be given, or else bond, or else parent and vlan: one of the three"
        elif port.parent is None:
            yield from _only_with_parent(i, port)
        else:
            for key, allowed in _sub_interface(port, port.parent, above):
                yield ("port", i, key), allowed
        if port.devices:
            above[port.name] = port
    yield from _repeated(
        (("port", i, "vlan"), (port.parent, port.outer_vlan, port.vlan))
        for i, port in enumerate(config.ports)
        if port.parent is not None and port.vlan is not None
    )


def _only_with_parent(i: int, port: Port) -> Found:
    for key in ("vlan", "outer_vlan"):
        if getattr(port, key) is not None:
            yield ("port", i, key), "must be absent without parent"


def _sub_interface(port: Port, parent: str, above: Mapping[str, Port]) -> Iterator[tuple[str, str]]:
    """What is wrong with one, by key."""
    if port.vlan is None:
        yield "vlan", "must be given for a port with a parent"
    if parent not in above:
        yield "parent", f"must be a port with a device, listed before: {', '.join(above) or 'there is none'}"
    elif port.mtu > above[parent].mtu:
        yield "mtu", f"must be at most that of {parent}, {above[parent].mtu}"
    for key in ("mac", "lcores"):
        if key in port.model_fields_set:
            yield key, "must be absent: a port with a parent has its parent's"


def _overlaps(config: Config, topology: Topology) -> Found:
    """Connected prefixes of different ports that overlap; equal addresses are reported as such already."""
    entries: dict[Prefix, dict[int, int]] = {}  # by network, for each port the first address within it
    for i, port in enumerate(config.ports):
        for j, address in enumerate(port.addresses):
            entries.setdefault(address.network, {}).setdefault(i, j)
    seen = set()
    for inner, users in entries.items():
        for outer in topology.covering(inner.network_address):
            for i, j in users.items():
                for k, m in entries.get(outer, {}).items() if outer.prefixlen <= inner.prefixlen else ():
                    (p, q), (r, s) = sorted([(i, j), (k, m)])
                    if i != k and (r, s) not in seen and _ip(config, p, q) != _ip(config, r, s):
                        seen.add((r, s))
                        other, path = (
                            config.ports[p].addresses[q].network,
                            render(("port", p, "addresses", q)),
                        )
                        yield ("port", r, "addresses", s), f"must not overlap {other} of another port, {path}"


def _ip(config: Config, port: int, index: int) -> Address:
    return config.ports[port].addresses[index].ip


def _on_link(address: Address, topology: Topology) -> str | None:
    """Why an address can't be a host on one of the links, or None."""
    if address in topology.own:
        return f"must not be the router's own address, {render(topology.own[address])}"
    link = topology.link(address)
    end = end_of_subnet(address, link.network) if link else None
    return f"must not be the {end} address of {link.network}" if link and end else None


def check_routes(config: Config, topology: Topology) -> Found:
    """A route has next hops exactly when it needs them, of its family, that lead somewhere."""
    good = topology.leads_to_link()
    for i, route in enumerate(config.routes):
        if route.type == "unicast" and not route.via:
            yield (
                ("route", i, "via"),
                'must have at least one next hop, or type must be "blackhole", "unreachable" or "prohibit"',
            )
        elif route.type != "unicast" and route.via:
            yield ("route", i, "via"), f'must be absent when type is "{route.type}"'
        for j, hop in enumerate(route.via if route.type == "unicast" else ()):
            path: KeyPath = ("route", i, "via", j)
            if family(hop.address) != family(route.prefix):
                yield path, f"must be of {family(route.prefix)}, as its prefix {route.prefix}"
            elif reason := _on_link(hop.address, topology):
                yield path, reason
            elif not good.intersection(topology.covering(hop.address)[:1]):
                yield path, "must be within a port's prefix, or be reached through another static route"


def check_neighbors(config: Config, topology: Topology) -> Found:
    """A static neighbour is another host on its port's link."""
    ports = {port.name: port for port in reversed(config.ports)}
    for i, neighbor in enumerate(config.neighbors):
        port = ports.get(neighbor.port)
        if port is None:
            yield (
                ("neighbor", i, "port"),
                f"must be the name of a port: {', '.join(p.name for p in config.ports)}",
            )
        elif reason := _on_link(neighbor.address, topology):
            yield ("neighbor", i, "address"), reason
        elif not any(neighbor.address in address.network for address in port.addresses):
            networks = ", ".join(str(address.network) for address in port.addresses) or "it has none"
            yield ("neighbor", i, "address"), f"must be within a prefix of port {port.name}: {networks}"


def check_bgp(config: Config, topology: Topology) -> Found:
    """BGP has an identity, and every session two ends and addresses for its families."""
    bgp = config.bgp
    if bgp is None:
        return
    for name in ("id", "asn"):
        if getattr(config.router, name) is None:
            yield ("router", name), "must be given when [bgp] is used"
    for i, neighbor in enumerate(bgp.neighbors):
        for key, allowed in _session(neighbor, topology):
            yield ("bgp", "neighbor", i, *key), allowed
    spoken = {name for n in bgp.neighbors for name in n.families or (family(n.address),)}
    for i, announced in enumerate(bgp.announce):
        if bgp.neighbors and family(announced.prefix) not in spoken:
            yield (
                ("bgp", "announce", i),
                f"must be of a family that a neighbour has; none has {family(announced.prefix)}",
            )


def _session(neighbor: BgpNeighbor, topology: Topology) -> Found:
    """What is wrong with one session, keys relative to the neighbour."""
    if reason := _on_link(neighbor.address, topology):
        yield ("address",), reason
        return
    link, local = topology.link(neighbor.address), neighbor.local_address
    if local is None and link is None:
        yield ("local_address",), f"must be given: no port's prefix covers {neighbor.address}"
        return
    if local is not None:
        if family(local) != family(neighbor.address):
            yield ("local_address",), f"must be of {family(neighbor.address)}, as the neighbour's address"
            return
        if local not in topology.own:
            yield ("local_address",), "must be an address of a port"
            return
    index = link.port if link else topology.port_of(local)
    have = topology.families(index)
    for j, name in enumerate(neighbor.families or ()):
        if name not in have:
            port = topology.ports[index].name
            yield ("families", j), f"must be a family that port {port} has an address of: {', '.join(have)}"


def check_table(config: Config) -> Found:
    """A part of the groups is not larger than all."""
    table = config.table
    if table.max_ecmp_groups <= table.max_groups:
        return
    if "max_ecmp_groups" in table.model_fields_set:
        yield ("table", "max_ecmp_groups"), f"must be at most max_groups, {table.max_groups}"
    else:
        yield ("table", "max_groups"), f"must be at least max_ecmp_groups, {table.max_ecmp_groups} by default"


def contradictions(config: Config) -> Found:
    """All that contradicts something else in a configuration."""
    topology = Topology.of(config)
    alone: tuple[Callable[[Config], Found], ...] = (
        check_repetition,
        check_sub_interfaces,
        check_bonds,
        check_table,
        check_policies,
        check_filters,
    )
    with_links: tuple[Callable[[Config, Topology], Found], ...] = (
        check_ports,
        check_routes,
        check_neighbors,
        check_bgp,
    )
    for check in alone:
        yield from check(config)
    for check_linked in with_links:
        yield from check_linked(config, topology)
