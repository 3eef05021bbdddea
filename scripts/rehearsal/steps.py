"""The rehearsal's steps, in order: what an operator does on metal, and what is looked at from the other ends.

Commands that do not need each other run at the same time: each Python takes ten seconds of an emulated CPU to start.
"""

from __future__ import annotations

import re
import shlex
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dpdkrouter.host.namespace import run_in
from lab.harness.waiting import wait_for
from rehearsal.guest import GuestError
from rehearsal.hosts import INTERFACE, MTU, exchange
from rehearsal.machine import pci_address
from rehearsal.router import (
    EAL_MIB,
    FILE,
    IMPOSSIBLE,
    LCORES,
    METRICS,
    NODE,
    PAGES,
    POOL,
    REFUSED,
    Page,
    configuration,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from demo_lab.screen import Screen
    from rehearsal.guest import Guest, Result
    from rehearsal.hosts import Host
    from rehearsal.machine import Machine, Nic

READY_S = 900
LINK_S = 120
STOP_S = 300
PACKETS = 96  # of each exchange, each way
FLOWS = 16
QUIET_PACKETS = 60  # of hosts and router to each other while nobody sends, within a minute or two
FOREIGN_MAC = bytes.fromhex("02ffffffff01")
OWN_MACS = {1: "02:00:00:00:0a:01", 3: "02:00:00:00:0a:03"}  # ports that shall not have their devices' MACs


@dataclass
class Rehearsal:
    """All that the steps use."""

    screen: Screen
    machine: Machine
    guest: Guest
    hosts: Sequence[Host]
    nics: Sequence[Nic]
    logs: Path
    drivers: dict[str, str] = field(default_factory=dict)  # the kernel's, by PCI address, before the binding

    @property
    def addresses(self) -> list[str]:
        """The NICs' PCI addresses."""
        return [pci_address(number) for number in range(len(self.nics))]

    @property
    def log(self) -> str:
        """What the router has said so far."""
        path = self.logs / "router.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def mac(self, number: int) -> str:
        """The MAC of port `number`."""
        return OWN_MACS.get(number, self.nics[number].mac)

    def run(self, command: str, ok: tuple[int, ...] | None = (0,)) -> Result:
        """Run a command in the guest and show it with its output."""
        (result,) = self.run_together([(command, ok)])
        return result

    def run_together(self, commands: Sequence[tuple[str, tuple[int, ...] | None]]) -> list[Result]:
        """Run commands in the guest at the same time, each with the exit codes that it may have."""
        results = self.guest.run_together([command for command, _ in commands])
        for result, (_, ok) in zip(results, commands, strict=True):
            self.screen.line(f"  {self.screen.paint('1;33', 'guest#')} {self.screen.paint('1', result.command)}")
            self.screen.output(result.out + result.err)
            if ok is not None and result.code not in ok:
                raise GuestError(f"{result.command}: exit code {result.code}")
        return results

    def drivers_now(self) -> dict[str, str]:
        """The driver of each NIC."""
        words = [f"basename $(readlink /sys/bus/pci/devices/{address}/driver)" for address in self.addresses]
        return dict(zip(self.addresses, self.guest.run("; ".join(words)).out.split(), strict=True))

    def page(self) -> Page:
        """The metrics page, read in the guest."""
        return Page.parse(self.guest.run(f"curl -sSf {METRICS}").out)

    def wait_for_log(self, pattern: str, count: int, timeout_s: float, start: int = 0) -> None:
        """Until the router has said something `count` times, after the first `start` characters of its log."""

        def said() -> bool:
            self.machine.check_alive()
            return len(re.findall(pattern, self.log[start:], re.MULTILINE)) >= count

        wait_for(said, timeout_s, f"{count} times {pattern!r} in router.log")


def boot(it: Rehearsal) -> None:
    """The machine as it was bought: the kernel has the NICs."""
    it.screen.heading("A machine with NICs boots")
    it.guest.wait_for_boot()
    it.run("uname -r; ip -br link; lspci -nn | grep Ethernet")
    it.drivers = it.drivers_now()
    kernels = {"e1000e", "e1000", "virtio-pci", "vmxnet3"}
    it.screen.check(set(it.drivers.values()) <= kernels, "the kernel's drivers have them", it.drivers)


def look(it: Rehearsal) -> None:
    """doctor, nic list, and a bind that must be refused."""
    it.screen.heading("What is there, and what is missing")
    first, everything = it.addresses[0], " ".join(it.addresses)
    interface = it.guest.run(f"ls /sys/bus/pci/devices/{first}/net").out.strip()
    it.guest.run(f"ip address add 203.0.113.9/24 dev {interface}")
    doctor, listed, refused = it.run_together(
        [("dpdkrouter doctor", (1, 5)), ("dpdkrouter nic list", (0,)), (f"dpdkrouter nic bind {everything}", (1,))]
    )
    it.screen.check("hugepages" in doctor.out, "doctor says that there are no hugepages")
    it.screen.check(all(address in listed.out for address in it.addresses), "every NIC is listed")
    it.screen.check(interface in refused.err, "an interface with an address is refused", interface)
    it.screen.check(it.drivers_now() == it.drivers, "and nothing was touched")
    it.guest.run(f"ip address del 203.0.113.9/24 dev {interface}")


def bind(it: Rehearsal) -> None:
    """nic bind, hugepages, the configuration; then doctor has nothing left to say."""
    it.screen.heading("The NICs go to DPDK")
    it.run(f"dpdkrouter nic bind {' '.join(it.addresses)}")
    it.screen.check(set(it.drivers_now().values()) == {"vfio-pci"}, "vfio-pci has them all")
    it.run("; ".join(f"echo {count} > {POOL.format(node=node)}/nr_hugepages" for node, count in PAGES.items()))
    (it.logs / "router.toml").write_text(configuration(it.hosts, MTU, OWN_MACS))
    it.run(f"mkdir -p $(dirname {FILE}) && cp /out/router.toml {FILE}")
    (doctor,) = it.run_together([("dpdkrouter doctor --json", (0, 5))])
    bad = [finding for finding in doctor.json()["findings"] if finding["state"] != "ok"]
    it.screen.check(not bad, "doctor finds all well", bad)


def refuse(it: Rehearsal) -> None:
    """A device that another process holds, and a configuration that this machine cannot run."""
    it.screen.heading("What is refused, before anything is touched")
    first = it.addresses[0]
    (it.logs / "impossible.toml").write_text(IMPOSSIBLE)
    group = it.guest.run(f"basename $(readlink /sys/bus/pci/devices/{first}/iommu_group)").out.strip()
    holder = f"exec 9<>/dev/vfio/{group}; exec sleep 3600"
    it.guest.run(f"setsid bash -c {shlex.quote(holder)} >/dev/null 2>&1 & echo $! >/run/holder.pid")
    it.guest.run('until [ "$(</proc/$(</run/holder.pid)/comm)" = sleep ]; do sleep 0.1; done')
    started, restored, impossible = it.run_together(
        [
            (f"timeout 600 dpdkrouter run {FILE}", (2,)),
            (f"dpdkrouter nic restore {first}", (1,)),
            ("dpdkrouter check --here /out/impossible.toml", (2,)),
        ]
    )
    held = rf"is in use: /dev/vfio/{group} is open in process \d+ \(sleep\); end that first"
    for what, result in (("run", started), ("nic restore", restored)):
        it.screen.check(re.search(held, result.err) is not None, f"`{what}` names the process that has {first}")
    for pattern in REFUSED:
        it.screen.check(re.search(pattern, impossible.err) is not None, f"`check --here`: {pattern}")
    it.screen.check(set(it.drivers_now().values()) == {"vfio-pci"}, "and nothing was touched")
    it.guest.run("kill $(</run/holder.pid); while [ -e /proc/$(</run/holder.pid) ]; do sleep 0.1; done")


def start(it: Rehearsal) -> None:
    """The router, up to its TAP twins."""
    it.screen.heading("The router starts")
    keeper = f"dpdkrouter run {FILE} & echo $! >/run/router.pid; wait $!; echo $? >/out/router.exit"
    it.run(f"setsid bash -c {shlex.quote(keeper)} >/out/router.log 2>&1 &")
    it.wait_for_log(r"fastpath: ready:", 1, READY_S)
    it.wait_for_log(r"twin opened", len(it.hosts), READY_S)
    it.screen.output(it.log)
    for host in it.hosts:
        what = f"port p{host.number}: .* MAC {it.mac(host.number)}"
        it.screen.check(re.search(what, it.log) is not None, f"p{host.number} has its MAC", it.mac(host.number))
    it.screen.check(it.page().all("port_link_up") == len(it.hosts), "all links are up")
    it.screen.check(f"memory from NUMA node {NODE}" in it.log, f"memory is taken from NUMA node {NODE}, the workers'")
    left = int(it.guest.run(f"cat {POOL.format(node=NODE)}/free_hugepages").out)
    it.screen.check(left <= PAGES[NODE] - EAL_MIB // 2, "hugepages that are left there", f"{left} of {PAGES[NODE]}")


def resolve(it: Rehearsal) -> None:
    """ARP and ND, asked from both sides."""
    it.screen.heading("ARP and ND by the TAP twins")
    for host in it.hosts:
        mac = it.mac(host.number)
        for family in (4, 6):
            got = host.ping(host.router(family))
            it.screen.check(got == 3, f"{host.name} pings {host.router(family)}", f"{got} of 3")
        known = host.namespace.run("ip", "neighbour", "show", "dev", INTERFACE)
        for family in (4, 6):
            it.screen.check(
                f"{host.router(family)} lladdr {mac}" in known, f"{host.name} has the MAC of {host.router(family)}", mac
            )


def pairs(hosts: Sequence[Host]) -> list[tuple[Host, Host]]:
    """Each pair of like NICs, and one of unlike ones."""
    found = list(zip(hosts[::2], hosts[1::2], strict=True))
    return [*found, (hosts[0], hosts[-1])] if len(found) > 1 else found


def forward(it: Rehearsal) -> None:
    """Packets from NIC to NIC in both families; every one is accounted for."""
    it.screen.heading("Packets are routed between the NICs")
    for near, far in pairs(it.hosts):
        for family in (4, 6):
            got = near.ping(far.address(family))
            it.screen.check(got == 3, f"{near.name} pings {far.name}, {far.address(family)}", f"{got} of 3")
    before, sent = it.page(), 0
    for near, far in pairs(it.hosts):
        for family in (4, 6):
            went, came = exchange(near, far, family, PACKETS, FLOWS, it.machine.check_alive)
            sent += 2 * PACKETS
            it.screen.check(
                went == came == PACKETS,
                f"IPv{family} {near.name} to {far.name} and back",
                f"{went}, {came} of {PACKETS}",
            )
    after = it.page()
    forwarded = after.since(before, "lcore_forwarded_packets_total")
    it.screen.check(forwarded == sent, "forwarded, of all that the hosts sent", f"{forwarded} of {sent}")


def big(it: Rehearsal) -> None:
    """The largest packet that the MTU allows."""
    near, far = it.hosts[0], it.hosts[1]
    for family, header in ((4, 28), (6, 48)):
        words = ("ping", "-n", "-q", "-M", "do", "-s", str(MTU - header), "-c", "3", "-w", "30", far.address(family))
        said = near.namespace.run(*words, check=False, timeout=40)
        it.screen.check(" 3 received" in said, f"IPv{family} packets of {MTU} bytes {near.name} to {far.name}")


def queues(it: Rehearsal) -> None:
    """A port with several queues gives work to several workers."""
    many = [host for host in it.hosts if len(it.nics[host.number].cable) > 1]
    if not many:
        return
    before = it.page()
    exchange(many[0], many[1], 4, PACKETS, FLOWS, it.machine.check_alive)
    after = it.page()
    shares = [after.lcore(lcore)[0] - before.lcore(lcore)[0] for lcore in LCORES]
    it.screen.check(min(shares) > 0, f"packets of {many[0].name} and {many[1].name} by lcore", shares)


def counters(it: Rehearsal) -> None:
    """The metrics page, the CLI and the sums agree."""
    it.screen.heading("Counters and metrics")
    page = it.page()
    for lcore in LCORES:
        received, ended = page.lcore(lcore)
        it.screen.check(
            received == ended, f"lcore {lcore}: received = forwarded + punted + dropped", f"{received} = {ended}"
        )
    before = it.page()
    stats = it.run("dpdkrouter port stats --json").json()
    after = it.page()
    for port in stats:  # neighbours are asked again now and then, and a Python takes its time here
        for which in ("received", "transmitted"):
            least, most = (page.of(f"port_{which}_packets_total", port["name"]) for page in (before, after))
            shown = port["rx_packets" if which == "received" else "tx_packets"]
            it.screen.check(
                0 < least <= shown <= most <= least + QUIET_PACKETS,
                f"{port['name']}: /metrics and `port stats`: packets {which}",
                [least, shown, most],
            )


def filters(it: Rehearsal) -> None:
    """Promiscuous mode is off: frames for others stay in the device."""
    before = it.page()
    for host in it.hosts:
        frame = FOREIGN_MAC + bytes.fromhex("020000000001") + struct.pack("!H", 0x88B5) + bytes(50)

        def send(frame: bytes = frame) -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                raw.bind((INTERFACE, 0))
                for _ in range(10):
                    raw.send(frame)

        run_in(host.namespace.name, send)
        got = host.ping(host.router(4))  # what was sent before it has come
        it.screen.check(got == 3, f"{host.name} still pings its router", f"{got} of 3")
    foreign = it.page().of("dropped_packets_total", "mac_mismatch") - before.of("dropped_packets_total", "mac_mismatch")
    it.screen.check(foreign == 0, "frames for other MACs that reached a worker", foreign)


def links(it: Rehearsal) -> None:
    """Cables are pulled and plugged in again, of one device of each kind."""
    it.screen.heading("Links go down and come back")
    pulled = (0, len(it.hosts) - 1)
    for up, word in ((False, "down"), (True, "up")):
        start = len(it.log)
        for number in pulled:
            it.machine.set_link(number, up)
        for number in pulled:
            it.wait_for_log(rf"fastpath: port p{number}: link {word}", 1, LINK_S, start)
            it.screen.check(True, f"the router says: port p{number}: link {word}")
        states = {port["name"]: port["link_up"] for port in it.run("dpdkrouter port show --json").json()}
        want = {f"p{host.number}": up or host.number not in pulled for host in it.hosts}
        it.screen.check(states == want, "`port show`", states)
        for number in pulled:
            host, other = it.hosts[number], it.hosts[number ^ 1]
            got = other.ping(host.address(4)) if up else other.ping(host.address(4), 1, 2)
            it.screen.check(got == (3 if up else 0), f"{other.name} pings {host.name}", f"{got} answers")
    changes = [it.page().of("port_link_changes_total", f"p{number}") for number in pulled]
    it.screen.check(len(set(changes)) == 1, "link changes in /metrics", changes)


def stop(it: Rehearsal) -> None:
    """SIGTERM: in order, with nothing left."""
    it.screen.heading("SIGTERM")
    it.run("kill -TERM $(cat /run/router.pid)")
    exit_file = it.logs / "router.exit"
    wait_for(lambda: exit_file.exists() and exit_file.read_text().strip() != "", STOP_S, "the end of dpdkrouter run")
    it.screen.check(exit_file.read_text().strip() == "0", "exit code", exit_file.read_text().strip())
    left = it.run(
        "ls -A /dev/hugepages /run/dpdkrouter /run/netns 2>/dev/null; pgrep -af '[d]pdkrouter (run|control|fastpath)'",
        None,
    )
    it.screen.check("metal" not in left.out and not re.search(r"^\d+ ", left.out, re.MULTILINE), "nothing is left")


def restore(it: Rehearsal) -> None:
    """The kernel gets its NICs back, and they work."""
    it.screen.heading("The NICs go back to the kernel")
    it.run(f"dpdkrouter nic restore {' '.join(it.addresses)}")
    it.screen.check(it.drivers_now() == it.drivers, "each has its former driver", it.drivers)
    find = "; ".join(
        f"ls -d /sys/bus/pci/devices/{address}/net/* /sys/bus/pci/devices/{address}/virtio*/net/* 2>/dev/null"
        for address in it.addresses
    )
    interfaces = [path.rpartition("/")[2] for path in it.guest.run(find, ok=None).out.split()]
    it.screen.check(len(interfaces) == len(it.hosts), "the kernel's interfaces are there", interfaces)
    for host, interface in zip(it.hosts, interfaces, strict=True):
        it.guest.run(
            f"ip link set {interface} up && ip address add {host.router(4)}/24 dev {interface} && "
            f"ip address add {host.router(6)}/64 dev {interface} nodad"
        )
        host.forget_neighbours()
    for host, interface in zip(it.hosts, interfaces, strict=True):
        carrier = f"until [ $(</sys/class/net/{interface}/carrier) = 1 ]; do sleep 0.1; done"
        pings = " && ".join(f"ping -n -q -i 0.2 -c 3 -w 30 {host.address(family)}" for family in (4, 6))
        it.run(f"{carrier}; {pings}")
        it.screen.check(True, f"the kernel's {interface} pings {host.name} in both families")


STEPS = (boot, look, bind, refuse, start, resolve, forward, big, queues, counters, filters, links, stop, restore)
