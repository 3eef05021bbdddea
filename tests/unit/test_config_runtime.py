"""Third pass: what a machine lacks is named, with its line; what the router itself holds is no lack."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from dpdkrouter.config.load import parse
from dpdkrouter.config.paths import InstancePaths
from dpdkrouter.config.runtime import Machine, check_runtime, hugepages, needed_pages
from dpdkrouter.config.schema import Config
from dpdkrouter.config.size import route_segment_bytes

MIB = 1 << 20
TEXT = """\
[fastpath]
lcores = [0, 1]
memory_mib = 64
[[port]]
name = "a"
device = "0000:03:00.0"
[[port]]
name = "b"
device = "net_af_packet0,iface=veth0"
[[port]]
name = "c"
device = "net_tap0,iface=made-by-it"
[metrics]
listen = ""
[api]
group = "root"
"""
MACHINE = Machine(
    uid=0,
    lcores=frozenset({0, 1}),
    hugetlbfs=True,
    page_bytes=2 * MIB,
    free_pages=100,
    available_bytes=100 * MIB,
    pci=frozenset({"0000:03:00.0"}),
    interfaces=frozenset({"lo", "veth0"}),
    groups=frozenset({"root"}),
)


def ten_mib(_config: Config) -> int:
    return 10 * MIB


def found(machine: Machine, text: str = TEXT, root: Path = Path("/nowhere")) -> list[tuple[int | None, str, str, str]]:
    problems = check_runtime(parse(text, "f"), machine=machine, segment_bytes=ten_mib, root=root)
    return [(p.line, p.key, p.found, p.allowed) for p in problems]


def test_a_machine_that_has_all() -> None:
    assert found(MACHINE) == []
    assert found(replace(MACHINE, free_pages=38)) == []


def test_not_root() -> None:
    ((line, key, value, allowed),) = found(replace(MACHINE, uid=1000))
    assert (line, key, value) == (None, "user", "uid 1000")
    assert allowed.startswith("must be root")


def test_an_absent_cpu() -> None:
    assert found(replace(MACHINE, lcores=frozenset({0, 2}))) == [
        (2, "fastpath.lcores[1]", "1", "must be a CPU this process may use: 0, 2")
    ]


def test_an_absent_pci_device() -> None:
    assert found(replace(MACHINE, pci=frozenset())) == [
        (6, "port[0].device", '"0000:03:00.0"', "must be a PCI device of this machine; lspci -D lists them")
    ]
    assert found(MACHINE, TEXT.replace("0000:03:00.0", "03:00.0,key=value")) == []


def test_a_pci_device_that_dpdk_cannot_take() -> None:
    def error(address: str) -> str | None:
        return f"{address} is not bound"

    (problem,) = check_runtime(parse(TEXT, "f"), machine=MACHINE, segment_bytes=ten_mib, pci_error=error)
    assert str(problem) == (
        'f:6: port[0].device: found "0000:03:00.0": must be ready for DPDK: 0000:03:00.0 is not bound'
    )
    absent = replace(MACHINE, pci=frozenset())
    (problem,) = check_runtime(parse(TEXT, "f"), machine=absent, segment_bytes=ten_mib, pci_error=error)
    assert problem.allowed.startswith("must be a PCI device of this machine")


@pytest.mark.parametrize(
    ("device", "lacks"),
    [
        ("net_af_packet0,iface=no", True),
        ("net_af_packet_x,qpairs=1,iface=no", True),
        ("eth_af_packet0,iface=no", True),
        ("net_af_xdp0,iface=no", True),
        ("net_pcap0,iface=no", True),
        ("net_pcap0,rx_iface=veth0,tx_iface=no", True),
        ("net_pcap0,rx_pcap=in,tx_pcap=out", False),
        ("net_af_xdp0,iface=veth0", False),
        ("net_tap1,iface=no", False),
        ("net_null0", False),
    ],
)
def test_an_absent_interface(device: str, lacks: bool) -> None:
    problem = (9, "port[1].device", f'"{device}"', "must name an interface that exists: lo, veth0")
    assert found(MACHINE, TEXT.replace("net_af_packet0,iface=veth0", device)) == [problem] * lacks


def test_too_few_hugepages() -> None:
    # 64 MiB, 10 MiB and one page for the stats segment: 32 + 5 + 1 pages
    assert found(replace(MACHINE, free_pages=30)) == [
        (
            1,
            "fastpath.hugepages",
            "30 free pages of 2 MiB",
            "must be 38 for memory_mib and [table]: raise vm.nr_hugepages by 8",
        )
    ]
    assert (
        found(
            replace(MACHINE, free_pages=30),
            TEXT.replace("memory_mib = 64", "memory_mib = 64\nhugepages = false"),
        )
        == []
    )


def test_too_little_ordinary_memory(tmp_path: Path) -> None:
    text = TEXT.replace("memory_mib = 64", "memory_mib = 64\nhugepages = false")
    # 64 MiB, 10 MiB and 2 MiB for the stats segment
    assert found(replace(MACHINE, free_pages=0, available_bytes=76 * MIB), text) == []
    assert found(replace(MACHINE, free_pages=0, available_bytes=75 * MIB), text) == [
        (
            3,
            "fastpath.memory_mib",
            "64",
            "must be at most 63: 75 MiB are available, [table] takes 12 of them",
        )
    ]
    paths = InstancePaths.for_name("router", hugepages=False, root=tmp_path)
    paths.routes.parent.mkdir(parents=True)
    paths.routes.write_bytes(b"x" * (10 * MIB))
    assert found(replace(MACHINE, available_bytes=75 * MIB), text, tmp_path) == [], "a restart uses it again"


def test_the_memory_of_this_machine() -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < Machine.here().available_bytes < total


def test_hugepages_are_counted_in_whole_pages() -> None:
    config = parse(TEXT, "f")
    assert needed_pages(config, 1 << 30, ten_mib) == 3
    assert needed_pages(config, 2 * MIB, lambda _: 2 * MIB + 1) == 32 + 2 + 1


def test_no_hugetlbfs() -> None:
    ((line, key, value, allowed),) = found(replace(MACHINE, hugetlbfs=False))
    assert (line, key, value) == (1, "fastpath.hugepages", "no hugetlbfs at /dev/hugepages")
    assert "mount -t hugetlbfs" in allowed
    assert found(replace(MACHINE, page_bytes=0, hugetlbfs=False))[0][2] == "a kernel without hugepages"


def test_pages_that_the_routers_segments_hold_count(tmp_path: Path) -> None:
    paths = InstancePaths.for_name("router", root=tmp_path)
    paths.routes.parent.mkdir(parents=True)
    paths.routes.write_bytes(b"x" * (10 * MIB))
    assert found(replace(MACHINE, free_pages=33), root=tmp_path) == []
    assert found(replace(MACHINE, free_pages=32), root=tmp_path) != []


def test_hugepages_and_the_port_of_a_running_router_are_its_own(tmp_path: Path) -> None:
    paths = InstancePaths.for_name("router", root=tmp_path)
    paths.run.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = TEXT.replace('listen = ""', f'listen = "127.0.0.1:{server.getsockname()[1]}"')
        poor = replace(MACHINE, free_pages=0)
        assert [key for _, key, *_ in found(poor, text, tmp_path)] == ["fastpath.hugepages", "metrics.listen"]
        paths.pid_file("fastpath").write_text(str(os.getpid()))
        assert [key for _, key, *_ in found(poor, text, tmp_path)] == ["metrics.listen"]
        paths.pid_file("control").write_text(str(os.getpid()))
        assert found(poor, text, tmp_path) == []


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_metrics_port_in_use(family: int, host: str) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind((host, 0))
        server.listen()
        shown = (
            f"{host}:{server.getsockname()[1]}" if family == socket.AF_INET else f"[{host}]:{server.getsockname()[1]}"
        )
        text = TEXT.replace('listen = ""', f'listen = "{shown}"')
        assert found(MACHINE, text) == [
            (14, "metrics.listen", f'"{shown}"', "must be free to listen on: address already in use")
        ]
    assert found(MACHINE, text) == []


def test_a_metrics_address_of_another_machine() -> None:
    ((line, key, _, allowed),) = found(MACHINE, TEXT.replace('listen = ""', 'listen = "192.0.2.77:9436"'))
    assert (line, key, allowed) == (
        14,
        "metrics.listen",
        "must be free to listen on: cannot assign requested address",
    )


def test_an_absent_group() -> None:
    ((line, key, value, _),) = found(replace(MACHINE, groups=frozenset({"wheel"})))
    assert (line, key, value) == (16, "api.group", '"root"')


def test_password_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    addressed = TEXT.replace('name = "a"', 'name = "a"\naddresses = ["192.0.2.1/24"]')
    text = f"""{addressed}
