"""doctor's findings, each lack alone, on a machine that has everything else; and the command on this machine."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clikit import run
from dpdkrouter.bgp.launcher import EXABGP_VERSION
from dpdkrouter.config.load import parse
from dpdkrouter.config.paths import InstancePaths
from dpdkrouter.config.runtime import Machine
from dpdkrouter.doctor import bonds, hardware, memory, software
from dpdkrouter.doctor.findings import EXIT_CODES, Finding, State, worst
from dpdkrouter.doctor.subject import Dpdk, Subject
from dpdkrouter.nic.survey import read_facts
from nickit import DRIVERS, IGB, MLX5, PCI, RELEASE, FakeKernel, machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpdkrouter.config.schema import Config

MIB = 1 << 20
A = "0000:01:00.0"
B = "0000:01:00.1"
PARTS = (software, memory, hardware, bonds)
TEXT = f"""\
[fastpath]
lcores = [2]
memory_mib = 64
[[port]]
name = "wan"
device = "{A}"
[metrics]
listen = ""
[api]
group = "root"
"""
MACHINE = Machine(
    uid=0,
    lcores=frozenset({0, 1, 2}),
    hugetlbfs=True,
    page_bytes=2 * MIB,
    free_pages=38,
    available_bytes=1 << 30,
    pci=frozenset({A}),
    interfaces=frozenset({"lo"}),
    groups=frozenset({"root"}),
)


def ten_mib(_config: Config) -> int:
    return 10 * MIB


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    """A machine that has all that TEXT needs."""
    kernel = machine(tmp_path)
    kernel.nic(A, group=7)
    kernel.detach(A)
    kernel.attach(A, "vfio-pci")
    kernel.put("/proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff")
    kernel.put("/proc/self/ns/net")
    kernel.put("/dev/net/tun")
    kernel.put("/proc/cmdline", "root=/dev/sda1")
    kernel.put("/proc/cpuinfo", "vendor_id\t: GenuineIntel")
    kernel.put("/proc/sys/vm/nr_hugepages", "100")
    for cpu in range(3):
        kernel.put(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", str(cpu))
        kernel.put(f"/sys/devices/system/cpu/cpu{cpu}/node0/cpulist", "0-2")
    (tmp_path / "pmds").mkdir()
    return kernel


@pytest.fixture
def drivers() -> Path:
    """A directory that EAL would load from; pytest's own lies below /tmp, which all may write to."""
    return Path("/usr/lib")


def subject(kernel: FakeKernel, drivers: Path, text: str = TEXT, *, configured: bool = True) -> Subject:
    dpdk = Dpdk("DPDK 22.11.11", drivers, tuple(DRIVERS), None)
    facts = read_facts(kernel, DRIVERS)
    return Subject(kernel, MACHINE, parse(text, "f"), configured, ten_mib, facts, dpdk, EXABGP_VERSION)


def bad(subject: Subject) -> list[Finding]:
    """What is not well; each says why and how to mend it."""
    found = [finding for part in PARTS for finding in part.examine(subject) if finding.state is not State.OK]
    assert all(finding.why and finding.mend for finding in found)
    return found


def one(subject: Subject) -> tuple[str, State, str, tuple[str, ...]]:
    (finding,) = bad(subject)
    return finding.topic, finding.state, finding.found, finding.mend


def test_a_machine_that_has_all(kernel: FakeKernel, drivers: Path) -> None:
    assert bad(subject(kernel, drivers)) == []
    topics = [finding.topic for part in PARTS for finding in part.examine(subject(kernel, drivers))]
    assert topics == [
        *("dpdk", "exabgp", "rights", "namespaces", "hugepages", "hugetlbfs", "iommu", "vfio", "nics", "lcores")
    ]
    assert kernel.writes == []


