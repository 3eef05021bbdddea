"""LACP with Linux's own bonding driver, which only the rehearsal's guest has.

    QEMU guest:   dpdkrouter run, lag0 == net_tap m0 == bond0, 802.3ad    192.0.2.9/24, 2001:db8:1::9/64
                                       == net_tap m1 ==   bond0.7         198.51.100.9/24

net_tap's kernel ends are the slaves of the kernel's bond.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from lab.harness import wait_for
from rehearsal import image
from rehearsal.guest import Guest
from rehearsal.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(1800)]

OURS, THEIRS = "02:00:00:00:06:00", "02:00:00:00:06:99"
METRICS = "127.0.0.1:9101"
CONFIG = f"""\
[router]
name = "lacp"
id = "192.0.2.1"
asn = 65000
[fastpath]
lcores = [1]
memory_mib = 128
hugepages = false
idle = "sleep"
[table]
max_ipv4_routes = 10000
max_ipv6_routes = 10000
max_groups = 1024
max_adjacencies = 1024
max_ecmp_groups = 64
max_ipv4_extended = 64
ipv6_trie_mib = 4
[metrics]
listen = "{METRICS}"
[[port]]
name = "lag0"
bond = ["net_tap0,iface=m0", "net_tap1,iface=m1"]
bond_mode = "lacp"
mac = "{OURS}"
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]
[[port]]
name = "lag0.7"
parent = "lag0"
vlan = 7
addresses = ["198.51.100.1/24"]
"""
BOND = (
    "set -e",
    "modprobe bonding max_bonds=0",
    "modprobe 8021q",
    f"ip link add bond0 address {THEIRS} type bond mode 802.3ad lacp_rate fast miimon 50 xmit_hash_policy layer3+4",
    # net_tap changes flags by reading and writing all of them: it may put UP back that was just taken away
    "for end in m0 m1; do until ip link set $end down && ip link set $end master bond0; do sleep 0.2; done; done",
    "ip link set bond0 up",
    "ip link add link bond0 name bond0.7 type vlan id 7",
    "ip link set bond0.7 up",
    "ip address add 192.0.2.9/24 dev bond0",
    "ip address add 2001:db8:1::9/64 dev bond0 nodad",
    "ip address add 198.51.100.9/24 dev bond0.7",
)
ADDRESSES = ("192.0.2.1", "2001:db8:1::1", "198.51.100.1")
ACTIVE, SHORT = 1, 2
AGREED = ACTIVE | 4 | 8 | 16 | 32  # aggregatable, in sync, collecting, distributing
UP_S = 600  # an emulated machine beside others
PINGS = 20


class Lab:
    """The guest with both bonds."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def bash(self, command: str, *, ok: tuple[int, ...] | None = (0,)) -> str:
        return self._guest.run(command, ok=ok).out

    def link(self, name: str) -> dict[str, Any]:
        """What Linux says of a link."""
        (found,) = self._guest.run(f"ip -j -d link show {name}").json()
        return dict(found["linkinfo"])

    def active(self) -> list[int]:
        """Of our members, by our metrics: 1 for those that distribute."""
        page = self.bash(f"curl -sSf {METRICS}/metrics")
        return [
            int(float(value))
            for _, value in sorted(re.findall(r"^dpdkrouter_bond_member_active\{.*(net_tap\d).*\} (\S+)$", page, re.M))
        ]

    def await_agreed(self, *ends: bool) -> None:
        """Both sides' view: which members are in."""

        def agreed() -> bool:
            aggregator = self.link("bond0")["info_data"]["ad_info"]
            assert aggregator["partner_mac"] == OURS, aggregator
            for name, wanted in zip(("m0", "m1"), ends, strict=True):
                slave = self.link(name)["info_slave_data"]
                assert slave["mii_status"] == ("UP" if wanted else "DOWN"), slave
                if wanted:
                    assert slave["ad_aggregator_id"] == aggregator["aggregator"], slave
                    assert slave["ad_actor_oper_port_state"] == AGREED | SHORT, slave
                    assert slave["ad_partner_oper_port_state"] == AGREED, slave
            assert self.active() == list(map(int, ends))
            return True

        wait_for(agreed, UP_S, f"LACP agrees on {ends}", 1)

    def answered(self) -> dict[str, int]:
        """How many pings each of our addresses answers."""
        found = {}
        for address in ADDRESSES:
            said = self.bash(f"ping -n -c {PINGS} -i 0.2 -W 20 {address}", ok=None)
            match = re.search(r"(\d+) received", said)
            assert match is not None, said
            found[address] = int(match[1])
        return found

    def await_answers(self) -> None:
        for address in ADDRESSES:
            wait_for(lambda address=address: " 0 received" not in self.ping(address), UP_S, f"ping {address}", 1)

    def ping(self, address: str) -> str:
        return self.bash(f"ping -n -c 1 -W 5 {address}", ok=None)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    logs: Path = tmp_path_factory.mktemp("lacp-guest")
    picture = image.prepare()
    Guest.prepare(logs)
    (logs / "lacp.toml").write_text(CONFIG)
    (logs / "router.log").touch()
    with Machine(picture, [], logs) as machine:
        guest = Guest(machine, logs)
        guest.wait_for_boot()
        guest.run("setsid dpdkrouter run /out/lacp.toml >/out/router.log 2>&1 </dev/null &")

        def ready() -> bool:
            said = (logs / "router.log").read_text(errors="replace")
            assert said.count("twin opened") == 2, said
            return True

        wait_for(ready, UP_S, "the router")
        guest.run("; ".join(BOND))
        yield Lab(guest)


@pytest.mark.full
def test_linux_and_we_agree_and_a_lost_member_leaves_the_other(lab: Lab) -> None:
    lab.await_agreed(True, True)
    lab.await_answers()
    assert lab.answered() == dict.fromkeys(ADDRESSES, PINGS)
    lab.bash("ip link set m0 down")
    lab.await_agreed(False, True)
    assert lab.answered() == dict.fromkeys(ADDRESSES, PINGS)
    lab.bash("ip link set m0 up")
    lab.await_agreed(True, True)
    assert lab.answered() == dict.fromkeys(ADDRESSES, PINGS)
