from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Self

from dpdkrouter.rib.policy import Entry

class PrefixSet:
    def __new__(cls, entries: Iterable[Entry]) -> Self: ...
    def matches(self, network: IPv4Network | IPv6Network, any_length: bool = False) -> bool: ...
