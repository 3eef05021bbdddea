"""The same frames into ours and into Linux's router: what comes out is compared field by field.

                 .--> Plane: the whole fast path process --.
    one frame --<                                           >-- port, MACs, every header field, quote, payload
                 `--> LinuxRouter: ip_forward in a netns --'

Every difference has its reason in differences.toml; one that has none fails, and so does one that no longer occurs.
What ours hands to the host stack is answered there by Linux itself: of those frames is only asked that Linux, too,
keeps them for itself.
"""

from __future__ import annotations

import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from planekit import Plane
from planekit.capture import own_mac, write_pcap
from planekit.cases import Case, all_cases
from planekit.fields import Fields, differing, fields
from planekit.linux import LinuxRouter
from planekit.wires import near_mac

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planekit.plane import Result

EXPLAINED = Path(__file__).with_name("differences.toml")
CASES = {case.name: case for case in all_cases()}
WARNING = 0x600000  # tshark's severity
COUNT = "frames"  # the name under which another number of frames is a difference


@dataclass(frozen=True)
class Explanation:
    """Why some cases differ in some fields."""

    cases: tuple[str, ...]
    fields: frozenset[str]
    why: str


def explanations() -> list[Explanation]:
    entries = tomllib.loads(EXPLAINED.read_text())["difference"]
    return [Explanation(tuple(e["cases"]), frozenset(e["fields"]), e["why"]) for e in entries]


@pytest.fixture(scope="module")
def running(hugepages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """One worker, and devices that give it every frame as it is."""
    with Plane("diff", tmp_path_factory.mktemp("diff"), lcores=(0,), whole=True) as plane:
        yield plane


@pytest.fixture(scope="module")
def linux(hugepages: Path) -> Iterator[LinuxRouter]:
    with LinuxRouter("diff", (1500, 1500, 1300)) as router:
        yield router


def sent_into(plane: Plane, case: Case) -> Result:
    """Send the case's frame; the device's own MAC stands for the port's."""
    return plane.send(0, [own_mac(0) + case.frame[6:] if case.frame[:6] == near_mac(0) else case.frame])


def ours(plane: Plane, case: Case) -> tuple[str, list[Fields]]:
    """What became of the frame, and what came out."""
    result = sent_into(plane, case)
    moved = result.moved
    fate = "forwarded" if moved.forwarded else "punted" if moved.punted else next(iter(moved.drops))
    sent = [fields(port, out) for port, frames in enumerate(result.out) for out in frames]
    for one in sent:
        if one["from"] == own_mac(0).hex(":"):
            one["from"] = near_mac(0).hex(":")
    return fate, sent


def theirs(linux: LinuxRouter, case: Case) -> list[Fields]:
    return [fields(port, frame) for port, frame in linux.exchange(0, case.frame)]


def difference(here: list[Fields], there: list[Fields]) -> set[str]:
    """The names of the fields in which the two routers differ."""
    if len(here) != len(there):
        return {COUNT}
    return set().union(*(differing(*pair) for pair in zip(here, there, strict=True)))


@pytest.mark.parametrize("name", list(CASES))
def test_same_as_linux_or_explained(plane: Plane, linux: LinuxRouter, name: str) -> None:
    """A difference in other fields than explained, or an explained one that does not occur, is a failure."""
    explained = set().union(*(entry.fields for entry in explanations() if name in entry.cases))
    case = CASES[name]
    fate, here = ours(plane, case)
    there = theirs(linux, case)
    if fate == "punted":
        there = [sent for sent in there if sent.get("src") == fields(0, case.frame).get("src")]
    assert fate == case.fate
    assert difference(here, there) == explained, f"ours: {here}\nLinux: {there}"


ANSWERED = ("ttl_expired", "no_route", "unreachable", "prohibited", "mtu_exceeded", "ipv6_link_local")


def test_tshark_finds_no_fault(plane: Plane, tmp_path: Path) -> None:
    """Every error that the cases cause is read without a malformed packet, a wrong checksum or a warning."""
    causes = [case for case in CASES.values() if case.fate in ANSWERED]
    errors = [frame for case in causes for frames in sent_into(plane, case).out for frame in frames]
    assert len(errors) > len(causes) / 2
    capture = tmp_path / "errors.pcap"
    write_pcap(capture, errors)
    words = ["tshark", "-n", "-r", str(capture), "-o", "ip.check_checksum:TRUE"]
    assert len(_said(*words, "-Y", "icmp || icmpv6").splitlines()) == len(errors)
    wrong = "icmp.checksum.status == 0 || icmpv6.checksum.status == 0 || ip.checksum.status == 0"
    faults = f"_ws.malformed || _ws.expert.severity >= {WARNING} || {wrong}"
    assert _said(*words, "-Y", faults, "-T", "fields", "-e", "frame.number", "-e", "_ws.expert.message") == ""


def _said(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=120).stdout


def test_explanations_are_of_known_cases_and_say_why() -> None:
    seen = [name for entry in explanations() for name in entry.cases]
    assert not set(seen) - set(CASES)
    assert len(seen) == len(set(seen)), "one explanation a case"
    assert all(entry.fields and len(entry.why) > 20 for entry in explanations())