def test_hugepages_are_computed_and_shown(kernel: FakeKernel, drivers: Path) -> None:
    well = subject(kernel, drivers)
    computed = "32 for fastpath.memory_mib = 64, 5 for the route segment of [table], 1 for the stats segment"
    assert next(memory.examine(well)).found == f"38 free pages of 2 MiB, 38 needed: {computed}"
    assert one(replace(well, machine=replace(MACHINE, free_pages=30))) == (
        "hugepages",
        State.FAILED,
        f"30 free pages of 2 MiB, 38 needed: {computed}: 8 too few",
        (
            "sysctl -w vm.nr_hugepages=108",
            "echo vm.nr_hugepages=108 > /etc/sysctl.d/80-dpdkrouter.conf, to have them after a boot",
        ),
    )
    large = one(replace(well, machine=replace(MACHINE, page_bytes=1 << 30, free_pages=2)))
    assert large[3] == ("default_hugepagesz=1G hugepagesz=1G hugepages=101, on the kernel's command line",)


def test_hugepages_that_the_router_has(kernel: FakeKernel, drivers: Path) -> None:
    poor = replace(subject(kernel, drivers), machine=replace(MACHINE, free_pages=33))
    paths = InstancePaths.for_name("router", root=kernel.root)
    kernel.put("/dev/hugepages/x")
    paths.routes.write_bytes(b"x" * (10 * MIB))
    assert bad(poor) == []
    assert "5 of them are held by its segments already" in next(memory.examine(poor)).found
    paths.run.mkdir(parents=True)
    paths.pid_file("fastpath").write_text(str(os.getpid()))
    none = replace(poor, machine=replace(MACHINE, free_pages=0))
    assert bad(none) == []
    assert next(memory.examine(none)).found.startswith("the running router has its 38 pages of 2 MiB: 32 for")


def test_no_hugepages(kernel: FakeKernel, drivers: Path) -> None:
    well = subject(kernel, drivers)
    assert one(replace(well, machine=replace(MACHINE, page_bytes=0)))[:3] == (
        "hugepages",
        State.FAILED,
        "a kernel without hugepages",
    )
    assert one(replace(well, machine=replace(MACHINE, hugetlbfs=False))) == (
        "hugetlbfs",
        State.FAILED,
        "nothing is mounted on /dev/hugepages",
        ("mkdir -p /dev/hugepages && mount -t hugetlbfs nodev /dev/hugepages",),
    )
    lab = subject(kernel, drivers, TEXT.replace("memory_mib = 64", "hugepages = false"))
    assert one(replace(lab, machine=replace(MACHINE, page_bytes=0, hugetlbfs=False)))[1] is State.WARNING


def without_iommu(kernel: FakeKernel) -> FakeKernel:
    kernel.path(f"{PCI}/devices/{A}/iommu_group").unlink()
    kernel.path(f"/sys/kernel/iommu_groups/7/devices/{A}").unlink()
    kernel.path("/sys/kernel/iommu_groups/7/devices").rmdir()
    kernel.path("/sys/kernel/iommu_groups/7").rmdir()
    kernel.detach(A)
    kernel.attach(A, "e1000e")
    return kernel


@pytest.mark.parametrize(
    ("cmdline", "vendor", "mend"),
    [
        ("quiet", "GenuineIntel", "intel_iommu=on iommu=pt, on the kernel's command line"),
        ("quiet iommu=pt", "GenuineIntel", "intel_iommu=on, on the kernel's command line"),
        (
            "intel_iommu=on iommu=pt",
            "GenuineIntel",
            "VT-d, to be turned on in the firmware; in a VM, by the hypervisor",
        ),
        ("quiet", "AuthenticAMD", "iommu=pt, on the kernel's command line"),
        ("iommu=pt", "AuthenticAMD", "AMD-Vi (IOMMU), to be turned on in the firmware; in a VM, by the hypervisor"),
    ],
)
def test_no_iommu(kernel: FakeKernel, drivers: Path, cmdline: str, vendor: str, mend: str) -> None:
    without_iommu(kernel).put("/proc/cmdline", cmdline)
    kernel.put("/proc/cpuinfo", f"vendor_id\t: {vendor}")
    iommu, nics = bad(subject(kernel, drivers))
    assert (iommu.topic, iommu.state, iommu.found) == ("iommu", State.FAILED, "none: no device is in an IOMMU group")
    assert iommu.mend[0] == mend
    assert nics.topic == "nics"


