"""The drivers that devices had before they were bound: a JSON file that outlives reboots, for `nic restore`.

It is replaced as a whole, so that a crash leaves the old or the new one. A record counts only for a device with
the same ids: another card may be in the slot by now.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpdkrouter.errors import NicError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dpdkrouter.nic.devices import PciDevice
    from dpdkrouter.nic.kernel import Kernel

DIRECTORY = "/var/lib/dpdkrouter"
FILE = f"{DIRECTORY}/nics.json"
LOCK = f"{DIRECTORY}/nics.lock"


@dataclass(frozen=True, slots=True)
class Former:
    """What had a device before: its driver, None for none, and its interfaces then."""

    driver: str | None
    interfaces: tuple[str, ...]
    ids: str


def recall(kernel: Kernel) -> dict[str, Former]:
    """What is remembered, by address; NicError when the file can't be understood."""
    path = kernel.path(FILE)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise NicError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return {
            str(address): Former(
                None if one["driver"] is None else str(one["driver"]),
                tuple(map(str, one["interfaces"])),
                str(one["ids"]),
            )
            for address, one in json.loads(text).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NicError(
            f"{path}: found {type(error).__name__} in it ({error}): remove it; the kernel then chooses the drivers"
        ) from None


def remember(kernel: Kernel, formers: dict[str, Former]) -> None:
    """Replace what is remembered."""
    path = kernel.path(FILE)
    temporary = path.with_suffix(".new")
    document = {
        address: {"driver": one.driver, "interfaces": list(one.interfaces), "ids": one.ids}
        for address, one in sorted(formers.items())
    }
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise NicError(f"{path}: cannot be written: {error.strerror}; nothing was bound") from None


def former_of(formers: Mapping[str, Former], device: PciDevice) -> Former | None:
    """What is remembered about the card that is in the slot now."""
    former = formers.get(device.address)
    return former if former is not None and former.ids == device.id_text else None
