"""The same frames into ours and into Linux's router: what comes out is compared field by field.

                 .--> Plane: the whole fast path process --.
    one frame --<                                           >-- port, MACs, every header field, quote, payload
                 `--> LinuxRouter: ip_forward in a netns --'

Every difference has its reason in differences.toml; one that has none fails, and so does one that no longer occurs.
What ours hands to the host stack is answered there by Linux itself: of those frames is only asked that Linux, too,
keeps them for itself.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from planekit import Plane
from planekit.capture import own_mac
from planekit.cases import Case, all_cases
from planekit.fields import Fields, differing, fields
from planekit.linux import LinuxRouter
from planekit.wires import near_mac

if TYPE_CHECKING:
    from collections.abc import Iterator

EXPLAINED = Path(__file__).with_name("differences.toml")
CASES = {case.name: case for case in all_cases()}
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


def ours(plane: Plane, case: Case) -> tuple[str, list[Fields]]:
    """What became of the frame, and what came out; the device's own MAC stands for the port's."""
    frame = own_mac(0) + case.frame[6:] if case.frame[:6] == near_mac(0) else case.frame
    result = plane.send(0, [frame])
    moved = result.moved
    fate = "forwarded" if moved.forwarded else "punted" if moved.punted else next(iter(moved.drops))
    sent = [fields(port, out) for port, frames in enumerate(result.out) for out in frames]
    for one in sent:
        if one["from"] == own_mac(0).hex(":"):
            one["from"] = near_mac(0).hex(":")
    return fate, sent


def theirs(linux: LinuxRouter, case: Case) -> list[Fields]:
    return [fields(port, frame) for port, frame in linux.exchange(0, case.frame)]


def difference(plane: Plane, linux: LinuxRouter, case: Case) -> set[str]:
    """The names of the fields in which the two routers differ."""
    fate, here = ours(plane, case)
    there = theirs(linux, case)
    assert fate == case.fate
    if fate == "punted":
        source = fields(0, case.frame).get("src")
        there = [sent for sent in there if sent.get("src") == source]
    if len(here) != len(there):
        return {COUNT}
    return set().union(*(differing(*pair) for pair in zip(here, there, strict=True)))


@pytest.mark.parametrize("name", list(CASES))
def test_same_as_linux_or_explained(plane: Plane, linux: LinuxRouter, name: str) -> None:
    """A difference in other fields than explained, or an explained one that does not occur, is a failure."""
    explained = set().union(*(entry.fields for entry in explanations() if name in entry.cases))
    assert difference(plane, linux, CASES[name]) == explained


def test_explanations_are_of_known_cases_and_say_why() -> None:
    seen = [name for entry in explanations() for name in entry.cases]
    assert not set(seen) - set(CASES)
    assert len(seen) == len(set(seen)), "one explanation a case"
    assert all(entry.fields and len(entry.why) > 20 for entry in explanations())
