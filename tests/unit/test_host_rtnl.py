"""Neighbour messages: bytes out as the kernel's headers say, bytes in as values."""

from __future__ import annotations

import errno
import struct
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpdkrouter.host import rtnl
from dpdkrouter.host.neighbour_table import State, Verb

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

MAC = bytes.fromhex("020000000009")
ADDRESS = ip_address("192.0.2.9")


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


@pytest.mark.parametrize(
    ("verb", "mac", "kind", "flags", "state", "ndm_flags", "attributes"),
    [
        (Verb.USE, None, 28, 0x501, 0, 1, b""),
        (Verb.MANAGE, None, 28, 0x501, 0, 1, attribute(15, struct.pack("I", 1))),
        (Verb.PROBE, None, 28, 0x101, 0x10, 0, b""),
        (Verb.PERMANENT, MAC, 28, 0x501, 0x80, 0, attribute(2, MAC)),
        (Verb.DELETE, None, 29, 0x001, 0, 0, b""),
    ],
)
def test_request_bytes(
    verb: Verb, mac: bytes | None, kind: int, flags: int, state: int, ndm_flags: int, attributes: bytes
) -> None:
    body = struct.pack("B3xiHBB", 2, 7, state, ndm_flags, 0) + attribute(1, ADDRESS.packed) + attributes
    data = rtnl.request(verb, 7, ADDRESS, mac, 99)
    assert struct.unpack_from("IHHI", data) == (16 + len(body), kind, flags, 99)
    assert data[16:] == body


@given(
    st.integers(1, 2**31 - 1),
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
    st.one_of(st.none(), st.binary(min_size=6, max_size=6)),
)
def test_what_is_sent_can_be_read(index: int, address: IPv4Address | IPv6Address, mac: bytes | None) -> None:
    data = rtnl.request(Verb.PERMANENT, index, address, mac, 1) + rtnl.request(Verb.DELETE, index, address, None, 2)
    assert list(rtnl.decode(data)) == [
        rtnl.Entry(index, address, State.PERMANENT, mac, managed=False, gone=False),
        rtnl.Entry(index, address, State.NONE, None, managed=False, gone=True),
    ]


def test_managed_flag_is_read() -> None:
    (entry,) = rtnl.decode(rtnl.request(Verb.MANAGE, 7, ADDRESS, None, 1))
    assert isinstance(entry, rtnl.Entry)
    assert entry.managed


def test_answers() -> None:
    original = rtnl.request(Verb.DELETE, 7, ADDRESS, None, 5)[:16]
    refusal = struct.pack("IHHII", 36, 2, 0, 5, 0) + struct.pack("i", -errno.ENOENT) + original
    consent = struct.pack("IHHII", 36, 2, 0, 6, 0) + struct.pack("i", 0) + original
    done = struct.pack("IHHIIi", 20, 3, 2, 7, 0, 0)
    assert list(rtnl.decode(refusal + consent + done)) == [rtnl.Refused(5, errno.ENOENT), rtnl.Done(7)]


def test_dump_request_bytes() -> None:
    assert struct.unpack_from("IHHI", rtnl.dump_request(3)) == (28, 30, 0x301, 3)
