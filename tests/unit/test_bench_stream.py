"""The stream that scripts/bench sends is a table as it says it is."""

from __future__ import annotations

import ipaddress

from bench_lab.stream import build
from dpdkrouter.bgp.decoded import Negotiated
from dpdkrouter.bgp.update import UpdateDecoder
from updatekit import shown


def test_the_stream_is_what_it_says() -> None:
    hop4, hop6 = ipaddress.ip_address("192.0.2.9").packed, ipaddress.ip_address("2001:db8:1::9").packed
    stream = build(4000, 1000, hop4, hop6)
    found = UpdateDecoder(Negotiated(frozenset({"ipv4", "ipv6"}))).decode(stream.data)
    assert (found.reset, found.faults, found.ends) == (None, {}, (4, 6))
    assert found.updates == stream.updates
    routes = shown(found)
    assert len({prefix for prefix, _, _ in routes}) == len(routes) == 5000
    assert 3.5 < len(routes) / stream.updates < 4.5
    sets = {attributes for _, _, attributes in routes}
    assert len(sets) == stream.sets > 500
    assert {attributes.next_hops[0].address for attributes in sets if attributes} == {"192.0.2.9", "2001:db8:1::9"}
    lengths = [attributes.path_length for attributes in sets if attributes]
    assert 1 <= min(lengths) < 4 < max(lengths) <= 12
    assert 0.6 < sum(bool(attributes and attributes.communities) for attributes in sets) / len(sets) < 0.8
    networks = {ipaddress.ip_network(prefix) for prefix, _, _ in routes}
    for family, packed, width in ((4, stream.samples4, 4), (6, stream.samples6, 16)):
        starts = {one.network_address.packed for one in networks if one.version == family}
        assert {packed[at : at + width] for at in range(0, len(packed), width)} <= starts
    assert build(4000, 1000, hop4, hop6).data == stream.data
