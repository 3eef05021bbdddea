"""PrefixSet and the rules' verdicts against models of a few lines, for random lists and prefixes."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

from hypothesis import given
from hypothesis import strategies as st

from dpdkrouter.rib.policy import Entry
from dpdkrouter.rib.prefixset import PrefixSet

Network = IPv4Network | IPv6Network


@st.composite
def networks(draw: st.DrawFn, version: int) -> Network:
    """Prefixes that often cover each other."""
    bits = 32 if version == 4 else 128
    length = draw(st.integers(0, bits))
    top = draw(st.sampled_from([0, 1 << bits - 1, 0xA5 << bits - 8, (1 << bits) - 1]))
    value = (top ^ draw(st.integers(0, 15)) << draw(st.integers(0, bits - 4))) >> bits - length << bits - length
    return ip_network((value.to_bytes(bits // 8, "big"), length))


@st.composite
def entries(draw: st.DrawFn, version: int) -> Entry:
    prefix = draw(networks(version))
    low = draw(st.integers(prefix.prefixlen, prefix.max_prefixlen))
    return Entry(prefix, low, draw(st.integers(low, prefix.max_prefixlen)))


def covers(outer: Network, inner: Network) -> bool:
    return outer.version == inner.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer


@given(st.data(), st.sampled_from([4, 6]))
def test_prefix_set_is_its_entries(data: st.DataObject, version: int) -> None:
    listed = data.draw(st.lists(entries(version), max_size=12))
    made = PrefixSet([*listed, Entry(ip_network("::/0" if version == 4 else "0.0.0.0/0"), 0, 32)])
    for prefix in data.draw(st.lists(networks(version), min_size=1, max_size=20)):
        within = [entry for entry in listed if covers(entry.prefix, prefix)]
        assert made.matches(prefix, any_length=True) == bool(within)
        assert made.matches(prefix) == any(entry.low <= prefix.prefixlen <= entry.high for entry in within)
