"""QEMU without KVM: a q35 with an IOMMU and emulated NICs, whose cables are TAPs of the hosts' namespaces.

Everything is passed by descriptor (cables, monitor, the guest's command channel), so that nothing of it has a name that
could be left behind; QEMU is killed with its parent. Emulation is slow, but it behaves: DMA goes through the IOMMU, queues
are as many as the model has, a link goes down when the monitor says so. It shows no speed.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rehearsal.image import Image

FIRST_SLOT = 0x10  # NIC i is at 0000:00:1i.0
CPUS = 3
MEMORY_MIB = 2048
NODES = ("0", "1-2")  # the CPUs of each NUMA node; each has its part of the memory
STOP_S = 20
MONITOR_S = 60
# A CPU of an emulated machine stands still now and then; the kernel must not take its clock for broken.
KERNEL_OPTIONS = (
    "console=ttyS0 quiet panic=-1 mitigations=off no5lvl nowatchdog no_timer_check tsc=reliable intel_iommu=on"
)


class MachineError(Exception):
    """QEMU ended or refused; the text says what it said."""


@dataclass(frozen=True, slots=True)
class Nic:
    """One NIC: QEMU's model of it, its MAC, its cable's queues."""

    model: str
    mac: str
    cable: tuple[int, ...]  # descriptors of a TAP's queues

    def arguments(self, number: int) -> list[str]:
        """QEMU's arguments for NIC `number`."""
        queues = len(self.cable)
        device = (
            f"{self.model},id=nic{number},netdev=cable{number},mac={self.mac},addr={FIRST_SLOT + number:#x},romfile="
        )
        if self.model.startswith("virtio"):
            device += ",disable-legacy=on,iommu_platform=on"  # its DMA, too, goes through the IOMMU
            if queues > 1:
                device += f",mq=on,vectors={2 * queues + 2}"
        cable = f"tap,id=cable{number},fds={':'.join(map(str, self.cable))}"
        return ["-netdev", cable, "-device", device]


def pci_address(number: int) -> str:
    """Where the guest sees NIC `number`."""
    return f"0000:00:{FIRST_SLOT + number:02x}.0"


class Machine:
    """One running QEMU; a context manager. `channel` is the host's end of the guest's virtio-serial port."""

    def __init__(self, image: Image, nics: Sequence[Nic], logs: Path) -> None:
        self._image = image
        self._nics = nics
        self._logs = logs
        self._process: subprocess.Popen[bytes] | None = None
        self.channel, self._guest_end = socket.socketpair()
        self._monitor, self._monitor_end = socket.socketpair()
        self._answers = self._monitor.makefile("rb")

    def __enter__(self) -> Self:
        ends = [self._guest_end.fileno(), self._monitor_end.fileno()]
        command = self._command(*ends)
        (self._logs / "qemu.command").write_text(shlex.join(command) + "\n")
        with (self._logs / "qemu.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us
                pass_fds=[*ends, *(fd for nic in self._nics for fd in nic.cable)],
            )
        self._guest_end.close()
        self._monitor_end.close()
        try:
            self._monitor.settimeout(MONITOR_S)
            self._read()  # its greeting
            self.monitor("qmp_capabilities")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(STOP_S)
        self._answers.close()
        for one in (self.channel, self._guest_end, self._monitor, self._monitor_end):
            one.close()

    def _command(self, channel: int, monitor: int) -> list[str]:
        words = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config"]
        words += ["-display", "none", "-no-reboot", "-accel", "tcg,thread=multi", "-cpu", "max"]
        words += ["-smp", f"{CPUS},sockets={CPUS}", "-m", str(MEMORY_MIB), "-machine", "q35"]
        for node, cpus in enumerate(NODES):
            memory = f"memory-backend-ram,id=memory{node},size={MEMORY_MIB // len(NODES)}M"
            words += ["-object", memory, "-numa", f"node,nodeid={node},cpus={cpus},memdev=memory{node}"]
        words += ["-device", "intel-iommu,intremap=on,caching-mode=on,aw-bits=48"]
        words += ["-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd), "-append", KERNEL_OPTIONS]
        words += ["-chardev", f"file,id=console,path={self._logs}/console.log", "-serial", "chardev:console"]
        words += ["-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"]
        words += ["-chardev", f"socket,id=channel,fd={channel}", "-device", "virtio-serial-pci"]
        words += ["-device", "virtserialport,chardev=channel,name=rehearsal"]
        words += ["-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"]
        for tag, path, mode in (("modules", self._image.modules, ",readonly=on"), ("out", self._logs, "")):
            words += ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none{mode}"]
        for number, nic in enumerate(self._nics):
            words += nic.arguments(number)
        return words

    @property
    def pid(self) -> int:
        """Of QEMU."""
        assert self._process is not None
        return self._process.pid

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU that QEMU has used: what a rehearsal costs, whatever else the machine does."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def check_alive(self) -> None:
        """Raise MachineError when QEMU has ended."""
        code = None if self._process is None else self._process.poll()
        if code is not None:
            said = (self._logs / "qemu.log").read_text(errors="replace").strip()
            console = (self._logs / "console.log").read_text(errors="replace").strip()[-2000:]
            raise MachineError(f"QEMU ended with {code}; it said: {said or 'nothing'}; the guest's console: {console}")

    def monitor(self, command: str, **arguments: object) -> Any:
        """Have the monitor (QMP) do something; its answer."""
        self._monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = self._read()
            if "error" in answer:
                raise MachineError(f"QEMU's monitor: {command} {arguments}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def _read(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            assert self._process is not None
            self._process.wait(STOP_S)
            self.check_alive()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def set_link(self, number: int, up: bool) -> None:
        """Pull NIC `number`'s cable, or plug it in again."""
        self.monitor("set_link", name=f"nic{number}", up=up)
