"""The host stack in real namespaces: what outlives what, what is reconciled, what the kernel sends where.

router namespace                     peer namespace
p0 192.0.2.1, 2001:db8::1 --cable-- p0 192.0.2.9, 2001:db8::9
host0 (default routes)              (a pump from queue to queue plays fast path and wire)
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest

from dpdkrouter.errors import HostError
from dpdkrouter.host import namespace as namespaces
from dpdkrouter.host import sysctls
from dpdkrouter.host.namespace import Namespace, run_in
from dpdkrouter.host.setup import prepare
from dpdkrouter.host.taps import Taps
from dpdkrouter.host.tun import HOST_DEVICE, Kind, open_queue
from lab.hostlab import PEER_MAC, ROUTER_MAC, Lab, cabled, lab, run, twin, wait_for

PORT = twin("p0", ROUTER_MAC, "192.0.2.1/24", "2001:db8::1/64")

KEEPER = """
import sys, time
from ipaddress import ip_interface
from dpdkrouter.host.taps import Taps
from dpdkrouter.host.plan import Twin
taps = Taps(sys.argv[1])
taps.apply([Twin("p0", bytes.fromhex("020000000001"), 1500,
                 (ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64")))])
print("kept", flush=True)
time.sleep(60)
"""


def test_namespace_is_made_listed_entered_and_removed() -> None:
    with lab("ns") as made:
        assert made.namespace.created
        assert made.name in run("ip", "netns", "list").split()
        assert not prepare(made.name).created
        outside = Path("/proc/thread-self/ns/net").readlink()
        inside = run_in(made.name, lambda: Path("/proc/thread-self/ns/net").readlink())
        assert inside != outside == Path("/proc/thread-self/ns/net").readlink()
        assert not Namespace(made.name, created=False).remove()
        assert namespaces.exists(made.name)
    assert not namespaces.exists(made.name)
    assert made.name not in run("ip", "netns", "list").split()
    with pytest.raises(HostError, match="does not exist"):
        run_in(made.name, lambda: None)


def test_namespace_file_of_a_maker_that_died_is_replaced() -> None:
    name = f"host-t{os.getpid()}-dead"
    namespaces.DIRECTORY.mkdir(exist_ok=True)
    namespaces.path_of(name).touch(mode=0)
    try:
        with pytest.raises(HostError, match="no network namespace"):
            run_in(name, lambda: None)
        assert prepare(name).created
        assert "lo:" in run_in(name, lambda: Path("/proc/thread-self/net/dev").read_text())
    finally:
        namespaces.remove(name)


def test_run_in_hands_over_what_is_raised() -> None:
    def fail() -> None:
        raise ZeroDivisionError("inside")

    with lab("raise") as made, pytest.raises(ZeroDivisionError, match="inside"):
        made.namespace.run(fail)


def test_sysctls_and_lo() -> None:
    with lab("sys") as made:
        made.taps.apply([PORT])
        wanted = {
            "ipv4/ip_forward": "0", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/p0/rp_filter": "0",
            "ipv4/conf/p0/arp_ignore": "1", "ipv4/conf/p0/arp_announce": "2",
            "ipv6/conf/all/forwarding": "0", "ipv6/conf/p0/forwarding": "1",
            "ipv6/conf/default/forwarding": "1", "ipv6/conf/all/accept_ra": "0",
            "ipv6/conf/p0/accept_ra": "0", "ipv6/conf/p0/accept_dad": "0",
            "ipv4/conf/p0/arp_evict_nocarrier": "0", "ipv6/conf/p0/ndisc_evict_nocarrier": "0",
        }  # fmt: skip

        def read() -> dict[str, str]:
            return {key: (sysctls.ROOT / key).read_text().strip() for key in wanted}

        assert run_in(made.name, read) == wanted
        assert "LOWER_UP" in made.ip("link", "show", "lo")


def test_apply_is_exact_and_idempotent() -> None:
    with lab("exact") as made:
        other = twin("p1", PEER_MAC, "198.51.100.1/24", mtu=1400)
        made.taps.apply([PORT, other])
        assert made.taps.apply([PORT, other]) == []
        link = made.ip("-d", "link", "show", "p0")
        assert "02:00:00:00:00:01" in link
        assert "multi_queue" in link
        assert "persist on" in link
        assert "mtu 1400" in made.ip("link", "show", HOST_DEVICE)
        routes = made.ip("route", "show", "default") + made.ip("-6", "route", "show", "default")
        assert routes.count(f"default dev {HOST_DEVICE}") == 2
        assert "src 192.0.2.1" in routes
        assert "src 2001:db8::1" in routes
        assert set(made.taps.indexes()) == {"p0", "p1"}

        made.ip("addr", "add", "203.0.113.1/24", "dev", "p0")  # not configured: goes
        changed = twin("p0", bytes.fromhex("020000000003"), "192.0.2.2/24", "2001:db8::1/80")
        made.taps.apply([changed])
        assert set(made.taps.indexes()) == {"p0"}
        assert "p1" not in made.ip("link")
        words = made.ip("-o", "addr", "show", "p0").split()
        addresses = {word for before, word in pairwise(words) if before.startswith("inet")}
        assert addresses == {"192.0.2.2/24", "2001:db8::1/80", "fe80::ff:fe00:3/64"}
        assert "tentative" not in words
        assert "src 192.0.2.2" in made.ip("route", "show", "default")
        assert made.taps.apply([changed]) == []


def test_addresses_are_usable_without_carrier() -> None:
    with lab("down") as made:
        made.taps.apply([PORT])
        made.taps.set_link("p0", False)
        made.taps.apply([twin("p0", ROUTER_MAC, "192.0.2.1/24", "2001:db8::2/64")])
        bind = "import socket; socket.socket(socket.AF_INET6).bind(('2001:db8::2', 179))"
        made.execute(sys.executable, "-c", bind)


@pytest.mark.parametrize("name", ["lo", "all", HOST_DEVICE, "a/b", "x" * 16, "tap%d", ""])
def test_bad_names_are_refused(name: str) -> None:
    with lab("bad") as made, pytest.raises(HostError):
        made.taps.apply([twin(name, ROUTER_MAC)])


def test_name_of_another_device_is_refused_and_left_alone() -> None:
    with lab("clash") as made:
        made.ip("link", "add", "p0", "type", "veth", "peer", "name", "p0x")
        with pytest.raises(HostError, match="p0: is a veth"):
            made.taps.apply([PORT])
        made.ip("link", "del", "p0")
        made.ip("tuntap", "add", "p0", "mode", "tap")
        with pytest.raises(HostError, match="not a multi-queue TAP"):
            made.taps.apply([PORT])
        assert "p0" in made.ip("link")
        made.ip("link", "del", "p0")


def test_open_queue_needs_a_device() -> None:
    with lab("none") as made:
        with pytest.raises(HostError, match="does not exist"):
            open_queue(made.name, "p0", Kind.TAP)
        assert "p0" not in made.ip("link")
        made.taps.apply([PORT])
        with pytest.raises(HostError, match="not a multi-queue TUN"):
            open_queue(made.name, "p0", Kind.TUN)
        queue = open_queue(made.name, "p0", Kind.TAP)
        try:
            assert not os.get_blocking(queue)
            assert not os.get_inheritable(queue)
        finally:
            os.close(queue)


def test_carrier_follows_the_link_and_opening_a_queue_leaves_it() -> None:
    with lab("carrier") as made:
        made.taps.apply([PORT])
        assert made.has_carrier("p0")
        for queues in (0, 1):  # with the keeper alone, and with the fast path
            fds = [made.queue("p0") for _ in range(queues)]
            for up in (False, False, True, True, False):
                made.taps.set_link("p0", up)
                assert made.has_carrier("p0") == up, queues
            extra = made.queue("p0")
            assert not made.has_carrier("p0")
            for fd in (*fds, extra):
                os.close(fd)
            made.taps.set_link("p0", True)
        with pytest.raises(HostError, match="p9"):
            made.taps.set_link("p9", True)


def _learn(made: Lab, *addresses: str) -> None:
    for address in addresses:
        made.ip("neigh", "replace", address, "lladdr", "02:00:00:00:00:07", "dev", "p0", "nud", "stale")


def test_fast_path_ends_and_everything_stays() -> None:
    with lab("fast") as made:
        made.taps.apply([PORT])
        queue = made.queue("p0")
        _learn(made, "192.0.2.7", "2001:db8::7")
        os.close(queue)
        assert made.has_carrier("p0")
        assert "STALE" in made.neighbour("192.0.2.7")
        assert "STALE" in made.neighbour("2001:db8::7")
        made.taps.set_link("p0", False)  # a flap takes no neighbour either
        made.taps.set_link("p0", True)
        assert "STALE" in made.neighbour("192.0.2.7")
        assert "STALE" in made.neighbour("2001:db8::7")


@pytest.mark.parametrize("fast_path", [True, False])
def test_control_is_killed_and_everything_stays(fast_path: bool) -> None:
    with lab("kill") as made:
        control = subprocess.Popen([sys.executable, "-P", "-c", KEEPER, made.name], stdout=subprocess.PIPE, text=True)
        try:
            assert control.stdout is not None
            assert control.stdout.readline() == "kept\n"
            queue = made.queue("p0") if fast_path else None
            _learn(made, "192.0.2.7", "2001:db8::7")
        finally:
            control.send_signal(signal.SIGKILL)
            control.communicate()
        if fast_path:
            assert made.has_carrier("p0")
        assert made.taps.apply([PORT]) == ["p0: found, kept open", "host0: found, kept open"]
        if queue is not None:
            os.close(queue)
        assert made.has_carrier("p0")
        assert "STALE" in made.neighbour("192.0.2.7")
        assert "STALE" in made.neighbour("2001:db8::7")


def test_destroy_removes_devices_that_the_fast_path_holds() -> None:
    with lab("destroy") as made:
        made.ip("tuntap", "add", "mine", "mode", "tap")  # an operator's: stays
        made.taps.apply([PORT])
        queue = made.queue("p0")
        try:
            made.taps.destroy()
            links = made.ip("-o", "link")
            assert "p0" not in links
            assert HOST_DEVICE not in links
            assert "mine" in links
            with pytest.raises(OSError, match="bad state"):
                os.read(queue, 2048)
        finally:
            os.close(queue)
        made.taps.apply([PORT])  # and again
        assert made.has_carrier("p0")


def test_two_taps_of_one_namespace_do_not_disturb_each_other() -> None:
    with lab("twice") as made:
        made.taps.apply([PORT])
        second = Taps(made.name)
        second.apply([PORT])
        made.taps.close()
        assert made.has_carrier("p0")
        second.close()


def test_kernels_resolve_each_other_and_ping() -> None:
    with cabled() as (router, peer, _cable):
        for address in ("192.0.2.9", "2001:db8::9"):
            router.execute("ping", "-c", "1", "-W", "5", address)
        assert PEER_MAC.hex(":") in router.neighbour("192.0.2.9")
        entry = peer.neighbour("2001:db8::1")
        assert ROUTER_MAC.hex(":") in entry
        wait_for("the router flag", lambda: "router" in peer.neighbour("2001:db8::1"))


def test_arp_is_answered_on_the_addresss_own_port_only() -> None:
    with cabled() as (router, peer, _cable):
        other = twin("p1", bytes.fromhex("020000000002"), "192.0.2.2/24")
        router.taps.apply([PORT, other])
        assert peer.execute("ping", "-c", "1", "-W", "0.3", "192.0.2.2", check=False).count(" 0% packet loss") == 0
        peer.execute("ping", "-c", "1", "-W", "5", "192.0.2.1")


def test_far_destination_leaves_through_host0() -> None:
    with lab("far") as made:
        made.taps.apply([PORT])
        queue = made.queue(HOST_DEVICE)
        try:
            for address, offset, length in (("203.0.113.77", 16, 4), ("2001:db8:77::7", 24, 16)):
                made.execute("ping", "-c", "1", "-W", "0.3", address, check=False)
                packets = _packets(queue)
                wanted = [p for p in packets if p[offset : offset + length] == _packed(address)]
                source = _packed("192.0.2.1" if length == 4 else "2001:db8::1")
                assert [p[offset - length : offset] for p in wanted] == [source]
        finally:
            os.close(queue)


def test_kernel_forwards_nothing() -> None:
    with cabled() as (router, peer, _cable):
        peer.ip("route", "replace", "203.0.113.0/24", "via", "192.0.2.1")
        peer.ip("-6", "route", "replace", "2001:db8:77::/48", "via", "2001:db8::1")
        queue = router.queue(HOST_DEVICE)
        try:
            for address in ("203.0.113.77", "2001:db8:77::7"):
                printed = peer.execute("ping", "-c", "1", "-W", "0.3", address, check=False)
                assert "100% packet loss" in printed
                assert "nreachable" not in printed
            unicast = [p for p in _packets(queue) if not (p[0] >> 4 == 6 and p[24] == 0xFF)]
            assert unicast == []
        finally:
            os.close(queue)


def _packed(address: str) -> bytes:
    return ip_address(address).packed


def _packets(queue: int) -> list[bytes]:
    packets = []
    while select.select([queue], [], [], 0)[0]:
        packets.append(os.read(queue, 65536))
    return packets