def test_an_iommu_that_no_port_needs(kernel: FakeKernel, drivers: Path) -> None:
    lab = TEXT.replace(A, "net_null0")
    assert bad(subject(without_iommu(kernel), drivers, lab)) == []
    unconfigured = subject(kernel, drivers, lab, configured=False)
    assert [(finding.topic, finding.state) for finding in bad(unconfigured)] == [("iommu", State.WARNING)]


def test_vfio_without_an_iommu_is_a_warning(kernel: FakeKernel, drivers: Path) -> None:
    without_iommu(kernel).put("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y")
    kernel.detach(A)
    kernel.attach(A, "vfio-pci")
    assert one(subject(kernel, drivers))[:2] == ("iommu", State.WARNING)


def test_no_vfio(kernel: FakeKernel, drivers: Path) -> None:
    kernel.detach(A)
    kernel.attach(A, "e1000e")
    kernel.path(f"{PCI}/drivers/vfio-pci/unbind").unlink()
    kernel.path(f"{PCI}/drivers/vfio-pci").rmdir()
    assert [finding.topic for finding in bad(subject(kernel, drivers))] == ["nics"]
    kernel.path(f"/lib/modules/{RELEASE}/modules.dep").unlink()
    vfio, nics = bad(subject(kernel, drivers))
    assert (vfio.topic, vfio.state, vfio.found) == ("vfio", State.FAILED, f"kernel {RELEASE} has no vfio-pci")
    assert "needs vfio-pci" in nics.found


def test_a_port_that_is_not_bound(kernel: FakeKernel, drivers: Path) -> None:
    kernel.detach(A)
    kernel.attach(A, "e1000e")
    assert one(subject(kernel, drivers)) == (
        "nics",
        State.FAILED,
        f"port wan, {A}: the kernel's driver e1000e has it, not vfio-pci",
        (f"dpdkrouter nic bind {A}",),
    )


def test_each_member_of_a_bond_is_looked_at(kernel: FakeKernel, drivers: Path) -> None:
    bonded = TEXT.replace(f'device = "{A}"', f'bond = ["{A}", "0000:ff:1f.7"]')
    topic, state, found, _ = one(subject(kernel, drivers, bonded))
    assert (topic, state, found) == (
        "nics",
        State.FAILED,
        "port wan, 0000:ff:1f.7: is not a PCI device of this machine",
    )


@pytest.mark.parametrize(
    ("members", "mode", "found", "mend"),
    [
        (f'"{A}", "{B}"', "lacp", f"port wan: {A} is net_e1000_em, {B} is net_e1000_igb", "devices of one kind"),
        (f'"{A}", "net_tap0"', "balance", f"port wan: {A} is net_e1000_em, net_tap0 is net_tap", "devices of one kind"),
        (f'"{A}"', "active-backup", f"port wan: a bond of {A} alone", "a second device in port.bond"),
        (
            '"net_af_packet0,iface=lo", "net_af_packet1,iface=v"',
            "lacp",
            "port wan: net_af_packet0 and net_af_packet1 never lose their link",
            "NICs, net_tap or net_af_xdp",
        ),
        ('"net_pcap0,iface=lo", "net_pcap1,rx_pcap=f"', "lacp", "port wan: net_pcap0 and net_pcap1 never", "NICs"),
        ('"net_tap0", "net_tap1"', "balance", "", ""),
    ],
)
def test_bonds(kernel: FakeKernel, drivers: Path, members: str, mode: str, found: str, mend: str) -> None:
    kernel.nic(B, IGB, group=8)
    bonded = TEXT.replace(f'device = "{A}"', f'bond = [{members}]\nbond_mode = "{mode}"')
    findings = list(bonds.examine(subject(kernel, drivers, bonded)))
    if not found:
        (well,) = findings
        assert (well.state, well.found) == (State.OK, "port wan: balance bond of net_tap0 and net_tap1")
        return
    (finding,) = findings
    assert (finding.topic, finding.state) == ("bonds", State.WARNING)
    assert finding.found.startswith(found)
    assert finding.mend[0].startswith(mend)


