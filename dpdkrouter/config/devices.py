"""A port's `device` taken apart: a PCI address or a DPDK virtual device, with its arguments.

The syntax is DPDK's (rte_devargs): `NAME[,KEY[=VALUE]]...`, where commas within () or [] belong to a value.
Which keys a driver knows is the driver's business, but for the interface that the socket drivers need.
"""

import re
from dataclasses import dataclass

PCI = re.compile(r"(?:([0-9a-fA-F]{4}):)?([0-9a-fA-F]{2}):([01][0-9a-fA-F])\.([0-7])")
VDEV = re.compile(r"(net_[a-z][A-Za-z0-9_]*?|eth_[a-z][A-Za-z0-9_]*?|virtio_user)[0-9]*")
ARGUMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)(?:=(.*)|(\(.*\)))?")  # KEY, KEY=VALUE or KEY(VALUE)
NAME_BYTES = 63  # RTE_DEV_NAME_MAX_LEN less the end

INTERFACE_KEYS = {
    "net_af_packet": ("iface",),
    "eth_af_packet": ("iface",),
    "net_af_xdp": ("iface",),
    "net_pcap": ("iface", "rx_iface", "rx_iface_in", "tx_iface"),
    "eth_pcap": ("iface", "rx_iface", "rx_iface_in", "tx_iface"),
}
NEED_INTERFACE = ("net_af_packet", "eth_af_packet", "net_af_xdp")
MAKE_INTERFACE = ("net_tap",)  # `iface` names the interface that the driver makes


@dataclass(frozen=True, slots=True)
class Device:
    """A device as written and as understood; `name` is what EAL calls it."""

    written: str
    name: str
    driver: str | None  # None: a PCI device
    args: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return self.written

    @property
    def is_pci(self) -> bool:
        """True for hardware at a PCI address, false for a vdev."""
        return self.driver is None

    @property
    def eal_argument(self) -> str:
        """The device with its arguments as EAL's -a or --vdev takes it."""
        return ",".join((self.name, *self.written.split(",")[1:]))

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Kernel interfaces that must exist before the device can start."""
        keys = INTERFACE_KEYS.get(self.driver or "", ())
        return tuple(dict.fromkeys(value for key, value in self.args if key in keys))

    @property
    def claimed(self) -> tuple[str, ...]:
        """Kernel interfaces that this device alone may use or make."""
        made = tuple(v for key, v in self.args if key == "iface" and self.driver in MAKE_INTERFACE)
        return self.interfaces + made


def _split(text: str) -> list[str]:
    """The parts of a device string between commas that are not within brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "([") - (char in ")]")
        if char == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += char
    if depth:
        raise ValueError("must have as many closing as opening brackets")
    return parts


def _arguments(parts: list[str]) -> tuple[tuple[str, str], ...]:
    args = []
    for part in parts:
        match = ARGUMENT.fullmatch(part)
        if match is None:
            raise ValueError("must have arguments KEY=VALUE separated by single commas")
        args.append((match[1], match[2] or match[3] or ""))
    return tuple(args)


def is_interface_name(name: str) -> bool:
    """Whether Linux takes the name for an interface (dev_valid_name)."""
    return 0 < len(name.encode()) <= 15 and name not in (".", "..") and not re.search(r"[/:\s]", name)


def _driver(name: str) -> str | None:
    """The driver whose interfaces are known here, found as EAL finds it: its name begins the device's."""
    return next((driver for driver in (*INTERFACE_KEYS, *MAKE_INTERFACE) if name.startswith(driver)), None)


def parse_device(text: str) -> Device:
    """Takes a device string apart; ValueError says what is allowed."""
    if not text.isprintable() or " " in text or not text.isascii():
        raise ValueError("must be a device string without spaces")
    first, *rest = _split(text)
    if match := PCI.fullmatch(first):
        name = f"{match[1] or '0000'}:{match[2]}:{match[3]}.{match[4]}".lower()
        return Device(text, name, None, _arguments(rest))
    match = VDEV.fullmatch(first)
    if match is None:
        raise ValueError('must be a PCI address ("0000:03:00.0") or a DPDK vdev string ("net_tap0,iface=x")')
    if len(first) > NAME_BYTES:
        raise ValueError(f"must have a device name of at most {NAME_BYTES} characters")
    device = Device(text, first, _driver(first) or match[1], _arguments(rest))
    if device.driver in NEED_INTERFACE and not device.interfaces:
        raise ValueError(f'must name its interface: "{first},iface=NAME"')
    for key, value in device.args:
        if key.endswith("iface") and not is_interface_name(value):
            raise ValueError(f"must have an interface name of 1 to 15 characters in {key}=")
    return device
