"""The TAP twins of the ports and the TUN `host0`, in the router's namespace.

`Taps.apply` makes the kernel agree with a list of twins: missing devices are made, obsolete ones (marked as
ours by their alias) removed, MAC, MTU, addresses and default routes set; what agrees already is not
touched. So it is both the first set-up, the change of a configuration, and the return of a control process
that was killed: persistent devices are found with addresses, neighbours and TCP sessions as they were, and
get a new keeper queue.

* Devices are always administratively up; a port's link is its TAP's *carrier*. Taking a device down would
  take its IPv6 addresses, routes and neighbours along. Without carrier the kernel drops what it would send
  there (so BGP does not talk to a dead wire), connected routes are marked linkdown, addresses stay, and
  neighbours stay too (`arp_evict_nocarrier` 0): after a flap the adjacencies are there at once, and
  Neighbours.verify asks each again.
* Default routes go out of host0, one in each family, with the router's first address as preferred source
  (plan.py says why). They are set after the addresses: the kernel deletes an IPv4 route whose preferred
  source goes.
* `close` closes keepers only. `destroy` removes the devices, even while the fast path holds queues of them.

Methods block for milliseconds (netlink in a throw-away thread inside the namespace): from asyncio, call
them by asyncio.to_thread. They may be called from any thread, one at a time takes effect.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from ipaddress import ip_interface
from typing import TYPE_CHECKING, Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from dpdkrouter.errors import HostError
from dpdkrouter.host import plan, sysctls
from dpdkrouter.host.namespace import run_in
from dpdkrouter.host.tun import HOST_DEVICE, Kind, open_keeper, set_carrier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dpdkrouter.host.plan import Interface, Twin

ALIAS = "dpdkrouter"  # marks a device as ours; an operator's other devices in the namespace are left alone

_IFF_UP = 1
_IFA_F_NODAD = 2
_RTPROT_STATIC = 4
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Taps:
    """The keeper of the devices of one namespace, which must exist."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._keepers: dict[str, int] = {}
        self._indexes: dict[str, int] = {}
        self._lock = threading.Lock()

    def apply(self, twins: Sequence[Twin]) -> list[str]:
        """Make the devices be as `twins` say; return what was changed, a line each.

        Raises HostError when a twin cannot be or the kernel refuses; what was done until then stays.
        """
        plan.check(twins)
        with self._lock:
            return run_in(self._namespace, lambda: self._apply(twins))

    def set_link(self, name: str, up: bool) -> None:
        """Let the TAP's carrier follow the port's link; when it comes up, call Neighbours.verify too."""
        with self._lock:
            if name not in self._keepers:
                raise HostError(f"port {name}: has no TAP here; known are {sorted(self._keepers)}")
            set_carrier(self._keepers[name], up)

    def indexes(self) -> Mapping[str, int]:
        """The interface index of each port's TAP inside the namespace (host0 is no port)."""
        with self._lock:
            return {name: index for name, index in self._indexes.items() if name != HOST_DEVICE}

    def close(self) -> None:
        """Close the keeper queues; the devices persist."""
        with self._lock:
            self._close()

    def destroy(self) -> None:
        """Close the keepers and remove every device of ours from the namespace."""
        with self._lock:
            self._close()
            run_in(self._namespace, _remove_all)

    def _close(self) -> None:
        for keeper in self._keepers.values():
            os.close(keeper)
        self._keepers.clear()
        self._indexes.clear()

    def _apply(self, twins: Sequence[Twin]) -> list[str]:
        changes: list[str] = []
        with IPRoute() as kernel:
            names = {HOST_DEVICE} | {twin.name for twin in twins}
            for name, link in _links(kernel).items():
                if link.get_attr("IFLA_IFALIAS") == ALIAS and name not in names:
                    self._remove(kernel, name, link["index"])
                    changes.append(f"{name}: removed")
            for twin in twins:
                link = self._device(kernel, twin.name, Kind.TAP, changes)
                with _context(f"port {twin.name}"):
                    _set_link(kernel, link, twin.mtu, twin.mac, changes)
                    _set_addresses(kernel, link, plan.wanted_addresses(twin), changes)
            host = self._device(kernel, HOST_DEVICE, Kind.TUN, changes)
            with _context(HOST_DEVICE):
                _set_link(kernel, host, plan.host_mtu(twins), None, changes)
                for version in (4, 6):
                    _set_default_route(kernel, host["index"], version, twins, changes)
        return changes

    def _device(self, kernel: IPRoute, name: str, kind: Kind, changes: list[str]) -> Any:
        """The link of a device that exists, is ours, and has a keeper here."""
        found = _links(kernel).get(name)
        if found is not None and _kind(found) != "tun":
            what = _kind(found) or "device of another kind"
            raise HostError(f"device {name}: is a {what} in namespace {self._namespace}; remove it or rename the port")
        if found is None or self._indexes.get(name) != found["index"]:
            if name in self._keepers:  # of a device that somebody removed
                os.close(self._keepers.pop(name))
            # Without any queue the carrier is off for that reason alone; else it is as the link was left.
            orphan = found is None or _queues(found) == 0
            self._keepers[name] = open_keeper(name, kind, carrier=True if orphan else None)
            changes.append(f"{name}: {'made' if found is None else 'found, kept open'}")
        link = _links(kernel)[name]
        self._indexes[name] = link["index"]
        sysctls.apply_port(name)
        if link.get_attr("IFLA_IFALIAS") != ALIAS:
            with _context(f"device {name}: marking it as ours"):
                kernel.link("set", index=link["index"], ifalias=ALIAS)
        return link

    def _remove(self, kernel: IPRoute, name: str, index: int) -> None:
        keeper = self._keepers.pop(name, None)
        self._indexes.pop(name, None)
        with _context(f"port {name}: removing its TAP"):
            kernel.link("del", index=index)
        if keeper is not None:
            os.close(keeper)