def test_a_member_that_never_loses_its_link(kernel: FakeKernel, drivers: Path) -> None:
    """Two findings of one bond."""
    members = f'"{A}", "net_pcap0,iface=lo"'
    bonded = TEXT.replace(f'device = "{A}"', f'bond = [{members}]\nbond_mode = "lacp"')
    mixed, deaf = bad(subject(kernel, drivers, bonded))
    assert mixed.found == f"port wan: {A} is net_e1000_em, net_pcap0 is net_pcap"
    assert deaf.found == "port wan: net_pcap0 never loses its link"


def test_a_port_on_a_bifurcated_driver(kernel: FakeKernel, drivers: Path) -> None:
    kernel.nic("0000:02:00.0", MLX5, driver="mlx5_core")
    text = TEXT.replace(A, "0000:02:00.0")
    assert bad(subject(without_iommu(kernel), drivers, text)) == []
    kernel.detach("0000:02:00.0")
    assert one(subject(kernel, drivers, text))[3] == ("modprobe -a ib_uverbs mlx5_core mlx5_ib",)


@pytest.mark.parametrize(
    ("change", "topic", "found", "mend"),
    [
        (
            lambda s: replace(s, exabgp="4.2.0"),
            "exabgp",
            "ExaBGP 4.2.0",
            f"-m pip install exabgp=={EXABGP_VERSION}",
        ),
        (lambda s: replace(s, exabgp=None), "exabgp", "no ExaBGP for ", f"-m pip install exabgp=={EXABGP_VERSION}"),
        (
            lambda s: replace(s, machine=replace(s.machine, uid=1000)),
            "rights",
            "user id 1000; not all can be seen with it",
            "sudo dpdkrouter doctor",
        ),
        (
            lambda s: replace(s, dpdk=Dpdk("DPDK 22.11.11", None, (), "none there")),
            "dpdk",
            "DPDK 22.11.11: none there",
            "apt-get install dpdk",
        ),
        (
            lambda s: replace(s, machine=replace(s.machine, lcores=frozenset({0, 1}))),
            "lcores",
            "fastpath.lcores = [2]; CPUs this process may use: 0, 1: no 2",
            "lcores = [1], in [fastpath]",
        ),
        (
            lambda s: replace(s, machine=replace(s.machine, lcores=frozenset({2}))),
            "lcores",
            "fastpath.lcores = [2]; CPUs this process may use: 2: none is left for the rest",
            "another CPU",
        ),
        (
            lambda s: replace(
                s,
                config=parse(TEXT.replace("memory_mib = 64", "memory_mib = 2000\nhugepages = false"), "f"),
            ),
            "configuration",
            "fastpath.memory_mib = 2000",
            "must be at most 1012",
        ),
        (
            lambda s: replace(s, machine=replace(s.machine, groups=frozenset())),
            "configuration",
            'api.group = "root"',
            "must be a group of this machine",
        ),
    ],
)
def test_one_lack(
    kernel: FakeKernel, drivers: Path, change: Callable[[Subject], Subject], topic: str, found: str, mend: str
) -> None:
    finding = bad(change(subject(kernel, drivers)))[0]
    assert finding.topic == topic
    assert finding.found.startswith(found)
    assert mend in finding.mend[0]


