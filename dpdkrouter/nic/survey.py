"""The look at the machine before a command judges: facts of all devices, and the ones that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpdkrouter.errors import NicAddressError, NicMissingError
from dpdkrouter.nic.devices import parse_address, read_devices
from dpdkrouter.nic.usage import read_usage
from dpdkrouter.nic.verdict import Facts, read_vfio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dpdkrouter.nic.devices import PciDevice
    from dpdkrouter.nic.drivers import Driver
    from dpdkrouter.nic.kernel import Kernel


def read_facts(kernel: Kernel, drivers: Sequence[Driver]) -> Facts:
    """All that verdicts are made of."""
    return Facts(read_devices(kernel), drivers, read_usage(kernel), read_vfio(kernel))


def asked_for(devices: Mapping[str, PciDevice], words: Sequence[str]) -> list[PciDevice]:
    """The devices at the addresses given, each once; an error names every word that is wrong."""
    addresses = {word: parse_address(word) for word in words}
    malformed = [word for word, address in addresses.items() if address is None]
    missing = [address for address in addresses.values() if address is not None and address not in devices]
    lines = [f"{word!r}: is malformed: must be a PCI address such as 0000:03:00.0" for word in malformed]
    lines += [f"{address}: this machine has no such device; `dpdkrouter nic list` lists NICs" for address in missing]
    if malformed:
        raise NicAddressError("\n".join(lines))
    if missing:
        raise NicMissingError("\n".join(lines))
    return [devices[address] for address in dict.fromkeys(addresses.values()) if address is not None]
