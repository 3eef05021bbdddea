"""dpdk-testpmd, DPDK's own forwarding loop, on the devices that our worker gets: the least that a program can do there.

io hands mbufs from one device to the other, macswap writes their MACs too. It is timed as our worker is: the kernel's
account of its thread's time, so that other programs on the core do not count, over the packets that it says it moved.
"""

import os
import re
import shutil
import struct
import subprocess
import time
from pathlib import Path

from benchlib.frames import Frames
from benchlib.segment import BenchError
from fastpath import eal

NAME = "dpdk-testpmd"
HELD = 4096
"""Packets of the capture file: net_pcap holds each in an mbuf of its own."""

SECONDS = 1.0
MAC = b"\x02pcap\x00"
"""What net_pcap gives its first device."""

PATIENCE_S = 60.0
RECEIVED = re.compile(r"RX-packets:\s*(\d+)")


def available() -> bool:
    return shutil.which(NAME) is not None


def devices(file: Path) -> tuple[str, str]:
    """The capture file over and over, and a device that takes all and brings nothing."""
    return f"net_pcap0,rx_pcap={file},infinite_rx=1", "net_null0,no-rx=1"


def write_pcap(path: Path, frames: Frames) -> None:
    """Frames of HEAD bytes or less, as the classic format has them."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for head, length in zip(frames.heads, frames.lengths.tolist(), strict=True):
            file.write(struct.pack("<IIII", 0, 0, length, length) + head[:length].tobytes())


def measure(mode: str, file: Path, core: int, *, huge: bool) -> float:
    """Cycles a packet."""
    others = sorted(os.sched_getaffinity(0) - {core}) or [core]
    pages = ["--in-memory"] if huge else ["--no-huge", "--no-shconf", f"--file-prefix=bench-testpmd-{os.getpid()}"]
    command = [NAME, "--lcores", f"0@{others[0]},1@{core}", "--main-lcore", "0", "-m", "128", *pages, "--no-pci",
               "--no-telemetry", *(f"--vdev={device}" for device in devices(file)), "--", "-i", "--nb-cores=1",
               f"--forward-mode={mode}", "--burst=64", f"--total-num-mbufs={HELD * 4}"]  # fmt: skip
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdin is not None
    try:
        thread = _worker(process)
        spent = _run_ns(process.pid, thread)
        _say(process, "start\n")
        time.sleep(SECONDS)
        _say(process, "stop\n")
        spent = _settled(process.pid, thread) - spent
        out, _ = process.communicate("quit\n", timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    received = sum(int(number) for number in RECEIVED.findall(out)) // 2  # each port's, then all ports'
    if received == 0:
        raise BenchError(f"{NAME} moved nothing: {out[-500:]}")
    return spent * eal.tsc_hz() / 1e9 / received


def _say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.flush()


def _worker(process: "subprocess.Popen[str]") -> int:
    """Its lcore's thread, once the prompt is there."""
    deadline = time.monotonic() + PATIENCE_S
    text = ""
    assert process.stdout is not None
    while "testpmd>" not in text:
        character = process.stdout.read(1)
        if not character or time.monotonic() > deadline:
            raise BenchError(f"{NAME} did not start: {text[-500:]}")
        text += character
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        if "worker" in (task / "comm").read_text():
            return int(task.name)
    raise BenchError(f"{NAME} has no worker thread")


def _run_ns(pid: int, thread: int) -> int:
    return int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])


def _settled(pid: int, thread: int) -> int:
    """The thread's time once it no longer grows: it has ended its loop."""
    deadline = time.monotonic() + PATIENCE_S
    last = -1
    while time.monotonic() < deadline:
        now = _run_ns(pid, thread)
        if now == last:
            return now
        last = now
        time.sleep(0.05)
    raise BenchError(f"{NAME} does not stop")
