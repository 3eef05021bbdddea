"""The configuration: one TOML file, checked in three passes, then frozen.

`load` and `parse` do the first two passes (schema, semantics) and raise ConfigErrors with every problem;
`check_runtime` is the third, about this machine. `InstancePaths` says where an instance's files are.
"""

from dpdkrouter.config.bgp import Bgp, BgpNeighbor
from dpdkrouter.config.devices import Device
from dpdkrouter.config.keys import Key, keys
from dpdkrouter.config.load import load, parse
from dpdkrouter.config.paths import InstancePaths, find_instance, running_pid
from dpdkrouter.config.rules import Address, Interface, Listen, Prefix
from dpdkrouter.config.runtime import Machine, check_runtime
from dpdkrouter.config.schema import (
    Config,
    FastPath,
    Neighbor,
    NextHop,
    Port,
    Route,
    TableSizes,
)
from dpdkrouter.config.topology import Link, Topology
from dpdkrouter.errors import ConfigError, ConfigErrors, Problem

__all__ = [
    "Address",
    "Bgp",
    "BgpNeighbor",
    "Config",
    "ConfigError",
    "ConfigErrors",
    "Device",
    "FastPath",
    "InstancePaths",
    "Interface",
    "Key",
    "Link",
    "Listen",
    "Machine",
    "Neighbor",
    "NextHop",
    "Port",
    "Prefix",
    "Problem",
    "Route",
    "TableSizes",
    "Topology",
    "check_runtime",
    "find_instance",
    "keys",
    "load",
    "parse",
    "running_pid",
]
