"""What a twin should be, and the differences that make it so."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpdkrouter.errors import HostError
from dpdkrouter.host import plan
from dpdkrouter.host.plan import Twin, link_local

MAC = bytes.fromhex("020000000001")
INTERFACES = st.one_of(
    st.builds(lambda a, n: IPv4Interface((a, n)), st.integers(0, 7), st.integers(28, 32)),
    st.builds(lambda a, n: IPv6Interface((a, n)), st.integers(0, 7), st.integers(124, 128)),
)


def twin(name: str = "p0", mac: bytes = MAC, mtu: int = 1500, *addresses: str) -> Twin:
    return Twin(name, mac, mtu, tuple(ip_interface(address) for address in addresses))


@given(st.sets(INTERFACES), st.lists(INTERFACES, unique=True))
def test_address_changes_lead_to_exactly_what_is_wanted(have: set[plan.Interface], want: list[plan.Interface]) -> None:
    removed, added = plan.address_changes(have, want)
    assert (have - set(removed)) | set(added) == set(want)
    assert not have & set(added)
    assert added == [address for address in want if address in added]
    assert plan.address_changes(want, want) == ([], [])


def test_link_local_is_modified_eui_64() -> None:
    # RFC 4291 appendix A, with the example of RFC 2464 section 4
    assert link_local(bytes.fromhex("34567890abcd")).ip == IPv6Address("fe80::3656:78ff:fe90:abcd")


def test_link_local_is_added_unless_configured() -> None:
    assert plan.wanted_addresses(twin("p0", MAC, 1500, "192.0.2.1/24"))[-1] == link_local(MAC)
    configured = twin("p0", MAC, 1500, "fe80::1/64", "192.0.2.1/24", "192.0.2.1/24")
    assert plan.wanted_addresses(configured) == configured.addresses[:2]


def test_preferred_source_is_the_first_that_is_not_link_local() -> None:
    twins = [twin("a", MAC, 1500, "fe80::1/64", "169.254.0.1/16"), twin("b", MAC, 1500, "2001:db8::2/64")]
    assert plan.preferred_source(twins, 6) == ip_address("2001:db8::2")
    assert plan.preferred_source(twins, 4) is None


def test_host_mtu_is_the_smallest() -> None:
    assert plan.host_mtu([twin(mtu=9000), twin(mtu=1400)]) == 1400
    assert plan.host_mtu([]) == 1500


@pytest.mark.parametrize(
    "bad",
    [
        [twin("")],
        [twin("sixteen_letters_")],
        [twin("a b")],
        [twin("tap%d")],
        [twin("../x")],
        [twin("..")],
        [twin("all")],
        [twin("default")],
        [twin("host0")],
        [twin("p0"), twin("p0")],
        [twin(mac=b"")],
        [twin(mac=bytes(6))],
        [twin(mac=bytes.fromhex("010000000001"))],
        [twin(mtu=1279)],
        [twin(mtu=65522)],
    ],
)
def test_a_twin_that_cannot_be_is_refused(bad: list[Twin]) -> None:
    with pytest.raises(HostError):
        plan.check(bad)


def test_good_twins_pass() -> None:
    plan.check([twin("wan-0.1_A"), twin("p1", mtu=1280), twin("p2", mtu=65521)])
