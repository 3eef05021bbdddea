"""The process and its memory: what it maps, that it lives without its writer, dies and returns, says why it does not
start, and leaves nothing behind but segments.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.fib import Fib, Limits
from dpdkrouter.segment import StatsReader
from lab.harness.waiting import wait_for
from planekit import Fabric, FastPathProcess, Plane
from planekit.frames import forwarded, to
from planekit.process import Settings, instance

if TYPE_CHECKING:
    from collections.abc import Iterator

PLACES = ("/dev/hugepages", "/dev/shm", "/run/dpdk", "/run/dpdkrouter")
BAD_NAME = instance("bad")
HUGE_FREE = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")


def files(name: str) -> set[str]:
    """Everything of a router's that lies about."""
    return {str(path) for place in PLACES for path in Path(place).glob(f"*{name}*")} | {
        str(path) for place in PLACES[:2] for path in Path(place).glob(f".*{name}*")
    }


# ---- one fast path for the module


def route_maps(plane: Plane) -> list[list[str]]:
    """The lines of /proc/PID/maps about the route segment: address, permissions, ..., path."""
    inode = str(plane.process.paths.routes.stat().st_ino)
    lines = [line.split() for line in Path(f"/proc/{plane.process.pid}/maps").read_text().splitlines()]
    return [words for words in lines if words[4] == inode or words[-1].endswith(".routes")]


def test_the_route_segment_is_mapped_once_and_read_only(plane: Plane) -> None:
    maps = route_maps(plane)
    assert [words[1] for words in maps] == ["r--s"], maps
    assert maps[0][-1] == str(plane.process.paths.routes)


def test_no_other_mapping_is_as_large_as_a_table(plane: Plane) -> None:
    """The IPv4 table alone has 32 MiB: a copy of it would be seen. EAL's memory and thread stacks are no copies."""
    table = 32 << 20
    for line in Path(f"/proc/{plane.process.pid}/maps").read_text().splitlines():
        words = line.split()
        low, high = (int(edge, 16) for edge in words[0].split("-"))
        path = words[5] if len(words) > 5 else ""
        if high - low >= table and "r" in words[1] and not path.endswith(".routes"):
            resident = rss(plane.process.pid, words[0])
            assert resident < table, f"{line}: {resident} bytes are resident"


def rss(pid: int, area: str) -> int:
    """Bytes of one mapping that are in memory, huge pages not counted."""
    found = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if found and line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
        found = found or line.startswith(area)
    return 0


def test_the_descriptor_cannot_write(plane: Plane) -> None:
    folder = Path(f"/proc/{plane.process.pid}")
    fds = [fd.name for fd in (folder / "fd").iterdir() if str(fd.readlink()) == str(plane.process.paths.routes)]
    assert len(fds) == 1
    info = dict(line.split(":", 1) for line in (folder / "fdinfo" / fds[0]).read_text().splitlines())
    assert int(info["flags"], 8) & os.O_ACCMODE == os.O_RDONLY


WRITER = """
import os, signal, sys
from dpdkrouter.fib import Fib, Member
fib = Fib.attach(sys.argv[1], sys.argv[2])
group, adjacency = int(sys.argv[3]), int(sys.argv[4])
fib.group_update(group, [Member(adjacency)])
os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_packets_follow_a_change_whose_writer_stands_still(plane: Plane) -> None:
    fabric, paths = plane.fabric, plane.process.paths
    frame = to(4, 1)
    assert plane.send(0, [frame]).out[1] == [forwarded(frame, 1)]
    group = fabric.group_of_port[1]
    fabric.fib.close()
    arguments = [str(word) for word in (paths.routes, paths.stats, group, fabric.forward[2])]
    writer = subprocess.Popen([sys.executable, "-P", "-c", WRITER, *arguments])
    try:
        _, status = os.waitpid(writer.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), f"the writer ended with {status:#x}"
        assert plane.send(0, [frame]).out == [[], [], [forwarded(frame, 2)]]
    finally:
        writer.kill()
        writer.wait()
        fabric.fib = Fib.attach(paths.routes, paths.stats)
    fabric.set_members(group, fabric.forward[1])
    assert plane.send(0, [frame]).out[1] == [forwarded(frame, 1)]


def test_a_second_instance_is_refused(plane: Plane, tmp_path: Path) -> None:
    second = FastPathProcess(plane.process.settings, tmp_path, plane.wires.namespace, inside=True)
    second.start()
    assert second.wait() == 1
    assert f"dpdkrouter fastpath runs already (pid {plane.process.pid}" in second.output()
    assert plane.send(0, [to(4, 1)]).moved.forwarded == 1


def test_killed_and_started_again_it_forwards_by_the_same_segment(plane: Plane) -> None:
    inode = plane.process.paths.routes.stat().st_ino
    for _ in range(2):
        plane.restart()
        assert plane.process.paths.routes.stat().st_ino == inode
        frames = [to(4, 1), to(6, 2)]
        assert plane.send(0, frames).moved.forwarded == 2
    name = plane.process.settings.name
    assert {Path(path).name for path in files(name)} == {
        f"dpdkrouter-{name}.routes",
        f"dpdkrouter-{name}.stats",
        f"dpdkrouter-{name}",  # EAL's empty directory, while it runs
        name,
    }


# ---- ends and bad starts


@pytest.fixture
def clean(hugepages: Path) -> Iterator[None]:
    """Nothing is left of this test's processes: no file, no huge page."""
    before = files(BAD_NAME)
    yield
    assert files(BAD_NAME) == before