@pytest.mark.parametrize(
    ("file", "text", "topic", "mend"),
    [
        ("/proc/self/status", "CapEff:\t0000000000201000", "", ""),
        ("/proc/self/status", "CapEff:\t0000000000200000", "rights", "--cap-add=NET_ADMIN, for a container"),
        ("/proc/self/status", "CapEff:\t0000000000001000", "rights", "--cap-add=SYS_ADMIN, for a container"),
        ("/dev/net/tun", None, "namespaces", "modprobe tun"),
        ("/proc/self/ns/net", None, "namespaces", "CONFIG_NET_NS=y, in the kernel's configuration"),
    ],
)
def test_rights_and_namespaces(
    kernel: FakeKernel, drivers: Path, file: str, text: str | None, topic: str, mend: str
) -> None:
    if text is None:
        kernel.path(file).unlink()
    else:
        kernel.put(file, text)
    assert [(finding.topic, finding.mend[0]) for finding in bad(subject(kernel, drivers))] == [(topic, mend)] * bool(
        topic
    )


def test_a_directory_that_eal_loads_nothing_from(kernel: FakeKernel, tmp_path: Path) -> None:
    pmds = tmp_path / "open" / "pmds"
    pmds.mkdir(parents=True)
    pmds.parent.chmod(0o777)
    topic, state, _, mend = one(subject(kernel, pmds))
    assert (topic, state, mend) == ("dpdk", State.FAILED, (f"chmod o-w {pmds.parent}",))


