"""What interfaces are used for: netlink from a namespace of our own, procfs from a fake tree and from this process."""

from __future__ import annotations

import os
import socket
import subprocess
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.host.namespace import run_in
from dpdkrouter.nic.kernel import Kernel
from dpdkrouter.nic.usage import Process, Session, Usage, read_usage
from nickit import FakeKernel, machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROW = " 0: {local} {peer} {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1 0 20 4 30 10 -1"


@pytest.fixture
def namespace(root: None) -> Iterator[str]:
    """A namespace with a veth pair: addresses in both families, a default route over v0."""
    name = f"nic-usage-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for words in (
            "link add v0 type veth peer name v1",
            "link set v0 up",
            "link set v1 up",
            "address add 192.0.2.1/24 dev v0",
            "address add 2001:db8::1/64 dev v1 nodad",
        ):
            subprocess.run(["ip", "-n", name, *words.split()], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def ip(namespace: str, words: str) -> None:
    subprocess.run(["ip", "-n", namespace, *words.split()], check=True)


def usage_in(namespace: str, kernel: Kernel) -> Usage:
    return run_in(namespace, lambda: read_usage(kernel, {}))


def test_addresses_are_found_and_link_local_ones_left_out(namespace: str, tmp_path: Path) -> None:
    found = usage_in(namespace, machine(tmp_path)).addresses
    assert found == {"v0": (ip_interface("192.0.2.1/24"),), "v1": (ip_interface("2001:db8::1/64"),)}


@pytest.mark.parametrize(
    ("route", "names"),
    [
        ("route add default via 192.0.2.9", {"v0"}),
        ("-6 route add default via 2001:db8::9", {"v1"}),
        ("route add default via 192.0.2.9 table 77", {"v0"}),
        ("-6 route add default nexthop via 2001:db8::9 nexthop via 2001:db8::8", {"v1"}),
        ("route add default nexthop via 192.0.2.9 nexthop via 192.0.2.8", {"v0"}),
        ("route add unreachable default", set()),
        ("route add 198.51.100.0/24 via 192.0.2.9", set()),
    ],
)
def test_default_routes(namespace: str, tmp_path: Path, route: str, names: set[str]) -> None:
    ip(namespace, route)
    assert usage_in(namespace, machine(tmp_path)).defaults == names


def fake_process(kernel: FakeKernel, pid: int, name: str, target: str) -> None:
    kernel.put(f"/proc/{pid}/comm", name)
    kernel.link(f"/proc/{pid}/fd/3", target)


def sessions(kernel: FakeKernel, environ: dict[str, str] | None = None) -> tuple[Session, ...]:
    return read_usage(kernel, environ or {}).sessions


def test_ssh_sessions_by_process_and_by_port(tmp_path: Path) -> None:
    kernel = machine(tmp_path)
    rows = [
        ROW.format(local="010200C0:08AE", peer="090200C0:C001", state="01", inode=501),  # sshd on port 2222
        ROW.format(local="020200C0:0016", peer="0A0200C0:C002", state="01", inode=502),  # port 22, owner unknown
        ROW.format(local="030200C0:0016", peer="00000000:0000", state="0A", inode=503),  # listening
        ROW.format(local="040200C0:01BB", peer="0B0200C0:C003", state="01", inode=504),  # not SSH
    ]
    kernel.put("/proc/net/tcp", "\n".join(["header", *rows]))
    mapped = "0000000000000000FFFF0000050200C0:0016"
    six = "B80D0120000000000000000001000000:0016"
    kernel.put(
        "/proc/net/tcp6",
        "\n".join(
            [
                "header",
                ROW.format(local=mapped, peer=mapped, state="01", inode=505),
                ROW.format(local=six, peer=six, state="01", inode=506),
                "garbage",
            ]
        ),
    )
    fake_process(kernel, 70, "sshd", "socket:[501]")
    fake_process(kernel, 71, "nginx", "socket:[504]")
    assert sessions(kernel) == (
        Session(ip_address("192.0.2.1"), "192.0.2.9"),
        Session(ip_address("192.0.2.2"), "192.0.2.10"),
        Session(ip_address("192.0.2.5"), "192.0.2.5"),
        Session(ip_address("2001:db8::1"), "2001:db8::1"),
    )


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("192.0.2.9 50000 192.0.2.1 22", (Session(ip_address("192.0.2.1"), "192.0.2.9"),)),
        ("fe80::9%v0 50000 fe80::1%v0 22", (Session(ip_address("fe80::1"), "fe80::9"),)),
        ("UNKNOWN 65535 UNKNOWN 65535", ()),
        ("192.0.2.9", ()),
        ("", ()),
    ],
)
def test_the_session_of_the_environment(tmp_path: Path, variable: str, expected: tuple[Session, ...]) -> None:
    assert sessions(machine(tmp_path), {"SSH_CONNECTION": variable}) == expected


def test_processes_that_hold_devices(tmp_path: Path) -> None:
    kernel = machine(tmp_path)
    fake_process(kernel, 99, "testpmd", "/dev/vfio/7")
    fake_process(kernel, 812, "dpdkrouter", "/dev/vfio/7")
    fake_process(kernel, 5, "uio user", "/dev/uio0")
    fake_process(kernel, 6, "bash", "/dev/pts/1")
    fake_process(kernel, os.getpid(), "dpdkrouter", "/dev/vfio/7")
    assert read_usage(kernel, {}).holders == {
        "/dev/vfio/7": (Process(99, "testpmd"), Process(812, "dpdkrouter")),
        "/dev/uio0": (Process(5, "uio user"),),
    }


def test_the_routers_that_run(tmp_path: Path) -> None:
    kernel = machine(tmp_path)
    kernel.put("/run/dpdkrouter/pop1/fastpath.lock", str(os.getpid()))
    kernel.put("/run/dpdkrouter/pop2/fastpath.lock", "4194305")  # beyond the largest id that a process can have
    assert read_usage(kernel, {}).routers == {os.getpid()}


def test_a_real_connection_of_this_machine(root: None) -> None:
    """A real row of /proc/net/tcp6, of a process that is called sshd."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        script = f"printf sshd > /proc/self/comm; exec 3<>/dev/tcp/::1/{server.getsockname()[1]}; echo; read"
        client = subprocess.Popen(["bash", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert client.stdin is not None
        assert client.stdout is not None
        with client, client.stdin, client.stdout:
            assert client.stdout.readline() == b"\n"
            found = read_usage(Kernel(), {}).sessions
    assert Session(ip_address("::1"), "::1") in found
