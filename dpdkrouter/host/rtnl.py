"""RTM_*NEIGH messages as bytes: the typed rim around pyroute2's encoder and decoder (rtnetlink(7))."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from dpdkrouter.host.neighbour_table import State, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP_LINK = 1 << 0  # RTMGRP_LINK
GROUP_NEIGH = 1 << 2  # RTMGRP_NEIGH

_NLMSG_ERROR, _NLMSG_DONE, _RTM_NEWNEIGH, _RTM_DELNEIGH, _RTM_GETNEIGH = 2, 3, 28, 29, 30
_REQUEST, _REPLACE, _CREATE, _DUMP = 0x01, 0x100, 0x400, 0x300
_NTF_USE, _NTF_EXT_MANAGED = 0x01, 0x01
_AF = {4: 2, 6: 10}

# verb: message type, netlink flags, state, ndm flags, extended flags
_VERBS: dict[Verb, tuple[int, int, State, int, int]] = {
    Verb.USE: (_RTM_NEWNEIGH, _CREATE | _REPLACE, State.NONE, _NTF_USE, 0),
    Verb.MANAGE: (_RTM_NEWNEIGH, _CREATE | _REPLACE, State.NONE, _NTF_USE, _NTF_EXT_MANAGED),
    Verb.PROBE: (_RTM_NEWNEIGH, _REPLACE, State.PROBE, 0, 0),
    Verb.PERMANENT: (_RTM_NEWNEIGH, _CREATE | _REPLACE, State.PERMANENT, 0, 0),
    Verb.DELETE: (_RTM_DELNEIGH, 0, State.NONE, 0, 0),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """RTM_NEWNEIGH, or with `gone` RTM_DELNEIGH."""

    index: int
    address: IPv4Address | IPv6Address
    state: State
    mac: bytes | None
    managed: bool
    gone: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """NLMSG_ERROR: the request with this sequence number failed with this errno."""

    sequence: int
    code: int


@dataclass(frozen=True, slots=True)
class Done:
    """The end of the dump with this sequence number."""

    sequence: int


def dump_request(sequence: int) -> bytes:
    """Ask for all entries of both families."""
    return _encode(ndmsg(), _RTM_GETNEIGH, _DUMP, sequence)


def request(verb: Verb, index: int, address: IPv4Address | IPv6Address, mac: bytes | None, sequence: int) -> bytes:
    """Ask for what `verb` says about a neighbour on the device with this index."""
    kind, flags, state, ndm_flags, ext_flags = _VERBS[verb]
    message = ndmsg()
    message["family"], message["ifindex"] = _AF[address.version], index
    message["state"], message["flags"] = int(state), ndm_flags
    attributes: list[tuple[str, str | int]] = [("NDA_DST", str(address))]
    if mac is not None:
        attributes.append(("NDA_LLADDR", mac.hex(":")))
    if ext_flags:
        attributes.append(("NDA_FLAGS_EXT", ext_flags))
    message["attrs"] = attributes
    return _encode(message, kind, flags, sequence)


def _encode(message: Any, kind: int, flags: int, sequence: int) -> bytes:
    message["header"]["type"] = kind
    message["header"]["flags"] = _REQUEST | flags
    message["header"]["sequence_number"] = sequence
    message.encode()
    return bytes(message.data)


def decode(data: bytes) -> Iterator[Entry | Refused | Done]:
    """What one datagram from the kernel says; messages that are not about IP neighbours are left out."""
    for message in MarshalRtnl().parse(data):
        header = message["header"]
        if header["type"] == _NLMSG_ERROR:
            if code := abs(int(message["error"])):
                yield Refused(header["sequence_number"], code)
        elif header["type"] == _NLMSG_DONE:
            yield Done(header["sequence_number"])
        elif header["type"] in (_RTM_NEWNEIGH, _RTM_DELNEIGH) and message["family"] in _AF.values():
            destination, mac = message.get_attr("NDA_DST"), message.get_attr("NDA_LLADDR")
            if destination is not None:
                yield Entry(
                    index=message["ifindex"],
                    address=ip_address(destination),
                    state=State(message["state"]),
                    mac=bytes.fromhex(mac.replace(":", "")) if mac else None,
                    managed=bool((message.get_attr("NDA_FLAGS_EXT") or 0) & _NTF_EXT_MANAGED),
                    gone=header["type"] == _RTM_DELNEIGH,
                )
