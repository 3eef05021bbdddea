"""EAL's arguments: lcores, devices, and where its memory comes from on a machine with several NUMA nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dpdkrouter.config.load import parse
from dpdkrouter.config.numa import nodes_of
from dpdkrouter.dataplane.arguments import eal_arguments, memory_node, polling_slots

if TYPE_CHECKING:
    from pathlib import Path

    from dpdkrouter.config.schema import Config

PAGE = 2 << 20


def config(lcores: str, hugepages: str = "true") -> Config:
    return parse(
        f"[fastpath]\nlcores = {lcores}\nmemory_mib = 65\nhugepages = {hugepages}\n"
        '[[port]]\nname = "wan"\ndevice = "0000:01:00.0"\n[[port]]\nname = "lan"\ndevice = "net_null0"\n',
        "f",
    )


def machine(root: Path, nodes: tuple[tuple[int, ...], ...], free: tuple[int, ...]) -> Path:
    """A sysfs with these CPUs and this many free pages on each node."""
    for node, (cpus, pages) in enumerate(zip(nodes, free, strict=True)):
        for cpu in cpus:
            (root / f"sys/devices/system/cpu/cpu{cpu}/node{node}").mkdir(parents=True)
        pool = root / f"sys/devices/system/node/node{node}/hugepages/hugepages-2048kB"
        pool.mkdir(parents=True)
        (pool / "free_hugepages").write_text(f"{pages}\n")
    (root / "sys/devices/system/node/online").write_text("0-1\n")
    return root


def test_lcores_and_devices() -> None:
    words = eal_arguments(config("[4, 6]"), [1, 0])
    assert words[words.index("--lcores") + 1] == "0@(0,1),1@4,2@6"
    assert words[words.index("-a") + 1] == "0000:01:00.0"
    assert "--vdev=net_null0" in words
    assert words[words.index("-m") + 1] == "65"
    assert "--socket-mem" not in words


@pytest.mark.parametrize(("node", "expected"), [(0, "65"), (1, "0,65"), (2, "0,0,65")])
def test_all_memory_from_one_node(node: int, expected: str) -> None:
    words = eal_arguments(config("[4]"), [0], node)
    assert words[words.index("--socket-mem") + 1] == expected
    assert "-m" not in words


@pytest.mark.parametrize(
    ("lcores", "free", "node"),
    [
        ("[2, 3]", (0, 33), 1),
        ("[2, 3]", (99, 32), None),  # 33 are needed: EAL takes some from the other node
        ("[1]", (33, 0), 0),
        ("[1, 2]", (99, 99), None),
    ],
)
def test_the_node_of_the_workers(tmp_path: Path, lcores: str, free: tuple[int, int], node: int | None) -> None:
    machine(tmp_path, ((0, 1), (2, 3)), free)
    assert memory_node(config(lcores), PAGE, tmp_path) == node


def test_machines_on_which_nothing_is_to_be_chosen(tmp_path: Path) -> None:
    one = machine(tmp_path / "one", ((0, 1),), (99,))
    assert memory_node(config("[1]"), PAGE, one) is None
    two = machine(tmp_path / "two", ((0,), (1,)), (99, 99))
    assert memory_node(config("[1]"), PAGE, two) == 1
    assert memory_node(config("[1]", "false"), PAGE, two) is None
    assert memory_node(config("[1]"), 1 << 30, two) is None
    assert memory_node(config("[1]"), 0, two) is None
    assert memory_node(config("[1]"), PAGE, tmp_path / "none") is None


@pytest.mark.parametrize(
    ("wanted", "node", "slots"),
    [
        ((), 1, [2, 4]),
        ((), 0, [1, 3]),
        ((), 2, [1, 2, 3, 4]),
        ((), None, [1, 2, 3, 4]),
        ((7, 4), 0, [4, 1]),
    ],
)
def test_a_port_is_polled_near_its_device(wanted: tuple[int, ...], node: int | None, slots: list[int]) -> None:
    """lcores 4 and 6 are on node 0, 5 and 7 on node 1."""
    assert polling_slots(wanted, (4, 5, 6, 7), {4: 0, 5: 1, 6: 0, 7: 1}, node) == slots


def test_nodes_of_cpus(tmp_path: Path) -> None:
    for lcore, node in ((0, 0), (3, 1)):
        (tmp_path / f"sys/devices/system/cpu/cpu{lcore}/node{node}").mkdir(parents=True)
    assert nodes_of([0, 3, 9], tmp_path) == {0: 0, 3: 1}
