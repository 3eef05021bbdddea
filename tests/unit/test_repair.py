"""The repair thread on a real segment: netlink events as the kernel writes them, groups as packets find them."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from dpdkrouter.fib import Action, Adjacency, Fib, Limits
from dpdkrouter.fib.repair import Repair
from table_model import apply, segment_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
NEWLINK, DELLINK, NEWNEIGH = 16, 17, 28
REACHABLE, FAILED, INCOMPLETE = 0x02, 0x20, 0x01
WAIT_S = 30


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("IHHII", 16 + len(body), kind, 0, 0, 0) + body


def link(name: str, *, up: bool, kind: int = NEWLINK) -> bytes:
    flags = IFF_UP | (IFF_LOWER_UP if up else 0)
    body = struct.pack("BxHiII", 0, 1, 7, flags, 0)
    return message(kind, body + attribute(1, bytes(6)) + attribute(3, name.encode() + b"\0"))


def neighbour(index: int, address: bytes, state: int) -> bytes:
    return message(NEWNEIGH, struct.pack("BxxxiHBB", 2, index, state, 0, 1) + attribute(1, address))


def hop(number: int) -> Adjacency:
    """A neighbour on port `number`."""
    return Adjacency(Action.FORWARD, number, bytes([2, 0, 0, 0, 0, number]), bytes([2, 0, 0, 0, 1, number]), 1500,
                     bytes([192, 0, 2, number]))  # fmt: skip


class Scene:
    """Adjacency i + 1 is on port i, which stands on the interface `wan<i>` and whose TAP has index 100 + i."""

    def __init__(self, fib: Fib) -> None:
        self.fib = fib
        self.links, links = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.neighbours, neighbours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for one in (links, neighbours):
            one.setblocking(False)
        self.adjacencies = [fib.adjacency_create(hop(i)) for i in range(4)]
        interfaces = [(f"wan{i}", i) for i in range(4)]
        self.repair = Repair(fib, links.detach(), neighbours.detach(), interfaces)
        self.repair.set_taps({i: 100 + i for i in range(4)})
        self.repair.start()

    def group(self, *ports: int, backup: tuple[int, ...] = ()) -> int:
        return self.fib.group_create(self.members(*ports), self.members(*backup))

    def members(self, *ports: int) -> list[tuple[int, int]]:
        return [(self.adjacencies[port], 1) for port in ports]

    def ports(self, group: int) -> Counter[int]:
        """Buckets by port."""
        found = self.fib.reader.bucket_adjacencies(group)
        return Counter(self.adjacencies.index(adjacency) for adjacency in found)

    def rewritten(self, group: int) -> set[int]:
        """The ports of a group that the control thread says again to be port 0's."""
        self.fib.group_update(group, self.members(0))
        return set(self.ports(group))

    def wait(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not ready():
            assert time.monotonic() < deadline
            time.sleep(0.001)


@pytest.fixture
def scene() -> Iterator[Scene]:
    path = segment_path("/dev/shm", "repair")
    fib = Fib.create(path, Limits(1000, 100, 100, 20, 20, 1, 1))
    scene = Scene(fib)
    yield scene
    scene.repair.close()
    scene.links.close()
    scene.neighbours.close()
    fib.close()
    path.unlink()


def test_a_lost_link_moves_single_next_hops_to_their_backup(scene: Scene) -> None:
    backed, alone, other = scene.group(0, backup=(1,)), scene.group(0), scene.group(2, backup=(0,))
    scene.links.send(link("wan0", up=False))
    scene.wait(lambda: set(scene.ports(backed)) == {1})
    assert set(scene.ports(alone)) == {0}, "nothing stands in for it"
    assert set(scene.ports(other)) == {2}
    assert scene.fib.repaired_groups() == [backed]
    assert (scene.repair.repairs, scene.repair.groups_repaired) == (1, 1)
    assert scene.repair.longest_ns > 0


def test_a_member_s_flows_go_to_the_others_and_those_stay(scene: Scene) -> None:
    group = scene.group(0, 1, 2, backup=(3,))
    before = scene.fib.reader.bucket_adjacencies(group)
    scene.links.send(link("wan1", up=False))
    scene.wait(lambda: set(scene.ports(group)) == {0, 2})
    after = scene.fib.reader.bucket_adjacencies(group)
    assert all(new == old for old, new in zip(before, after, strict=True) if old != scene.adjacencies[1])
    assert max(scene.ports(group).values()) <= 130
    scene.links.send(link("wan0", up=False) + link("wan2", up=False))
    scene.wait(lambda: set(scene.ports(group)) == {3})


def test_a_backup_of_several_shares_the_flows(scene: Scene) -> None:
    group, other = scene.group(0, backup=(1, 2)), scene.group(2, 3)
    scene.fib.group_update(other, scene.members(1, 2, 3))
    scene.links.send(link("wan0", up=False))
    scene.wait(lambda: 0 not in scene.ports(group))
    assert scene.ports(group) == {1: 128, 2: 128}


def test_without_a_spare_block_one_member_takes_all(scene: Scene) -> None:
    groups = [scene.group(0, 1, 2) for _ in range(19)]
    scene.links.send(link("wan0", up=False))
    scene.wait(lambda: not any(0 in scene.ports(group) for group in groups))
    shares = [len(scene.ports(group)) for group in groups]
    assert set(shares) == {1, 2}, "some had a spare block, some not"
    scene.links.send(link("wan0", up=True))
    scene.wait(lambda: scene.repair.repairs == 1)
    for _ in range(3):
        for group in groups:
            scene.fib.group_update(group, scene.members(1, 2))
    assert all(scene.ports(group) == {1: 128, 2: 128} for group in groups), "blocks that repairs left come back"
    assert scene.fib.reader.use()["ecmp_groups"].used == len(groups)


def test_what_the_control_thread_writes_later_is_repaired_at_once(scene: Scene) -> None:
    first = scene.group(0, backup=(1,))
    scene.links.send(link("wan0", up=False))
    scene.wait(lambda: set(scene.ports(first)) == {1})
    late = scene.group(0, backup=(2,))
    assert set(scene.ports(late)) == {2}
    scene.fib.group_update(first, scene.members(0), scene.members(3))
    assert set(scene.ports(first)) == {3}
    scene.fib.group_update(first, scene.members(1), ())
    assert scene.fib.repaired_groups() == [late]
    scene.links.send(link("wan0", up=True))
    scene.wait(lambda: scene.rewritten(late) == {0})


def test_a_failed_neighbour_is_lost_until_it_is_usable(scene: Scene) -> None:
    group = scene.group(0, backup=(1,))
    scene.neighbours.send(neighbour(100, hop(0).next_hop, INCOMPLETE))
    scene.neighbours.send(neighbour(101, hop(0).next_hop, FAILED))
    scene.neighbours.send(neighbour(100, hop(3).next_hop, FAILED))
    scene.neighbours.send(neighbour(100, hop(0).next_hop, FAILED))
    scene.wait(lambda: set(scene.ports(group)) == {1})
    assert scene.repair.repairs == 1
    scene.neighbours.send(neighbour(100, hop(0).next_hop, REACHABLE))
    scene.wait(lambda: scene.rewritten(group) == {0})


def test_neighbours_do_not_fail_while_the_fast_path_is_absent(scene: Scene) -> None:
    group = scene.group(0, backup=(1,))
    scene.repair.hold(True)
    scene.neighbours.send(neighbour(100, hop(0).next_hop, FAILED))
    scene.links.send(link("wan2", up=False))
    other = scene.group(2, backup=(3,))
    scene.wait(lambda: set(scene.ports(other)) == {3})
    assert set(scene.ports(group)) == {0}
    scene.repair.hold(False)
    scene.neighbours.send(neighbour(100, hop(0).next_hop, FAILED))
    scene.wait(lambda: set(scene.ports(group)) == {1})


def test_a_link_that_is_gone_or_cut_short_messages(scene: Scene) -> None:
    group = scene.group(0, backup=(1,))
    scene.links.send(link("wan0", up=True))
    whole = link("wan0", up=False)
    for size in range(1, len(whole)):
        scene.links.send(whole[:size])
    scene.links.send(b"\xff" * 64)
    scene.links.send(link("wan00", up=False) + link("wan", up=False))
    scene.links.send(link("wan2", up=False))
    other = scene.group(2, backup=(3,))
    scene.wait(lambda: set(scene.ports(other)) == {3})
    assert set(scene.ports(group)) == {0}
    scene.links.send(link("wan0", up=True, kind=DELLINK))
    scene.wait(lambda: set(scene.ports(group)) == {1})


def test_python_that_keeps_the_interpreter_holds_no_repair_up(scene: Scene) -> None:
    """One long call without a switch of threads: the repair has been done when it returns."""
    group = scene.group(0, backup=(1,))
    apply(scene.fib, 4, [(0, 0, group)])
    started = threading.Event()

    def fail() -> None:
        started.set()
        scene.links.send(link("wan0", up=False))

    thread = threading.Thread(target=fail)
    numbers = list(range(3_000_000, 0, -1))
    thread.start()
    started.wait()
    thread.join()
    before = scene.repair.repairs
    deadline = time.monotonic() + WAIT_S
    while scene.repair.repairs == 0 and time.monotonic() < deadline:
        numbers.sort(key=None)
    assert (before, scene.repair.repairs) in ((0, 1), (1, 1))
    assert set(scene.ports(group)) == {1}
    assert scene.repair.longest_ns < 1_000_000_000