def test_sigterm_ends_it_at_once(hugepages: Path, tmp_path: Path) -> None:
    with Plane("term", tmp_path) as plane:
        plane.send(0, [to(4, 1)])
        start = time.monotonic()
        plane.process.signal(signal.SIGTERM)
        assert plane.process.wait(10) == 0
        assert time.monotonic() - start < 2
        name = plane.process.settings.name
        assert {Path(path).name for path in files(name)} == {f"dpdkrouter-{name}.routes", name}
    assert files(name) == set()


def test_sigterm_ends_it_while_it_waits_for_routes(clean: None, tmp_path: Path) -> None:
    with FastPathProcess(Settings(BAD_NAME, ("net_null0",)), tmp_path) as process:
        wait_for(lambda: "waiting: " in process.output(), 30, "it waits for the route segment")
        process.signal(signal.SIGTERM)
        assert process.wait(2) == 0


def test_queues_are_spread_over_the_lcores_and_hashed_by_the_device(hugepages: Path, tmp_path: Path) -> None:
    """net_null says that it hashes IP: with two lcores each port gets two RX queues, one each, and RSS for both families."""
    name = instance("queues")
    with FastPathProcess(Settings(name, ("net_null0", "net_null1"), lcores=(1, 0)), tmp_path) as process:
        fib = Fib.create(process.paths.routes, Limits(16, 16, 8, 8, 8, 8, 8), name)
        process.await_ready()
        fib.close()
        with StatsReader(process.paths.stats) as stats:
            ports = stats.ports()
    process.paths.routes.unlink()
    assert [sorted(port.rx_lcores) for port in ports] == [[0, 1], [0, 1]]
    for port in ports:
        assert (port.rx_queues, port.numa) == (2, 0)
        assert {"ipv4", "ipv6"} <= set(port.rss.split())


def test_ports_are_polled_by_the_lcores_that_they_name(hugepages: Path, tmp_path: Path) -> None:
    name = instance("map")
    settings = Settings(name, ("net_null0", "net_null1", "net_null2"), lcores=(0, 1), polled_by=((1,), (1, 0), ()))
    with FastPathProcess(settings, tmp_path) as process:
        with contextlib.closing(Fib.create(process.paths.routes, Limits(16, 16, 8, 8, 8, 8, 8), name)):
            process.await_ready()
        with StatsReader(process.paths.stats) as stats:
            ports = stats.ports()
    process.paths.routes.unlink()
    assert [list(port.rx_lcores) for port in ports] == [[1], [1, 0], [0, 1]]
    assert [port.rx_queues for port in ports] == [1, 2, 2]


def test_a_port_that_names_more_lcores_than_its_device_has_queues_is_refused(hugepages: Path, tmp_path: Path) -> None:
    devices = (f"net_tap0,iface={instance('t')}",)
    settings = Settings(instance("many"), devices, lcores=(0, 1), polled_by=((0, 1),))
    process = FastPathProcess(settings, tmp_path)
    with process:
        process.wait()
        said = process.output()
    assert "port port0: port.lcores has 2 lcores, but the device has 1 RX queues here: list at most 1" in said


def test_waiting_for_interrupts_needs_devices_that_have_them(hugepages: Path, tmp_path: Path) -> None:
    with FastPathProcess(Settings(instance("noirq"), ("net_null0",), idle="interrupt"), tmp_path) as process:
        assert process.wait() == 1
        said = process.output()
    assert 'port port0: fastpath.idle = "interrupt" needs RX interrupts, which net_null does not have here' in said


