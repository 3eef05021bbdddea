"""The rim to the kernel: what reading never raises, what writing does, and the modules of a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dpdkrouter.errors import NicError
from dpdkrouter.nic.kernel import Kernel

if TYPE_CHECKING:
    from pathlib import Path


def test_reading_never_raises(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    (tmp_path / "directory").mkdir()
    (tmp_path / "text").write_bytes(b"\xff 12\n")
    for path in ("/none", "/directory", "/text/below"):
        assert kernel.read(path) is None
        assert kernel.number(path) is None
        assert kernel.target(path) is None
        assert kernel.target_name(path) is None
        assert kernel.names(path) == []
    assert kernel.read("/text") == "\ufffd 12"
    assert kernel.number("/text") is None
    assert kernel.names("/") == ["directory", "text"]


def test_writing_raises_what_the_kernel_says(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    with pytest.raises(OSError, match="No such file"):
        kernel.write("/sys/bus/pci/drivers_probe", "0000:01:00.0")
    (tmp_path / "attribute").touch()
    kernel.write("/attribute", "vfio-pci")
    assert kernel.read("/attribute") == "vfio-pci"


@pytest.mark.parametrize(
    ("file", "text", "there"),
    [
        ("sys/module/vfio_pci/refcnt", "0", True),
        ("lib/modules/6.1/modules.dep", "kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/vfio.ko.xz", True),
        ("lib/modules/6.1/modules.dep", "vfio_pci.ko:", True),
        ("lib/modules/6.1/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko", True),
        ("lib/modules/6.1/modules.dep", "kernel/drivers/x.ko: kernel/drivers/vfio/pci/vfio-pci-core.ko", False),
        ("lib/modules/6.1/modules.dep", "kernel/drivers/vfio/pci/my-vfio-pci.ko:", False),
        ("lib/modules/5.10/modules.dep", "kernel/drivers/vfio/pci/vfio-pci.ko:", False),
    ],
)
def test_the_modules_of_a_kernel(tmp_path: Path, file: str, text: str, there: bool) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text + "\n")
    assert Kernel(tmp_path, "6.1").has_module("vfio-pci") is there


def test_a_module_that_does_not_exist(root: None) -> None:
    with pytest.raises(NicError, match="modprobe dpdkrouter-none: failed: "):
        Kernel().load_module("dpdkrouter-none")
