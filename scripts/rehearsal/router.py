"""The configuration of the router in the guest, and what its metrics page says."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rehearsal.machine import pci_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rehearsal.hosts import Host

FILE = "/etc/dpdkrouter/router.toml"
LCORES = (1, 2)  # CPU 0 is left to everything else, as on metal
NODE = 1  # the workers' NUMA node
PAGES = {NODE: 256, 0: 16}  # hugepages of 2 MiB on each node
POOL = "/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB"
EAL_MIB = 256
METRICS = "http://127.0.0.1:9436/metrics"

_HEAD = f"""\
# Written by scripts/rehearse.
[router]
name = "metal"

[fastpath]
lcores = {list(LCORES)}
memory_mib = {EAL_MIB}
idle = "sleep"           # an emulated CPU that polls takes the time of the others

[table]                  # a rehearsal's routes, not the Internet's
max_ipv4_routes = 10000
max_ipv6_routes = 10000
max_groups = 1024
max_adjacencies = 1024
max_ecmp_groups = 64
max_ipv4_extended = 64
ipv6_trie_mib = 4
"""
_PORT = """
[[port]]
name = "p{number}"
device = "{device}"
mtu = {mtu}
addresses = ["{address4}/24", "{address6}/64"]
{mac}"""

# What no start takes, each line of it: a CPU and a device that are not there, no NIC, memory that is not to be had.
IMPOSSIBLE = """\
[fastpath]
lcores = [1, 7]
memory_mib = 8192
[[port]]
name = "absent"
device = "0000:00:1e.7"
[[port]]
name = "bridge"
device = "0000:00:00.0"
"""
REFUSED = (
    r"fastpath\.hugepages: found \d+ free pages of 2 MiB: must be \d+ .*raise vm\.nr_hugepages by \d+",
    r"fastpath\.lcores\[1\]: found 7: must be a CPU this process may use: 0, 1, 2",
    r'port\[0\]\.device: found "0000:00:1e\.7": must be a PCI device of this machine',
    r'port\[1\]\.device: found "0000:00:00\.0": .*none of the installed DPDK drivers takes',
)

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def configuration(hosts: Sequence[Host], mtu: int, macs: Mapping[int, str]) -> str:
    """router.toml for a port on each host's network; macs: of the ports that shall not have their devices'."""
    text = _HEAD
    for host in hosts:
        text += _PORT.format(
            number=host.number,
            device=pci_address(host.number),
            mtu=mtu,
            address4=host.router(4),
            address6=host.router(6),
            mac=f'mac = "{macs[host.number]}"\n' if host.number in macs else "",
        )
    return text


@dataclass(frozen=True, slots=True)
class Page:
    """One reading of the metrics page: series -> label's value -> sample; lcore cycles are left out."""

    series: Mapping[str, Mapping[str, int]]

    @classmethod
    def parse(cls, text: str) -> Page:
        """The page's counters; of each only its first label counts."""
        series: dict[str, dict[str, int]] = defaultdict(dict)
        for name, labels, value in _SAMPLE.findall(text):
            found = _LABEL.findall(labels)
            if len(found) <= 1:
                series[name.removeprefix("dpdkrouter_")][found[0][1] if found else ""] = int(float(value))
        return cls(series)

    def of(self, series: str, label: str = "") -> int:
        """One sample; 0 when it is not there."""
        return self.series.get(series, {}).get(label, 0)

    def all(self, series: str) -> int:
        """The sum over a series' labels."""
        return sum(self.series.get(series, {}).values())

    def since(self, before: Page, series: str) -> int:
        """By how much the sum has grown."""
        return self.all(series) - before.all(series)

    def lcore(self, lcore: int) -> tuple[int, int]:
        """What a lcore received, and the sum of what it forwarded, punted and dropped."""
        kinds = ("forwarded", "punted", "dropped")
        ended = sum(self.of(f"lcore_{kind}_packets_total", str(lcore)) for kind in kinds)
        return self.of("lcore_received_packets_total", str(lcore)), ended
