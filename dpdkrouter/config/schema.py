"""The configuration file's schema: frozen models; names, types, defaults and texts here are the reference.

First of the three passes: each value by itself. A field's rule (rules.py) says what is allowed;
`description` says what the key does and becomes docs/configuration.md. A key is here only when something
reads it. Addresses are `ipaddress` objects, arrays are tuples, unknown keys are refused. Models are made by
load.py only and are hashable.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, WrapValidator
from pydantic.functional_validators import ModelWrapValidatorHandler

from dpdkrouter.config import rules
from dpdkrouter.config.base import Table, array, short_form
from dpdkrouter.config.bgp import MAX_MEMBERS, Bgp
from dpdkrouter.config.devices import Device
from dpdkrouter.config.filters import MAX_ACLS, MAX_POLICERS, Acl, Policer
from dpdkrouter.config.locate import KeyPath, line_of
from dpdkrouter.config.rules import Address, Interface, Listen, Prefix
from dpdkrouter.filters import values

MAX_PORTS = 32  # DR_MAX_PORTS of the shared memory's layout
MAX_WORKERS = 32  # DR_MAX_LCORES less the host thread
PACKET_RATE = rules.whole(1, 10_000_000)
MAX_BOND_MEMBERS = 8  # DR_BOND_MEMBERS


class Router(Table):
    """[router]"""

    name: Annotated[str, rules.ROUTER_NAME] = Field(
        "router", description="name of this instance; in the names of its files, sockets and namespace"
    )
    id: Annotated[IPv4Address | None, rules.BGP_IDENTIFIER] = Field(
        None, description="BGP identifier; required when `[bgp]` is used"
    )
    asn: Annotated[int | None, rules.AS_NUMBER] = Field(
        None, description="autonomous system number; required when `[bgp]` is used"
    )
    namespace: Annotated[str, rules.NAMESPACE] = Field(
        default_factory=lambda fields: f"dr-{fields['name']}",
        description="network namespace that holds the ports' TAP twins and ExaBGP; made when absent",
    )


class FastPath(Table):
    """[fastpath]"""

    lcores: Annotated[
        tuple[Annotated[int, rules.LCORE], ...], array("whole numbers between 0 and 1023", 1, MAX_WORKERS)
    ] = Field((0,), description="CPUs that forward, one worker each")
    memory_mib: Annotated[int, rules.whole(64, 1048576)] = Field(512, description="memory for mbufs and EAL, in MiB")
    hugepages: Annotated[bool, rules.BOOLEAN] = Field(
        True, description="false: EAL runs without hugepages and segments lie in /dev/shm, which is slower"
    )
    simd: Annotated[str, rules.choice("auto", "x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v4-vpopcnt", "native")] = (
        Field("auto", description="which build of the worker runs; auto: the best that the CPU has")
    )
    idle: Annotated[str, rules.choice("auto", "poll", "sleep", "interrupt")] = Field(
        "auto",
        description="what a worker without packets does; interrupt: wait for its devices, which need RX interrupts; "
        "auto: sleep when every port is a vdev, else poll",
    )
    hash_flow_label: Annotated[bool, rules.BOOLEAN] = Field(
        False,
        description="true: which of several next hops an IPv6 packet takes is decided by its addresses and flow label, "
        "when that is not 0, instead of its 5-tuple; ICMPv6 errors then do not follow their flow",
    )
    hash_by_device: Annotated[bool, rules.BOOLEAN] = Field(
        False,
        description="true: where a device gives a hash (RSS), that decides about whole TCP and UDP packets; ICMP errors "
        "and `route hash` then do not follow such flows, and two devices may choose differently",
    )
    filter_counters: Annotated[int, rules.whole(0, 1 << 22)] = Field(
        4096,
        description="room for counters of filters: one a rule, one a list, three a policer, and the largest list's twice; "
        "16 bytes each for every worker",
    )
    eal_args: Annotated[tuple[Annotated[str, rules.ARGUMENT], ...], array("strings")] = Field(
        (), description="appended to EAL's arguments"
    )


class Port(Table):
    """[[port]]"""

    name: Annotated[str, rules.PORT_NAME] = Field(description="name of the port and of its TAP twin")
    device: Annotated[Device | None, rules.DEVICE] = Field(
        None,
        description="the DPDK device: a PCI address or a vdev, either with arguments; or `bond` or `parent` is given",
    )
    bond: Annotated[tuple[Annotated[Device, rules.DEVICE], ...], array("devices", 1, MAX_BOND_MEMBERS)] = Field(
        (), description="makes this port a bond: its members, each as `device` is written"
    )
    bond_mode: Annotated[str, rules.choice("active-backup", "balance", "lacp")] = Field(
        "active-backup",
        description="of a bond: one member at a time; or flows spread over the members, "
        "balance: over all with a link, lacp: over those that LACP (IEEE 802.1AX) agrees on with the other side",
    )
    bond_policy: Annotated[str, rules.choice("l2", "l23", "l34")] = Field(
        "l34",
        description="of a bond that is not active-backup: what a flow's member is chosen by: MACs, MACs and addresses, "
        "or addresses and ports",
    )
    bond_primary: Annotated[Device | None, rules.DEVICE] = Field(
        None,
        description="of an active-backup bond: the member in use whenever it has a link; default: the first, "
        "and the one that took over stays in use",
    )
    parent: Annotated[str | None, rules.PORT_REFERENCE] = Field(
        None, description="makes this port a sub-interface: an earlier port, whose device it shares"
    )
    vlan: Annotated[int | None, rules.whole(1, 4094)] = Field(
        None, description="of a sub-interface: the VLAN whose frames are its own, tagged as IEEE 802.1Q says"
    )
    outer_vlan: Annotated[int | None, rules.whole(1, 4094)] = Field(
        None, description="of a sub-interface: the outer VLAN that `vlan` is within (QinQ); default: one tag"
    )
    addresses: Annotated[
        tuple[Annotated[Interface, rules.PORT_ADDRESS], ...], array("addresses with prefix length")
    ] = Field((), description="the port's addresses; their prefixes become connected routes")
    mac: Annotated[str | None, rules.MAC] = Field(
        None, description="MAC that the port shall have; default: the device's own"
    )
    mtu: Annotated[int, rules.whole(576, 9216)] = Field(
        1500, description="largest IP packet the port sends, in bytes; at least 1280 with an IPv6 address"
    )
    lcores: Annotated[
        tuple[Annotated[int, rules.LCORE], ...], array("whole numbers between 0 and 1023", 0, MAX_WORKERS)
    ] = Field(
        (),
        description="of `fastpath.lcores`, those that poll the port: an RX queue each; "
        "default: those on its device's NUMA node, else all",
    )
    neighbor_limit: Annotated[int | None, rules.whole(1, 65535)] = Field(
        None,
        description="neighbours that the port may have, both families, beside next hops of routes and static ones; "
        "default: half of the kernel's net.ipv4.neigh.default.gc_thresh3",
    )
    acl_in: Annotated[str | None, values.ACL_REFERENCE] = Field(
        None, description="the acl that filters what the port receives; default: none"
    )
    policer_in: Annotated[str | None, values.POLICER_REFERENCE] = Field(
        None, description="the policer of what the port receives, behind its acl; default: none"
    )
    urpf: Annotated[str, rules.choice("off", "strict", "loose")] = Field(
        "off",
        description="unicast RPF, RFC 3704, of what the port receives; strict: a next hop of the source's route leaves "
        "by this port; loose: the source has a route, a default route does not count",
    )
    ip_options: Annotated[str, rules.choice("forward", "punt", "drop")] = Field(
        "forward",
        description="what becomes of received IPv4 packets with options; punt: to the host stack, "
        "which forwards nothing",
    )
    description: Annotated[str, rules.DESCRIPTION] = Field("", description="shown by `port show`")

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices that are this port's own: several of a bond, none of a sub-interface."""
        return self.bond if self.device is None else (self.device,)

    @property
    def device_keys(self) -> tuple[KeyPath, ...]:
        """The keys of `devices`, below the port's."""
        return tuple(("bond", i) for i in range(len(self.bond))) if self.device is None else (("device",),)