def test_workers_on_one_core(kernel: FakeKernel, drivers: Path) -> None:
    for cpu in (1, 2):
        kernel.put(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", "1-2")
    two = subject(kernel, drivers, TEXT.replace("[2]", "[1, 2]"))
    assert one(two)[:3] == ("lcores", State.WARNING, "lcores 1 and 2 are threads of one core")


def test_a_port_on_another_numa_node(kernel: FakeKernel, drivers: Path) -> None:
    kernel.put(f"{PCI}/devices/{A}/numa_node", "1")
    assert one(subject(kernel, drivers))[:3] == (
        "lcores",
        State.WARNING,
        f"port wan, {A}, is on NUMA node 1, the workers on 0",
    )


def two_nodes(kernel: FakeKernel, free: tuple[int, int]) -> None:
    """CPUs 0 and 2 on node 0, 1 on node 1; 38 pages are needed."""
    kernel.path("/sys/devices/system/cpu/cpu1/node0/cpulist").unlink()
    kernel.path("/sys/devices/system/cpu/cpu1/node0").rmdir()
    kernel.put("/sys/devices/system/cpu/cpu1/node1/cpulist", "1")
    for node, pages in enumerate(free):
        pool = f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB"
        kernel.put(f"{pool}/free_hugepages", str(pages))
        kernel.put(f"{pool}/nr_hugepages", "50")


@pytest.mark.parametrize(
    ("lcores", "free", "lacks"),
    [
        ("[2]", (38, 0), None),
        ("[2]", (37, 7), (0, 37, 51)),
        ("[0, 2]", (19, 19), (0, 19, 69)),
        ("[1]", (38, 0), (1, 0, 88)),
        ("[1, 2]", (20, 18), None),  # whichever node it is, half of the workers are on the other
    ],
)
def test_hugepages_of_the_workers_numa_node(
    kernel: FakeKernel, drivers: Path, lcores: str, free: tuple[int, int], lacks: tuple[int, int, int] | None
) -> None:
    two_nodes(kernel, free)
    found = [f for f in memory.examine(subject(kernel, drivers, TEXT.replace("[2]", lcores))) if f.mend]
    assert len(found) == (lacks is not None)
    if lacks is not None:
        node, has, total = lacks
        assert (found[0].topic, found[0].state) == ("hugepages", State.WARNING)
        assert found[0].found == (f"NUMA node {node}, where the workers are, has {has} free pages of the 38 needed")
        pool = f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB"
        assert found[0].mend[0].startswith(f"echo {total} > {pool}/nr_hugepages, after each boot")


def test_a_port_on_a_node_without_a_hugepage(kernel: FakeKernel, drivers: Path) -> None:
    two_nodes(kernel, (38, 0))
    kernel.put(f"{PCI}/devices/{A}/numa_node", "1")
    queues, crossing = bad(subject(kernel, drivers))
    assert (queues.topic, queues.state) == ("hugepages", State.FAILED)
    assert queues.found == f"port wan, {A}, is on NUMA node 1, which has no free page"
    assert queues.mend[0].startswith("echo 66 > ")
    assert (crossing.topic, crossing.state) == ("lcores", State.WARNING)
    kernel.put("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "1")
    assert [finding.topic for finding in bad(subject(kernel, drivers))] == ["lcores"]


def test_a_running_router_has_its_pages_whatever_the_nodes_have(kernel: FakeKernel, drivers: Path) -> None:
    two_nodes(kernel, (0, 0))
    paths = InstancePaths.for_name("router", root=kernel.root)
    paths.run.mkdir(parents=True)
    paths.pid_file("fastpath").write_text(str(os.getpid()))
    assert bad(subject(kernel, drivers)) == []


def test_lcores_that_are_proposed_leave_a_cpu_to_the_rest(kernel: FakeKernel, drivers: Path) -> None:
    asked = subject(kernel, drivers, TEXT.replace("[2]", "[1, 8, 9]"))
    assert one(replace(asked, machine=replace(MACHINE, lcores=frozenset({0, 1}))))[3] == (
        "lcores = [1], in [fastpath]",
    )
    single = replace(asked, machine=replace(MACHINE, lcores=frozenset({0})))
    assert bad(single)[0].mend == ("lcores = [0], in [fastpath]",)


def test_the_worst_state_is_the_exit_code() -> None:
    findings = [Finding("x", state, "", "") for state in (State.OK, State.FAILED, State.WARNING)]
    assert worst(findings) is State.FAILED
    assert worst([findings[2], findings[0]]) is State.WARNING
    assert worst([]) is State.OK
    assert EXIT_CODES == {State.OK: 0, State.WARNING: 5, State.FAILED: 1}


def test_the_command_on_this_machine(root: None, tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    text = TEXT.replace(A, "net_null0").replace("memory_mib = 64", "hugepages = false")
    file.write_text(text.replace("[2]", str(sorted(os.sched_getaffinity(0))[-1:])))
    document = json.loads(run("doctor", str(file), "--json", code=5)[0])
    assert document["state"] == "warning"
    assert {tuple(finding) for finding in document["findings"]} == {("topic", "state", "found", "why", "mend")}
    assert "hugepages" in {finding["topic"] for finding in document["findings"] if finding["state"] == "warning"}
    lines = run("doctor", str(file), code=5)[0].splitlines()
    assert lines[0] == f"ok       configuration  {file}, 1 ports"
    assert "warning  hugepages      fastpath.hugepages = false: none are needed" in lines


def test_the_command_with_a_device_that_is_not_there(root: None, tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text(TEXT.replace(A, "ffff:ff:1f.7"))
    lines = run("doctor", str(file), code=1)[0].splitlines()
    at = lines.index("failed   nics           port wan, ffff:ff:1f.7: is not a PCI device of this machine")
    assert lines[at + 1].strip().startswith("why:  a port whose device DPDK can't take")
    assert lines[at + 2].strip() == "mend: dpdkrouter nic list"


def test_the_command_with_a_wrong_configuration_goes_on(root: None, tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text('[router]\nname = "No Name"\n')
    document = json.loads(run("doctor", str(file), "--json", code=1)[0])
    first = document["findings"][0]
    assert (first["topic"], first["state"], first["mend"]) == ("configuration", "failed", [f"dpdkrouter check {file}"])
    assert "dpdk" in {finding["topic"] for finding in document["findings"]}
    assert run("doctor", str(tmp_path / "none"), code=1)[0].startswith("failed   configuration")