[router]
id = "192.0.2.1"
asn = 65000
[bgp]
[[bgp.neighbor]]
address = "192.0.2.9"
local_address = "192.0.2.1"
asn = 65001
password_file = "{secret}"
"""
    for content, why in ((None, "no such file or directory"), (b" \n", "empty"), (b"\xff", "not text")):
        if content is not None:
            secret.write_bytes(content)
        ((_, key, value, allowed),) = found(MACHINE, text)
        assert (key, value) == ("bgp.neighbor[0].password_file", f'"{secret}"')
        assert allowed == f"must be a file that holds the password: {why}"
    secret.write_text("word\n")
    assert found(MACHINE, text) == []


def test_all_that_lacks_is_named_at_once() -> None:
    poor = Machine(1, frozenset({5}), False, 2 * MIB, 0, 0, frozenset(), frozenset(), frozenset())
    assert [(line, key) for line, key, *_ in found(poor)] == [
        (None, "user"),
        (1, "fastpath.hugepages"),
        (1, "fastpath.hugepages"),
        (2, "fastpath.lcores[0]"),
        (2, "fastpath.lcores[1]"),
        (6, "port[0].device"),
        (9, "port[1].device"),
        (16, "api.group"),
    ]


def test_this_machine_is_read() -> None:
    here = Machine.here()
    assert here.uid == os.geteuid()
    assert here.lcores == os.sched_getaffinity(0)
    assert "lo" in here.interfaces
    assert "root" in here.groups
    assert here.page_bytes in (0, 2 * MIB, 1 << 30)
    assert here.hugetlbfs == (Path("/dev/hugepages").is_mount() and "hugetlbfs" in Path("/proc/mounts").read_text())
    assert here.free_pages >= 0
    assert all(Path("/sys/bus/pci/devices", name).exists() for name in here.pci)
    assert isinstance(check_runtime(parse(TEXT, "f")), list)


def test_the_segments_size_grows_with_every_maximum() -> None:
    def size(table: str) -> int:
        return route_segment_bytes(parse(f"{TEXT}[table]\n{table}\n", "f"))

    least = size("")
    assert 100 * MIB < least < 400 * MIB
    for more in (
        "max_ipv4_routes = 1500001",
        "max_ipv6_routes = 400001",
        "max_adjacencies = 16385",
        "max_ecmp_groups = 1025",
        "max_ipv4_extended = 4097",
        "ipv6_trie_mib = 17",
    ):
        assert size(more) > least, more
    assert size("max_groups = 32766") < least


def test_reserved_hugepages_are_not_free() -> None:
    meminfo = "HugePages_Total:    10\nHugePages_Free:      7\nHugePages_Rsvd:      2\nHugepagesize:    2048 kB\n"
    assert hugepages(meminfo) == (2 * MIB, 5)
    assert hugepages("MemTotal: 3 kB\n") == (0, 0)


def test_a_metrics_port_just_left_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", number)) as client:
            server.accept()[0].close()  # the server closes first: its end waits in TIME_WAIT
            assert client.recv(1) == b""
    assert found(MACHINE, TEXT.replace('listen = ""', f'listen = "127.0.0.1:{number}"')) == []
