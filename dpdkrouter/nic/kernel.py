"""The kernel as files below one root: sysfs, procfs, /dev, /lib/modules and /var. The rim of this package.

Reading never raises: what is not there, or cannot be read, is None or empty. Writing raises OSError with the file's name.
Nothing is cached. Kernel: Documentation/ABI/testing/sysfs-bus-pci, sysfs-kernel-iommu_groups.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from dpdkrouter.errors import NicError

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # a unit's or su's PATH may lack sbin
MODPROBE_S = 60


class Kernel:
    """One machine's kernel; `root` is another place for all its files, `release` another kernel's, in tests."""

    def __init__(self, root: Path = Path("/"), release: str | None = None) -> None:
        self.root = root
        self.release = release or os.uname().release

    def path(self, absolute: str) -> Path:
        """A file of this machine."""
        return self.root / absolute.lstrip("/")

    def read(self, path: str) -> str | None:
        """A file's text without its end of line."""
        try:
            return self.path(path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:  # some attributes refuse: a link's speed while it is down
            return None

    def number(self, path: str, base: int = 0) -> int | None:
        """A file's number."""
        try:
            return int(self.read(path) or "", base)
        except ValueError:
            return None

    def names(self, directory: str) -> list[str]:
        """What a directory holds, sorted."""
        try:
            return sorted(entry.name for entry in self.path(directory).iterdir())
        except OSError:
            return []

    def target(self, link: str) -> str | None:
        """What a link points to, as it is written."""
        try:
            return str(self.path(link).readlink())
        except OSError:
            return None

    def target_name(self, link: str) -> str | None:
        """The last part of what a link points to: how sysfs names a device's driver or group."""
        target = self.target(link)
        return None if target is None else target.rpartition("/")[2]

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return self.path(path).exists()

    def write(self, path: str, text: str) -> None:
        """Write to an attribute; OSError is the kernel's answer."""
        with self.path(path).open("w", encoding="ascii") as file:
            file.write(text)

    def has_module(self, name: str) -> bool:
        """Whether a module is loaded, built in, or there to be loaded."""
        if self.exists(f"/sys/module/{name.replace('-', '_')}"):
            return True
        file = re.compile(rf"(?:^|/){re.sub('[-_]', '[-_]', name)}\.ko(?:\.[a-z0-9]+)?(?::|$)", re.MULTILINE)
        lists = (f"/lib/modules/{self.release}/{kind}" for kind in ("modules.dep", "modules.builtin"))
        return any(file.search(self.read(path) or "") for path in lists)

    def load_module(self, name: str) -> None:
        """modprobe; NicError with what it said."""
        command = shutil.which("modprobe", path=SYSTEM_PATH)
        if command is None:
            raise NicError(f"modprobe: not found, needed to load {name}: apt-get install kmod")
        done = subprocess.run([command, name], capture_output=True, text=True, timeout=MODPROBE_S, check=False)
        if done.returncode != 0:
            raise NicError(f"modprobe {name}: failed: {done.stderr.strip() or f'exit code {done.returncode}'}")
