"""Where an instance's files are, and which instance is meant."""

import os
from pathlib import Path

import pytest

from dpdkrouter.config.load import parse
from dpdkrouter.config.paths import InstancePaths, find_instance, need_hugetlbfs, running_pid
from dpdkrouter.errors import InstanceError, SegmentError

PORT = '[[port]]\nname = "a"\ndevice = "net_null0"\n'


def test_hugetlbfs_must_be_mounted_when_it_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(SegmentError, match="mount -t hugetlbfs nodev"):
        need_hugetlbfs(parse(PORT, "f"), tmp_path)
    need_hugetlbfs(parse(PORT + "[fastpath]\nhugepages = false\n", "f"), tmp_path)
    need_hugetlbfs(parse(PORT, "f"), Path("/"))


def test_paths_of_a_configuration() -> None:
    paths = InstancePaths.of(parse(PORT + '[router]\nname = "pop1"\n', "f"))
    assert paths.run == Path("/run/dpdkrouter/pop1")
    assert paths.eal == Path("/run/dpdk/dpdkrouter-pop1")
    assert paths.api_socket == Path("/run/dpdkrouter/pop1/api.sock")
    assert paths.bgp_socket == Path("/run/dpdkrouter/pop1/bgp.sock")
    assert paths.pid_file("control") == Path("/run/dpdkrouter/pop1/control.lock")
    assert paths.routes == Path("/dev/hugepages/dpdkrouter-pop1.routes")
    assert paths.stats == Path("/dev/hugepages/dpdkrouter-pop1.stats")
    assert paths == InstancePaths.for_name("pop1")


def test_without_hugepages_segments_are_in_shared_memory() -> None:
    paths = InstancePaths.of(parse(PORT + "[fastpath]\nhugepages = false\n", "f"))
    assert paths.routes == Path("/dev/shm/dpdkrouter-router.routes")
    assert paths.stats == Path("/dev/shm/dpdkrouter-router.stats")
    assert paths.run == Path("/run/dpdkrouter/router")


def run_directories(root: Path, *names: str) -> None:
    for name in names:
        (root / "run/dpdkrouter" / name).mkdir(parents=True)


def test_a_named_instance_is_taken(tmp_path: Path) -> None:
    run_directories(tmp_path, "a", "b")
    assert find_instance("b", environ={"DPDKROUTER_NAME": "a"}, root=tmp_path).name == "b"
    assert find_instance(environ={"DPDKROUTER_NAME": "a"}, root=tmp_path).name == "a"
    assert find_instance(None, environ={"DPDKROUTER_NAME": "c"}, root=tmp_path).run == tmp_path / "run/dpdkrouter/c"


def test_the_environment_is_the_process_own_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPDKROUTER_NAME", "env")
    assert find_instance(root=tmp_path).name == "env"


def test_the_only_instance_is_taken(tmp_path: Path) -> None:
    run_directories(tmp_path, "a")
    (tmp_path / "run/dpdkrouter/file").touch()
    assert find_instance(environ={}, root=tmp_path) == InstancePaths.for_name("a", root=tmp_path)


def test_several_instances_are_listed(tmp_path: Path) -> None:
    run_directories(tmp_path, "b", "a")
    with pytest.raises(
        InstanceError, match=r"^2 routers are here: a, b; set DPDKROUTER_NAME to one of them$"
    ) as caught:
        find_instance(environ={}, root=tmp_path)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("made", [False, True])
def test_no_instance(tmp_path: Path, made: bool) -> None:
    if made:
        run_directories(tmp_path, "")
    with pytest.raises(InstanceError, match="no router runs here"):
        find_instance(environ={}, root=tmp_path)


def test_a_run_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/dpdkrouter").touch()
    with pytest.raises(InstanceError, match="cannot be read: Not a directory"):
        find_instance(environ={}, root=tmp_path)


@pytest.mark.parametrize("name", ["../x", "A", "a" * 16, "a/b"])
def test_a_name_cannot_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(InstanceError, match="must be a string of 1 to 15"):
        find_instance(name, environ={}, root=tmp_path)


def test_segments_are_found_where_they_are(tmp_path: Path) -> None:
    run_directories(tmp_path, "a")
    huge, plain = (InstancePaths.for_name("a", hugepages=h, root=tmp_path) for h in (True, False))
    assert find_instance("a", root=tmp_path) == huge
    plain.stats.parent.mkdir(parents=True)
    plain.stats.touch()
    assert find_instance("a", root=tmp_path) == plain
    huge.routes.parent.mkdir(parents=True)
    huge.routes.touch()
    assert find_instance("a", root=tmp_path) == huge


def test_running_pid(tmp_path: Path) -> None:
    path = tmp_path / "control.pid"
    assert running_pid(path) is None
    path.write_text(f"{os.getpid()}\n")
    assert running_pid(path) == os.getpid()
    for text in ("", "0", "-1", "1/../2", "self", "4194305", "é"):
        path.write_text(text)
        assert running_pid(path) is None, text