def test_a_lost_link_is_seen_at_once(hugepages: Path, tmp_path: Path) -> None:
    """Of a device without a kernel interface, as a bound NIC is one: a memif whose other side is killed."""
    socket, seconds = tmp_path / "memif", []
    with ExitStack() as stack:
        sides = []
        for role in ("server", "client"):
            name = instance(f"memif-{role}")
            device = f"net_memif_{role},role={role},id=0,socket={socket},socket-abstract=no"
            process = FastPathProcess(Settings(name, (device,)), tmp_path)
            stack.callback(process.paths.routes.unlink, missing_ok=True)
            stack.callback(process.paths.stats.unlink, missing_ok=True)
            stack.enter_context(
                contextlib.closing(Fib.create(process.paths.routes, Limits(16, 16, 8, 8, 8, 8, 8), name))
            )
            sides.append(stack.enter_context(process))
            process.await_ready()
        server, client = sides
        stats = stack.enter_context(StatsReader(server.paths.stats))
        for _ in range(5):
            client.await_ready()
            wait_for(lambda: stats.ports()[0].link_up, 10, "a link")
            client.signal(signal.SIGKILL)
            killed = time.monotonic()
            wait_for(lambda: not stats.ports()[0].link_up, 10, "the link's end", 0.001)
            seconds.append(time.monotonic() - killed)
            client.wait()
            client.start()
        client.await_ready()  # so that it ends in order, and leaves nothing
    assert statistics.median(seconds) < 0.06, seconds


def test_what_a_killed_start_left_goes_with_the_next(clean: None, tmp_path: Path) -> None:
    """A stats segment that was never published, of a process that is gone."""
    left = Path(f"/dev/hugepages/.dpdkrouter-{BAD_NAME}.stats.999999999.new")
    left.touch()
    with FastPathProcess(Settings(BAD_NAME, ("net_null0",)), tmp_path) as process:
        wait_for(lambda: "waiting: " in process.output(), 30, "it waits for the route segment")
        assert not left.exists()


NULL = ("net_null0",)
BAD: dict[str, tuple[Settings, int, tuple[str, ...]]] = {
    "an interface that does not exist": (
        Settings(BAD_NAME, ("net_af_packet0,iface=frnosuch",)),
        1,
        ("port port0", "net_af_packet0", "does not exist"),
    ),
    "a PCI device that does not exist": (Settings(BAD_NAME, ("0000:99:00.0",)), 1, ("port port0", "0000:99:00.0")),
    "a driver that does not exist": (Settings(BAD_NAME, ("net_nosuch0",)), 1, ("net_nosuch0", "EAL did not start")),
    "a capture file that does not exist": (
        Settings(BAD_NAME, ("net_pcap0,rx_pcap=/nonexistent.pcap",)),
        1,
        ("/nonexistent.pcap", "port port0"),
    ),
    "EAL arguments that mean nothing": (Settings(BAD_NAME, NULL, eal_args=("--nonsense",)), 1, ("--nonsense",)),
    "EAL arguments that end it": (Settings(BAD_NAME, NULL, eal_args=("--help",)), 1, ("fastpath.eal_args", "--help")),
    "an lcore that does not exist": (Settings(BAD_NAME, NULL, lcores=(999,)), 1, ("1@999",)),
    "too little memory": (
        Settings(BAD_NAME, NULL, memory_mib=100_000),
        1,
        ("Not enough memory available! Requested: 100000MB", "EAL did not start"),
    ),
    "a SIMD level that it lacks": (Settings(BAD_NAME, NULL, simd="native"), 1, ("fastpath.simd: found 'native'",)),
    "a device twice": (Settings(BAD_NAME, ("net_null0", "net_null0")), 2, ("port[1].device", "net_null0")),
}


@pytest.mark.parametrize("what", list(BAD))
def test_bad_start(clean: None, tmp_path: Path, what: str) -> None:
    """A clear message and an exit code, at once, and nothing left."""
    settings, code, said = BAD[what]
    pages = int(HUGE_FREE.read_text())
    with FastPathProcess(settings, tmp_path) as process:
        assert process.wait() == code
        output = process.output()
    for words in said:
        assert words in output
    assert "Traceback" not in output
    assert int(HUGE_FREE.read_text()) >= pages - 200, "pages are given back (others may take some meanwhile)"


def test_a_segment_of_another_version_is_refused(clean: None, tmp_path: Path) -> None:
    settings = Settings(BAD_NAME, NULL)
    process = FastPathProcess(settings, tmp_path)
    fabric = Fabric(process.paths.routes, (1500, 1500))
    fabric.close()
    try:
        with process.paths.routes.open("r+b") as segment, mmap.mmap(segment.fileno(), 2 << 20) as view:
            view[8:12] = (99).to_bytes(4, "little")
        with process:
            assert process.wait() == 1
            assert "version 99" in process.output()
            assert re.search(r"this program has version \d+;", process.output())
    finally:
        process.paths.routes.unlink()