class NextHop(Table):
    """An entry of a route's `via`; a plain string there is an address of weight 1."""

    address: Annotated[Address, rules.HOST_ADDRESS] = Field(description="the next hop, of the prefix's family")
    weight: Annotated[int, rules.whole(1, 255)] = Field(
        1, description="share of the flows, relative to the other next hops' weights"
    )


def _next_hop(value: Any, handler: ModelWrapValidatorHandler[NextHop]) -> NextHop:
    """Takes `"192.0.2.9"` for `{ address = "192.0.2.9" }`."""
    allowed = "must be an address, or a table { address = ..., weight = ... }"
    return short_form(value, handler, "address", rules.HOST_ADDRESS, allowed)


class Route(Table):
    """[[route]]"""

    prefix: Annotated[Prefix, rules.PREFIX] = Field(description="destination of the static route")
    via: Annotated[tuple[Annotated[NextHop, WrapValidator(_next_hop)], ...], array("next hops", 0, MAX_MEMBERS)] = (
        Field((), description="next hops, addresses or tables; flows are spread over them by weight")
    )
    type: Annotated[str, rules.choice("unicast", "blackhole", "unreachable", "prohibit")] = Field(
        "unicast",
        description="unicast sends to `via`; blackhole drops; unreachable and prohibit drop and answer with ICMP",
    )


class Neighbor(Table):
    """[[neighbor]]"""

    port: Annotated[str, rules.PORT_REFERENCE] = Field(description="port the neighbour is on")
    address: Annotated[Address, rules.HOST_ADDRESS] = Field(description="address within a prefix of that port")
    mac: Annotated[str, rules.MAC] = Field(description="its MAC; never asked for by ARP or ND")


