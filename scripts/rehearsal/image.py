"""The guest's kernel, Debian's own of this release, and an initramfs that mounts the host's root over 9p.

Kernel and busybox are fetched through apt but not installed: the host is not changed. All is kept below build/, for the
next rehearsal; the initramfs's name says what it was made from.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / "build" / "rehearsal"
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")  # to reach the root; others come from it
KERNEL = "linux-image-"
TIMEOUT_S = 300


class ImageError(Exception):
    """The image cannot be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Image:
    """What QEMU boots."""

    kernel: Path
    initrd: Path
    modules: Path  # the directory that is /lib/modules in the guest
    version: str


def run(*words: str, cwd: Path | None = None, data: bytes | None = None) -> bytes:
    """A command's output; ImageError with what it said when it fails."""
    done = subprocess.run(words, cwd=cwd, input=data, capture_output=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise ImageError(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr.decode().strip()}")
    return done.stdout


def kernel_package() -> str:
    """The package behind linux-image-amd64, such as linux-image-6.1.0-41-amd64."""
    for attempt in (1, 2):
        found = re.search(rf"Depends: ({KERNEL}\S+)", run("apt-cache", "depends", "linux-image-amd64").decode())
        if found:
            return found[1]
        if attempt == 1:  # the lists of a fresh machine are empty
            run("apt-get", "-q", "update")
    raise ImageError("apt knows no linux-image-amd64: the rehearsal needs Debian's package lists")


def fetch(package: str) -> Path:
    """Where the package is unpacked, done now if it was not."""
    root = CACHE / package
    if root.is_dir():
        return root
    fresh = root.with_suffix(".fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        run("apt-get", "-q", "download", package, cwd=fresh)
    except ImageError:  # a list that is older than the archive
        run("apt-get", "-q", "update")
        run("apt-get", "-q", "download", package, cwd=fresh)
    archive = next(fresh.glob("*.deb"))
    run("dpkg-deb", "-x", str(archive), str(fresh))
    archive.unlink()
    if package.startswith(KERNEL):
        run("depmod", "-b", str(fresh), package.removeprefix(KERNEL))
    fresh.rename(root)
    return root


def make_initrd(root: Path, version: str, initrd: Path) -> None:
    """init.sh, busybox and the modules that the root needs, as a cpio archive."""
    tree = initrd.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    for place in ("bin", "dev", "proc", "sys", "modules", "ro", "rw", "new"):
        (tree / place).mkdir(parents=True)
    shutil.copy(fetch("busybox-static") / "bin" / "busybox", tree / "bin" / "busybox")
    shutil.copy(HERE / "init.sh", tree / "init")
    (tree / "init").chmod(0o755)
    order: list[str] = []
    for module in MODULES:
        lines = run("modprobe", "-d", str(root), "-S", version, "--show-depends", module).decode().splitlines()
        for path in (Path(line.split()[1]) for line in lines if line.startswith("insmod ")):
            if path.name not in order:
                order.append(path.name)
                shutil.copy(path, tree / "modules")
    (tree / "modules" / "order").write_text("".join(f"{name}\n" for name in order))
    names = b"".join(bytes(path.relative_to(tree)) + b"\n" for path in sorted(tree.rglob("*")))
    archive = run("cpio", "-o", "-H", "newc", "--quiet", "--owner", "0:0", cwd=tree, data=names)
    fresh = initrd.with_suffix(".fresh")
    fresh.write_bytes(gzip.compress(archive, 1))
    fresh.rename(initrd)
    shutil.rmtree(tree)


def prepare() -> Image:
    """The image, made where it is missing."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one rehearsal of a tree makes it, others wait
        package = kernel_package()
        version = package.removeprefix(KERNEL)
        root = fetch(package)
        made_from = hashlib.sha256((HERE / "init.sh").read_bytes() + Path(__file__).read_bytes()).hexdigest()[:12]
        initrd = CACHE / f"initrd-{version}-{made_from}.gz"
        if not initrd.exists():
            make_initrd(root, version, initrd)
    return Image(root / "boot" / f"vmlinuz-{version}", initrd, root / "lib" / "modules", version)