def _remove_all() -> None:
    with IPRoute() as kernel:
        for name, link in _links(kernel).items():
            if link.get_attr("IFLA_IFALIAS") == ALIAS:
                with _context(f"device {name}: removing it"):
                    kernel.link("del", index=link["index"])


@contextlib.contextmanager
def _context(what: str) -> Iterator[None]:
    """Turn netlink's errors into HostErrors that say what was being done."""
    try:
        yield
    except NetlinkError as error:
        raise HostError(f"{what}: the kernel refused: {error}") from error


def _links(kernel: IPRoute) -> dict[str, Any]:
    return {link.get_attr("IFLA_IFNAME"): link for link in kernel.get_links()}


def _kind(link: Any) -> str | None:
    info = link.get_attr("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND") if info is not None else None
    return None if kind is None else str(kind)


def _queues(link: Any) -> int:
    """How many queues of a multi-queue TAP or TUN are open, attached or not."""
    data = link.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
    return sum(data.get_attr(f"IFLA_TUN_NUM_{which}QUEUES") or 0 for which in ("", "DISABLED_"))


def _set_link(kernel: IPRoute, link: Any, mtu: int, mac: bytes | None, changes: list[str]) -> None:
    name = link.get_attr("IFLA_IFNAME")
    wanted: dict[str, str | int] = {}
    if mac is not None and link.get_attr("IFLA_ADDRESS") != mac.hex(":"):
        wanted["address"] = mac.hex(":")  # the kernel forgets the port's neighbours then
    if link.get_attr("IFLA_MTU") != mtu:
        wanted["mtu"] = mtu
    if not link["flags"] & _IFF_UP:
        wanted["state"] = "up"
    if wanted:
        kernel.link("set", index=link["index"], **wanted)
        changes += [f"{name}: {key} {value}" for key, value in wanted.items()]


def _set_addresses(kernel: IPRoute, link: Any, want: Sequence[Interface], changes: list[str]) -> None:
    index, name = link["index"], link.get_attr("IFLA_IFNAME")
    removed, added = plan.address_changes(_addresses(kernel, index), want)
    for address in removed:
        kernel.addr("del", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
        changes.append(f"{name}: address {address} removed")
    for address in added:
        flags = {"flags": _IFA_F_NODAD} if address.version == 6 else {}
        kernel.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen, **flags)
        changes.append(f"{name}: address {address} added")


def _addresses(kernel: IPRoute, index: int) -> list[Interface]:
    found: list[Interface] = []
    for message in kernel.get_addr(index=index):
        address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        found.append(ip_interface(f"{address}/{message['prefixlen']}"))
    return found


def _set_default_route(kernel: IPRoute, index: int, version: int, twins: Sequence[Twin], changes: list[str]) -> None:
    source = plan.preferred_source(twins, version)
    wanted = (index, None if source is None else str(source))
    for route in kernel.get_default_routes(family=_FAMILIES[version]):
        if (route.get_attr("RTA_OIF"), route.get_attr("RTA_PREFSRC")) == wanted:
            return
    options = {} if source is None else {"prefsrc": str(source)}
    scope = {"scope": "link"} if version == 4 else {}
    kernel.route(
        "replace",
        family=_FAMILIES[version],
        dst="default",
        oif=index,
        proto=_RTPROT_STATIC,
        **options,
        **scope,
    )
    changes.append(f"{HOST_DEVICE}: IPv{version} default route, source {source or 'left to the kernel'}")