class Punt(Table):
    """[punt]: packets a second that each worker hands to the host stack, by class; a tenth of it at once."""

    bgp: Annotated[int, PACKET_RATE] = Field(
        50000, description="TCP port 179 from the configured BGP neighbours, packets a second and worker"
    )
    neighbor: Annotated[int, PACKET_RATE] = Field(10000, description="ARP and ND, packets a second, worker and port")
    echo: Annotated[int, PACKET_RATE] = Field(5000, description="ICMP and ICMPv6 echo, packets a second and worker")
    resolve: Annotated[int, PACKET_RATE] = Field(
        5000, description="packets whose next hop is to be resolved, packets a second and worker"
    )
    local: Annotated[int, PACKET_RATE] = Field(
        20000, description="all else for the host stack, packets a second and worker"
    )


class TableSizes(Table):
    """[table]: maxima; the route segment's size follows from them."""

    max_ipv4_routes: Annotated[int, rules.whole(1, 1 << 24)] = Field(1500000, description="IPv4 routes")
    max_ipv6_routes: Annotated[int, rules.whole(1, 1 << 23)] = Field(400000, description="IPv6 routes")
    max_groups: Annotated[int, rules.whole(64, 32767)] = Field(32767, description="next-hop groups")
    max_adjacencies: Annotated[int, rules.whole(64, 65535)] = Field(
        16384, description="adjacencies: next hops and neighbours of all ports"
    )
    max_ecmp_groups: Annotated[int, rules.whole(1, 32767)] = Field(
        1024, description="next-hop groups with several members; at most `max_groups`"
    )
    max_ipv4_extended: Annotated[int, rules.whole(1, 32768)] = Field(
        4096, description="IPv4 /24 blocks that hold prefixes longer than /24"
    )
    ipv6_trie_mib: Annotated[int, rules.whole(1, 4096)] = Field(16, description="memory of the IPv6 trie, in MiB")


class Metrics(Table):
    """[metrics]"""

    listen: Annotated[Listen | None, rules.LISTEN] = Field(
        rules.LISTEN.check("127.0.0.1:9436"),
        description='address and TCP port that Prometheus scrapes; "": off',
    )


class Api(Table):
    """[api]"""

    group: Annotated[str, rules.GROUP] = Field(
        "root", description="group whose members may use the control process's socket"
    )


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a configuration was read from; all are equal: comments make no difference."""

    filename: str = field(default="", compare=False)
    lines: Mapping[KeyPath, int] = field(default_factory=dict, compare=False)


class Config(Table):
    """A whole file."""

    router: Router = Field(default_factory=lambda: Router.model_validate({}))
    fastpath: FastPath = Field(default_factory=lambda: FastPath.model_validate({}))
    ports: Annotated[tuple[Port, ...], array("tables: write [[port]]", 1, MAX_PORTS)] = Field(
        alias="port", description="the ports"
    )
    routes: Annotated[tuple[Route, ...], array("tables: write [[route]]")] = Field(
        (), alias="route", description="static routes"
    )
    neighbors: Annotated[tuple[Neighbor, ...], array("tables: write [[neighbor]]")] = Field(
        (), alias="neighbor", description="static neighbours"
    )
    acls: Annotated[tuple[Acl, ...], array("tables: write [[acl]]", 0, MAX_ACLS)] = Field(
        (), alias="acl", description="lists of rules that filter what ports receive"
    )
    policers: Annotated[tuple[Policer, ...], array("tables: write [[policer]]", 0, MAX_POLICERS)] = Field(
        (), alias="policer", description="policers of ports and of rules"
    )
    bgp: Bgp | None = None
    punt: Punt = Field(default_factory=lambda: Punt.model_validate({}))
    table: TableSizes = Field(default_factory=lambda: TableSizes.model_validate({}))
    metrics: Metrics = Field(default_factory=lambda: Metrics.model_validate({}))
    api: Api = Field(default_factory=lambda: Api.model_validate({}))
    _origin: Origin = PrivateAttr(default_factory=Origin)

    @property
    def devices(self) -> tuple[Device, ...]:
        """All ports' devices."""
        return tuple(device for port in self.ports for device in port.devices)

    @property
    def placed_devices(self) -> tuple[tuple[KeyPath, Device], ...]:
        """All ports' devices, each with its key."""
        return tuple(
            (("port", i, *key), device)
            for i, port in enumerate(self.ports)
            for key, device in zip(port.device_keys, port.devices, strict=True)
        )

    def stands_on(self, port: Port) -> tuple[Device, ...]:
        """The devices that a port has, or shares with its parent."""
        return next((one for one in self.ports if one.name == port.parent), port).devices

    def interfaces(self, port: Port) -> tuple[str, ...]:
        """The kernel interfaces of which a port needs each; none of a bond of several devices."""
        devices = self.stands_on(port)
        return devices[0].interfaces if len(devices) == 1 else ()

    @property
    def filename(self) -> str:
        """The file this was read from, as it was named."""
        return self._origin.filename

    def line(self, path: KeyPath) -> int | None:
        """The line of a key path such as ("port", 1, "device"), or of the nearest table that encloses it."""
        return line_of(self._origin.lines, path)
